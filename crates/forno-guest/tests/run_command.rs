//! Steps over a link that is Run Command alone: the same as over SSH, also when
//! it breaks.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::step;
use forno_events::{Emitter, Event, Outcome, StepId, Stream};
use forno_guest::{
    Action, Guest, RunLog, RunState, Script, Shell, StepContext, Upload, UploadSource,
};
use forno_link::Link;
use forno_link::testing::run_command::Machine;
use tokio_util::sync::CancellationToken;

struct Site {
    machine: Machine,
    guest: Guest,
    ctx: StepContext,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Site {
    async fn new() -> Self {
        let machine = Machine::new().await;
        let mut target = machine.target();
        target.timing.wait = Duration::from_millis(500);
        let link: Arc<dyn Link> = machine.link_to(target).await;
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let emitter = Emitter::new(move |event| seen.lock().unwrap().push(event));
        Self {
            guest: Guest::new(link),
            ctx: StepContext::new(StepId::new("step-01"), emitter, CancellationToken::new()),
            machine,
            events,
        }
    }

    fn lines(&self, wanted: Stream) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let lines = events.iter().filter_map(|event| match event {
            Event::Output { stream, line, .. } if *stream == wanted => Some(line.clone()),
            _ => None,
        });
        lines.collect()
    }

    async fn until_said(&self, line: &str) {
        while !self.lines(Stream::Stdout).iter().any(|l| l == line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn shell(text: &str) -> Shell {
    let token = ("TOKEN".to_owned(), "s3cret-of-the-env".into());
    Shell {
        script: Script::Inline(text.into()),
        args: Vec::new(),
        sudo: false,
        interpreter: None,
        valid_exit_codes: vec![0],
        env: BTreeMap::from([token]),
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<RunState>>);

impl RunLog for Log {
    fn save(&self, state: &RunState) {
        self.0.lock().unwrap().push(state.clone());
    }
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

#[tokio::test]
async fn a_secret_of_a_script_is_in_none_that_is_sent() {
    let site = Site::new().await;
    let text = "echo \"out ${#TOKEN}\"; echo err >&2; cat";
    let running = step(Action::Shell(shell(text)));
    let report = site.guest.run(&running, &site.ctx);
    assert_eq!(report.await.unwrap().outcome, Outcome::Ok);
    assert_eq!(site.lines(Stream::Stdout), ["out 17"]);
    assert_eq!(site.lines(Stream::Stderr), ["err"]);
    let scripts = site.machine.scripts();
    assert!(scripts.iter().all(|script| !script.contains("s3cret")));
    assert_eq!(site.machine.objects(), Vec::<String>::new());
    assert!(!site.machine.exposed());
}

#[tokio::test]
async fn a_file_arrives_and_a_failure_is_told() {
    let site = Site::new().await;
    let to = site.machine.dir().join("sent");
    if site.guest.link().user() == "root" {
        let upload = Upload {
            source: UploadSource::Content("text".into()),
            to: to.to_str().unwrap().into(),
            mode: Some(0o640),
            owner: "root".into(),
            group: "root".into(),
        };
        site.guest
            .run(&step(Action::Upload(upload)), &site.ctx)
            .await
            .unwrap();
        assert_eq!(fs_err::read_to_string(to).unwrap(), "text");
    }
    let failing = step(Action::Shell(shell("echo last words >&2; exit 3")));
    let error = site.guest.run(&failing, &site.ctx).await.unwrap_err();
    assert_eq!(error.to_string(), "script: exit status 3");
    assert_eq!(error.tail, ["last words"]);
}

#[tokio::test]
async fn a_break_costs_nothing_but_the_wait() {
    let site = Site::new().await;
    let text = "i=0; while [ $i -lt 30 ]; do i=$((i + 1)); echo \"line $i\"; echo \"error $i\" >&2; sleep 0.1; done";
    let running = step(Action::Shell(shell(text)));
    let breaking = async {
        site.until_said("line 3").await;
        site.machine.go_offline();
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.machine.come_online();
    };
    let (result, ()) = tokio::join!(site.guest.run(&running, &site.ctx), breaking);
    assert_eq!(result.unwrap().attempts, 1);
    let numbered = |word: &str| (1..=30).map(|n| format!("{word} {n}")).collect::<Vec<_>>();
    assert_eq!(site.lines(Stream::Stdout), numbered("line"));
    assert_eq!(site.lines(Stream::Stderr), numbered("error"));
    let waited = |e: &Event| matches!(e, Event::Waiting { what, .. } if what == "the machine to answer again");
    assert!(site.events.lock().unwrap().iter().any(waited));
}

#[tokio::test]
async fn another_process_takes_up_what_one_left() {
    let mut site = Site::new().await;
    let log = Arc::new(Log::default());
    site.ctx.runs = Some(log.clone());
    let go = site.machine.dir().join("go");
    let text = format!(
        "echo one; printf 'half '; while [ ! -e {} ]; do sleep 0.02; done; echo whole; exit 3",
        go.display()
    );
    let running = step(Action::Shell(shell(&text)));
    // Dropped with its runtime, as a killed process is.
    let runtime = std::thread::spawn(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    });
    let runtime = runtime.join().unwrap();
    let (ctx, machine, first) = (site.ctx.clone(), site.machine.clone(), running.clone());
    runtime.spawn(async move {
        let link = machine.link().await;
        Guest::new(link).run(&first, &ctx).await
    });
    let state = loop {
        let last = log.0.lock().unwrap().last().cloned();
        if let Some(state) = last.filter(|state| state.stdout == 4) {
            break state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    runtime.shutdown_background();
    let mut ctx = site.ctx.clone();
    ctx.resume = Some(state);
    fs_err::write(&go, "").unwrap();
    let before = site.lines(Stream::Stdout).len();
    let error = site.guest.run(&running, &ctx).await.unwrap_err();
    assert_eq!(error.to_string(), "script: exit status 3");
    assert_eq!(site.lines(Stream::Stdout)[before..], ["half whole"]);
}

#[tokio::test]
async fn cancelled_nothing_runs_on() {
    let site = Site::new().await;
    let running = step(Action::Shell(shell(
        "echo begun; setsid sleep 4761 & sleep 4762",
    )));
    let cancelling = async {
        site.until_said("begun").await;
        site.ctx.cancel.cancel();
    };
    let (result, ()) = tokio::join!(site.guest.run(&running, &site.ctx), cancelling);
    assert!(result.unwrap_err().is_cancelled());
    for _ in 0..1000 {
        if processes("4761") + processes("4762") == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is still there");
}

#[tokio::test]
async fn a_restart_is_noticed_by_its_boot() {
    let site = Site::new().await;
    let other = site.machine.clone();
    // What the step orders is carried out by the test.
    let tools = tempfile::tempdir().unwrap();
    let order = tools.path().join("order");
    let script = format!("#!/bin/sh\n: >{}\n", order.display());
    for name in ["reboot", "systemctl", "shutdown"] {
        let tool = tools.path().join(name);
        fs_err::write(&tool, &script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(tool, mode).unwrap();
    }
    site.machine
        .set_path(format!("{}:/usr/bin:/bin", tools.path().display()));
    site.machine.be_a_stub();
    // This computer itself must not be meant.
    let found = forno_link::Command::shell("command -v reboot systemctl shutdown");
    let found = forno_link::capture(&**site.guest.link(), found, &site.ctx.cancel);
    let found = found.await.unwrap().stdout;
    let ours = |line: &str| line.starts_with(tools.path().to_str().unwrap());
    assert!(
        found.lines().count() > 0 && found.lines().all(ours),
        "{found}"
    );
    let restarting = async {
        while !order.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        other.go_offline();
        tokio::time::sleep(Duration::from_millis(500)).await;
        other.restart();
    };
    let rebooting = step(Action::Reboot);
    let (result, ()) = tokio::join!(site.guest.run(&rebooting, &site.ctx), restarting);
    result.unwrap();
    let after = step(Action::Shell(shell("echo after")));
    site.guest.run(&after, &site.ctx).await.unwrap();
    assert_eq!(site.lines(Stream::Stdout), ["after"]);
}
