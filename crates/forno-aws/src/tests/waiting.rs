//! Waits against an endpoint whose states move.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use super::endpoint::{Endpoint, instance_xml, instances, ok, refused};
use crate::{InstanceId, Limits, Wait, WaitError};

const LONG: Duration = Duration::from_mins(2);

fn wait(what: &str) -> Wait<'static> {
    Wait::new(what, LONG).every(Duration::from_millis(20))
}

#[tokio::test]
async fn a_machine_is_awaited_through_not_found_and_pending() {
    let mut look = 0;
    let endpoint = Endpoint::start(move |_| {
        look += 1;
        match look {
            1 => instances(&[]),
            2 => refused(400, "InvalidInstanceID.NotFound", "does not exist"),
            3 => instances(&[instance_xml("i-00000001", "pending", "")]),
            _ => instances(&[instance_xml(
                "i-00000001",
                "running",
                "<ipAddress>127.0.0.9</ipAddress>",
            )]),
        }
    })
    .await;
    let states = Mutex::new(Vec::new());
    let instance = endpoint
        .gateway()
        .await
        .await_running(
            &"i-00000001".parse().unwrap(),
            wait("it to run").on_heartbeat(|beat| states.lock().unwrap().push(beat.state)),
        )
        .await
        .unwrap();
    assert_eq!(instance.public_address, Some([127, 0, 0, 9].into()));
    assert_eq!(*states.lock().unwrap(), ["not visible yet", "pending"]);
}

#[tokio::test]
async fn a_machine_that_dies_on_the_way_says_why() {
    let endpoint = Endpoint::start(|_| {
        instances(&[instance_xml(
            "i-00000001",
            "terminated",
            "<stateReason><code>Server.InsufficientInstanceCapacity</code><message>Server.InsufficientInstanceCapacity: none left</message></stateReason>",
        )])
    })
    .await;
    let error = endpoint
        .gateway()
        .await
        .await_running(&"i-00000001".parse().unwrap(), wait("it to run"))
        .await
        .unwrap_err();
    assert!(error.reason().unwrap().is_on_their_side());
    assert_eq!(
        error.to_string(),
        "waiting for it to run (i-00000001): it is terminated: Server.InsufficientInstanceCapacity: none left"
    );
}

#[tokio::test]
async fn gone_from_sight_after_the_grace_is_terminated() {
    let mut look = 0;
    let endpoint = Endpoint::start(move |_| {
        look += 1;
        if look == 1 {
            instances(&[instance_xml("i-00000001", "shutting-down", "")])
        } else {
            instances(&[])
        }
    })
    .await;
    let gateway = endpoint.gateway().await;
    gateway
        .await_terminated(
            &"i-00000001".parse().unwrap(),
            wait("it to be gone").grace(Duration::from_millis(50)),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_stop_is_awaited_and_a_termination_ends_it() {
    let endpoint =
        Endpoint::start(|_| instances(&[instance_xml("i-00000001", "terminated", "")])).await;
    let error = endpoint
        .gateway()
        .await
        .await_stopped(&"i-00000001".parse().unwrap(), wait("it to stop"))
        .await
        .unwrap_err();
    assert!(matches!(error, WaitError::Failed { state, .. } if state == "terminated"));
}

#[tokio::test]
async fn many_waits_share_their_calls() {
    const MACHINES: usize = 20;
    let mut looks = 0;
    let endpoint = Endpoint::start(move |request| {
        looks += 1;
        let state = if looks < 6 { "pending" } else { "running" };
        let items: Vec<String> = request
            .filter("instance-id")
            .into_iter()
            .map(|id| instance_xml(id, state, ""))
            .collect();
        instances(&items)
    })
    .await;
    let gateway = endpoint
        .gateway_with(Limits {
            poll_spacing: Duration::from_millis(50),
            ..Limits::default()
        })
        .await;
    let waits: Vec<_> = (0..MACHINES)
        .map(|n| {
            let gateway = gateway.clone();
            let id: InstanceId = format!("i-{n:08x}").parse().unwrap();
            tokio::spawn(async move {
                gateway
                    .await_running(&id, wait("it to run"))
                    .await
                    .unwrap()
                    .id
            })
        })
        .collect();
    let mut running = BTreeSet::new();
    for wait in waits {
        running.insert(wait.await.unwrap());
    }
    assert_eq!(running.len(), MACHINES);
    // Each alone would have looked six times: 120 calls.
    let calls = endpoint.requests().len();
    assert!(calls < MACHINES, "{calls} calls");
}

#[tokio::test]
async fn an_image_shows_the_progress_of_its_snapshots() {
    let mut looks = 0;
    let endpoint = Endpoint::start(move |request| match request.action.as_str() {
        "DescribeImages" => {
            looks += 1;
            let state = if looks < 4 { "pending" } else { "available" };
            ok(
                "DescribeImages",
                &format!(
                    "<imagesSet><item><imageId>ami-00000001</imageId><imageState>{state}</imageState>\
                     <blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><snapshotId>snap-00000001</snapshotId></ebs></item></blockDeviceMapping>\
                     </item></imagesSet>"
                ),
            )
        }
        "DescribeSnapshots" => ok(
            "DescribeSnapshots",
            "<snapshotSet><item><snapshotId>snap-00000001</snapshotId><status>pending</status><progress>42%</progress></item></snapshotSet>",
        ),
        other => panic!("{other}"),
    })
    .await;
    let percents = Mutex::new(Vec::new());
    let states = Mutex::new(Vec::new());
    endpoint
        .gateway()
        .await
        .await_image(
            &"ami-00000001".parse().unwrap(),
            wait("it to be available").on_heartbeat(|beat| states.lock().unwrap().push(beat.state)),
            |percent| percents.lock().unwrap().push(percent),
        )
        .await
        .unwrap();
    assert_eq!(*percents.lock().unwrap(), [42, 42, 42, 100]);
    assert_eq!(*states.lock().unwrap(), ["pending, 42 %"]);
}

#[tokio::test]
async fn an_image_that_fails_says_why() {
    for state in ["failed", "error", "invalid", "deregistered", "disabled"] {
        let endpoint = Endpoint::start(move |_| {
            ok(
                "DescribeImages",
                &format!(
                    "<imagesSet><item><imageId>ami-00000001</imageId><imageState>{state}</imageState>\
                     <stateReason><code>Client.InstanceTerminated</code><message>Client.InstanceTerminated: went away</message></stateReason>\
                     </item></imagesSet>"
                ),
            )
        })
        .await;
        let error = endpoint
            .gateway()
            .await
            .await_image(
                &"ami-00000001".parse().unwrap(),
                wait("it to be available"),
                |_| {},
            )
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "waiting for it to be available (ami-00000001): it is {state}: Client.InstanceTerminated: went away"
            )
        );
    }
}
