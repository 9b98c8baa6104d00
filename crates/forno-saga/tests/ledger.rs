//! A ledger that was cut off, damaged or not ours: never a panic, never a
//! resource forgotten.

mod toy;

use std::path::Path;

use forno_events::BakeId;
use forno_saga::{Body, EffectId, Error, Failure, Fold, Ledger, Phase, read};
use proptest::prelude::*;
use serde_json::json;
use toy::{Fault, World, begin, run};

const FILE: &str = "ledger.jsonl";

fn bytes(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join(FILE)).unwrap()
}

fn with(bytes: &[u8]) -> (tempfile::TempDir, Result<forno_saga::History, Error>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), bytes).unwrap();
    let history = read(dir.path());
    (dir, history)
}

/// Names of effects that may exist.
fn open(fold: &Fold) -> Vec<String> {
    fold.unreleased()
        .map(|effect| effect.id.to_string())
        .collect()
}

async fn whole() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(
        &saga,
        &world,
        &["key", "group", "machine"],
        2,
        Fault::LostAfter,
    )
    .await;
    toy::undo(&saga, &world).await;
    bytes(dir.path())
}

#[tokio::test]
async fn cut_at_every_byte_it_tells_what_stood_in_whole_lines() {
    let whole = whole().await;
    for cut in 0..=whole.len() {
        let (dir, history) = with(&whole[..cut]);
        let history = history.unwrap();
        let lines = newlines(&whole[..cut]);
        assert_eq!(history.records.len(), lines, "cut at {cut}");
        // And it can be taken up again: tried where lines begin and end, since
        // each try waits for the disk.
        let near = &whole[cut.saturating_sub(2)..whole.len().min(cut + 2)];
        if lines == 0 || !near.contains(&b'\n') {
            continue;
        }
        let ledger = Ledger::reopen(dir.path()).unwrap();
        ledger
            .append(Body::Intent {
                effect: EffectId::new("after"),
                kind: "thing".into(),
                intent: json!({}),
            })
            .unwrap();
        assert_eq!(read(dir.path()).unwrap().records.len(), lines + 1);
    }
}

#[tokio::test]
async fn a_gap_a_double_and_a_stranger_are_corruption_with_what_came_before() {
    let whole = whole().await;
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let without = |skip: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != skip);
        kept.flat_map(|(_, line)| line.to_vec())
            .collect::<Vec<u8>>()
    };
    for gap in 1..lines.len() - 1 {
        let (_dir, history) = with(&without(gap));
        let Err(Error::Corrupt(corruption)) = history else {
            panic!("a gap after line {gap} went unnoticed");
        };
        assert_eq!(corruption.line, gap + 1);
    }
    let doubled = [&whole[..], lines[lines.len() - 1]].concat();
    assert!(matches!(with(&doubled).1, Err(Error::Corrupt(_))));
    let foreign = [lines[0], lines[1], b"hello\n"].concat();
    let (_dir, history) = with(&foreign);
    let Err(Error::Corrupt(corruption)) = history else {
        panic!("a foreign line went unnoticed");
    };
    assert_eq!(open(&corruption.before), ["key"]);
    assert!(matches!(with(b"\0\0\0\0\n").1, Err(Error::Corrupt(_))));
}

#[test]
fn an_empty_folder_is_a_bake_that_did_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let history = read(dir.path()).unwrap();
    assert_eq!(history.fold.unreleased().count(), 0);
    assert!(history.fold.bake().is_none());
    assert!(read(&dir.path().join("nowhere")).is_err());
}

fn opened(version: u16) -> String {
    let bake = BakeId::new("toy");
    format!(
        r#"{{"seq":0,"at":"2026-11-22T21:00:00Z","body":{{"record":"opened","version":{version},"bake":"{bake}","place":{{}}}}}}
{{"seq":1,"at":"2026-11-22T21:00:00Z","body":{{"record":"intent","effect":"machine","kind":"thing","intent":{{}}}}}}
{{"seq":2,"at":"2026-11-22T21:00:00Z","body":{{"record":"done","effect":"machine","done":{{}}}}}}
"#
    )
}

/// A newer record in an old ledger would make it unreadable to the forno that
/// the ledger says can read it.
#[test]
fn a_ledger_of_the_first_format_is_read_and_gets_no_newer_record() {
    let passed = || Body::Passed {
        step: "step-01".into(),
        on: EffectId::new("machine"),
    };
    let (dir, history) = with(opened(1).as_bytes());
    assert_eq!(open(&history.unwrap().fold), ["machine"]);
    let ledger = Ledger::reopen(dir.path()).unwrap();
    assert!(matches!(
        ledger.append(passed()),
        Err(Error::Illegal(forno_saga::Illegal::Passed { .. }))
    ));
    ledger
        .append(Body::UndoStarted {
            effect: EffectId::new("machine"),
        })
        .unwrap();

    let (dir, _) = with(opened(2).as_bytes());
    Ledger::reopen(dir.path())
        .unwrap()
        .append(passed())
        .unwrap();
    let fold = read(dir.path()).unwrap().fold;
    assert!(fold.has_passed("step-01", &EffectId::new("machine")));
    assert!(!fold.has_passed("step-02", &EffectId::new("machine")));
    assert!(matches!(
        with(opened(3).as_bytes()).1,
        Err(Error::Corrupt(_))
    ));
}

#[test]
fn a_folder_that_cannot_be_written_begins_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = Ledger::create(&file.join("bake"), &BakeId::new("toy"), json!({}));
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
}

/// Runs the next test in a process whose files may not grow beyond 512 bytes:
/// to that process it is a full disk.
#[test]
fn a_full_disk_refuses_the_intent_and_leaves_the_ledger_whole() {
    let limited = std::process::Command::new("sh")
        .arg("-c")
        .arg(r#"trap "" XFSZ; ulimit -f 1; exec "$0" --exact with_files_of_512_bytes --ignored"#)
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&limited.stdout);
    assert!(limited.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "needs a process with a limit on the size of files, see above"]
fn with_files_of_512_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::create(dir.path(), &BakeId::new("toy"), json!({})).unwrap();
    let before = bytes(dir.path());
    let intent = |size: usize| Body::Intent {
        effect: EffectId::new("key"),
        kind: "thing".into(),
        intent: json!({ "thing": "x".repeat(size) }),
    };
    let refused = ledger.append(intent(600));
    assert!(matches!(refused, Err(Error::Io { .. })), "{refused:?}");
    assert_eq!(bytes(dir.path()), before);
    // What fits still goes in.
    ledger.append(intent(1)).unwrap();
    assert_eq!(open(&read(dir.path()).unwrap().fold), ["key"]);
}

fn body() -> impl Strategy<Value = Body> {
    let effect = prop::sample::select(vec!["a", "b", "c"]).prop_map(EffectId::new);
    (effect, 0..10_u8).prop_map(|(effect, kind)| {
        let failure = Failure::new("toy", "toy");
        match kind {
            0 | 1 => Body::Intent {
                effect,
                kind: "thing".into(),
                intent: json!({}),
            },
            2 => Body::Done {
                effect,
                done: json!({ "id": 1 }),
            },
            3 => Body::Failed { effect, failure },
            4 => Body::Unknown { effect, failure },
            5 => Body::UndoStarted { effect },
            6 => Body::Undone { effect },
            7 => Body::Stuck {
                effect,
                failure,
                command: "remove".into(),
            },
            8 => Body::Passed {
                step: "step".into(),
                on: effect,
            },
            _ => Body::Kept {
                effects: vec![effect],
            },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was acknowledged before the cut is known after it: an intent
    /// in a whole line is unreleased unless a later whole line released it.
    #[test]
    fn no_prefix_loses_an_intent(bodies in prop::collection::vec(body(), 0..40), cut in 0.0..1.0_f64) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(dir.path(), &BakeId::new("toy"), json!({})).unwrap();
        // What is legal is written, what is not is refused without a trace.
        for body in bodies {
            match ledger.append(body) {
                Ok(()) | Err(Error::Illegal(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let whole = bytes(dir.path());
        prop_assert_eq!(&read(dir.path()).unwrap().fold, &ledger.fold());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a small file")]
        let cut = (whole.len() as f64 * cut) as usize;
        let (_dir, history) = with(&whole[..cut]);
        let history = history.unwrap();
        for effect in history.fold.effects() {
            let last = history.records.iter().rev().find_map(|record| match &record.body {
                Body::Failed { effect: of, .. } | Body::Undone { effect: of } if *of == effect.id => Some(true),
                Body::Kept { effects } if effects.contains(&effect.id) => Some(true),
                Body::Intent { effect: of, .. } | Body::Done { effect: of, .. } | Body::UndoStarted { effect: of } | Body::Stuck { effect: of, .. } if *of == effect.id => Some(false),
                _ => None,
            });
            // A late answer about something that is being undone or is stuck
            // releases nothing.
            let released = last == Some(true) && !matches!(effect.phase, Phase::Undoing | Phase::Stuck);
            prop_assert_eq!(!effect.is_unreleased(), released, "{:?}", effect);
            // What has passed has done so for good, on something that was there.
            let passed = history.records.iter().position(|record| {
                matches!(&record.body, Body::Passed { on, .. } if *on == effect.id)
            });
            prop_assert_eq!(history.fold.has_passed("step", &effect.id), passed.is_some());
            let made = |record: &forno_saga::Record| {
                matches!(&record.body, Body::Done { effect: of, .. } if *of == effect.id)
            };
            prop_assert!(passed.is_none_or(|at| history.records[..at].iter().any(made)));
        }
    }

    /// Any bytes at all: a history or an error, never a panic, and what was
    /// sound before the damage is still told.
    #[test]
    fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let (_dir, history) = with(&noise);
        let _ = history;
    }

    #[test]
    fn damage_anywhere_is_noticed_or_harmless(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let whole = runtime.block_on(whole());
        let mut damaged = whole.clone();
        let at = at.index(whole.len());
        damaged[at] = byte;
        let lines_before = newlines(&whole[..at]);
        match with(&damaged).1 {
            Ok(_) => {}
            Err(Error::Corrupt(corruption)) => {
                let (_dir, prefix) = with(&whole.split_inclusive(|b| *b == b'\n').take(lines_before).collect::<Vec<_>>().concat());
                prop_assert!(corruption.before.effects().len() >= prefix.unwrap().fold.effects().len());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.split(|byte| *byte == b'\n').count() - 1
}
