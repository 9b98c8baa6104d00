//! The crash matrix: every call that a bake makes, struck in every way; one sweep
//! afterwards; and then the account holds the finished image or nothing.
//!
//! The calls are those of a bake that nobody disturbs, so none is forgotten when a
//! phase learns to make another. Calls that change something are always struck in
//! every way. Looks are many and alike: of each kind the first is struck, in two ways.
//! `FORNO_MATRIX=all` strikes everything, `FORNO_MATRIX=RunInstances#1:killed-after`
//! (any part of a case's name) only such cases.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use forno_bake::ExitCode;
use forno_local::FaultPlan;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use super::victim::judge;
use super::{Blow, Call, Ended, How, bake, resume, sweep};
use crate::rig::Rig;

/// One of everything, and a test machine.
const RECIPE: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[check]]
command = "true"
[[test]]
run = "true"
[builder]
disk = { encrypted = false }
[publish]
regions = ["sa-east-1"]
accounts = ["111122223333"]
share_snapshots = true
deprecate_in = "30d"
"#;

/// The other way to an image.
const REGISTERED: &str = r#"
register = {}
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
[builder]
early_snapshots = true
disk = { encrypted = false }
"#;

/// A role of its own.
const PROFILED: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[builder]
disk = { encrypted = false }
[builder.temporary_profile]
policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}'
policy_arns = ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]
"#;

/// Between two looks. Each look is a call, and a hundred that are all alike would
/// only be struck a hundred times alike.
const POLL: Duration = Duration::from_millis(200);

/// How many cases at once: most of one is waiting.
const AT_ONCE: usize = 8;

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Image,
    Nothing,
    /// The call was not made this time: how often something is polled varies.
    NotMet,
    Broken(String),
}

impl Verdict {
    fn sign(&self) -> char {
        match self {
            Self::Image => 'i',
            Self::Nothing => '.',
            Self::NotMet => ' ',
            Self::Broken(_) => '!',
        }
    }
}

fn rig(runtime: &Runtime) -> Rig {
    let mut rig = runtime.block_on(Rig::start());
    rig.settings.poll = POLL;
    rig
}

/// The calls of a bake that nobody disturbs.
fn calls(runtime: &Runtime, recipe: &str) -> Vec<Call> {
    let rig = rig(runtime);
    let ended = bake(&rig, rig.recipe("one", recipe), &[]);
    assert!(ended.is(ExitCode::Done), "{ended:?}");
    assert_eq!(judge(&rig), Ok(true));
    let calls = Call::all(&rig.endpoint().calls());
    runtime.block_on(rig.end());
    calls
}

/// Strikes a new bake so, sweeps until a sweep has come to its end, and looks.
fn strike(runtime: &Runtime, recipe: &str, blows: &[Blow], sweeps: usize) -> Verdict {
    let rig = rig(runtime);
    let mut faults = Vec::new();
    let mut deadly = Vec::new();
    for blow in blows {
        let of_blow = blow.faults();
        if blow.how.kills() {
            deadly.push(faults.len() + 1);
        }
        faults.extend(of_blow);
    }
    rig.endpoint().set_faults(FaultPlan::of(faults));
    let ended = bake(&rig, rig.recipe("one", recipe), &deadly);
    let met = rig
        .endpoint()
        .calls()
        .iter()
        .any(|call| !call.faults.is_empty());
    if blows.len() == 1 {
        // What follows is a process of its own, in better times.
        rig.endpoint().set_faults(FaultPlan::default());
    }
    let mut told = vec![format!("bake: {ended:?}")];
    let mut clean = false;
    let mut last = ended.clone();
    for _ in 0..sweeps {
        // Nobody dies of the same blow twice.
        if let Ended::Killed(by) = last {
            deadly.retain(|entry| *entry != by);
        }
        let swept = sweep(&rig, &deadly);
        last = swept.clone();
        clean = swept.is(ExitCode::Done);
        told.push(format!("sweep: {swept:?}"));
        if clean {
            break;
        }
    }
    let verdict = match judge(&rig) {
        _ if !clean => Err("no sweep came to its end".to_owned()),
        Ok(image) if ended.is(ExitCode::Done) && !image => {
            Err("it says that there is an image, and there is none".to_owned())
        }
        judged => judged,
    };
    runtime.block_on(rig.end());
    match verdict {
        Err(why) => Verdict::Broken(format!("{why}\n    {}", told.join("\n    "))),
        Ok(_) if !met => Verdict::NotMet,
        Ok(true) => Verdict::Image,
        Ok(false) => Verdict::Nothing,
    }
}

#[test]
fn whichever_call_is_struck_the_account_holds_the_image_or_nothing() {
    matrix(RECIPE, |blow| {
        blow.call.changes() || blow.is_of_first_look()
    });
}

#[test]
fn and_so_it_is_with_the_snapshots_of_an_image_that_is_registered() {
    let own = ["CreateSnapshot", "RegisterImage", "DeleteSnapshot"];
    matrix(REGISTERED, |blow| own.contains(&blow.call.action.as_str()));
}

#[test]
fn and_with_a_role_and_a_profile_of_the_bake() {
    matrix(PROFILED, |blow| {
        let words = ["Role", "InstanceProfile"];
        blow.call.changes() && words.iter().any(|word| blow.call.action.contains(word))
    });
}

/// Of a recipe, the blows that are struck where nobody asks for others.
fn matrix(recipe: &str, usual: impl Fn(&Blow) -> bool) {
    let runtime = Runtime::new().unwrap();
    let calls = calls(&runtime, recipe);
    #[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
    let wanted = std::env::var("FORNO_MATRIX").unwrap_or_default();
    let is_wanted = |blow: &Blow| match wanted.as_str() {
        "all" => true,
        "" => usual(blow),
        part => blow.to_string().contains(part),
    };
    let cases: VecDeque<Blow> = calls
        .iter()
        .flat_map(|call| {
            How::ALL.map(|how| Blow {
                call: call.clone(),
                how,
            })
        })
        .filter(is_wanted)
        .collect();
    let (run, queue) = (cases.len(), Mutex::new(cases));
    let verdicts = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(blow) = queue.lock().unwrap().pop_front() else {
                        return;
                    };
                    let verdict = strike(&runtime, recipe, std::slice::from_ref(&blow), 1);
                    verdicts
                        .lock()
                        .unwrap()
                        .insert((blow.call, blow.how), verdict);
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap();
    show(&calls, &verdicts);
    let broken: Vec<String> = verdicts
        .iter()
        .filter_map(|((call, how), verdict)| match verdict {
            Verdict::Broken(why) => Some(format!("{call}:{how}: {why}")),
            _ => None,
        })
        .collect();
    assert!(
        broken.is_empty(),
        "{} of {run}:\n{}",
        broken.len(),
        broken.join("\n")
    );
    // A matrix that strikes nothing proves nothing. How often a removal has to be asked
    // for varies.
    let missed: Vec<String> = verdicts
        .iter()
        .filter(|((call, _), verdict)| {
            call.changes() && call.ordinal == 1 && **verdict == Verdict::NotMet
        })
        .map(|((call, how), _)| format!("{call}:{how}"))
        .collect();
    assert!(missed.is_empty(), "not struck: {}", missed.join(", "));
}

/// The table, past the test harness, which would swallow it.
fn show(calls: &[Call], verdicts: &BTreeMap<(Call, How), Verdict>) {
    let mut table =
        String::from("\ncrash matrix: i the image, . nothing, ! broken, blank not met\n");
    table.push_str(&format!("{:>34}", ""));
    for how in How::ALL {
        table.push_str(&format!(" {how:>16}"));
    }
    for call in calls {
        table.push_str(&format!("\n{call:>34}"));
        for how in How::ALL {
            let sign = verdicts
                .get(&(call.clone(), how))
                .map_or('-', Verdict::sign);
            table.push_str(&format!(" {sign:>16}"));
        }
    }
    table.push_str(&format!(
        "\n{} calls, {} cases\n\n",
        calls.len(),
        verdicts.len()
    ));
    let _ = std::io::stderr().write_all(table.as_bytes());
}

/// Two blows at random: the second may meet the teardown or the sweep.
#[test]
fn two_blows_at_random_calls_leave_nothing_either() {
    let runtime = Runtime::new().unwrap();
    let calls = calls(&runtime, RECIPE);
    let blow = (
        prop::sample::select(calls),
        prop::sample::select(How::ALL.to_vec()),
    )
        .prop_map(|(call, how)| Blow { call, how });
    let config = ProptestConfig {
        cases: 16,
        max_shrink_iters: 8,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&(blow.clone(), blow), |(first, second)| {
            // A sweep that is struck itself is followed by another.
            let verdict = strike(&runtime, RECIPE, &[first, second], 3);
            prop_assert!(!matches!(verdict, Verdict::Broken(_)), "{verdict:?}");
            Ok(())
        })
        .unwrap();
}

/// Killed at a random call and taken up again: the image, wherever there was
/// something to go on with, and never anything else.
#[test]
fn killed_at_a_random_call_and_resumed_it_comes_to_its_image_or_to_nothing() {
    let runtime = Runtime::new().unwrap();
    let calls = calls(&runtime, RECIPE);
    let killed = prop::sample::select(vec![How::KilledBefore, How::KilledAfter]);
    let blow = (prop::sample::select(calls), killed).prop_map(|(call, how)| Blow { call, how });
    let config = ProptestConfig {
        cases: 12,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&blow, |blow| {
            kill_and_resume(&runtime, RECIPE, &blow);
            Ok(())
        })
        .unwrap();
}

/// Killed beside a snapshot or the registration, it goes on with what is there.
#[test]
fn a_registration_is_taken_up_where_it_was_left() {
    let runtime = Runtime::new().unwrap();
    let calls = calls(&runtime, REGISTERED);
    let of = |action: &str| calls.iter().rfind(|call| call.action == action).cloned();
    for call in [of("CreateSnapshot"), of("RegisterImage")] {
        let call = call.expect("both are made");
        for how in [How::KilledBefore, How::KilledAfter] {
            let call = call.clone();
            let resumed = kill_and_resume(&runtime, REGISTERED, &Blow { call, how });
            assert!(resumed.is(ExitCode::Done), "{resumed:?}");
        }
    }
}

/// What the resumed bake came to: its image or nothing, as the account has it.
fn kill_and_resume(runtime: &Runtime, recipe: &str, blow: &Blow) -> Ended {
    let rig = rig(runtime);
    rig.endpoint().set_faults(FaultPlan::of(blow.faults()));
    let recipe = rig.recipe("one", recipe);
    let ended = bake(&rig, recipe.clone(), &[1]);
    rig.endpoint().set_faults(FaultPlan::default());
    let resumed = resume(&rig, recipe);
    // What could not be taken up is taken down.
    let image = judge(&rig);
    let told = format!("{blow}: {ended:?}, {resumed:?}, {image:?}");
    runtime.block_on(rig.end());
    let made = ended.is(ExitCode::Done) || resumed.is(ExitCode::Done);
    assert_eq!(image, Ok(made), "{told}");
    resumed
}
