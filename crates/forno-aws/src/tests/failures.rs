//! What an error says, what kind it is, and whether the call may have taken effect.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::endpoint::{Answer, Endpoint, connect, instance_xml, ok, refused};
use crate::{Error, Imds, Kind, Launch, Limits, NewImage, Outcome, Placement, Tags, Volumes};

fn launch() -> Launch {
    Launch {
        client_token: "bake-1-builder".to_owned(),
        image: "ami-0123456789abcdef0".parse().unwrap(),
        instance_type: "c7i.large".to_owned(),
        subnet: None,
        security_groups: Vec::new(),
        public_address: None,
        key_name: None,
        user_data: None,
        volumes: Volumes::default(),
        instance_profile: None,
        imds: Imds::default(),
        spot: None,
        placement: Placement::default(),
        tags: Tags::new(),
    }
}

fn image() -> NewImage {
    NewImage {
        instance: "i-0123456789abcdef0".parse().unwrap(),
        name: "base 1".to_owned(),
        description: None,
        tags: Tags::new(),
        snapshot_tags: Tags::new(),
        volumes: Volumes::default(),
    }
}

fn launched() -> Answer {
    let item = instance_xml("i-0123456789abcdef0", "pending", "");
    ok(
        "RunInstances",
        &format!("<instancesSet>{item}</instancesSet>"),
    )
}

fn image_made() -> Answer {
    ok("CreateImage", "<imageId>ami-0aaaaaaaaaaaaaaaa</imageId>")
}

fn said(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn a_refusal_is_certain_and_says_everything() {
    let endpoint = Endpoint::with([refused(
        400,
        "InvalidAMIID.NotFound",
        "The image id '[ami-0123456789abcdef0]' does not exist",
    )])
    .await;
    let error = endpoint
        .gateway()
        .await
        .run_instance(&launch())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(error.outcome(), Outcome::DidNotHappen);
    assert_eq!(error.request_id(), Some("req-4711"));
    assert_eq!(error.operation(), "RunInstances");
    assert_eq!(error.attempts(), 1);
    insta::assert_snapshot!(said(&error), @r"
    RunInstances of c7i.large from ami-0123456789abcdef0 in eu-west-1 failed: InvalidAMIID.NotFound: The image id '[ami-0123456789abcdef0]' does not exist (request req-4711)
    hint: the image does not exist in eu-west-1 (ids differ from region to region), or it is not shared with this account, or the Allowed AMIs settings of the account hide it
    ");
}

#[tokio::test]
async fn missing_capacity_is_told_after_one_attempt() {
    let endpoint = Endpoint::with([refused(
        500,
        "InsufficientInstanceCapacity",
        "We currently do not have sufficient c7i.large capacity in the Availability Zone you requested (eu-west-1a).",
    )])
    .await;
    let error = endpoint
        .gateway()
        .await
        .run_instance(&launch())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Capacity);
    assert_eq!(error.outcome(), Outcome::DidNotHappen);
    assert_eq!(endpoint.requests().len(), 1);
    insta::assert_snapshot!(said(&error), @r"
    RunInstances of c7i.large from ami-0123456789abcdef0 in eu-west-1 failed: InsufficientInstanceCapacity: We currently do not have sufficient c7i.large capacity in the Availability Zone you requested (eu-west-1a). (request req-4711)
    hint: AWS has none of this type left in this zone right now: name more instance types or subnets of other zones in `[builder]`
    ");
}

#[tokio::test]
async fn a_fault_is_repeated_with_the_same_token_and_stays_uncertain() {
    let endpoint =
        Endpoint::start(|_| refused(500, "InternalError", "An internal error has occurred")).await;
    let error = endpoint
        .gateway()
        .await
        .run_instance(&launch())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Server);
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(error.attempts(), 3);
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| request.get("ClientToken") == Some("bake-1-builder"))
    );
}

#[tokio::test]
async fn throttling_is_outwaited_and_changes_nothing() {
    let endpoint = Endpoint::with([
        refused(503, "RequestLimitExceeded", "Request limit exceeded."),
        launched(),
    ])
    .await;
    let instance = endpoint
        .gateway()
        .await
        .run_instance(&launch())
        .await
        .unwrap();
    assert_eq!(instance.id.as_str(), "i-0123456789abcdef0");

    let endpoint = Endpoint::with([
        refused(503, "RequestLimitExceeded", "Request limit exceeded."),
        refused(
            400,
            "InvalidAMIName.Duplicate",
            "AMI name base 1 is already in use",
        ),
    ])
    .await;
    let error = endpoint
        .gateway()
        .await
        .create_image(&image())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Duplicate);
    assert_eq!(error.outcome(), Outcome::DidNotHappen);
}

#[tokio::test]
async fn a_duplicate_after_a_lost_reply_may_be_our_own() {
    let endpoint = Endpoint::with([
        Answer::Reset,
        refused(
            400,
            "InvalidAMIName.Duplicate",
            "AMI name base 1 is already in use by AMI ami-0aaaaaaaaaaaaaaaa",
        ),
    ])
    .await;
    let error = endpoint
        .gateway()
        .await
        .create_image(&image())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Duplicate);
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(error.attempts(), 2);
    insta::assert_snapshot!(said(&error), @r"
    CreateImage of i-0123456789abcdef0 in eu-west-1 failed after 2 attempts: InvalidAMIName.Duplicate: AMI name base 1 is already in use by AMI ami-0aaaaaaaaaaaaaaaa (request req-4711)
    hint: an image of this name exists; deregister it, or let the name carry the date
    ");
}

#[tokio::test]
async fn a_lost_reply_is_repeated_and_then_good() {
    let endpoint = Endpoint::with([Answer::Reset, image_made()]).await;
    let id = endpoint
        .gateway()
        .await
        .create_image(&image())
        .await
        .unwrap();
    assert_eq!(id.as_str(), "ami-0aaaaaaaaaaaaaaaa");
}

#[tokio::test]
async fn resets_to_the_end_are_uncertain() {
    let endpoint = Endpoint::start(|_| Answer::Reset).await;
    let error = endpoint
        .gateway()
        .await
        .create_image(&image())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Lost);
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(endpoint.requests().len(), 3);
}

#[tokio::test]
async fn no_answer_in_time_is_uncertain() {
    let endpoint = Endpoint::start(|_| Answer::Hang).await;
    let gateway = endpoint
        .gateway_with(Limits {
            attempt_timeout: Duration::from_millis(200),
            attempts: 1,
            ..Limits::default()
        })
        .await;
    let error = gateway.create_image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Lost);
    assert_eq!(error.outcome(), Outcome::Unknown);
    insta::assert_snapshot!(said(&error), @r"
    CreateImage of i-0123456789abcdef0 in eu-west-1 failed: no answer in time
    hint: the reply was lost; forno looks by name and tags for what the call may have made
    ");
}

#[tokio::test]
async fn the_time_for_all_attempts_is_limited() {
    let endpoint = Endpoint::start(|_| Answer::Hang).await;
    let gateway = endpoint
        .gateway_with(Limits {
            operation_timeout: Duration::from_millis(300),
            ..Limits::default()
        })
        .await;
    let error = gateway.create_image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Lost);
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn nobody_there_is_certain() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = connect(
        &format!("http://{address}"),
        Limits {
            attempts: 2,
            ..Limits::default()
        },
    )
    .await;
    let error = gateway.run_instance(&launch()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert_eq!(error.outcome(), Outcome::DidNotHappen);
    assert_eq!(error.attempts(), 2);
    assert!(error.message().contains("onnection refused"), "{error}");
}

#[tokio::test]
async fn an_unreadable_reply_is_uncertain() {
    let endpoint = Endpoint::start(|_| Answer::Reply {
        status: 200,
        body: "<html>a captive portal</html>".to_owned(),
    })
    .await;
    let error = endpoint
        .gateway()
        .await
        .create_image(&image())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Lost);
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn a_reply_without_what_it_should_have_is_uncertain() {
    let endpoint = Endpoint::with([
        ok("CreateImage", ""),
        ok("CreateImage", "<imageId>nonsense</imageId>"),
    ])
    .await;
    let gateway = endpoint.gateway().await;
    for _ in 0..2 {
        let error = gateway.create_image(&image()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Lost);
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
}

#[tokio::test]
async fn a_missing_permission_names_the_call() {
    let endpoint = Endpoint::with([refused(
        403,
        "UnauthorizedOperation",
        "You are not authorized to perform this operation.",
    )])
    .await;
    let error = endpoint
        .gateway()
        .await
        .create_image(&image())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unauthorized);
    insta::assert_snapshot!(said(&error), @r"
    CreateImage of i-0123456789abcdef0 in eu-west-1 failed: UnauthorizedOperation: You are not authorized to perform this operation. (request req-4711)
    hint: the role or user lacks the permission for CreateImage, or a policy of the organisation denies it
    ");
}

#[tokio::test]
async fn expired_credentials_are_told_from_wrong_ones() {
    let endpoint = Endpoint::with([
        refused(400, "RequestExpired", "Request has expired."),
        refused(
            401,
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        ),
    ])
    .await;
    let gateway = endpoint.gateway().await;
    let expired = gateway.default_vpc().await.unwrap_err();
    assert_eq!(expired.kind(), Kind::Expired);
    let wrong = gateway.default_vpc().await.unwrap_err();
    assert_eq!(wrong.kind(), Kind::Credentials);
    assert!(wrong.hint().unwrap().contains("get-caller-identity"));
}

#[tokio::test]
async fn an_endpoint_must_be_a_url() {
    let error = crate::Gateway::connect(crate::Access {
        region: Some("eu-west-1".to_owned()),
        endpoint_url: Some("localhost:4566".to_owned()),
        ..crate::Access::default()
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Settings);
    insta::assert_snapshot!(error, @"connecting failed: `localhost:4566` is no endpoint: expected http:// or https://");
}

#[tokio::test]
async fn being_throttled_spends_no_attempt() {
    let throttled = || refused(503, "RequestLimitExceeded", "Request limit exceeded.");
    let fault = || refused(500, "InternalError", "An internal error has occurred");
    let two = Limits {
        attempts: 2,
        ..Limits::default()
    };
    let endpoint = Endpoint::with([throttled(), fault(), image_made()]).await;
    let gateway = endpoint.gateway_with(two.clone()).await;
    gateway.create_image(&image()).await.unwrap();

    let endpoint = Endpoint::with([throttled(), fault(), fault()]).await;
    let gateway = endpoint.gateway_with(two).await;
    let error = gateway.create_image(&image()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Server);
    assert_eq!(error.attempts(), 3);
}

/// Somebody who was there and is away is waited for.
#[tokio::test]
async fn a_network_that_is_away_for_a_while_spends_no_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async |listener: TcpListener| {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut request = Vec::new();
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        let Answer::Reply { body, .. } = image_made() else {
            unreachable!("it is one")
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
    };
    let once = Limits {
        attempts: 1,
        ..Limits::default()
    };
    let gateway = connect(&format!("http://{address}"), once).await;
    let image = image();
    let (made, ()) = tokio::join!(gateway.create_image(&image), answer(listener));
    made.unwrap();
    let back = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        answer(TcpListener::bind(address).await.unwrap()).await;
    };
    let (made, ()) = tokio::join!(gateway.create_image(&image), back);
    made.unwrap();
}
