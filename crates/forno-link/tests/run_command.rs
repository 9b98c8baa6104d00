//! A link over Run Command: what is its own. What all links have in common is in
//! the other files.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forno_link::link::{Captured, Discard, Stream};
use forno_link::ssm::{self, SsmTarget};
use forno_link::testing::run_command::Machine;
use forno_link::{
    Command, Error, ErrorKind, Exit, FileTarget, Link, Output, Progress, Sink, Stdin, Watch,
    capture,
};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn never() -> &'static CancellationToken {
    static NEVER: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
    &NEVER
}

async fn said(link: &dyn Link, script: &str) -> Output {
    capture(link, Command::shell(script), never())
        .await
        .unwrap()
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

/// Processes with such an argument.
fn processes(argument: &str) -> usize {
    let all = fs_err::read_dir("/proc").unwrap().flatten();
    let with = all.filter(|entry| {
        fs_err::read(entry.path().join("cmdline")).is_ok_and(|line| {
            line.split(|&b| b == 0)
                .any(|word| word == argument.as_bytes())
        })
    });
    with.count()
}

fn without_store(machine: &Machine) -> SsmTarget {
    SsmTarget {
        store: None,
        ..machine.target()
    }
}

#[tokio::test]
async fn a_short_command_is_one_round_trip_and_leaves_nothing() {
    let machine = Machine::new().await;
    let mut target = machine.target();
    // However slow this computer is, the end is waited for.
    target.timing.wait = Duration::from_mins(1);
    target.timing.settle = Duration::from_mins(1);
    let link = machine.link_to(target).await;
    let before = machine.scripts().len();
    let output = said(&*link, "echo out; echo err >&2; exit 3").await;
    assert_eq!(output.exit, Exit::Code(3));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    assert_eq!(machine.scripts().len() - before, 1);
    // The next one takes its folder away, and input comes with the start.
    let first = machine.folders();
    let command = Command::shell("cat").stdin(Stdin::Bytes("in".into()));
    let output = capture(&*link, command, never()).await.unwrap();
    assert_eq!(output.stdout, "in");
    assert_eq!(machine.scripts().len() - before, 2);
    assert_eq!((first.len(), first[0].exists()), (1, false));
    assert_eq!(machine.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_agent_keeps_goes_and_at_last_all_but_one() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    for _ in 0..5 {
        said(&*link, "echo said").await;
        assert!(machine.copies() <= 2, "{}", machine.copies());
    }
    link.close().await;
    assert_eq!((machine.copies(), machine.folders().len()), (1, 0));
    assert!(!link.is_connected());
    let before = machine.scripts().len();
    link.close().await;
    assert_eq!(machine.scripts().len(), before);
}

#[tokio::test]
async fn a_start_that_is_sent_twice_runs_once() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    let log = machine.dir().join("log");
    let script = format!("echo ran >>{}; cat; echo done", log.display());
    let run = || async {
        let command = Command::shell(&script).stdin(Stdin::Bytes("in ".into()));
        let output = capture(&*link, command, never()).await.unwrap();
        assert_eq!(output.stdout, "in done\n");
    };
    machine.faults().lost_replies.store(2, Ordering::SeqCst);
    run().await;
    assert_eq!(fs_err::read_to_string(&log).unwrap(), "ran\n");
    // The first one comes when all is over and collected.
    machine.faults().late.store(1, Ordering::SeqCst);
    run().await;
    said(&*link, "true").await;
    until("the late one was carried out", || machine.underway() == 0).await;
    assert_eq!(fs_err::read_to_string(&log).unwrap(), "ran\nran\n");
}

#[tokio::test]
async fn a_secret_on_standard_input_is_in_no_script_and_its_objects_go() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    let command = Command::shell("sha256sum").stdin(Stdin::Bytes("hunter2 hunter2".into()));
    let output = capture(&*link, command, never()).await.unwrap();
    let sum = hex::encode(Sha256::digest("hunter2 hunter2"));
    assert!(output.stdout.starts_with(&sum), "{}", output.stdout);
    assert_eq!(machine.puts(), 1);
    assert_eq!(machine.objects(), Vec::<String>::new());
    let encoded = "aHVudGVyMi"; // the same in base64
    for script in machine.scripts() {
        assert!(!script.contains("hunter2") && !script.contains(encoded));
    }
    assert!(!machine.exposed());
}

/// Hashes each stream.
#[derive(Clone, Default)]
struct Hash(Arc<Mutex<[Sha256; 2]>>, Arc<AtomicU64>);

#[async_trait]
impl Sink for Hash {
    async fn write(&mut self, stream: Stream, chunk: Bytes) -> std::io::Result<()> {
        self.0.lock().unwrap()[usize::from(stream == Stream::Stderr)].update(&chunk);
        self.1.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}

fn hash_of(script: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .output();
    hex::encode(Sha256::digest(output.unwrap().stdout))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_complete_and_goes_by_the_store() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    // More than the machine keeps, so that it is held back.
    let (out, err) = ("seq 5500000", "seq 100000");
    let script = format!("{err} >&2; {out}");
    let sink = Hash::default();
    let exit = link.exec(Command::shell(script), Box::new(sink.clone()), never());
    assert_eq!(exit.await.unwrap(), Exit::Code(0));
    assert!(sink.1.load(Ordering::SeqCst) > 40 << 20);
    let [o, e] = sink.0.lock().unwrap().clone();
    assert_eq!(hex::encode(o.finalize()), hash_of(out));
    assert_eq!(hex::encode(e.finalize()), hash_of(err));
    assert!(machine.puts() > 8, "{}", machine.puts());
    assert_eq!(machine.objects(), Vec::<String>::new());
    assert!(!machine.exposed());
}

#[tokio::test]
async fn bytes_of_every_kind_come_as_they_are_without_a_store() {
    let machine = Machine::new().await;
    let link = machine.link_to(without_store(&machine)).await;
    let file = machine.dir().join("random");
    let content: Vec<u8> = (0..60_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(90_000)
        .collect();
    fs_err::write(&file, &content).unwrap();
    let script = format!("cat {0} >&2; cat {0}; printf '\\0\\001'", file.display());
    let sink = Hash::default();
    let exit = link.exec(Command::shell(script), Box::new(sink.clone()), never());
    assert_eq!(exit.await.unwrap(), Exit::Code(0));
    let [o, e] = sink.0.lock().unwrap().clone();
    let whole = [content.as_slice(), b"\0\x01"].concat();
    assert_eq!(o.finalize(), Sha256::digest(whole));
    assert_eq!(e.finalize(), Sha256::digest(content));
}

#[tokio::test]
async fn an_input_that_stays_open_gets_more_later() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    let (sender, receiver) = mpsc::channel(1);
    let script = "while read -r line; do echo \"got $line\"; done; echo end";
    let command = Command::shell(script).stdin(Stdin::Stream(receiver));
    let captured = Captured::new(1 << 20);
    let sink = captured.clone();
    let task = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.exec(command, Box::new(sink), never()).await }
    });
    let seen = || captured.clone().output(Exit::Code(0)).stdout;
    for word in ["one", "two"] {
        let answer = Bytes::from(format!("{word}\n"));
        sender.send(Ok(answer)).await.unwrap();
        let mut all = String::new();
        until("it is answered", || {
            all.push_str(&seen());
            all == format!("got {word}\n")
        })
        .await;
    }
    drop(sender);
    assert_eq!(task.await.unwrap().unwrap(), Exit::Code(0));
    assert_eq!(seen(), "end\n");
    assert_eq!(machine.objects(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn much_input_is_fetched_in_parts_also_when_the_store_stumbles() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    let size = 50 << 20;
    let (sender, receiver) = mpsc::channel(4);
    let feeder = tokio::spawn(async move {
        let chunk = Bytes::from(vec![7; 300_000]);
        let mut left: usize = size;
        while left > 0 {
            let part = chunk.slice(..left.min(chunk.len()));
            left -= part.len();
            sender.send(Ok(part)).await.unwrap();
        }
    });
    machine.fail_requests(2);
    let command = Command::shell("sha256sum; sleep 0.1").stdin(Stdin::Stream(receiver));
    let output = capture(&*link, command, never()).await.unwrap();
    feeder.await.unwrap();
    let sum = hex::encode(Sha256::digest(vec![7; size]));
    assert!(output.stdout.starts_with(&sum), "{}", output.stdout);
    assert!(machine.puts() >= 13, "{}", machine.puts());
    assert_eq!(machine.objects(), Vec::<String>::new());
}

#[tokio::test]
async fn whatever_program_can_fetch_will_do() {
    for program in ["wget", "python3"] {
        let tools = tempfile::tempdir().unwrap();
        let names = "sh cat tr head tail wc mv rm mkdir mkfifo sleep dd env id base64 sha256sum \
             setsid setpriv getent grep seq kill gzip fallocate";
        let mut all: Vec<&str> = names.split_whitespace().collect();
        all.push(program);
        for name in all {
            let found = ["/usr/bin", "/bin", "/usr/sbin"].map(|dir| Path::new(dir).join(name));
            if let Some(path) = found.iter().find(|path| path.exists()) {
                std::os::unix::fs::symlink(path, tools.path().join(name)).unwrap();
            }
        }
        if !tools.path().join(program).exists() {
            forno_testing::skip(format!("there is no {program}"));
            continue;
        }
        let machine = Machine::new().await;
        machine.set_path(tools.path().display().to_string());
        let link = machine.link().await;
        let command = Command::shell("cat; seq 300000").stdin(Stdin::Bytes("in\n".into()));
        let output = capture(&*link, command, never()).await.unwrap();
        assert!(output.stdout.starts_with("in\n1\n2\n"), "{program}");
        assert_eq!(machine.puts(), 2, "{program}");
        assert!(!machine.exposed(), "{program}");
    }
}

#[tokio::test]
async fn what_a_killed_forno_leaves_ends_by_itself() {
    let machine = Machine::new().await;
    let mut target = machine.target();
    target.timing.forgotten = Duration::from_secs(2);
    target.timing.wait = Duration::from_millis(200);
    let runtime = std::thread::spawn(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    });
    let runtime = runtime.join().unwrap();
    let marks = machine.dir().to_owned();
    let script = format!(
        "sleep 4751 & echo >{0}/begun; cat >/dev/null; echo >{0}/closed; sleep 4752",
        marks.display()
    );
    let other = machine.clone();
    runtime.spawn(async move {
        let link = other.link_to(target).await;
        let (sender, receiver) = mpsc::channel(1);
        let command = Command::shell(script).stdin(Stdin::Stream(receiver));
        let _exit = link.exec(command, Box::new(Discard), never()).await;
        drop(sender);
    });
    until("it runs", || marks.join("begun").exists()).await;
    until("with a child", || processes("4751") == 1).await;
    runtime.shutdown_background();
    until("it is gone", || processes("4751") + processes("4752") == 0).await;
    assert!(marks.join("closed").exists());
    until("its folder too", || machine.folders().is_empty()).await;
}

#[tokio::test]
async fn output_that_the_machine_has_no_room_for_is_no_end() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    machine.limit_files(1000);
    let sink = Hash::default();
    let script = "seq 500000; sleep 4756";
    let error = link.exec(Command::shell(script), Box::new(sink.clone()), never());
    let text = error.await.unwrap_err().to_string();
    assert!(text.contains("there is no room for it"), "{text}");
    assert!(sink.1.load(Ordering::SeqCst) > 400_000);
    until("it was ended", || processes("4756") == 0).await;
    // Nor is half a script run.
    let noise = "x".repeat(600_000 / 8);
    machine.limit_files(20);
    let script = format!("echo begun; : {noise}");
    let error = capture(&*link, Command::shell(script), never()).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("a file cannot be written"), "{text}");
}

#[tokio::test]
async fn a_command_that_does_not_fit_is_refused() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    let words = (0..5_000_u32).map(|n| Sha256::digest(n.to_le_bytes()));
    let noise = hex::encode(words.flatten().collect::<Vec<u8>>());
    let long = |length: usize| format!(": {}; echo fine", &noise[..length]);
    assert_eq!(said(&*link, &long(30_000)).await.stdout, "fine\n");
    let error = capture(&*link, Command::shell(long(80_000)), never()).await;
    let text = error.unwrap_err().to_string();
    assert!(text.ends_with("is not possible over this link"), "{text}");
}

#[tokio::test]
async fn what_a_command_leaves_running_lives_on() {
    let machine = Machine::new().await;
    let link = machine.link().await;
    let script = "sleep 4755 >/dev/null 2>&1 </dev/null & sleep 1.5; echo $!";
    let left = said(&*link, script).await.stdout;
    // Has its folder taken away, which who watches it notices.
    said(&*link, "sleep 2").await;
    assert_eq!(processes("4755"), 1);
    said(&*link, &format!("kill {left}")).await;
    until("it is gone", || processes("4755") == 0).await;
}

#[tokio::test]
async fn waiting_is_told_and_giving_up_says_what_is_usually_missing() {
    let machine = Machine::new().await;
    machine.register(false);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, other) = (Arc::clone(&seen), machine.clone());
    let watch = Watch::new(move |attempt| {
        log.lock().unwrap().push(attempt.problem.to_string());
        match attempt.number {
            1 => {
                other.register(true);
                other.go_offline();
            }
            _ => other.come_online(),
        }
    });
    let within = Duration::from_mins(1);
    ssm::connect(machine.target(), within, &watch, never())
        .await
        .unwrap();
    let told = seen.lock().unwrap().clone();
    assert_eq!(
        told[0],
        "not reachable through Systems Manager: not registered yet"
    );
    assert!(
        told[1].contains("ConnectionLost, last heard of "),
        "{told:?}"
    );
    assert_eq!(told.len(), 2);

    machine.go_offline();
    let within = Duration::from_secs(1);
    let error = ssm::connect(machine.target(), within, &Watch::none(), never()).await;
    let error = error.map(drop).unwrap_err();
    assert!(
        matches!(&error.kind, ErrorKind::GaveUp { last, .. } if matches!(**last, ErrorKind::NotConnected(_))),
        "{error}"
    );
    let hint = error.hint().unwrap();
    for word in [
        "amazon-ssm-agent",
        "AmazonSSMManagedInstanceCore",
        "VPC endpoints",
    ] {
        assert!(hint.contains(word), "{hint}");
    }
}

#[tokio::test]
async fn a_user_that_the_machine_does_not_know_is_told() {
    let machine = Machine::new().await;
    let mut target = machine.target();
    target.user = "no-such-user".into();
    target.timing.user_patience = Duration::ZERO;
    let within = Duration::from_mins(1);
    let error = ssm::connect(target, within, &Watch::none(), never()).await;
    let error = error.map(drop).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("the machine has no user `no-such-user`"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("admin"));
}

#[tokio::test]
async fn commands_run_as_the_user_with_what_a_login_has() {
    if !rustix::process::geteuid().is_root() {
        forno_testing::skip("only root can become another user");
        return;
    }
    let machine = Machine::new().await;
    let mut target = machine.target();
    target.user = "nobody".into();
    let link = machine.link_to(target).await;
    let script = "id -un; pwd; echo \"$HOME $USER $LOGNAME\"; echo \"$PATH\" | tr : '\\n' | grep -x /usr/bin; umask; \
         kill -0 $$ && echo own; [ -z \"$FORNO_STUB_MEMORY\" ] && echo clean";
    let home = "/nonexistent nobody nobody";
    let expected = format!("nobody\n/\n{home}\n/usr/bin\n0022\nown\nclean\n");
    assert_eq!(said(&*link, script).await.stdout, expected);
    let script = "id -un; pwd; echo \"$HOME $USER $SUDO_USER\"";
    let output = capture(&*link, Command::shell(script).sudo(true), never()).await;
    assert_eq!(output.unwrap().stdout, "root\n/\n/root root nobody\n");
    // Nothing of other commands can be seen.
    let base = machine.folders()[0].parent().unwrap().to_owned();
    let output = said(&*link, &format!("ls {}", base.display())).await;
    assert!(!output.exit.success());
    assert_eq!(
        said(&*link, "kill -9 $$").await.exit,
        Exit::Signal("KILL".into())
    );
}

#[tokio::test]
async fn without_a_store_little_is_possible() {
    let machine = Machine::new().await;
    let link = machine.link_to(without_store(&machine)).await;
    let input = Bytes::from(vec![b'x'; 100_000]);
    let count = |public: bool, input: Bytes| {
        let command = Command::shell("wc -c")
            .stdin(Stdin::Bytes(input))
            .public_stdin(public);
        capture(&*link, command, never())
    };
    let error = count(false, input.clone()).await.unwrap_err();
    let ErrorKind::NeedsStore(what) = error.kind else {
        panic!("{error}");
    };
    assert_eq!(what, "input that may hold secrets");
    assert!(error.hint().unwrap().contains("[builder.ssm] bucket"));
    let output = count(true, input).await.unwrap();
    assert_eq!(output.stdout.trim(), "100000");
    let error = count(true, vec![0; 2 << 20].into()).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NeedsStore(_)), "{error}");
    let target = FileTarget::new(machine.dir().join("x").to_str().unwrap());
    let error = link.upload_bytes("x".into(), &target, never()).await;
    assert!(error.unwrap_err().to_string().contains("without a bucket"));

    let (there, here) = (machine.dir().join("there"), machine.dir().join("here"));
    let download = || {
        let from = there.to_str().unwrap().to_owned();
        let (link, here) = (Arc::clone(&link), here.clone());
        async move {
            link.download_file(&from, &here, false, Progress::none(), never())
                .await
        }
    };
    fs_err::write(&there, vec![b'y'; 300_000]).unwrap();
    download().await.unwrap();
    assert_eq!(fs_err::read(&here).unwrap().len(), 300_000);
    fs_err::write(&there, vec![b'y'; 3 << 20]).unwrap();
    let error = download().await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NeedsStore(_)), "{error}");
}

#[tokio::test]
async fn one_asks_for_all_and_only_while_somebody_waits() {
    let machine = Machine::new().await;
    let pace = Duration::from_millis(100);
    let commands = ssm::Commands::with_pace(
        Arc::new(machine.clone()),
        ssm::Pace {
            first: pace,
            most: pace,
        },
    );
    let mut links = Vec::new();
    for _ in 0..5 {
        let target = SsmTarget {
            commands: commands.clone(),
            ..machine.target()
        };
        links.push(machine.link_to(target).await);
    }
    let (started, before) = (std::time::Instant::now(), machine.looks());
    let all = (0..20).map(|n| {
        let link = Arc::clone(&links[n % links.len()]);
        async move { said(&*link, "sleep 0.2").await.exit }
    });
    let exits = futures::future::join_all(all).await;
    assert!(exits.iter().all(Exit::success));
    // Pauses are never shorter than they should be.
    let most = started.elapsed().as_millis() / pace.as_millis() + 1;
    let looks = u128::from(machine.looks() - before);
    assert!(0 < looks && looks <= most, "{looks} {most}");
    let before = machine.looks();
    tokio::time::sleep(pace * 3).await;
    assert_eq!(machine.looks(), before);
}

async fn underway(
    machine: &Machine,
) -> (Arc<dyn Link>, tokio::task::JoinHandle<Result<Exit, Error>>) {
    let mut target = machine.target();
    target.timing.wait = Duration::from_millis(200);
    let link: Arc<dyn Link> = machine.link_to(target).await;
    let running = Arc::clone(&link);
    let begun = machine.dir().join("begun");
    let script = format!("echo >{}; sleep 4753", begun.display());
    let task = tokio::spawn(async move {
        running
            .exec(Command::shell(script), Box::new(Discard), never())
            .await
    });
    until("it runs", || begun.exists()).await;
    (link, task)
}

#[tokio::test]
async fn an_agent_that_is_gone_is_a_lost_connection() {
    let machine = Machine::new().await;
    let (link, task) = underway(&machine).await;
    machine.go_offline();
    let error = task.await.unwrap().unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert!(!link.is_connected());
    let error = capture(&*link, Command::shell("true"), never()).await;
    assert!(error.unwrap_err().is_lost());
    let within = Duration::from_secs(1);
    let error = link.reconnect(within, &Watch::none(), never()).await;
    assert!(error.unwrap_err().to_string().contains("gave up"));
    machine.come_online();
    let within = Duration::from_mins(1);
    link.reconnect(within, &Watch::none(), never())
        .await
        .unwrap();
    assert!(link.is_connected());
    assert!(said(&*link, "true").await.exit.success());
}

#[tokio::test]
async fn a_restart_is_a_lost_connection() {
    let machine = Machine::new().await;
    let (link, task) = underway(&machine).await;
    machine.restart();
    let error = task.await.unwrap().unwrap_err();
    assert!(error.is_lost(), "{error}");
    let within = Duration::from_mins(1);
    link.reconnect(within, &Watch::none(), never())
        .await
        .unwrap();
    // Also when nothing ran: what was meant for the boot before does not run.
    machine.restart();
    let error = capture(&*link, Command::shell("true"), never()).await;
    let error = error.unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert!(
        error.to_string().contains("the machine has restarted"),
        "{error}"
    );
    assert!(!link.is_connected());
}

#[tokio::test]
async fn a_machine_whose_shell_is_bash_will_do() {
    let tools = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/bash", tools.path().join("sh")).unwrap();
    let machine = Machine::new().await;
    machine.set_path(format!(
        "{}:/usr/sbin:/usr/bin:/sbin:/bin",
        tools.path().display()
    ));
    let link = machine.link().await;
    let command = Command::shell("cat; echo err >&2; kill -9 $$").stdin(Stdin::Bytes("in".into()));
    let output = capture(&*link, command, never()).await.unwrap();
    assert_eq!(output.exit, Exit::Signal("KILL".into()));
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("in", "err\n")
    );
}
