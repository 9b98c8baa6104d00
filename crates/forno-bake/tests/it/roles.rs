//! Roles that are assumed before anything is done, and whom that asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forno_aws::{Access, AskCode, Gateway, Kind, Role};
use forno_bake::{Engine, ExitCode, Ladder, RunOptions};
use jiff::Timestamp;

use crate::rig::{Rig, in_time, only};

const ACCOUNT: &str = "123456789012";

fn role(name: &str) -> Role {
    Role {
        arn: format!("arn:aws:iam::{ACCOUNT}:role/{name}"),
        session_name: "nightly".to_owned(),
        ..Role::default()
    }
}

struct Says(&'static str, AtomicUsize);

#[async_trait]
impl AskCode for Says {
    async fn code(&self, serial: &str) -> Option<String> {
        assert_eq!(serial, "arn:aws:iam::123456789012:mfa/me");
        self.1.fetch_add(1, Ordering::Relaxed);
        Some(self.0.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_a_chain_bakes() {
    let rig = Rig::start().await;
    let first = Role {
        external_id: Some("ours/1".to_owned()),
        tags: vec![("team".to_owned(), "ci".to_owned())],
        transitive_tag_keys: vec!["team".to_owned()],
        policy: Some("{\"Version\":\"2012-10-17\",\"Statement\":[]}".to_owned()),
        policy_arns: vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned()],
        ..role("way/jump")
    };
    let second = Role {
        duration: Some(Duration::from_mins(15)),
        ..role("baker")
    };
    let access = Access {
        roles: vec![first, second],
        ..rig.access()
    };
    let gateway = Gateway::connect(access).await.unwrap();
    let identity = gateway.caller_identity().await.unwrap();
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/baker/nightly");
    assert_eq!(
        (identity.account.as_str(), identity.arn),
        (ACCOUNT, arn.clone())
    );
    let expiry = gateway.credentials_expiry().await.unwrap().unwrap();
    let left = expiry.duration_since(Timestamp::now());
    assert!((1..=15 * 60).contains(&left.as_secs()), "{left}");

    // Everything is done with those credentials, to the signed URLs of a bucket.
    let engine = Engine::new(gateway, rig.settings.clone(), Ladder::new());
    let text = "\n[builder]\nconnect = \"ssm\"\n[[step]]\nname = \"say\"\nshell = { run = \"true\" }\n[[test]]\nrun = \"true\"\n";
    let recipes = vec![rig.recipe("one", text)];
    let report = only(
        in_time(engine.bake(recipes, RunOptions::default()))
            .await
            .unwrap(),
    );
    assert_eq!(report.exit_code(), ExitCode::Done, "{:?}", report.error);
    let plan = fs_err::read_to_string(report.folder.join("plan.json")).unwrap();
    assert!(plan.contains(&arn), "{plan}");
    assert_eq!(rig.left().await, ["finished image", "finished snapshot"]);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_asked_once_for_the_code_of_a_device() {
    let rig = Rig::start().await;
    let with = |ask: Option<Arc<Says>>| Access {
        roles: vec![
            Role {
                mfa_serial: Some("arn:aws:iam::123456789012:mfa/me".to_owned()),
                ..role("jump")
            },
            role("baker"),
        ],
        ask_code: ask.map(|ask| ask as Arc<dyn AskCode>),
        ..rig.access()
    };
    let says = Arc::new(Says("123456", AtomicUsize::new(0)));
    let gateway = Gateway::connect(with(Some(Arc::clone(&says))))
        .await
        .unwrap();
    for region in ["us-east-1", "sa-east-1"] {
        let there = gateway.in_region(region);
        let identity = there.caller_identity().await.unwrap();
        assert!(
            identity.arn.ends_with("assumed-role/baker/nightly"),
            "{identity:?}"
        );
    }
    assert_eq!(says.1.load(Ordering::Relaxed), 1);

    let wrong = Arc::new(Says("000000", AtomicUsize::new(0)));
    for (ask, words) in [
        (Some(wrong), "invalid MFA one time pass code"),
        (
            None,
            "wants a code of arn:aws:iam::123456789012:mfa/me, and nobody can be asked",
        ),
    ] {
        let error = Gateway::connect(with(ask)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Credentials, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let stranger = Access {
        roles: vec![Role {
            arn: "arn:aws:iam::999999999999:role/baker".to_owned(),
            ..role("baker")
        }],
        ..rig.access()
    };
    let error = Gateway::connect(stranger).await.unwrap_err().to_string();
    assert!(
        error.contains("cannot assume arn:aws:iam::999999999999:role/baker"),
        "{error}"
    );
    assert!(
        error.contains("not authorized to perform: sts:AssumeRole"),
        "{error}"
    );
    rig.end().await;
}
