//! Through a bastion: a real sshd, passed by the real ssh, to another sshd.

use std::time::Duration;

use forno_link::link::Discard;
use forno_link::testing::{self, Sshd};
use forno_link::{
    AgentSocket, Command, ErrorKind, Link, ProxyCommand, SshTarget, Watch, capture, connect,
};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

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

fn never() -> CancellationToken {
    CancellationToken::new()
}

fn known_hosts(server: &Sshd, host_key: &str) -> String {
    let known = server.dir().join("known_hosts");
    let (ip, port) = (server.address.ip(), server.address.port());
    fs_err::write(&known, format!("[{ip}]:{port} {host_key}\n")).unwrap();
    known.display().to_string()
}

/// As a recipe's `bastion` becomes one, with everything in the words that a person has
/// in their own settings.
fn through(bastion: &Sshd, agent: &AgentSocket, to: &Sshd) -> SshTarget {
    let words = [
        "ssh",
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        "-o",
        &format!("IdentityAgent={}", agent.path().display()),
        "-o",
        &format!(
            "UserKnownHostsFile={}",
            known_hosts(bastion, &bastion.host_key.line())
        ),
        "-l",
        &bastion.user,
        "-p",
        &bastion.address.port().to_string(),
        "-W",
        "%h:%p",
        &bastion.address.ip().to_string(),
    ]
    .map(str::to_owned);
    let mut target = to.target();
    target.dial = ProxyCommand::new(&words, to.address).into();
    target
}

async fn says(link: &dyn Link, script: &str) -> String {
    let output = capture(link, Command::shell(script), &never()).await;
    output.unwrap().stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_reached_through_a_bastion_by_everybody() {
    let (bastion, server) = (server!(), server!());
    let agent = AgentSocket::new(bastion.identity.clone()).unwrap();
    let link = server.link_to(through(&bastion, &agent, &server)).await;
    assert_eq!(says(&*link, "echo in").await, "in\n");
    // Both ways, and more than any pipe holds.
    let large = says(&*link, "head -c 700000 /dev/zero | tr '\\0' x").await;
    assert_eq!(large.len(), 700_000);

    // Ansible's ssh knows addresses only.
    let access = link.ssh_access().unwrap();
    assert!(access.address.ip().is_loopback());
    assert_ne!(access.address, server.address);
    let said = server.foreign(&access, "echo in as well").await;
    assert_eq!(said, "in as well\n");
    link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bastion_that_breaks_is_found_again() {
    let (bastion, server) = (server!(), server!());
    let agent = AgentSocket::new(bastion.identity.clone()).unwrap();
    let link = server.link_to(through(&bastion, &agent, &server)).await;
    let running = std::sync::Arc::clone(&link);
    let task = tokio::spawn(async move {
        let command = Command::shell("echo up; sleep 600");
        running.exec(command, Box::new(Discard), &never()).await
    });
    says(&*link, "true").await;
    bastion.end_connections(Signal::KILL);
    let error = task.await.unwrap().unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Lost(_)), "{error}");
    link.reconnect(Duration::from_mins(1), &Watch::none(), &never())
        .await
        .unwrap();
    assert_eq!(says(&*link, "echo again").await, "again\n");
    link.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bastion_that_refuses_is_not_asked_for_minutes() {
    let (bastion, server) = (server!(), server!());
    // Not the key that it knows.
    let agent = AgentSocket::new(server.identity.clone()).unwrap();
    let target = through(&bastion, &agent, &server);
    let error = connect(target, Duration::from_hours(1), &Watch::none(), &never())
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("Permission denied"), "{error}");
    assert!(error.hint().unwrap().contains("BatchMode"), "{error:?}");
}
