//! Nothing of a host outlives its process, however that ends.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{Site, can_run, gone, probe, source_disk, traces_of};
use forno_machine::{Host, HostConfig, Kind, MachineSpec};
use rustix::process::{Pid, Signal, kill_process};
use sha2::Digest;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// A process that holds a host with one machine.
async fn hold(kind: Kind, run_dir: &Path, spec: &MachineSpec) -> (Child, SocketAddr) {
    fs_err::create_dir_all(run_dir).unwrap();
    let mut child = Command::new(probe())
        .arg("hold")
        .arg(kind.as_str())
        .arg(run_dir)
        .arg(&spec.disk)
        .arg(&spec.imds_socket)
        .arg(spec.public_address.to_string())
        .args(spec.data_disks.iter().map(|data| &data.disk))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let line = BufReader::new(out).lines().next_line().await.unwrap();
    let address = line.expect("the holder starts").parse().unwrap();
    (child, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_its_session_dies_with_the_stubs_killed_host() {
    let site = Site::start(Kind::Stub).await;
    let path = site.dir.path().join("disk");
    forno_machine::disk::make_stub_disk(&path).unwrap();
    let spec = site.spec(47, path);
    let run_dir = site.dir.path().join("held");
    let (mut child, address) = hold(Kind::Stub, &run_dir, &spec).await;
    let memory = site.ssh(address, common::DETACH).await.unwrap();
    let value = memory.as_bytes();
    assert!(common::with_environment(value) > 0, "{memory}");
    kill(child.id().unwrap());
    child.wait().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while common::with_environment(value) > 0 || Path::new(&memory).exists() {
        assert!(Instant::now() < deadline, "{memory} is still in use");
        sleep(Duration::from_millis(20)).await;
    }
}

/// All descendants of a process, itself first.
fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut at = 0;
    let all = fs_err::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat
                .rsplit_once(')')?
                .1
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()?;
            Some((pid, parent))
        })
        .collect::<Vec<(u32, u32)>>();
    while at < members.len() {
        let parent = members[at];
        members.extend(
            all.iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    members
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(')')
            .unwrap()
            .1
            .trim_start()
            .starts_with('Z')
    })
}

async fn all_dead(pids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while pids.iter().any(|&pid| alive(pid)) {
        assert!(Instant::now() < deadline, "some of {pids:?} live on");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The control groups of the host with this run folder.
fn control_groups(run_dir: &Path) -> Vec<String> {
    let digest = hex::encode(sha2::Sha256::digest(run_dir.as_os_str().as_encoded_bytes()));
    let name = format!("/forno-{}", &digest[..16]);
    [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/unified",
    ]
    .iter()
    .filter_map(|folder| fs_err::read_dir(folder).ok())
    .flatten()
    .flatten()
    .map(|entry| entry.path().display().to_string())
    .filter(|path| path.ends_with(&name))
    .collect()
}

async fn killed_without_trace(kind: Kind) {
    let source = source_disk().await;
    let site = Site::start(Kind::Stub).await;
    let disk = site.copy_of(&source.path, "disk.raw").await;
    let data = site.empty_disk("data.raw");
    let spec = MachineSpec {
        data_disks: vec![data.clone()],
        ..site.spec(41 + kind as u8, disk)
    };
    let run_dir = site.dir.path().join("held");
    let (mut child, address) = hold(kind, &run_dir, &spec).await;
    if kind == Kind::Container {
        assert!(!control_groups(&run_dir).is_empty());
    }
    let pid = child.id().unwrap();
    let members = family(pid);
    assert!(members.len() >= 3, "holder, guardian, machine: {members:?}");
    kill(pid);
    child.wait().await.unwrap();
    all_dead(&members).await;
    gone(&run_dir).await;
    gone(&spec.disk).await;
    gone(&data.disk).await;
    // The port is free again.
    tokio::net::TcpListener::bind(address).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !control_groups(&run_dir).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", control_groups(&run_dir));
        sleep(Duration::from_millis(50)).await;
    }

    // Now the guardian as well, at the same moment. The next host finds the
    // place clean and can use the same disk at once.
    let (mut child, _) = hold(kind, &run_dir, &spec).await;
    let members = family(child.id().unwrap());
    let guardians = members[1..].iter().copied().filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("__machine-guardian"))
    });
    for pid in guardians.chain([members[0]]) {
        // The first of them takes others along.
        let _ = kill_process(
            Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            Signal::KILL,
        );
    }
    child.wait().await.unwrap();
    let host = Host::start(HostConfig {
        run_dir: run_dir.clone(),
        cache_dir: site.dir.path().join("cache"),
        kind: Some(kind),
        helper_exe: Some(probe()),
    })
    .await
    .unwrap();
    all_dead(&members).await;
    let machine = host.launch(spec.clone()).await.unwrap();
    machine.kill().await;
    assert_eq!(traces_of(&spec.disk), Vec::<String>::new());
    assert_eq!(traces_of(&data.disk), Vec::<String>::new());
    host.shutdown().await;
    gone(&run_dir).await;
    assert_eq!(control_groups(&run_dir), Vec::<String>::new());
    site.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_takes_its_container_along() {
    if can_run(Kind::Container) {
        killed_without_trace(Kind::Container).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_takes_its_virtual_machine_along() {
    if can_run(Kind::Vm) {
        killed_without_trace(Kind::Vm).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_guardian_is_noticed() {
    if !can_run(Kind::Container) {
        return;
    }
    let source = source_disk().await;
    let site = Site::start(Kind::Container).await;
    let disk = site.copy_of(&source.path, "disk.raw").await;
    let machine = site.host.launch(site.spec(45, disk)).await.unwrap();
    let record = fs_err::read(site.dir.path().join("run/guardian.json")).unwrap();
    let record = serde_json::from_slice::<serde_json::Value>(&record).unwrap();
    kill(u32::try_from(record["pid"].as_u64().unwrap()).unwrap());
    let reason = machine.off().await;
    assert!(reason.to_string().contains("guardian"), "{reason}");
    let spec = site.spec(46, site.dir.path().join("disk.raw"));
    let error = site.host.launch(spec).await.unwrap_err();
    assert_eq!(error.kind(), forno_machine::ErrorKind::Guardian);
    let dir = site.dir.path().join("run");
    site.host.shutdown().await;
    gone(&dir).await;
    assert_eq!(control_groups(&dir), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_that_nobody_waits_for_leaves_no_machine() {
    if !can_run(Kind::Container) {
        return;
    }
    let source = source_disk().await;
    let site = Site::start(Kind::Container).await;
    let disk = site.copy_of(&source.path, "disk.raw").await;
    let mut launch = Box::pin(site.host.launch(site.spec(47, disk.clone())));
    // Begun, and given up at its first pause.
    assert!(futures::poll!(launch.as_mut()).is_pending());
    drop(launch);
    // The same disk and address can be had again.
    let deadline = Instant::now() + Duration::from_mins(1);
    let machine = loop {
        let spec = MachineSpec {
            id: "i-again".to_owned(),
            ..site.spec(48, disk.clone())
        };
        match site.host.launch(spec).await {
            Ok(machine) => break machine,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        fs_err::remove_dir_all(site.dir.path().join("i-00000000000000030")).unwrap();
        sleep(Duration::from_millis(100)).await;
    };
    machine.kill().await;
    assert_eq!(traces_of(&disk), Vec::<String>::new());
    site.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_folder_has_one_living_host() {
    let site = Site::start(Kind::Stub).await;
    let error = Host::start(HostConfig {
        run_dir: site.dir.path().join("run"),
        cache_dir: site.dir.path().join("cache"),
        kind: Some(Kind::Stub),
        helper_exe: Some(probe()),
    })
    .await
    .unwrap_err();
    assert!(error.to_string().contains("alive"), "{error}");
    site.host.shutdown().await;
}
