//! A killed bake whose ledger the disk has not kept whole: what is lost of it is
//! found by its tags.

use std::path::{Path, PathBuf};

use forno_aws::{TagMatch, Tags};
use forno_bake::{Bakes, ExitCode};
use forno_local::{Fault, FaultPlan, Moment};
use tokio::runtime::Runtime;

use super::victim::judge;
use super::{Ended, Holdings, bake, sweep};
use crate::rig::Rig;

/// A bake that was killed when it had made all that a bake makes, and its ledger.
fn killed(runtime: &Runtime) -> (Rig, PathBuf) {
    let rig = runtime.block_on(Rig::start());
    let held = Fault::of("CreateImage").hang(Moment::After);
    rig.endpoint().set_faults(FaultPlan::of([held]));
    let ended = bake(&rig, rig.recipe("one", "\n"), &[1]);
    assert_eq!(ended, Ended::Killed(1));
    rig.endpoint().set_faults(FaultPlan::default());
    let bakes = Bakes::under(&rig.settings.home).list().unwrap();
    let ledger = bakes[0].path().join("ledger.jsonl");
    (rig, ledger)
}

fn lines(ledger: &Path) -> Vec<Vec<u8>> {
    let bytes = fs_err::read(ledger).unwrap();
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// Wherever it was cut off, in the middle of a line or between two, one sweep
/// leaves nothing.
#[test]
fn a_ledger_that_lost_its_end_loses_nothing_of_the_account() {
    let runtime = Runtime::new().unwrap();
    let (rig, ledger) = killed(&runtime);
    let whole = lines(&ledger).len();
    runtime.block_on(rig.end());
    assert!(whole > 7, "{whole} lines");
    let wrong = std::sync::Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    // Every other line, cut at its beginning or in its middle.
                    let kept = next.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
                    if kept >= whole {
                        return;
                    }
                    let (rig, ledger) = killed(&runtime);
                    let lines = lines(&ledger);
                    let torn = lines[kept].len() * (kept % 3) / 3;
                    let mut bytes = lines[..kept].concat();
                    bytes.extend_from_slice(&lines[kept][..torn]);
                    fs_err::write(&ledger, bytes).unwrap();
                    let swept = sweep(&rig, &[]);
                    let held = Holdings::of(&rig);
                    if !swept.is(ExitCode::Done) || !held.is_nothing() {
                        let why = format!("{kept} lines and {torn} bytes: {held} {swept:?}");
                        wrong.lock().unwrap().push(why);
                    }
                    runtime.block_on(rig.end());
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

type Damage = fn(&mut Vec<Vec<u8>>);

/// One that cannot be believed at all is told and left alone; its things go by
/// their tags when their time is over.
#[test]
fn a_corrupt_ledger_is_not_believed_and_nothing_of_it_is_lost() {
    let runtime = Runtime::new().unwrap();
    let damages: [Damage; 4] = [
        |lines| {
            lines.remove(3);
        },
        |lines| lines.insert(3, lines[3].clone()),
        |lines| lines.insert(3, b"not of this ledger\n".to_vec()),
        |lines| lines.swap(2, 4),
    ];
    for damage in damages {
        let (rig, ledger) = killed(&runtime);
        let mut lines = lines(&ledger);
        damage(&mut lines);
        fs_err::write(&ledger, lines.concat()).unwrap();
        let before = Holdings::of(&rig);
        let Ended::With(code, told) = sweep(&rig, &[]) else {
            unreachable!("nothing kills it");
        };
        assert_eq!(code, ExitCode::Done);
        assert!(told.contains("is corrupt at line"), "{told}");
        assert_eq!(Holdings::of(&rig), before);

        runtime.block_on(expire(&rig));
        assert!(sweep(&rig, &[]).is(ExitCode::Done));
        assert_eq!(judge(&rig), Ok(false));
        runtime.block_on(rig.end());
    }
}

async fn expire(rig: &Rig) {
    let ours = TagMatch::has("forno:bake");
    let all = rig.gateway.tagged_resources(&ours).await.unwrap();
    let ids: Vec<&str> = all.iter().map(|resource| resource.id.as_str()).collect();
    let over = Tags::new().with("forno:expires", "2020-01-01T00:00:00Z");
    rig.gateway.create_tags(&ids, &over).await.unwrap();
}
