//! A link over Run Command.

use std::sync::LazyLock;

use forno_link::testing::run_command::Machine;
use forno_link::{Command, Exit, Link, capture};
use tokio_util::sync::CancellationToken;

fn never() -> &'static CancellationToken {
    static NEVER: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
    &NEVER
}

async fn said(link: &dyn Link, script: &str) -> forno_link::Output {
    capture(link, Command::shell(script), never())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_short_command_is_one_round_trip() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    let before = machine.scripts().len();
    let output = said(&*link, "echo out; echo err >&2; exit 3").await;
    assert_eq!(output.exit, Exit::Code(3));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(machine.scripts().len() - before, 1);
}
