//! SSH through sessions, and what foreign clients see of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forno_link::link::Discard;
use forno_link::ssm::{Forward, InstancePort};
use forno_link::testing::Sshd;
use forno_link::{
    Command, ErrorKind, Exit, FileTarget, Link, SshLink, SshTarget, Stdin, Watch, capture, connect,
    testing,
};
use tokio_util::sync::CancellationToken;

use crate::service::{Faults, Service};
use crate::site;

fn never() -> CancellationToken {
    CancellationToken::new()
}

macro_rules! server {
    () => {
        match testing::sshd().await {
            Ok(server) => server,
            Err(reason) => {
                forno_testing::skip(reason);
                return;
            }
        }
    };
}

fn target(server: &Sshd, port: &InstancePort) -> SshTarget {
    let direct = server.target();
    SshTarget::new(port.clone(), direct.user, direct.host_key, direct.auth)
}

async fn reach(target: SshTarget) -> Result<SshLink, forno_link::Error> {
    connect(target, Duration::from_mins(1), &Watch::none(), &never()).await
}

async fn linked(server: &Sshd) -> (Arc<Service>, Arc<SshLink>) {
    let (service, port) = site(server.address.port()).await;
    let link = reach(target(server, &port)).await.unwrap();
    (service, Arc::new(link))
}

async fn says(link: &dyn Link, script: &str) -> String {
    let output = capture(link, Command::shell(script), &never()).await;
    output.unwrap().stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_and_the_session_ends_with_the_link() {
    let server = server!();
    let (service, link) = linked(&server).await;
    assert_eq!(link.peer(), format!("{}@i-0123456789abcdef0", server.user));
    let command = Command::shell("cat; echo no >&2; exit 3").stdin(Stdin::Bytes("yes".into()));
    let output = capture(&*link, command, &never()).await.unwrap();
    assert_eq!(
        (output.exit, output.stdout.as_str(), output.stderr.as_str()),
        (Exit::Code(3), "yes", "no\n")
    );
    let started = Instant::now();
    for _ in 0..20 {
        says(&*link, "true").await;
    }
    println!("a short command: {:?}", started.elapsed() / 20);
    assert_eq!(service.sessions(), 1);
    link.close().await;
    assert!(!link.is_connected());
    service.until_no_session().await;
    link.reconnect(Duration::from_mins(1), &Watch::none(), &never())
        .await
        .unwrap();
    assert_eq!(says(&*link, "echo again").await, "again\n");
    drop(link);
    service.until_no_session().await;
    assert_eq!(*service.terminated.lock().unwrap(), ["forno-0", "forno-1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_both_ways_while_the_gateway_closes_and_loses() {
    const SIZE: usize = 32 << 20;
    let server = server!();
    let (service, port) = site(server.address.port()).await;
    service.set_faults(Faults {
        lost: 1,
        doubled: 5,
        swapped: 5,
        close_after: Some(25_000),
    });
    let link = reach(target(&server, &port)).await.unwrap();
    let content: Vec<u8> = (0..SIZE / 4)
        .flat_map(|n| u32::try_from(n).unwrap().to_be_bytes())
        .collect();
    let path = server.dir().join("there");
    let to = FileTarget::new(path.to_str().unwrap());
    let started = Instant::now();
    link.upload_bytes(Bytes::from(content.clone()), &to, &never())
        .await
        .unwrap();
    let up = started.elapsed();
    let between = Instant::now();
    assert!(fs_err::read(&path).unwrap() == content);
    let back = server.dir().join("back");
    let progress = forno_link::Progress::none();
    link.download_file(path.to_str().unwrap(), &back, false, progress, &never())
        .await
        .unwrap();
    let down = between.elapsed();
    assert!(fs_err::read(&back).unwrap() == content);
    let resumed = service.resumed.load(std::sync::atomic::Ordering::Relaxed);
    println!("32 MiB by SSH: up {up:?}, down {down:?}, the connection resumed {resumed} times");
    assert!(resumed > 0);
}

/// A command goes on as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_outlives_its_connections() {
    let server = server!();
    let (service, link) = linked(&server).await;
    let closing = Arc::clone(&service);
    let closer = tokio::spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            closing.bye();
        }
    });
    let said = says(
        &*link,
        "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.1; done",
    )
    .await;
    assert_eq!(said, "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
    closer.await.unwrap();
    assert_eq!(says(&*link, "echo still").await, "still\n");
}

#[tokio::test]
async fn an_agent_that_is_offline_is_waited_for() {
    let server = server!();
    let (service, port) = site(server.address.port()).await;
    service.set_online(false);
    let mut target = target(&server, &port);
    target.timing.pause = Duration::from_millis(50);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, online) = (Arc::clone(&seen), Arc::clone(&service));
    let watch = Watch::new(move |attempt| {
        log.lock().unwrap().push(attempt.problem.to_string());
        if attempt.number == 3 {
            online.set_online(true);
        }
    });
    let link = connect(target, Duration::from_mins(1), &watch, &never())
        .await
        .unwrap();
    assert_eq!(says(&link, "echo here").await, "here\n");
    assert_eq!(
        seen.lock().unwrap()[..],
        [
            "not reachable through Systems Manager: StartSession: TargetNotConnected: i-0123456789abcdef0 is not connected.",
        ]
        .repeat(3)
    );
}

#[tokio::test]
async fn an_sshd_that_is_not_up_yet_is_named_and_hinted_at() {
    let server = server!();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let number = closed.local_addr().unwrap().port();
    drop(closed);
    let (service, port) = site(number).await;
    let mut target = target(&server, &port);
    target.timing.pause = Duration::from_millis(50);
    let error = connect(target, Duration::from_millis(800), &Watch::none(), &never())
        .await
        .map(drop)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("@i-0123456789abcdef0: gave up after")
            && text.ends_with("connection refused: nothing listens on that port"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("sshd is not running yet"));
    service.until_no_session().await;
}

/// Which of the two ways it was lost by is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_says_why() {
    let server = server!();
    let (service, link) = linked(&server).await;
    let running = Arc::clone(&link);
    let task = tokio::spawn(async move {
        let command = Command::shell("echo up; sleep 30");
        running.exec(command, Box::new(Discard), &never()).await
    });
    says(&*link, "true").await;
    service.end_sessions("Your session has been terminated by an administrator");
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Lost(_)), "{error}");
    assert!(
        error.to_string().contains("terminated by an administrator"),
        "{error}"
    );
}

/// As Ansible's: an address, a key from an agent, a pinned host key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_client_reaches_the_machine() {
    let server = server!();
    let (service, link) = linked(&server).await;
    let access = link.ssh_access().unwrap();
    assert!(access.address.ip().is_loopback());
    // The same, as long as the link lives.
    assert_eq!(link.ssh_access().unwrap().address, access.address);
    assert_eq!(server.foreign(&access, "echo in").await, "in\n");
    drop(link);
    service.until_no_session().await;
    let gone = tokio::net::TcpStream::connect(access.address).await;
    assert!(gone.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_tells_of_its_failures_and_ends_with_its_holder() {
    let server = server!();
    let (service, port) = site(server.address.port()).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let forward = Forward::listen(port, 0, move |error| {
        let _ = tell.send(error.to_string());
    })
    .unwrap();
    let mut direct = server.target();
    direct.dial = forward.address().into();
    let links = [reach(direct.clone()), reach(direct.clone())];
    let links = futures::future::try_join_all(links).await.unwrap();
    for link in &links {
        assert_eq!(says(link, "echo through").await, "through\n");
    }
    assert_eq!(service.sessions(), 2);
    service.set_online(false);
    direct.timing.pause = Duration::from_millis(50);
    let within = Duration::from_millis(300);
    let failed = connect(direct, within, &Watch::none(), &never()).await;
    assert!(failed.is_err());
    let error = told.recv().await.unwrap();
    assert!(
        error.starts_with("i-0123456789abcdef0: not reachable through Systems Manager"),
        "{error}"
    );
    drop(forward);
    service.until_no_session().await;
}
