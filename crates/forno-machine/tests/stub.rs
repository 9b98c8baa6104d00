//! Stubs, with OpenSSH as their client.

mod common;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use common::{DETACH, Site, agent, gone, script};
use forno_machine::{Ended, ErrorKind, Kind, Machine, OffReason, Status, disk};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);

async fn stub(site: &Site, number: u8) -> Machine {
    let path = site.dir.path().join(format!("disk-{number}"));
    disk::make_stub_disk(&path).unwrap();
    site.host.launch(site.spec(number, path)).await.unwrap()
}

fn client(site: &Site, address: SocketAddr, command: &str) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .arg("-i")
        .arg(&site.key)
        .args(["-p", &address.port().to_string()])
        .arg(format!("admin@{}", address.ip()))
        .arg(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    ssh
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stub_runs_commands_as_a_machine_does() {
    let site = Site::start(Kind::Stub).await;
    let machine = stub(&site, 51).await;
    assert!(machine.booted().await);
    let address = machine.ssh_address();
    // With the host key from the user data pinned.
    let said = site
        .first_ssh(
            &machine,
            "echo $FORNO_STUB; pwd; sudo -n -H -u root FOO=bar sh -c 'echo $FOO'",
            SOON,
        )
        .await;
    assert!(said.starts_with("1\n"), "{said}");
    assert!(said.contains("/scratch\n"), "{said}");
    assert!(said.ends_with("bar\n"), "{said}");

    let output = client(&site, address, "echo out; echo err >&2; exit 7")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"out\n");
    assert_eq!(output.stderr, b"err\n");

    let mut banner = [0; 4];
    let mut stream = machine.dial(22).await.unwrap();
    stream.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-");
    let refused = machine.dial(1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);

    // Much data both ways, and the end of input.
    let big = vec![b'x'; 5 << 20];
    let mut child = client(&site, address, "cat > big; wc -c < big; cat big")
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = big.clone();
    tokio::spawn(async move {
        stdin.write_all(&sent).await.unwrap();
    });
    let output = child.wait_with_output().await.unwrap();
    let expected = [format!("{}\n", big.len()).into_bytes(), big].concat();
    assert!(output.stdout == expected, "{} bytes", output.stdout.len());

    // A client that goes away takes its command along.
    let mut child = client(&site, address, "echo $$ > pid; sleep 1000 & wait")
        .spawn()
        .unwrap();
    let pid = site
        .ssh_until(address, "cat pid", |pid| !pid.trim().is_empty())
        .await;
    child.kill().await.unwrap();
    let gone = format!("kill -0 {} 2>/dev/null || echo gone", pid.trim());
    site.ssh_until(address, &gone, |said| said.contains("gone"))
        .await;

    // Something in the background does not hold the session.
    let output = client(&site, address, "sleep 1000 & echo started").output();
    let output = tokio::time::timeout(SOON, output).await.unwrap().unwrap();
    assert_eq!(output.stdout, b"started\n");
    site.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_without_ssh() {
    let site = Site::start(Kind::Stub).await;
    let machine = stub(&site, 56).await;
    assert!(machine.has_agent());
    let said = agent(
        &machine,
        "one",
        "echo $FORNO_STUB $AWS_SSM_INSTANCE_ID; echo err >&2\nwc -c; exit 7",
    );
    let expected = ("1 i-1\n0\n".to_owned(), "err\n".to_owned(), Ended::Code(7));
    assert_eq!(said.await, expected);
    let (out, _, ended) = agent(&machine, "two", "#!/usr/bin/env python3\nprint(1 + 1)\n").await;
    assert_eq!((out.as_str(), ended), ("2\n", Ended::Code(0)));
    let (_, _, ended) = agent(&machine, "three", "kill -TERM $$").await;
    assert_eq!(ended, Ended::Code(143), "as the shell above it tells");
    let error = machine.run(script("../four", "")).await.unwrap_err();
    assert!(error.to_string().contains("name"), "{error}");

    // Killed with what it started; what it wrote before is there.
    let text = "echo begun; sleep 4742 & sleep 4742";
    let mut running = machine.run(script("five", text)).await.unwrap();
    let mut begun = [0; 6];
    let mut stdout = running.stdout.take().unwrap();
    stdout.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"begun\n");
    running.kill();
    assert_eq!(running.ended().await, Ended::Signal(9));
    assert_eq!(stdout.read(&mut begun).await.unwrap(), 0, "all have let go");

    // It ends with the boot, and there is a way into the next one.
    let mut running = machine.run(script("six", "sleep 4742")).await.unwrap();
    let mut status = machine.status();
    machine.reboot().await.unwrap();
    assert_eq!(running.ended().await, Ended::Signal(9));
    let up = status.wait_for(|status| *status == Status::Rebooting).await;
    drop(up.unwrap());
    let up = status.wait_for(|status| *status == Status::Running).await;
    drop(up.unwrap());
    let (out, _, _) = agent(&machine, "seven", "echo again").await;
    assert_eq!(out, "again\n");
    // A script may end its own machine.
    let (_, _, ended) = agent(&machine, "eight", "shutdown -h now").await;
    assert_eq!(ended, Ended::Code(0));
    assert_eq!(machine.off().await, OffReason::GuestShutdown);
    assert!(machine.run(script("nine", "true")).await.is_err());
    site.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_in() {
    let site = Site::start(Kind::Stub).await;
    let machine = stub(&site, 52).await;
    let (other, _) = common::make_key(site.dir.path(), "other").await;
    let address = machine.ssh_address();
    let status = Command::new("ssh")
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-i"])
        .arg(&other)
        .args(["-p", &address.port().to_string()])
        .arg(format!("admin@{}", address.ip()))
        .arg("true")
        .stderr(Stdio::null())
        .status()
        .await
        .unwrap();
    assert_eq!(status.code(), Some(255));
    site.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stub_restarts_ends_and_keeps_its_disk() {
    let site = Site::start(Kind::Stub).await;
    let machine = stub(&site, 53).await;
    let address = machine.ssh_address();
    let boot_id = "cat \"$FORNO_STUB_BOOT_ID\"";
    let first = site.first_ssh(&machine, boot_id, SOON).await;
    site.ssh(address, "mkdir -p a && echo kept > a/file")
        .await
        .unwrap();
    drop(site.ssh(address, "sudo systemctl reboot").await);
    let second = site.ssh_until(address, boot_id, |id| id != first).await;
    machine.reboot().await.unwrap();
    site.ssh_until(address, boot_id, |id| id != second).await;
    assert_eq!(machine.power_off(SOON).await, OffReason::GuestShutdown);

    let copy = site.copy_of(&site.dir.path().join("disk-53"), "copy").await;
    let again = site.host.launch(site.spec(54, copy)).await.unwrap();
    let kept = site.first_ssh(&again, "cat a/file", SOON).await;
    assert_eq!(kept, "kept\n");
    drop(site.ssh(again.ssh_address(), "sudo shutdown -h now").await);
    assert_eq!(again.off().await, OffReason::GuestShutdown);
    let error = again.reboot().await.unwrap_err();
    assert!(error.to_string().contains("powered off"), "{error}");
    let dir = site.dir.path().to_owned();
    site.host.shutdown().await;
    gone(&dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_its_session_ends_with_the_boot() {
    let site = Site::start(Kind::Stub).await;
    let machine = stub(&site, 55).await;
    let address = machine.ssh_address();
    let memory = site.first_ssh(&machine, DETACH, SOON).await;
    let memory = std::path::Path::new(&memory);
    let of_this_stub = memory.as_os_str().as_encoded_bytes();
    assert_eq!(common::with_environment(of_this_stub), 1);
    // It outlives its connection, and no boot.
    machine.reboot().await.unwrap();
    let empty = "[ -e \"$FORNO_STUB_MEMORY/left\" ] || echo empty";
    site.ssh_until(address, empty, |said| said == "empty\n")
        .await;
    assert_eq!(common::with_environment(of_this_stub), 0);
    site.ssh(address, DETACH).await.unwrap();
    assert_eq!(machine.power_off(SOON).await, OffReason::GuestShutdown);
    assert_eq!(common::with_environment(of_this_stub), 0);
    assert!(!memory.exists());
    site.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_stubs_at_once() {
    let site = Site::start(Kind::Stub).await;
    let site = &site;
    let stubs = futures::future::join_all((60..160).map(|number| stub(site, number))).await;
    let run = stubs
        .iter()
        .map(|machine| site.first_ssh(machine, "echo here", SOON * 4));
    let said = futures::future::join_all(run).await;
    assert!(said.iter().all(|line| line == "here\n"));
    futures::future::join_all(stubs.iter().map(Machine::kill)).await;
}
