//! What is swept, and what is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forno_aws::{
    ImageId, Imds, InstanceState, Launch, NewImage, NewKeyPair, NewSecurityGroup, Tags, Volumes,
};
use forno_bake::{Bakes, Consent, ExitCode, Fate, Found, SweepOptions};
use forno_events::BakeId;
use forno_local::{Fault, FaultPlan};
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

/// As the end of its process does. Another test's child that is being started may hold
/// a copy of the lock until its exec.
async fn let_go(ledger: Ledger) {
    let dir = ledger.dir().to_owned();
    drop(ledger);
    while forno_saga::is_alive(&dir).unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const OVER: &str = "2020-01-01T00:00:00Z";
const LATER: &str = "2199-01-01T00:00:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_bake_is_taken_up_also_where_its_reply_never_came() {
    let rig = Rig::start().await;
    let (dead, alive) = (BakeId::new("dead"), BakeId::new("alive"));
    let dead_key = key(&rig, &dead, LATER).await;
    let alive_key = key(&rig, &alive, OVER).await;
    let_go(killed(&rig, &dead).await).await;
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

    let_go(held).await;
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
    let_go(killed_in(&rig, &bake, "eu-west-1").await).await;
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

fn launch(image: &ImageId, token: &str, tags: Tags) -> Launch {
    Launch {
        client_token: token.to_owned(),
        image: image.clone(),
        instance_type: "t3.small".to_owned(),
        subnet: None,
        security_groups: Vec::new(),
        public_address: None,
        key_name: None,
        user_data: None,
        volumes: Volumes::default(),
        instance_profile: None,
        spot: None,
        placement: forno_aws::Placement::default(),
        imds: Imds {
            tokens_required: true,
            hop_limit: None,
        },
        tags,
    }
}

async fn debian(rig: &Rig) -> ImageId {
    let parameter = "/aws/service/debian/release/12/latest/amd64";
    let id = rig.gateway.parameter(parameter).await.unwrap();
    ImageId::new(id).unwrap()
}

/// Three images that nobody finished and whose time is over.
async fn unfinished(rig: &Rig, bake: &BakeId) -> Vec<ImageId> {
    let machine = launch(
        &debian(rig).await,
        "maker",
        Tags::new().with("Name", "maker"),
    );
    let maker = rig.gateway.run_instance(&machine).await.unwrap().id;
    let wait = || forno_aws::Wait::new("test", std::time::Duration::from_mins(1));
    in_time(rig.gateway.await_running(&maker, wait()))
        .await
        .unwrap();
    let mut images = Vec::new();
    for name in ["free", "run", "named"] {
        let new = NewImage {
            instance: maker.clone(),
            name: name.to_owned(),
            description: None,
            tags: Tags::new()
                .with("forno:bake", bake.as_str())
                .with("forno:step", format!("image-{name}"))
                .with("forno:expires", OVER),
            snapshot_tags: Tags::new(),
            volumes: Volumes::default(),
        };
        let image = rig.gateway.create_image(&new).await.unwrap();
        in_time(rig.gateway.await_image(&image, wait(), |_| {}))
            .await
            .unwrap();
        images.push(image);
    }
    rig.gateway.terminate_instance(&maker, true).await.unwrap();
    images
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_a_machine_or_a_launch_template_uses_stays() {
    let rig = Rig::start().await;
    let images = unfinished(&rig, &BakeId::new("over")).await;
    let [free, run, named] = &images[..] else {
        panic!("{images:?}")
    };
    let theirs = launch(run, "theirs", Tags::new().with("Name", "production"));
    let user = rig.gateway.run_instance(&theirs).await.unwrap().id;
    // Neither its newest version nor its default one names the image.
    let template = [
        ("CreateLaunchTemplate", "t3.small", ""),
        ("CreateLaunchTemplateVersion", "t3.small", named.as_str()),
        ("CreateLaunchTemplateVersion", "t3.large", ""),
    ];
    for (action, kind, image) in template {
        let mut parameters = vec![
            ("Action", action),
            ("LaunchTemplateName", "web"),
            ("LaunchTemplateData.InstanceType", kind),
        ];
        if !image.is_empty() {
            parameters.push(("LaunchTemplateData.ImageId", image));
        }
        rig.call(&parameters);
    }

    // Who may not look at templates cannot know what they name.
    let blind = Fault::of("DescribeLaunchTemplate*").every();
    rig.endpoint()
        .set_faults(FaultPlan::of([blind.error("UnauthorizedOperation")]));
    let found = sweep(&rig, SweepOptions::default()).await;
    rig.endpoint().set_faults(FaultPlan::default());
    let of = fates(&found);
    for image in [free, named] {
        assert!(
            matches!(of[image.as_str()], Fate::Spared { why } if why.contains("UnauthorizedOperation")),
            "{found:?}"
        );
    }

    let found = sweep(&rig, SweepOptions::default()).await;
    let of = fates(&found);
    assert_eq!(of[free.as_str()], &Fate::Removed);
    let why = |id: &ImageId| match of[id.as_str()] {
        Fate::Spared { why } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(run), format!("{user} runs from it"));
    let by_template = why(named);
    assert!(
        by_template.starts_with("version 2 of the launch template web (lt-"),
        "{by_template}"
    );

    // A bake of this machine is undone as far as nobody uses what it made.
    let bake = BakeId::new("dead");
    let new = Tags::new().with("forno:bake", bake.as_str());
    rig.gateway
        .create_tags(&[named.as_str()], &new)
        .await
        .unwrap();
    let dead_key = key(&rig, &bake, LATER).await;
    let ledger = killed(&rig, &bake).await;
    for body in [
        Body::Intent {
            effect: EffectId::new("image"),
            kind: "image".into(),
            intent: json!({"step": "image-named", "name": "named"}),
        },
        Body::Done {
            effect: EffectId::new("image"),
            done: json!({"id": named.as_str()}),
        },
    ] {
        ledger.append(body).unwrap();
    }
    let_go(ledger).await;
    for _ in 0..2 {
        let found = sweep(&rig, SweepOptions::default()).await;
        let of = fates(&found);
        assert!(
            matches!(of[named.as_str()], Fate::Spared { why } if why.contains("web")),
            "{found:?}"
        );
    }
    assert_eq!(rig.gateway.key_pair_named(&dead_key).await.unwrap(), None);
    rig.call(&[
        ("Action", "DeleteLaunchTemplate"),
        ("LaunchTemplateName", "web"),
    ]);
    let found = sweep(&rig, SweepOptions::default()).await;
    assert_eq!(fates(&found)[named.as_str()], &Fate::Removed);
    rig.end().await;
}

/// Agrees but for what it is told to decline, and remembers what it was asked.
#[derive(Default)]
struct Person {
    declines: Vec<String>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Consent for Person {
    async fn agrees(&self, found: &Found) -> bool {
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {}", found.kind, found.id));
        !self.declines.contains(&found.id)
    }
}

/// `packer_` and a UUID of this time.
fn packer(second: i64, number: u8) -> String {
    format!("packer_{second:08x}-1111-2222-3333-4444444444{number:02x}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_packer_left_goes_when_it_is_old_and_somebody_agrees() {
    let rig = Rig::start().await;
    let now = jiff::Timestamp::now().as_second();
    let old = now - 3 * 24 * 3600;
    let vpc = rig.gateway.default_vpc().await.unwrap().unwrap();
    let (old_key, young_key, other) = (packer(old, 1), packer(now - 60, 2), "packer_mine");
    for name in [&old_key, &young_key, other] {
        let key = NewKeyPair {
            name: name.to_owned(),
            public_key: KEY.to_owned(),
            tags: Tags::new(),
        };
        rig.gateway.import_key_pair(&key).await.unwrap();
    }
    let mut groups = Vec::new();
    for number in 3..6 {
        let group = NewSecurityGroup {
            name: packer(old, number),
            description: "Temporary group for Packer".to_owned(),
            vpc: vpc.clone(),
            tags: Tags::new(),
        };
        groups.push(rig.gateway.create_security_group(&group).await.unwrap());
    }
    let [of_builder, of_living, unused] = &groups[..] else {
        panic!("{groups:?}")
    };
    let image = debian(&rig).await;
    let mut builder = launch(
        &image,
        "builder",
        Tags::new().with("Name", "Packer Builder"),
    );
    builder.key_name = Some(old_key.clone());
    builder.security_groups = vec![of_builder.clone()];
    let builder = rig.gateway.run_instance(&builder).await.unwrap().id;
    let mut living = launch(&image, "living", Tags::new().with("Name", "somebody's"));
    living.security_groups = vec![of_living.clone()];
    let living = rig.gateway.run_instance(&living).await.unwrap().id;

    let with = |person: &Arc<Person>, dry_run| SweepOptions {
        dry_run,
        older_than: None,
        packer: Some(person.clone() as Arc<dyn Consent>),
    };
    // Not asked for, not looked at.
    assert_eq!(sweep(&rig, SweepOptions::default()).await, []);
    let person = Arc::<Person>::default();
    let dry = sweep(&rig, with(&person, true)).await;
    let would = |id: &str| fates(&dry)[id] == &Fate::WouldBeRemoved;
    assert!(
        would(builder.as_str()) && would(of_builder.as_str()),
        "{dry:?}"
    );
    assert!(would(&old_key) && would(unused.as_str()), "{dry:?}");
    assert_eq!(person.asked.lock().unwrap().len(), 0);

    let careful = Arc::new(Person {
        declines: vec![builder.to_string(), unused.to_string()],
        ..Person::default()
    });
    let found = sweep(&rig, with(&careful, false)).await;
    // What a machine that stays uses is not even asked about.
    let asked = careful.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            format!("instance {builder}"),
            format!("security-group {unused}")
        ]
    );
    let why = |found: &[Found], id: &str| match fates(found)[id] {
        Fate::Spared { why } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&found, unused.as_str()), "nobody agreed to its removal");
    assert_eq!(why(&found, &old_key), format!("in use by {builder}"));
    assert!(why(&found, &young_key).contains("its build may be running"));

    let found = sweep(&rig, with(&person, false)).await;
    let of = fates(&found);
    for id in [
        builder.as_str(),
        of_builder.as_str(),
        unused.as_str(),
        &old_key,
    ] {
        assert_eq!(of[id], &Fate::Removed, "{found:?}");
    }
    assert_eq!(
        why(&found, of_living.as_str()),
        format!("in use by {living}")
    );
    assert!(!of.contains_key(other), "{found:?}");
    let gone = rig.gateway.instance(&builder).await.unwrap().unwrap();
    assert_eq!(gone.state, InstanceState::Terminated);
    assert!(rig.gateway.key_pair_named(other).await.unwrap().is_some());
    assert!(
        rig.gateway
            .key_pair_named(&young_key)
            .await
            .unwrap()
            .is_some()
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sweeps_at_once_do_not_fail_each_other() {
    let rig = Rig::start().await;
    let mut keys = Vec::new();
    for name in ["one", "two", "three"] {
        keys.push(key(&rig, &BakeId::new(name), OVER).await);
    }
    let dead = BakeId::new("dead");
    keys.push(key(&rig, &dead, LATER).await);
    let_go(killed(&rig, &dead).await).await;
    let (a, b) = tokio::join!(
        sweep(&rig, SweepOptions::default()),
        sweep(&rig, SweepOptions::default())
    );
    assert_eq!(rig.left().await, [""; 0], "{a:?} {b:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_cannot_be_read_or_says_no_place_leaves_it_to_the_tags() {
    let rig = Rig::start().await;
    let (torn, odd) = (BakeId::new("torn"), BakeId::new("odd"));
    let torn_key = key(&rig, &torn, OVER).await;
    let odd_key = key(&rig, &odd, OVER).await;
    let bakes = Bakes::under(&rig.settings.home);
    let_go(killed(&rig, &torn).await).await;
    let file = bakes.folder(&torn).path().join("ledger.jsonl");
    fs_err::write(&file, "nonsense\nand more\n").unwrap();
    let ledger = Ledger::create(bakes.folder(&odd).path(), &odd, json!("somewhere")).unwrap();
    ledger
        .append(Body::Intent {
            effect: EffectId::new("key-pair"),
            kind: "key-pair".into(),
            intent: json!({"step": "key-pair", "name": odd_key}),
        })
        .unwrap();
    let_go(ledger).await;
    let found = sweep(&rig, SweepOptions::default()).await;
    let of = fates(&found);
    for id in [&torn_key, &odd_key] {
        assert_eq!(of[id.as_str()], &Fate::Removed, "{found:?}");
    }
    let ledgers = found.iter().filter(|found| found.kind == "ledger");
    assert_eq!(ledgers.count(), 2, "{found:?}");
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_sweep_begins_nothing_more() {
    let rig = Rig::start().await;
    let name = key(&rig, &BakeId::new("over"), OVER).await;
    let dead = BakeId::new("dead");
    key(&rig, &dead, LATER).await;
    let_go(killed(&rig, &dead).await).await;
    rig.ladder.climb("test");
    assert_eq!(sweep(&rig, SweepOptions::default()).await, []);
    assert!(rig.gateway.key_pair_named(&name).await.unwrap().is_some());
    rig.end().await;
}
