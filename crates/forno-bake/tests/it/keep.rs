//! A failed bake whose machine is kept for a look at it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forno_bake::{About, Answer, Ask, BakeReport, ExitCode, OnFailure, Question, RunOptions};
use forno_events::Event;
use forno_link::{Auth, Command, Link as _, SshTarget, Watch};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, in_time, only, story, until};

const FAILS: &str = r#"
[[step]]
name = "fail"
shell = { run = "exit 7" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_machine_can_be_looked_into_until_the_bake_is_told_to_end() {
    let mut rig = Rig::start().await;
    rig.settings.on_failure = OnFailure::Keep;
    let engine = rig.engine();
    let mut events = engine.subscribe();
    let recipe = rig.recipe("one", FAILS);
    let baking =
        tokio::spawn(async move { engine.bake(vec![recipe], RunOptions::default()).await });
    let kept = until(
        &mut events,
        |event| matches!(event, Event::Waiting { state, .. } if state == "kept"),
    )
    .await;

    // As `forno shell` does it, with nothing but what lies in the folder.
    let bakes = forno_bake::Bakes::under(&rig.settings.home);
    let folder = bakes.find("last").unwrap().unwrap();
    assert_eq!(*folder.id(), kept.bake);
    assert!(folder.is_alive().unwrap());
    let connection = folder.connection().unwrap().unwrap();
    let forno_bake::ConnectionWay::Ssh(way) = connection.way else {
        panic!("not by SSH: {connection:?}")
    };
    let address: SocketAddr = format!("{}:{}", way.address, way.port).parse().unwrap();
    let target = SshTarget::new(
        address,
        connection.user,
        way.host_key.parse().unwrap(),
        Auth::Agent(way.agent_socket.unwrap()),
    );
    let never = CancellationToken::new();
    let link = forno_link::connect(target, Duration::from_secs(30), &Watch::none(), &never)
        .await
        .unwrap();
    let said = forno_link::capture(&link, Command::shell("echo inside"), &never)
        .await
        .unwrap();
    assert_eq!(said.stdout, "inside\n");
    link.close().await;

    rig.ladder.climb("enough seen");
    let report = only(in_time(baking).await.unwrap().unwrap());
    assert_eq!(report.exit_code(), ExitCode::StepFailed);
    assert!(report.kept);
    assert_eq!(rig.left().await, [""; 0]);
    assert!(folder.connection().unwrap().is_none());
    rig.end().await;
}

/// Answers `Retry` once, and then to tear down.
struct Once(AtomicUsize);

#[async_trait]
impl Ask for Once {
    async fn ask(&self, question: Question) -> Answer {
        assert_eq!(question.step, "fail");
        assert!(
            matches!(&question.about, About::Failure(error) if error.contains("exit status 7")),
            "{question:?}"
        );
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::Retry,
            _ => Answer::TearDown,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_have_a_failed_step_tried_again() {
    let mut rig = Rig::start().await;
    let asked = Arc::new(Once(AtomicUsize::new(0)));
    rig.settings.on_failure = OnFailure::Ask;
    rig.settings.ask = Some(Arc::clone(&asked) as Arc<dyn Ask>);
    let (report, events) = rig.bake(rig.recipe("one", FAILS)).await;
    assert_eq!(report.exit_code(), ExitCode::StepFailed);
    assert_eq!(asked.0.load(Ordering::Relaxed), 2);
    let tries = events
        .iter()
        .filter(|envelope| {
            matches!(&envelope.body, Event::StepStarted { step, .. } if step.as_str() == "step-01")
        })
        .count();
    assert_eq!(tries, 2);
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

/// Answers the same to everything, after a while that may be longer than anybody waits.
struct Says {
    answer: Answer,
    after: Duration,
    asked: Mutex<Vec<Question>>,
}

#[async_trait]
impl Ask for Says {
    async fn ask(&self, question: Question) -> Answer {
        self.asked.lock().unwrap().push(question);
        tokio::time::sleep(self.after).await;
        self.answer
    }
}

const BREAKPOINT: &str = r#"
[vars]
token = { from = "env:TOKEN", secret = true }
[[step]]
breakpoint = { note = "look at {{ vars.token }}" }
timeout = "2s"
[[step]]
name = "after"
shell = { run = "true" }
[[test]]
run = "true"
"#;

async fn stopped_at_breakpoint(
    says: Option<(Answer, Duration)>,
) -> (BakeReport, String, Vec<Question>) {
    let mut rig = Rig::start().await;
    let says = says.map(|(answer, after)| {
        Arc::new(Says {
            answer,
            after,
            asked: Mutex::default(),
        })
    });
    rig.settings.ask = says.clone().map(|says| says as Arc<dyn Ask>);
    let recipe = rig.recipe_with("one", BREAKPOINT, &[("token", "hunter2-hunter2")]);
    let (report, events) = rig.bake(recipe).await;
    let left = rig.left().await;
    let images = usize::from(report.image_id.is_some());
    assert_eq!(left.len(), 2 * images, "{left:?}");
    rig.end().await;
    let asked = says.map(|says| says.asked.lock().unwrap().clone());
    (report, story(&events), asked.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breakpoint_waits_for_a_person_where_there_is_one() {
    let soon = Duration::from_millis(10);
    let (report, told, asked) = stopped_at_breakpoint(Some((Answer::Continue, soon))).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{told}");
    let [question] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(question.answers, [Answer::Continue, Answer::TearDown]);
    // As the recipe has it: a secret is not filled in.
    let note = Some("look at {{ vars.token }}".to_owned());
    assert_eq!(question.about, About::Breakpoint(note));
    assert!(told.contains("step-01 ends: Ok"), "{told}");

    let (report, told, _) = stopped_at_breakpoint(Some((Answer::TearDown, soon))).await;
    assert_eq!(report.exit_code(), ExitCode::StepFailed, "{told}");
    assert!(!told.contains("step-02"), "{told}");

    let never = Duration::from_hours(1);
    let (report, told, _) = stopped_at_breakpoint(Some((Answer::Continue, never))).await;
    assert_eq!(report.exit_code(), ExitCode::StepFailed, "{told}");
    let error = report.error.unwrap();
    assert!(
        error.to_string().contains("nobody has answered within 2s"),
        "{error}"
    );

    let (report, told, _) = stopped_at_breakpoint(None).await;
    assert_eq!(report.exit_code(), ExitCode::Done, "{told}");
    assert!(told.contains("step-01 ends: Skipped"), "{told}");
}
