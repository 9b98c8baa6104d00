//! The promise of a saga, at every node and for every way to fail: whatever
//! happens, one undo later the world holds nothing of it.

mod toy;

use std::time::Duration;

use forno_saga::{
    Body, Closing, EffectId, Error, Ladder, Ledger, Phase, RunError, Rung, Saga, UndoEvent,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use toy::{FAULTS, Fault, World, begin, intent, policy, run, undo, undo_on};

const THINGS: [&str; 4] = ["key", "group", "machine", "image"];

/// A process: what it leaves running ends with it.
fn process() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn whatever_fails_wherever_nothing_stays() {
    for at in 0..THINGS.len() {
        for fault in FAULTS {
            let dir = tempfile::tempdir().unwrap();
            let world = World::default();
            let first = process();
            let saga = first.block_on(async { begin(dir.path()) });
            let died = first.block_on(run(&saga, &world, &THINGS, at, fault));
            if died {
                drop(saga);
                first.shutdown_background();
                // Another process finds the ledger.
                let second = process();
                let ledger = loop {
                    match Ledger::reopen(dir.path()) {
                        Ok(ledger) => break ledger,
                        // The dead one's last threads let go of the lock.
                        Err(Error::Alive(_)) => std::thread::park_timeout(Duration::from_millis(5)),
                        Err(error) => panic!("{error}"),
                    }
                };
                let saga = Saga::new(ledger);
                let report = second.block_on(undo(&saga, &world));
                assert!(report.is_clean(), "{fault:?} at {at}: {report:?}");
            } else {
                let report = first.block_on(undo(&saga, &world));
                assert!(report.is_clean(), "{fault:?} at {at}: {report:?}");
            }
            assert_eq!(world.things(), [""; 0], "{fault:?} at {at}");
            let fold = forno_saga::read(dir.path()).unwrap().fold;
            assert_eq!(fold.unreleased().count(), 0, "{fault:?} at {at}");
        }
    }
}

/// However often a process dies while it waits for the answer.
#[tokio::test]
async fn an_effect_without_an_answer_is_taken_up_by_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let cancel = CancellationToken::new();
    let thing = || EffectId::new("thing");
    let saga = begin(dir.path());
    saga.ledger()
        .append(Body::Intent {
            effect: thing(),
            kind: "thing".into(),
            intent: serde_json::json!({ "thing": "thing" }),
        })
        .unwrap();
    for fault in [Fault::LostBefore, Fault::LostBefore, Fault::None] {
        let call = world.clone().call("thing".into(), fault);
        let taken = saga.take_up(thing(), &cancel, call).await;
        let phase = saga.ledger().fold().effect(&thing()).unwrap().phase;
        match fault {
            Fault::None => assert!(taken.is_ok() && phase == Phase::Done, "{phase:?}"),
            _ => assert!(taken.is_err() && phase == Phase::Unknown, "{phase:?}"),
        }
    }
    let again = world.clone().call("thing".into(), Fault::None);
    assert!(matches!(
        saga.take_up(thing(), &cancel, again).await,
        Err(RunError::Ledger(Error::NoSuchEffect(_)))
    ));
    assert_eq!(world.made(), ["thing"]);
    assert!(undo(&saga, &world).await.is_clean());
}

#[tokio::test]
async fn undoing_twice_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    assert_eq!(undo(&saga, &world).await.released.len(), 4);
    let before = world.removals();
    let again = undo(&saga, &world).await;
    assert!(again.is_clean() && again.released.is_empty());
    assert_eq!(world.removals(), before);
}

#[tokio::test]
async fn the_youngest_is_asked_to_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    undo(&saga, &world).await;
    assert_eq!(world.removals(), ["image", "machine", "group", "key"]);
}

#[tokio::test]
async fn what_shows_late_is_found_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, 2, Fault::LostAfter).await;
    world.hide("machine", 3);
    world.hide("key", 2);
    assert!(undo(&saga, &world).await.is_clean());
    assert_eq!(world.things(), [""; 0]);
}

#[tokio::test]
async fn a_removal_that_fails_at_first_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    world.make_stubborn("group", 7);
    assert!(undo(&saga, &world).await.is_clean());
    assert_eq!(world.things(), [""; 0]);
}

#[tokio::test]
async fn one_that_is_stuck_stops_none_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    world.refuse_removal("machine");
    let report = undo(&saga, &world).await;
    assert_eq!(world.things(), ["machine"]);
    let [left] = report.unreleased.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(left.command, "remove machine");
    assert_eq!(left.failure.code, "refused");
    saga.close(Closing::Leaking).await.unwrap();

    // A later sweep still knows of it.
    drop(saga);
    let saga = Saga::new(Ledger::reopen(dir.path()).unwrap());
    let fold = saga.ledger().fold();
    let stuck: Vec<_> = fold.unreleased().collect();
    assert_eq!(stuck.len(), 1);
    assert_eq!(stuck[0].phase, Phase::Stuck);
    assert_eq!(stuck[0].command.as_deref(), Some("remove machine"));
}

#[tokio::test]
async fn a_removal_without_end_is_stuck_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    world.make_stubborn("group", u32::MAX);
    let mut policy = policy();
    policy.limit = Duration::from_millis(30);
    let report = saga
        .undoing(&world, policy, &Ladder::new(), &|_| {})
        .all()
        .await;
    assert_eq!(world.things(), ["group"]);
    assert_eq!(report.unreleased.len(), 1);
}

#[tokio::test]
async fn what_is_kept_is_not_undone() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    saga.keep(vec![EffectId::new("image")]).await.unwrap();
    assert!(undo(&saga, &world).await.is_clean());
    assert_eq!(world.things(), ["image"]);
    saga.close(Closing::Finished).await.unwrap();
    let fold = forno_saga::read(dir.path()).unwrap().fold;
    assert!(fold.is_past_return());
    assert_eq!(fold.closing(), Some(Closing::Finished));
}

#[tokio::test]
async fn an_answer_after_the_cancellation_is_waited_for_and_undone() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &["key"], usize::MAX, Fault::None).await;
    let cancel = CancellationToken::new();
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let slow = {
        let world = world.clone();
        async move {
            wait.await.unwrap();
            world.call("machine".into(), Fault::None).await
        }
    };
    let running = saga.run(intent("machine"), &cancel, slow);
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => panic!("it cannot be done yet"),
        () = tokio::time::sleep(Duration::from_millis(20)) => cancel.cancel(),
    }
    assert!(matches!(running.await, Err(RunError::Cancelled)));
    let ladder = Ladder::new();
    let undoing = undo_on(&saga, &world, &ladder);
    tokio::pin!(undoing);
    // The undo does not look while the call is still on its way, and takes what was
    // made before in the meantime.
    tokio::select! {
        _ = &mut undoing => panic!("the call has not been answered"),
        () = async {
            while world.things() != [""; 0] {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        } => {}
    }
    assert_eq!(world.removals(), ["key"]);
    go.send(()).unwrap();
    assert!(undoing.await.is_clean());
    assert_eq!(world.made(), ["key", "machine"]);
    assert_eq!(world.things(), [""; 0]);
}

#[tokio::test]
async fn in_a_hurry_each_is_asked_once_and_none_awaited() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    world.make_stubborn("group", u32::MAX);
    let ladder = Ladder::new();
    ladder.climb("once");
    ladder.climb("twice");
    let report = undo_on(&saga, &world, &ladder).await;
    assert_eq!(world.things(), ["group"]);
    assert_eq!(report.unreleased.len(), 1);
    let mut asked = world.removals();
    asked.sort();
    assert_eq!(asked, ["group", "image", "key", "machine"]);
}

#[tokio::test]
async fn giving_up_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    let ladder = Ladder::new();
    for _ in 0..3 {
        ladder.climb("enough");
    }
    assert_eq!(ladder.rung(), Rung::GiveUp);
    let report = undo_on(&saga, &world, &ladder).await;
    assert_eq!(report.unreleased.len(), 4);
    assert_eq!(world.removals(), [""; 0]);
}

#[tokio::test]
async fn an_early_removal_is_seen_through_later() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS, usize::MAX, Fault::None).await;
    world.make_stubborn("machine", 1);
    let ladder = Ladder::new();
    let undoing = saga.undoing(&world, policy(), &ladder, &|_| {});
    undoing.begin(&EffectId::new("machine")).await.unwrap();
    assert!(world.things().contains(&"machine".to_owned()));
    assert!(undoing.all().await.is_clean());
    assert_eq!(world.things(), [""; 0]);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_stops_effects_but_not_their_undo() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &THINGS[..2], usize::MAX, Fault::None).await;
    // An illegal record stands for a disk that takes none: both are refused
    // before anything happens.
    let cancel = CancellationToken::new();
    let call = world.clone().call("key".into(), Fault::None);
    let refused = saga.run(intent("key"), &cancel, call).await;
    assert!(matches!(refused, Err(RunError::Ledger(Error::Illegal(_)))));
    assert_eq!(world.made(), ["key", "group"]);
    assert!(undo(&saga, &world).await.is_clean());
}

#[tokio::test]
async fn undoing_is_told_as_it_happens() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::default();
    let saga = begin(dir.path());
    run(&saga, &world, &["key", "group"], usize::MAX, Fault::None).await;
    world.refuse_removal("key");
    let told = std::sync::Mutex::new(Vec::new());
    let observe = |event: UndoEvent<'_>| {
        told.lock().unwrap().push(match event {
            UndoEvent::Started(effect) => format!("started {}", effect.id),
            UndoEvent::Waiting { effect, .. } => format!("waiting {}", effect.id),
            UndoEvent::Released(effect) => format!("released {}", effect.id),
            UndoEvent::Stuck(left) => format!("stuck {}", left.effect.id),
        });
    };
    let ladder = Ladder::new();
    saga.undoing(&world, policy(), &ladder, &observe)
        .all()
        .await;
    assert_eq!(
        *told.lock().unwrap(),
        [
            "started group",
            "released group",
            "started key",
            "stuck key"
        ]
    );
}

#[tokio::test]
async fn a_second_process_cannot_take_a_living_bake() {
    let dir = tempfile::tempdir().unwrap();
    let saga = begin(dir.path());
    assert!(forno_saga::is_alive(dir.path()).unwrap());
    assert!(matches!(Ledger::reopen(dir.path()), Err(Error::Alive(_))));
    assert!(matches!(
        saga.ledger().append(Body::Undone {
            effect: EffectId::new("x")
        }),
        Err(Error::Illegal(_))
    ));
    drop(saga);
    assert!(!forno_saga::is_alive(dir.path()).unwrap());
}
