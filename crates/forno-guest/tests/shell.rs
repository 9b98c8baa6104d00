//! Scripts: environment, interpreters, failures, attempts, and what stays.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{bench, shell, step, told};
use forno_events::{Outcome, Stream};
use forno_guest::{Action, Decide, Decision, OnFailure, Script, StepError};

macro_rules! bench {
    () => {
        match bench().await {
            Some(bench) => bench,
            None => return,
        }
    };
}

#[tokio::test]
async fn output_is_told_line_by_line() {
    let bench = bench!();
    let report = bench
        .run(Action::Shell(shell("echo one; echo two; echo three >&2")))
        .await
        .unwrap();
    assert_eq!((report.outcome, report.attempts), (Outcome::Ok, 1));
    assert_eq!(bench.lines(Stream::Stdout), ["one", "two"]);
    assert_eq!(bench.lines(Stream::Stderr), ["three"]);
    assert_eq!(bench.life(), ["started 1", "finished 1: Ok"]);
}

#[tokio::test]
async fn the_first_failing_command_ends_a_script() {
    let bench = bench!();
    let error = bench
        .run(Action::Shell(shell("echo before\nfalse\necho after")))
        .await
        .unwrap_err();
    insta::assert_snapshot!(told(&error), @r"
    script: exit status 1
      | before
    ");
    assert_eq!(bench.life(), ["started 1", "finished 1: Failed"]);
}

#[tokio::test]
async fn environment_and_arguments_arrive_and_are_no_argument_of_ours() {
    let mut bench = bench!();
    let secret = "s3cr3t 'quoted' $HOME \\ \"x\"\nsecond line";
    bench.ctx.env.insert("FORNO_IMAGE".into(), "base".into());
    let mut script = shell(
        "printf '%s|' \"$TOKEN\" \"$FORNO_IMAGE\" \"$DEBIAN_FRONTEND\" \"$@\"\n\
         echo; tr '\\0' ' ' </proc/*/cmdline 2>/dev/null | grep -c 's3cr3t-by' || true\n\
         cat; sudo -n env 2>/dev/null | grep -c FORNO_IMAGE || true",
    );
    script.sudo = true;
    script.env.insert("TOKEN".into(), secret.into());
    script.args = vec!["a b".into(), "it's".into()];
    bench.run(Action::Shell(script)).await.unwrap();
    let lines = bench.lines(Stream::Stdout).join("\n");
    assert!(
        lines.starts_with(&format!("{secret}|base|noninteractive|a b|it's|\n")),
        "{lines}"
    );

    let mut script = shell("ps -eo args || cat /proc/[0-9]*/cmdline");
    script.env.insert("TOKEN".into(), "never-in-a-list".into());
    bench.run(Action::Shell(script)).await.unwrap();
    assert!(
        !bench
            .lines(Stream::Stdout)
            .join("\n")
            .contains("never-in-a-list")
    );

    let mut script = shell("true");
    script.env.insert("BAD-NAME".into(), "x".into());
    let error = bench.run(Action::Shell(script)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`BAD-NAME` cannot be the name of an environment variable"
    );
}

#[tokio::test]
async fn nothing_of_a_script_stays_on_the_machine() {
    let bench = bench!();
    bench
        .run(Action::Shell(shell("echo $dir $0")))
        .await
        .unwrap();
    let lines = bench.lines(Stream::Stdout);
    let script = lines[0].trim();
    assert!(script.ends_with("/script"), "{script}");
    let folder = std::path::Path::new(script).ancestors().nth(2).unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("step-01-") && name.len() == 40, "{name}");
    assert!(!folder.exists());
}

#[tokio::test]
async fn interpreters() {
    let bench = bench!();
    let mut script = shell("import sys; print('python', sys.argv[1])");
    script.interpreter = Some(vec!["python3".into(), "-I".into()]);
    script.args = vec!["arg".into()];
    bench.run(Action::Shell(script)).await.unwrap();

    let path = bench.dir().join("it's a script.sh");
    fs_err::write(&path, "#!/usr/bin/env bash\r\nwords=(a b c)\r\necho ${#words[@]} ${0##*/}\r\nfalse\r\necho on\r\n").unwrap();
    let mut script = shell("");
    script.script = Script::File(path);
    bench.run(Action::Shell(script)).await.unwrap();
    assert_eq!(
        bench.lines(Stream::Stdout),
        ["python arg", "3 it's a script.sh", "on"]
    );

    let mut script = shell("x");
    script.interpreter = Some(vec!["/no/such/interpreter".into()]);
    let error = bench.run(Action::Shell(script)).await.unwrap_err();
    assert!(error.to_string().ends_with("exit status 127"), "{error}");

    let mut script = shell("");
    script.script = Script::File("/no/such/script".into());
    let error = bench.run(Action::Shell(script)).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/script"), "{error}");
}

#[tokio::test]
async fn other_exit_codes_may_be_fine() {
    let bench = bench!();
    let mut script = shell("exit 3");
    script.valid_exit_codes = vec![0, 3];
    bench.run(Action::Shell(script)).await.unwrap();
    let error = bench
        .run(Action::Shell(shell("kill -9 $$")))
        .await
        .unwrap_err();
    insta::assert_snapshot!(told(&error), @r"
    script: exit status 137
      | Killed
    hint: a status of 137 usually means that signal 9 ended it (137: killed, often for want of memory)
    ");
}

#[tokio::test]
async fn attempts_go_on_until_one_succeeds() {
    let bench = bench!();
    let mark = bench.dir().join("mark");
    let text = format!("echo x >>{0}; [ $(wc -l <{0}) -ge 3 ]", mark.display());
    let mut three = step(Action::Shell(shell(&text)));
    three.attempts = 5;
    let report = bench.guest.run(&three, &bench.ctx).await.unwrap();
    assert_eq!(report.attempts, 3);
    assert_eq!(
        bench.life(),
        [
            "started 1",
            "retry 2: script: exit status 1",
            "started 2",
            "retry 3: script: exit status 1",
            "started 3",
            "finished 3: Ok"
        ]
    );
}

#[tokio::test]
async fn a_failure_may_be_tolerated() {
    let bench = bench!();
    let mut failing = step(Action::Shell(shell("exit 7")));
    failing.on_failure = OnFailure::Continue;
    let report = bench.guest.run(&failing, &bench.ctx).await.unwrap();
    assert_eq!(report.outcome, Outcome::Tolerated);
    assert_eq!(report.error.unwrap().to_string(), "script: exit status 7");
}

struct Scripted(std::sync::Mutex<Vec<Decision>>);

#[async_trait]
impl Decide for Scripted {
    async fn decide(&self, step: &str, error: &StepError) -> Decision {
        assert_eq!(step, "a step");
        assert_eq!(error.to_string(), "script: exit status 1");
        self.0.lock().unwrap().remove(0)
    }
}

#[tokio::test]
async fn a_person_may_decide() {
    let mut bench = bench!();
    let mut failing = step(Action::Shell(shell("false")));
    failing.on_failure = OnFailure::Ask;
    assert!(
        bench.guest.run(&failing, &bench.ctx).await.is_err(),
        "nobody to ask"
    );
    let answers = vec![Decision::Retry, Decision::Continue, Decision::Fail];
    bench.ctx.decide = Some(Arc::new(Scripted(std::sync::Mutex::new(answers))));
    let report = bench.guest.run(&failing, &bench.ctx).await.unwrap();
    assert_eq!((report.outcome, report.attempts), (Outcome::Tolerated, 2));
    assert!(bench.guest.run(&failing, &bench.ctx).await.is_err());
}

#[tokio::test]
async fn time_is_up() {
    let bench = bench!();
    let mut slow = step(Action::Shell(shell("echo here; sleep 600")));
    slow.timeout = Duration::from_secs(2);
    slow.attempts = 2;
    let error = bench.guest.run(&slow, &bench.ctx).await.unwrap_err();
    insta::assert_snapshot!(told(&error), @r"
    the script: not done within 2 s
      | here
    ");
    assert_eq!(bench.life()[1], "retry 2: the script: not done within 2 s");
}

#[tokio::test]
async fn a_cancelled_step_is_no_failure() {
    let bench = bench!();
    let cancel = bench.ctx.cancel.clone();
    let running = step(Action::Shell(shell("echo here; sleep 600")));
    let cancelling = async {
        while bench.lines(Stream::Stdout).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(bench.guest.run(&running, &bench.ctx), cancelling);
    assert!(result.unwrap_err().is_cancelled());
    assert_eq!(bench.life(), ["started 1", "finished 1: Cancelled"]);
}

#[tokio::test]
async fn a_script_goes_on_when_it_ends_its_own_connection() {
    let bench = bench!();
    let script = "p=$$; while ! grep -q '^sshd' /proc/$p/comm; do \
         p=$(sed 's/.*) . //' /proc/$p/stat | cut -d' ' -f1); done; \
         echo before; kill -9 $p; sleep 1; echo after";
    let report = bench.run(Action::Shell(shell(script))).await.unwrap();
    assert_eq!(report.attempts, 1);
    assert_eq!(bench.lines(Stream::Stdout), ["before", "after"]);
}
