//! Commands: how they end, and that nothing of them stays.

mod suite;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forno_link::link::{Discard, Stream};
use forno_link::testing;
use forno_link::{Command, ErrorKind, Exit, Link, Sink, Stdin, capture};
use sha2::{Digest, Sha256};
use suite::Site;
use tokio_util::sync::CancellationToken;

macro_rules! server {
    () => {
        match testing::sshd().await {
            Ok(server) => server,
            Err(reason) => {
                forno_testing::skip(reason);
                return;
            }
        }
    };
}

over_every_link! {
    output_and_exit_codes
    a_signal_is_told_from_a_status
    words_arrive_as_they_are
    standard_input_arrives_and_ends
    a_command_that_does_not_read_its_input_still_ends
    an_error_in_the_input_ends_the_command
    output_that_cannot_be_kept_ends_the_command
    cancellation_ends_every_process
    a_time_out_ends_every_process_also_as_root
    a_dropped_future_ends_every_process
    silence_is_noticed
    a_process_left_behind_does_not_hold_the_command
    a_flood_on_one_channel_does_not_block_another
    more_commands_at_once_than_a_link_has_channels
    what_cannot_be_passed_is_refused
}

fn never() -> &'static CancellationToken {
    static NEVER: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
    &NEVER
}

async fn said(link: &dyn Link, script: &str) -> forno_link::Output {
    capture(link, Command::shell(script), never())
        .await
        .unwrap()
}

async fn output_and_exit_codes(site: Site) {
    let link = site.link();
    let output = said(&*link, "echo out; echo err >&2; exit 3").await;
    assert_eq!(output.exit, Exit::Code(3));
    assert_eq!(output.stdout, "out\n");
    assert_eq!(output.stderr, "err\n");
    assert_eq!(output.reason(), "err");
    assert!(said(&*link, "true").await.exit.success());
    let missing = said(&*link, "no-such-program").await;
    assert_eq!(missing.exit, Exit::Code(127));
}

async fn a_signal_is_told_from_a_status(site: Site) {
    let link = site.link();
    assert_eq!(
        said(&*link, "kill -9 $$").await.exit,
        Exit::Signal("KILL".into())
    );
    assert_eq!(
        said(&*link, "kill -TERM $$").await.exit,
        Exit::Signal("TERM".into())
    );
    assert_eq!(said(&*link, "exit 143").await.exit, Exit::Code(143));
}

async fn words_arrive_as_they_are(site: Site) {
    let link = site.link();
    let words = [
        "printf", "%s|", "a b", "it's", "$HOME", "\n", "", "`id`", "é", "\\",
    ];
    let output = capture(&*link, Command::words(words), never())
        .await
        .unwrap();
    assert_eq!(output.stdout, "a b|it's|$HOME|\n||`id`|é|\\|");
    let output = capture(
        &*link,
        Command::script("printf '%s-' \"$@\"", ["1 2", "'"]),
        never(),
    );
    assert_eq!(output.await.unwrap().stdout, "1 2-'-");
}

async fn standard_input_arrives_and_ends(site: Site) {
    let link = site.link();
    assert_eq!(said(&*link, "cat; echo end").await.stdout, "end\n");
    let command = Command::shell("wc -c").stdin(Stdin::Bytes(Bytes::from(vec![7; 100_000])));
    let output = capture(&*link, command, never()).await.unwrap();
    assert_eq!(output.stdout.trim(), "100000");
}

async fn a_command_that_does_not_read_its_input_still_ends(site: Site) {
    let link = site.link();
    let input = Stdin::Bytes(Bytes::from(vec![0; 8 << 20]));
    let output = capture(&*link, Command::shell("exit 4").stdin(input), never())
        .await
        .unwrap();
    assert_eq!(output.exit, Exit::Code(4));
}

async fn an_error_in_the_input_ends_the_command(site: Site) {
    let link = site.link();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let command = Command::shell("cat >/dev/null; echo whole").stdin(Stdin::Stream(receiver));
    let send = async {
        sender.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
        sender
            .send(Err(std::io::Error::other("disk on fire")))
            .await
            .unwrap();
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = capture(&*link, command, never()) => result,
        () = send => unreachable!(),
    };
    let error = result.unwrap_err().to_string();
    assert!(
        error.ends_with("cannot read the input: disk on fire"),
        "{error}"
    );
}

/// Has no room for what comes.
struct Full;

#[async_trait]
impl Sink for Full {
    async fn write(&mut self, _: Stream, _: Bytes) -> std::io::Result<()> {
        Err(std::io::Error::other("disk full"))
    }
}

async fn output_that_cannot_be_kept_ends_the_command(site: Site) {
    let link = site.link();
    let mark = site.mark("full");
    let script = format!("echo x; exec -a {mark} sleep 600");
    let command = Command::words(["bash", "-c", &script]);
    let error = link.exec(command, Box::new(Full), never()).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with("cannot keep the output: disk full"),
        "{error}"
    );
    assert_eq!(alive(&mark), Vec::<String>::new());
}

/// Hashes what comes, keeps nothing.
#[derive(Clone)]
struct Hash(Arc<std::sync::Mutex<Sha256>>, Arc<AtomicU64>);

#[async_trait]
impl Sink for Hash {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> std::io::Result<()> {
        assert_eq!(stream, Stream::Stdout);
        self.0.lock().unwrap().update(&chunk);
        self.1.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const LARGE: usize = 300 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_megabytes_each_way_in_little_memory() {
    let server = server!();
    let link = server.link().await;
    let before = resident_kib();

    let sink = Hash(Arc::default(), Arc::default());
    let script = format!("head -c {LARGE} /dev/zero | tee /dev/fd/3 3>&1 >/dev/null | cat");
    let down = link.exec(Command::shell(script), Box::new(sink.clone()), never());
    assert_eq!(down.await.unwrap(), Exit::Code(0));
    assert_eq!(sink.1.load(Ordering::Relaxed), LARGE as u64);

    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let feeder = tokio::spawn(async move {
        let chunk = Bytes::from(vec![0; 256 << 10]);
        for _ in 0..LARGE / chunk.len() {
            sender.send(Ok(chunk.clone())).await.unwrap();
        }
    });
    let command = Command::shell("sha256sum").stdin(Stdin::Stream(receiver));
    let up = capture(&*link, command, never()).await.unwrap();
    feeder.await.unwrap();
    let sum = hex::encode(sink.0.lock().unwrap().clone().finalize());
    assert_eq!(up.stdout.split_whitespace().next(), Some(sum.as_str()));

    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "memory grew by {grown} KiB");
}

/// A command whose children must all be gone: they hold a file open by name.
fn tree_of_processes(mark: &str) -> String {
    format!(
        "sh -c 'exec -a {mark} sleep 600' 2>/dev/null & \
         bash -c 'exec -a {mark} sleep 600' & \
         setsid bash -c 'trap \"\" TERM; exec -a {mark} sleep 600' & \
         bash -c 'trap \"\" TERM; (exec -a {mark} sleep 600) & wait' & \
         echo started; wait"
    )
}

fn alive(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        // The shells that start them have it in the middle.
        if line.starts_with(mark.as_bytes()) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2400 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never came true: {what}");
}

async fn run_tree(
    link: Arc<dyn Link>,
    mark: &str,
    timeout: Option<Duration>,
    sudo: bool,
) -> (
    CancellationToken,
    tokio::task::JoinHandle<Result<Exit, forno_link::Error>>,
) {
    let cancel = CancellationToken::new();
    let mut command = Command::shell(tree_of_processes(mark)).sudo(sudo);
    command.timeout = timeout;
    let token = cancel.clone();
    let task = tokio::spawn(async move { link.exec(command, Box::new(Discard), &token).await });
    let wanted = mark.to_owned();
    until("all are started", || alive(&wanted).len() >= 3).await;
    (cancel, task)
}

async fn cancellation_ends_every_process(site: Site) {
    let link = site.link();
    let mark = site.mark("cancel");
    let (cancel, task) = run_tree(link.clone(), &mark, None, false).await;
    cancel.cancel();
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Cancelled), "{error}");
    until("all are gone", || alive(&mark).is_empty()).await;
    assert!(
        said(&*link, "true").await.exit.success(),
        "the link goes on"
    );
}

async fn a_time_out_ends_every_process_also_as_root(site: Site) {
    let link = site.link();
    let mark = site.mark("timeout");
    let sudo = said(&*link, "[ \"$(id -u)\" = 0 ] || sudo -n true")
        .await
        .exit
        .success();
    let limit = Duration::from_secs(4);
    let (_cancel, task) = run_tree(link.clone(), &mark, Some(limit), sudo).await;
    let error = task.await.unwrap().unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(
        error.to_string().ends_with("not done within 4 s"),
        "{error}"
    );
    until("all are gone", || alive(&mark).is_empty()).await;
}

async fn a_dropped_future_ends_every_process(site: Site) {
    let link = site.link();
    let mark = site.mark("drop");
    let (_cancel, task) = run_tree(link.clone(), &mark, None, false).await;
    task.abort();
    until("all are gone", || alive(&mark).is_empty()).await;
}

async fn silence_is_noticed(site: Site) {
    let link = site.link();
    let command = Command::shell("echo on; sleep 600").idle_timeout(Duration::from_millis(500));
    let error = link
        .exec(command, Box::new(Discard), never())
        .await
        .unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Stalled(_)), "{error}");
}

async fn a_process_left_behind_does_not_hold_the_command(site: Site) {
    let link = site.link();
    let output = said(&*link, "sleep 600 & echo $!").await;
    assert!(output.exit.success());
    let left = output.stdout.trim().to_owned();
    assert!(said(&*link, &format!("kill {left}")).await.exit.success());
}

async fn a_flood_on_one_channel_does_not_block_another(site: Site) {
    let link = site.link();
    let cancel = CancellationToken::new();
    let (flooding, token) = (link.clone(), cancel.clone());
    let flood = tokio::spawn(async move {
        flooding
            .exec(Command::shell("yes"), Box::new(Discard), &token)
            .await
    });
    for _ in 0..20 {
        assert!(said(&*link, "true").await.exit.success());
    }
    cancel.cancel();
    assert!(flood.await.unwrap().is_err());
}

async fn more_commands_at_once_than_a_link_has_channels(site: Site) {
    let link = site.link();
    let commands = (0..30).map(|n| {
        let link = link.clone();
        async move { said(&*link, &format!("sleep 0.1; echo {n}")).await.stdout }
    });
    let outputs = futures::future::join_all(commands).await;
    for (n, output) in outputs.iter().enumerate() {
        assert_eq!(output.trim(), n.to_string());
    }
}

async fn what_cannot_be_passed_is_refused(site: Site) {
    let link = site.link();
    let error = link
        .exec(
            Command::shell("x".repeat(200_000)),
            Box::new(Discard),
            never(),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::CommandTooLong(200_000)),
        "{error}"
    );
    let long = format!(": {}; echo fine", "x".repeat(90_000));
    assert_eq!(said(&*link, &long).await.stdout, "fine\n");
}

#[tokio::test]
async fn a_lost_connection_is_told_as_such() {
    let server = server!();
    let link = server.link().await;
    let running = link.clone();
    let task = tokio::spawn(async move {
        running
            .exec(
                Command::shell("echo x; sleep 600"),
                Box::new(Discard),
                never(),
            )
            .await
    });
    let pid = said(&*link, "echo $PPID").await;
    assert!(pid.exit.success());
    server.signal(rustix::process::Signal::KILL);
    let error = task.await.unwrap().unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert!(!link.is_connected());
    let error = capture(&*link, Command::shell("true"), never())
        .await
        .unwrap_err();
    assert!(error.is_lost(), "{error}");
}
