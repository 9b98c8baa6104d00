//! What is swept, and what is not.

use std::collections::BTreeMap;

use forno_aws::{NewKeyPair, Tags};
use forno_bake::{Bakes, ExitCode, Fate, Found, SweepOptions};
use forno_events::BakeId;
use forno_saga::{Body, Closing, EffectId, Ledger};
use serde_json::json;

use crate::rig::{Rig, in_time};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2Y3QmUvRr0gM0nX5m0cFz0o1qk2J1z9m6Zb8m7hS0a test";

async fn sweep(rig: &Rig, options: SweepOptions) -> Vec<Found> {
    let report = in_time(rig.engine().sweep(options, &|_| {})).await.unwrap();
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.found);
    report.found
}

fn fates(found: &[Found]) -> BTreeMap<&str, &Fate> {
    found
        .iter()
        .map(|found| (found.id.as_str(), &found.fate))
        .collect()
}

async fn key(rig: &Rig, bake: &BakeId, expires: &str) -> String {
    let name = format!("forno-{bake}");
    let tags = Tags::new()
        .with("forno:bake", bake.as_str())
        .with("forno:step", "key-pair")
        .with("forno:expires", expires);
    let key = NewKeyPair {
        name: name.clone(),
        public_key: KEY.to_owned(),
        tags,
    };
    rig.gateway.import_key_pair(&key).await.unwrap();
    name
}

/// The ledger of a bake that imported its key and was then killed.
async fn killed(rig: &Rig, bake: &BakeId) -> Ledger {
    killed_in(rig, bake, rig.gateway.region()).await
}

async fn killed_in(rig: &Rig, bake: &BakeId, region: &str) -> Ledger {
    let identity = rig.gateway.caller_identity().await.unwrap();
    let place = json!({
        "region": region,
        // That of an endpoint that has ended since.
        "endpoint_url": "http://127.0.0.1:1",
        "account": identity.account,
        "caller": identity.user_id,
    });
    let folder = Bakes::under(&rig.settings.home).folder(bake);
    let ledger = Ledger::create(folder.path(), bake, place).unwrap();
    ledger
        .append(Body::Intent {
            effect: EffectId::new("key-pair"),
            kind: "key-pair".into(),
            intent: json!({"step": "key-pair", "name": format!("forno-{bake}")}),
        })
        .unwrap();
    ledger
}

const OVER: &str = "2020-01-01T00:00:00Z";
const LATER: &str = "2199-01-01T00:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_bake_is_taken_up_also_where_its_reply_never_came() {
    let rig = Rig::start().await;
    let (dead, alive) = (BakeId::new("dead"), BakeId::new("alive"));
    let dead_key = key(&rig, &dead, LATER).await;
    let alive_key = key(&rig, &alive, OVER).await;
    drop(killed(&rig, &dead).await);
    let held = killed(&rig, &alive).await;

    let dry = SweepOptions {
        dry_run: true,
        ..SweepOptions::default()
    };
    let found = sweep(&rig, dry).await;
    assert_eq!(
        fates(&found),
        [(dead_key.as_str(), &Fate::WouldBeRemoved)].into()
    );
    assert!(
        rig.gateway
            .key_pair_named(&dead_key)
            .await
            .unwrap()
            .is_some()
    );

    let found = sweep(&rig, SweepOptions::default()).await;
    assert_eq!(fates(&found), [(dead_key.as_str(), &Fate::Removed)].into());
    assert!(
        rig.gateway
            .key_pair_named(&dead_key)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        rig.gateway
            .key_pair_named(&alive_key)
            .await
            .unwrap()
            .is_some()
    );
    let ledger = Bakes::under(&rig.settings.home)
        .folder(&dead)
        .ledger()
        .unwrap();
    assert_eq!(ledger.fold.closing(), Some(Closing::Undone));

    drop(held);
    let found = sweep(&rig, SweepOptions::default()).await;
    assert_eq!(fates(&found), [(alive_key.as_str(), &Fate::Removed)].into());
    assert_eq!(sweep(&rig, SweepOptions::default()).await, []);
    assert_eq!(rig.left().await, [""; 0]);
    rig.end().await;
}

/// To look for it here would be to find nothing and to forget it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_bake_of_another_region_is_told_and_kept_in_mind() {
    let rig = Rig::start().await;
    let bake = BakeId::new("far");
    drop(killed_in(&rig, &bake, "eu-west-1").await);
    let found = sweep(&rig, SweepOptions::default()).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].region, "eu-west-1");
    assert!(matches!(&found[0].fate, Fate::Spared { why } if why.contains("elsewhere")));
    let ledger = Bakes::under(&rig.settings.home)
        .folder(&bake)
        .ledger()
        .unwrap();
    assert_eq!(ledger.fold.closing(), None);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_machine_left_goes_when_its_time_is_over() {
    let rig = Rig::start().await;
    let over = key(&rig, &BakeId::new("over"), OVER).await;
    let running = key(&rig, &BakeId::new("running"), LATER).await;
    let odd = key(&rig, &BakeId::new("odd"), "soon").await;
    let (report, _) = rig.bake(rig.recipe("base", "\n")).await;
    assert!(report.error.is_none(), "{report:?}");

    let young = SweepOptions {
        older_than: Some(std::time::Duration::from_hours(1)),
        ..SweepOptions::default()
    };
    let found = sweep(&rig, young).await;
    assert!(
        matches!(fates(&found)[over.as_str()], Fate::Spared { .. }),
        "{found:?}"
    );

    let found = sweep(&rig, SweepOptions::default()).await;
    let fates = fates(&found);
    assert_eq!(fates[over.as_str()], &Fate::Removed);
    assert!(matches!(fates[running.as_str()], Fate::Spared { why } if why.contains("2199")));
    assert!(matches!(fates[odd.as_str()], Fate::Spared { why } if why.contains("no time")));
    // The finished image and its snapshot are not even looked at.
    assert_eq!(fates.len(), 3, "{found:?}");
    let left = rig.left().await;
    assert!(left.contains(&"finished image".to_owned()), "{left:?}");
    assert!(left.contains(&"finished snapshot".to_owned()), "{left:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshot_of_a_finished_image_outlives_it() {
    let rig = Rig::start().await;
    let (report, _) = rig.bake(rig.recipe("base", "\n")).await;
    let id = forno_aws::ImageId::new(report.image_id.unwrap()).unwrap();
    let snapshots = rig
        .gateway
        .snapshots_tagged(&[forno_aws::TagMatch::has("forno:finished")])
        .await
        .unwrap();
    assert_eq!(snapshots.len(), 1);
    let past = Tags::new().with("forno:expires", OVER);
    let names = [snapshots[0].id.as_str(), id.as_str()];
    rig.gateway.create_tags(&names, &past).await.unwrap();
    assert_eq!(sweep(&rig, SweepOptions::default()).await, []);
    assert_eq!(
        rig.gateway
            .images_tagged(&[forno_aws::TagMatch::has("forno:bake")])
            .await
            .unwrap()
            .len(),
        1
    );
    rig.end().await;
}
