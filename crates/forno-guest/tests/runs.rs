//! Runs that outlive the connection that began them. Between the guest and its
//! sshd stands a relay that can be cut.

mod common;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Bench, bench, bench_with, shell, step, told};
use forno_events::{Event, Outcome, Stream};
use forno_guest::{
    Action, Ansible, Decide, Decision, Guest, OnFailure, RunLog, RunState, Step, StepError,
};
use forno_link::testing::NO_FILES;
use forno_link::{SshTarget, Watch, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, PartialEq)]
enum Network {
    Up,
    /// Every connection is cut, and none is made.
    Down,
    /// The same, but the connections that there were are only silent.
    Silent,
}

/// Stands for the network; lets so many bytes of the machine's through and then
/// goes down.
struct Relay {
    address: SocketAddr,
    network: watch::Sender<Network>,
    left: Arc<AtomicU64>,
    carried: Arc<AtomicU64>,
}

impl Relay {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            network: watch::channel(Network::Up).0,
            left: Arc::new(AtomicU64::new(u64::MAX)),
            carried: Arc::default(),
        };
        let (network, left, carried) = (
            relay.network.clone(),
            Arc::clone(&relay.left),
            Arc::clone(&relay.carried),
        );
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *network.borrow() != Network::Up {
                    continue;
                }
                let Ok(machine) = TcpStream::connect(server).await else {
                    continue;
                };
                let (network, left, carried) =
                    (network.clone(), Arc::clone(&left), Arc::clone(&carried));
                tokio::spawn(carry(client, machine, network, left, carried));
            }
        });
        relay
    }

    fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }

    /// It comes back by itself, each time after a while.
    fn mend(&self, after: Duration) -> tokio::task::JoinHandle<()> {
        let network = self.network.clone();
        let mut seen = network.subscribe();
        tokio::spawn(async move {
            while seen.wait_for(|now| *now != Network::Up).await.is_ok() {
                tokio::time::sleep(after).await;
                network.send_replace(Network::Up);
            }
        })
    }
}

async fn carry(
    client: TcpStream,
    machine: TcpStream,
    network: watch::Sender<Network>,
    left: Arc<AtomicU64>,
    carried: Arc<AtomicU64>,
) {
    let mut seen = network.subscribe();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_machine, mut to_machine) = machine.into_split();
    let there = tokio::io::copy(&mut from_client, &mut to_machine);
    let back = async {
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(read @ 1..) = from_machine.read(&mut buffer).await {
            let most = left.load(Ordering::SeqCst);
            let count = read.min(usize::try_from(most).unwrap_or(usize::MAX));
            if to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            carried.fetch_add(count as u64, Ordering::SeqCst);
            if most != u64::MAX {
                let rest = most - count as u64;
                left.store(if rest == 0 { u64::MAX } else { rest }, Ordering::SeqCst);
                if rest == 0 {
                    network.send_replace(Network::Down);
                    return;
                }
            }
        }
    };
    let now = tokio::select! {
        _ = there => return,
        () = back => return,
        now = seen.wait_for(|now| *now != Network::Up) => now.map_or(Network::Down, |now| *now),
    };
    if now == Network::Silent {
        std::future::pending::<()>().await;
    }
}

struct Site {
    bench: Bench,
    guest: Guest,
    relay: Relay,
}

impl Site {
    async fn new() -> Option<Self> {
        Self::over(bench().await?).await
    }

    async fn over(bench: Bench) -> Option<Self> {
        let relay = Relay::to(bench.server.address).await;
        let guest = guest(&bench, relay.address).await;
        Some(Self {
            bench,
            guest,
            relay,
        })
    }

    async fn run(&self, step: &Step) -> Result<forno_guest::StepReport, StepError> {
        self.guest.run(step, &self.bench.ctx).await
    }

    async fn until_said(&self, line: &str) {
        while !self.bench.lines(Stream::Stdout).iter().any(|l| l == line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn waited(&self) -> bool {
        let told = |e: &Event| matches!(e, Event::Waiting { what, .. } if what == "the machine to answer again");
        self.bench.events().iter().any(told)
    }

    async fn until_waiting(&self) {
        while !self.waited() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn guest(bench: &Bench, address: SocketAddr) -> Guest {
    let mut target = SshTarget {
        dial: address.into(),
        ..bench.server.target()
    };
    target.timing.keepalive = Some(Duration::from_millis(500));
    let cancel = CancellationToken::new();
    let link = connect(target, Duration::from_mins(1), &Watch::none(), &cancel).await;
    Guest::new(Arc::new(link.unwrap()))
}

macro_rules! site {
    () => {
        match Site::new().await {
            Some(site) => site,
            None => return,
        }
    };
}

/// What the run log was told.
#[derive(Default)]
struct Log(Mutex<Vec<RunState>>);

impl RunLog for Log {
    fn save(&self, state: &RunState) {
        self.0.lock().unwrap().push(state.clone());
    }
}

impl Log {
    fn last(&self) -> RunState {
        self.0.lock().unwrap().last().cloned().unwrap()
    }
}

fn shell_step(text: &str) -> Step {
    step(Action::Shell(shell(text)))
}

/// The folder of a run, where there is one.
fn folder(id: &str) -> PathBuf {
    let user = rustix_user();
    PathBuf::from(format!("/dev/shm/forno-{user}/{id}"))
}

fn rustix_user() -> String {
    let output = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
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

fn kill(number: &str) {
    let kill = format!("kill -KILL {number}");
    std::process::Command::new("sh")
        .args(["-c", &kill])
        .status()
        .unwrap();
}

async fn vanish(argument: &str) {
    for _ in 0..1000 {
        if processes(argument) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{argument} is still there");
}

/// Lines of every kind on both streams: long, short, none, of many bytes a
/// character, and none at the end.
const TALK: &str = r#"i=0
while [ $i -lt 60 ]; do
  i=$((i + 1))
  printf 'line %s: größer ∑ 漢字 ' $i
  printf 'rest of %s\n\n' $i
  echo "error $i" >&2
  if [ $((i % 20)) = 0 ]; then head -c 30000 /dev/zero | tr '\0' "$(printf '\141')"; echo; sleep 0.3; fi
done
printf 'no end'"#;

#[tokio::test]
async fn cut_anywhere_nothing_is_lost_and_nothing_comes_twice() {
    let mut site = site!();
    let log = Arc::new(Log::default());
    site.bench.ctx.runs = Some(log.clone());
    site.run(&shell_step(TALK)).await.unwrap();
    let whole = |stream| site.bench.lines(stream);
    let (out, err) = (whole(Stream::Stdout), whole(Stream::Stderr));
    assert_eq!(out.concat().matches("漢字").count(), 60);
    assert_eq!(err.len(), 60);
    let before = site.relay.carried.load(Ordering::SeqCst);
    let mending = site.relay.mend(Duration::from_millis(100));
    // Before the run has begun, in the first bytes, in every third part, and
    // in what is said at its end.
    for cut in [1, 300, 700, 3_000, 40_000, 71_000, 97_000, before - 9_000] {
        site.relay.cut_after(cut);
        let (o, e) = (whole(Stream::Stdout).len(), whole(Stream::Stderr).len());
        let report = site.run(&shell_step(TALK)).await;
        let report = report.unwrap_or_else(|error| panic!("cut at {cut}: {}", told(&error)));
        assert_eq!(report.attempts, 1);
        assert!(whole(Stream::Stdout)[o..] == out, "cut at {cut}");
        assert!(whole(Stream::Stderr)[e..] == err, "cut at {cut}");
        site.relay.cut_after(u64::MAX);
    }
    mending.abort();
    assert!(site.waited());
    // Of those that never began there is a mark, so that they never will.
    let ids: Vec<String> = log.0.lock().unwrap().iter().map(|s| s.id.clone()).collect();
    for folder in ids.iter().map(|id| folder(id)).filter(|f| f.exists()) {
        let left: Vec<_> = fs_err::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        fs_err::remove_dir_all(folder).unwrap();
    }
}

#[tokio::test]
async fn a_machine_with_nothing_but_busybox_will_do() {
    let tools = tempfile::tempdir().unwrap();
    let install = std::process::Command::new("busybox")
        .args(["--install", "-s"])
        .arg(tools.path())
        .status();
    if !install.is_ok_and(|status| status.success()) {
        forno_testing::skip("there is no busybox (Debian package busybox)");
        return;
    }
    on_another_machine(&tools.path().display().to_string(), "busybox", 4730).await;
}

/// As on the machines of the Red Hat family.
#[tokio::test]
async fn a_machine_whose_shell_is_bash_will_do() {
    let tools = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/bin/bash", tools.path().join("sh")).unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.path().display());
    on_another_machine(&path, "bash", 4740).await;
}

async fn on_another_machine(path: &str, expected: &str, number: u32) {
    let Some(bench) = bench_with(&format!("{NO_FILES} PATH={path}")).await else {
        return;
    };
    let site = Site::over(bench).await.unwrap();
    site.run(&shell_step("readlink -f \"$(command -v sh)\""))
        .await
        .unwrap();
    let shell = site.bench.lines(Stream::Stdout).concat();
    assert!(shell.ends_with(expected), "{shell}");
    let mending = site.relay.mend(Duration::from_millis(100));
    site.relay.cut_after(40_000);
    site.run(&shell_step(TALK)).await.unwrap();
    mending.abort();
    assert!(site.waited());
    assert_eq!(site.bench.lines(Stream::Stderr).len(), 60);
    let said = site.bench.lines(Stream::Stdout).concat();
    assert_eq!(said.matches("漢字").count(), 60);
    // What is left running does not hold the step.
    site.run(&shell_step(&format!("sleep {number} & echo $!")))
        .await
        .unwrap();
    let left = site.bench.lines(Stream::Stdout).pop().unwrap();
    assert_eq!(processes(&number.to_string()), 1);
    kill(&left);
    let number = (number + 1).to_string();
    let mut slow = shell_step(&format!("sleep {number}"));
    slow.timeout = Duration::from_secs(2);
    site.run(&slow).await.unwrap_err();
    assert_eq!(processes(&number), 0);
}

#[tokio::test]
async fn cut_while_it_ends_the_end_is_found() {
    let site = site!();
    let go = site.bench.dir().join("go");
    let text = format!(
        "echo begun; while [ ! -e {} ]; do sleep 0.02; done; echo over; exit 7",
        go.display()
    );
    let running = shell_step(&text);
    let cutting = async {
        site.until_said("begun").await;
        site.relay.set(Network::Down);
        site.until_waiting().await;
        fs_err::write(&go, "").unwrap();
        // It has ended before anybody can ask.
        tokio::time::sleep(Duration::from_millis(600)).await;
        site.relay.set(Network::Up);
    };
    let (result, ()) = tokio::join!(site.run(&running), cutting);
    assert_eq!(result.unwrap_err().to_string(), "script: exit status 7");
    assert_eq!(site.bench.lines(Stream::Stdout), ["begun", "over"]);
}

#[tokio::test]
async fn a_silent_network_is_another_network_that_is_gone() {
    let site = site!();
    // The machine does not notice, and what carries its output blocks.
    let text = "echo begun; sleep 0.5; i=0; while [ $i -lt 90000 ]; do i=$((i + 1)); \
         echo \"0123456789 0123456789 0123456789 0123456789 $i\"; done";
    let running = shell_step(text);
    let cutting = async {
        site.until_said("begun").await;
        site.relay.set(Network::Silent);
        site.until_waiting().await;
        site.relay.set(Network::Up);
    };
    let (result, ()) = tokio::join!(site.run(&running), cutting);
    result.unwrap();
    let lines = site.bench.lines(Stream::Stdout);
    assert_eq!(lines.len(), 90_001);
    for (number, line) in lines.iter().enumerate().skip(1) {
        assert!(line.ends_with(&format!(" {number}")), "{line}");
    }
}

#[tokio::test]
async fn what_ran_is_told_as_lost_when_nothing_answers_any_more() {
    let site = site!();
    let mut running = shell_step("echo begun; sleep 4721");
    running.timeout = Duration::from_secs(6);
    let cutting = async {
        site.until_said("begun").await;
        site.relay.set(Network::Down);
    };
    let (result, ()) = tokio::join!(site.run(&running), cutting);
    let error = result.unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert_eq!(error.tail, ["begun"]);
    assert!(
        error
            .hint
            .as_ref()
            .unwrap()
            .starts_with("no other connection: "),
        "{}",
        told(&error)
    );
    // Whoever gets through next does not meet it.
    site.relay.set(Network::Up);
    site.run(&shell_step("echo next")).await.unwrap();
    assert_eq!(processes("4721"), 0);
}

#[tokio::test]
async fn cancelled_during_a_cut_nothing_runs_on() {
    let site = site!();
    let running = shell_step("echo begun; trap '' TERM; setsid sleep 4722 & sleep 4723");
    let cutting = async {
        site.until_said("begun").await;
        site.relay.set(Network::Down);
        site.until_waiting().await;
        site.bench.ctx.cancel.cancel();
        tokio::time::sleep(Duration::from_millis(300)).await;
        site.relay.set(Network::Up);
    };
    let (result, ()) = tokio::join!(site.run(&running), cutting);
    assert!(result.unwrap_err().is_cancelled());
    vanish("4722").await;
    vanish("4723").await;
}

#[tokio::test]
async fn out_of_time_after_a_cut_nothing_runs_on() {
    let mut site = site!();
    let log = Arc::new(Log::default());
    site.bench.ctx.runs = Some(log.clone());
    let mut running = shell_step("echo begun; sleep 4724");
    running.timeout = Duration::from_secs(5);
    let cutting = async {
        site.until_said("begun").await;
        site.relay.set(Network::Down);
        site.until_waiting().await;
        site.relay.set(Network::Up);
    };
    let (result, ()) = tokio::join!(site.run(&running), cutting);
    assert_eq!(
        result.unwrap_err().to_string(),
        "the script: not done within 5 s"
    );
    vanish("4724").await;
    assert!(!folder(&log.last().id).exists());
}

#[tokio::test]
async fn another_process_takes_up_what_one_left() {
    let mut site = site!();
    let log = Arc::new(Log::default());
    site.bench.ctx.runs = Some(log.clone());
    let go = site.bench.dir().join("go");
    let text = format!(
        "echo one; echo two >&2; printf 'half '; while [ ! -e {} ]; do sleep 0.02; done; echo whole; exit 3",
        go.display()
    );
    let mut running = shell_step(&text);
    running.attempts = 2;
    let state = abandon(&site, &log, &running, |state| {
        (state.stdout, state.stderr) == (4, 4)
    })
    .await;
    assert_eq!(state.attempt, 1);

    let second = bench().await.unwrap();
    let mut ctx = second.ctx.clone();
    ctx.resume = Some(RunState {
        attempt: 2,
        ..state.clone()
    });
    fs_err::write(&go, "").unwrap();
    let again = guest(&site.bench, site.bench.server.address).await;
    let error = again.run(&running, &ctx).await.unwrap_err();
    assert_eq!(error.to_string(), "script: exit status 3");
    assert_eq!(second.lines(Stream::Stdout), ["half whole"]);
    assert_eq!(second.lines(Stream::Stderr), Vec::<String>::new());
    assert_eq!(second.life(), ["started 2", "finished 2: Failed"]);
    assert!(!folder(&state.id).exists());

    // Once more: it has been collected, so it counts as cut off, and the next
    // attempt is a run of its own.
    ctx.resume = Some(state.clone());
    running.action = Action::Shell(shell("echo anew"));
    let report = again.run(&running, &ctx).await.unwrap();
    assert_eq!((report.outcome, report.attempts), (Outcome::Ok, 2));
    assert!(
        second.life().contains(&format!("retry 2: {GONE}")),
        "{:?}",
        second.life()
    );
    running.attempts = 1;
    let error = again.run(&running, &ctx).await.unwrap_err();
    assert_eq!(error.to_string(), GONE);
    running.on_failure = OnFailure::Ask;
    ctx.decide = Some(Arc::new(Yes));
    let report = again.run(&running, &ctx).await.unwrap();
    assert_eq!((report.outcome, report.attempts), (Outcome::Ok, 2));
    // Nobody can begin it any more.
    fs_err::remove_dir_all(folder(&state.id)).unwrap();
}

/// Killed between the note that it begins and its beginning.
#[tokio::test]
async fn a_run_that_never_began_begins_with_the_process_that_takes_it_up() {
    let mut site = site!();
    site.bench.ctx.resume = Some(RunState {
        id: format!("step-{}", std::process::id()),
        attempt: 2,
        stdout: 0,
        stderr: 0,
    });
    let report = site.run(&shell_step("echo begun")).await.unwrap();
    assert_eq!((report.outcome, report.attempts), (Outcome::Ok, 2));
    assert_eq!(site.bench.lines(Stream::Stdout), ["begun"]);
}

const GONE: &str = "the script was cut off half way: nothing of it is on the machine any more";

struct Yes;

#[async_trait::async_trait]
impl Decide for Yes {
    async fn decide(&self, _: &str, error: &StepError) -> Decision {
        assert_eq!(error.to_string(), GONE);
        Decision::Retry
    }
}

/// Runs a step until the log says what is waited for, and then is as good as
/// killed: nothing is told to the machine.
async fn abandon(
    site: &Site,
    log: &Log,
    step: &Step,
    enough: impl Fn(&RunState) -> bool,
) -> RunState {
    let (guest, ctx, step) = (site.guest.clone(), site.bench.ctx.clone(), step.clone());
    let runtime = std::thread::spawn(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    });
    let runtime = runtime.join().unwrap();
    drop(guest);
    let address = site.relay.address;
    let target = SshTarget {
        dial: address.into(),
        ..site.bench.server.target()
    };
    runtime.spawn(async move {
        let never = CancellationToken::new();
        let link = connect(target, Duration::from_mins(1), &Watch::none(), &never).await;
        Guest::new(Arc::new(link.unwrap())).run(&step, &ctx).await
    });
    while !log.0.lock().unwrap().last().is_some_and(&enough) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    site.relay.set(Network::Down);
    runtime.shutdown_background();
    log.last()
}

#[tokio::test]
async fn a_run_whose_folder_is_gone_was_cut_off() {
    let mut site = site!();
    let log = Arc::new(Log::default());
    site.bench.ctx.runs = Some(log.clone());
    let running = shell_step("echo begun; sleep 4725");
    let cutting = async {
        site.until_said("begun").await;
        site.relay.set(Network::Down);
        site.until_waiting().await;
        let folder = folder(&log.last().id);
        let leader = fs_err::read_to_string(folder.join("pid")).unwrap();
        let leader = leader.split(' ').next().unwrap().to_owned();
        fs_err::remove_dir_all(folder).unwrap();
        site.relay.set(Network::Up);
        leader
    };
    let (result, leader) = tokio::join!(site.run(&running), cutting);
    assert_eq!(
        result.unwrap_err().to_string(),
        "the script was cut off half way: what it had in memory on the machine was removed"
    );
    kill(&format!("-{leader}"));
}

#[tokio::test]
async fn a_playbook_is_not_taken_up_and_a_file_is_sent_again() {
    let mut site = site!();
    let log = Arc::new(Log::default());
    site.bench.ctx.runs = Some(log.clone());
    site.bench.ctx.resume = Some(RunState {
        id: "x".into(),
        attempt: 1,
        stdout: 0,
        stderr: 0,
    });
    let playbook = Ansible {
        on_builder: false,
        playbook: "/none".into(),
        requirements: None,
        roles_path: Vec::new(),
        groups: Vec::new(),
        empty_groups: Vec::new(),
        host: "builder".to_owned(),
        inventory: None,
        extra_vars: std::collections::BTreeMap::new(),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        r#become: false,
        verbosity: 0,
        env: std::collections::BTreeMap::new(),
        args: Vec::new(),
    };
    let error = site
        .run(&step(Action::Ansible(playbook)))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the playbook was cut off half way: the forno that ran it is gone"
    );
    let to = site.bench.dir().join("sent");
    let upload = forno_guest::Upload {
        source: forno_guest::UploadSource::Content("text".into()),
        to: to.to_str().unwrap().into(),
        mode: None,
        owner: rustix_user(),
        group: "root".into(),
    };
    if rustix_user() == "root" {
        site.run(&step(Action::Upload(upload))).await.unwrap();
        assert_eq!(fs_err::read_to_string(to).unwrap(), "text");
    }
    assert_eq!(log.last().attempt, 1);
}

#[tokio::test]
async fn much_output_is_held_by_neither_side() {
    let mut site = site!();
    let log = Arc::new(Log::default());
    site.bench.ctx.runs = Some(log.clone());
    let counted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&counted);
    site.bench.ctx.emitter = forno_events::Emitter::new(move |event| {
        if let Event::Output { line, .. } = event {
            count.fetch_add(line.len() as u64 + 1, Ordering::Relaxed);
        }
    });
    let running = shell_step(
        "yes 0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopq | head -c 209715200",
    );
    let most = Arc::new(AtomicU64::new(0));
    let highest = Arc::clone(&most);
    let watched = Arc::clone(&log);
    let watching = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let id = watched.0.lock().unwrap().last().map(|s| s.id.clone());
            let folder = id.map(|id| folder(&id));
            let pieces = folder.and_then(|f| fs_err::read_dir(f).ok());
            let sum = pieces.into_iter().flatten().flatten();
            let sum: u64 = sum.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum();
            highest.fetch_max(sum, Ordering::Relaxed);
        }
    });
    let before = resident();
    site.run(&running).await.unwrap();
    watching.abort();
    assert_eq!(counted.load(Ordering::Relaxed), 209_715_200);
    let most = most.load(Ordering::Relaxed);
    assert!(most > 0 && most < 48 << 20, "{most} bytes on the machine");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes here");
}

/// The most memory that this process ever had.
fn resident() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
