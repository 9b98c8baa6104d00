//! Containers from Debian's disk: what a bake does with a machine, for real.

mod common;

use std::time::{Duration, Instant};

use common::{Site, agent, can_run, gone, script, source_disk, traces_of};
use forno_machine::{Ended, ErrorKind, Kind, Machine, MachineSpec, OffReason, Status, grow_disk};
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, BufReader};

const BOOT: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_container_lives_a_whole_life() {
    if !can_run(Kind::Container) {
        return;
    }
    let source = source_disk().await;
    let site = Site::start(Kind::Container).await;
    let disk = site.copy_of(&source.path, "first.raw").await;
    grow_disk(&disk, 10 << 30).unwrap();
    let data = site.empty_disk("data.raw");
    let spec = MachineSpec {
        data_disks: vec![data.clone()],
        ..site.spec(11, disk.clone())
    };
    let began = Instant::now();
    let machine = site.host.launch(spec).await.unwrap();
    let launched = began.elapsed();
    site.first_ssh(&machine, "true", BOOT).await;
    println!(
        "launch {launched:.2?}, first ssh command done {:.2?}",
        began.elapsed()
    );
    let address = machine.ssh_address();
    assert!(machine.booted().await);

    // Its own loopback, as an agent inside would reach it.
    let mut banner = [0; 4];
    let mut stream = machine.dial(22).await.unwrap();
    stream.read_exact(&mut banner).await.unwrap();
    assert_eq!(&banner, b"SSH-");
    let refused = machine.dial(1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);

    // cloud-init took its EC2 datasource, with version 2 of the service.
    site.ssh_until(
        address,
        "cloud-init status --wait; test -e /var/lib/user-data-ran && echo yes",
        |said| said.contains("status: done") && said.contains("yes"),
    )
    .await;
    let datasource = site
        .ssh(address, "cloud-init query cloud_name platform")
        .await;
    let datasource = match datasource {
        Ok(said) => said,
        Err(_) => site
            .ssh(address, "cloud-init query cloud_name")
            .await
            .unwrap(),
    };
    assert!(datasource.contains("aws"), "{datasource}");
    {
        let asked = site.asked.lock().unwrap();
        assert!(asked.iter().any(|line| line == "PUT /latest/api/token"));
    }
    let failed = site
        .ssh(address, "systemctl --failed --no-legend --plain")
        .await
        .unwrap();
    assert_eq!(failed.trim(), "", "failed units");

    // The root has the size of the disk.
    let capacity = site
        .ssh(address, "df --output=size -B1 / | tail -1")
        .await
        .unwrap();
    assert!(
        capacity.trim().parse::<u64>().unwrap() > 9 << 30,
        "{capacity}"
    );

    // The network works: names, packages.
    site.ssh(address, "sudo apt-get update -q").await.unwrap();
    let sudo = site.ssh(address, "sudo id -un 2>&1").await.unwrap();
    assert_eq!(sudo.trim(), "root");

    scripts_run_without_ssh(&machine).await;

    // The other disk is where it was to be, and takes a file system.
    let said = site
        .ssh(
            address,
            "lsblk -bndo SIZE /dev/sdf && sudo mkfs.ext4 -q /dev/sdf && sudo mount /dev/sdf /mnt && \
             echo here | sudo tee /mnt/data",
        )
        .await
        .unwrap();
    assert_eq!(
        said.split_whitespace().collect::<Vec<_>>(),
        ["1073741824", "here"]
    );

    // A restart: a new boot, the same disk and addresses.
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let before = site.ssh(address, boot_id).await.unwrap();
    site.ssh(address, "echo kept > kept && sync").await.unwrap();
    machine.reboot().await.unwrap();
    site.ssh_until(address, boot_id, |after| after != before)
        .await;
    let mut inside = site.ssh(address, boot_id).await.unwrap();
    assert_eq!(site.ssh(address, "cat kept").await.unwrap().trim(), "kept");
    // The same from inside.
    drop(site.ssh(address, "sudo systemctl reboot").await);
    inside = site
        .ssh_until(address, boot_id, |after| after != inside)
        .await;
    assert_ne!(inside, before);

    // Power off, then the disk boots again as another machine.
    assert_eq!(machine.power_off(BOOT).await, OffReason::GuestShutdown);
    assert_eq!(traces_of(&disk), Vec::<String>::new());
    assert_eq!(traces_of(&data.disk), Vec::<String>::new());
    let spec = MachineSpec {
        data_disks: vec![data.clone()],
        ..site.spec(12, site.copy_of(&disk, "second.raw").await)
    };
    let second = site.host.launch(spec).await.unwrap();
    let look = "cat kept && sudo mount /dev/sdf /mnt && cat /mnt/data";
    let kept = site.first_ssh(&second, look, BOOT).await;
    assert_eq!(
        kept.split_whitespace().collect::<Vec<_>>(),
        ["kept", "here"]
    );

    // The guest ends itself.
    drop(
        site.ssh(second.ssh_address(), "sudo systemctl poweroff")
            .await,
    );
    assert_eq!(second.off().await, OffReason::GuestShutdown);
    assert_eq!(traces_of(&data.disk), Vec::<String>::new());
    let dir = site.dir.path().to_owned();
    site.host.shutdown().await;
    gone(&dir).await;
}

/// As root in the guest, and in nothing of this computer.
async fn scripts_run_without_ssh(machine: &Machine) {
    let look = "
         id -u; hostname; pwd; cat /proc/1/comm; echo $AWS_SSM_INSTANCE_ID $HOME;
         env | grep -c FORNO; ps -e -o comm= | grep -c '^sshd$'; ls /var/lib/user-data-ran
         ps -o sid= -p $$ | tr -d ' ' | grep -qx $PPID && echo leads";
    let (out, err, ended) = agent(machine, "look", look).await;
    let lines = out.lines().collect::<Vec<_>>();
    assert_eq!(lines[0], "0", "{out} {err}");
    assert_eq!(&lines[2..6], ["/usr/bin", "systemd", "i-1", "0"], "{out}");
    assert_ne!(lines[6], "0", "{out}");
    assert_eq!(&lines[7..9], ["/var/lib/user-data-ran", "leads"], "{out}");
    assert_eq!(ended, Ended::Code(0));
    let (_, err, ended) = agent(machine, "nonsense", "#!/bin/bash\n[[ a == a ]] && exit 3").await;
    assert_eq!((err.as_str(), ended), ("", Ended::Code(3)));

    // More than pipes hold, and killed with all of its session.
    let text = "setsid sleep 4743 & sleep 4743 & seq 1 100000; exec sleep 4743";
    let mut running = machine.run(script("much", text)).await.unwrap();
    let mut stdout = BufReader::new(running.stdout.take().unwrap()).lines();
    let mut last = String::new();
    while last != "100000" {
        last = stdout.next_line().await.unwrap().unwrap();
    }
    running.kill();
    assert_eq!(running.ended().await, Ended::Signal(9));
    assert_eq!(stdout.next_line().await.unwrap(), None);
    let (out, _, _) = agent(
        machine,
        "after",
        "pgrep -x sleep; findmnt -no FSTYPE -T \"$0\"",
    )
    .await;
    assert_eq!(
        out, "tmpfs\n",
        "nothing is left, and nothing is on the disk"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_containers_reach_each_other() {
    if !can_run(Kind::Container) {
        return;
    }
    let source = source_disk().await;
    let site = Site::start(Kind::Container).await;
    let (a, b) = tokio::join!(
        site.copy_of(&source.path, "a.raw"),
        site.copy_of(&source.path, "b.raw")
    );
    let (a, b) = tokio::join!(
        site.host.launch(site.spec(21, a)),
        site.host.launch(site.spec(22, b))
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    tokio::join!(
        site.first_ssh(&a, "true", BOOT),
        site.first_ssh(&b, "true", BOOT)
    );
    site.ssh(a.ssh_address(), "ping -c 1 -W 5 172.31.5.22")
        .await
        .unwrap();
    site.ssh(b.ssh_address(), "ping -c 1 -W 5 172.31.5.21")
        .await
        .unwrap();
    // A service manager that shared its cgroup would end the other's server.
    site.ssh(a.ssh_address(), "sudo systemctl restart ssh")
        .await
        .unwrap();
    site.ssh(b.ssh_address(), "true").await.unwrap();

    // An address or a disk is one machine's at a time.
    let taken = site.spec(23, site.dir.path().join("a.raw"));
    let error = site.host.launch(taken).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");

    let mut status = a.status();
    assert_eq!(a.kill().await, OffReason::Killed);
    assert_eq!(*status.borrow_and_update(), Status::Off(OffReason::Killed));
    site.ssh(b.ssh_address(), "true").await.unwrap();

    // A disk is free as soon as its own machine is off, whatever others were
    // started while it was in use.
    let again = site.spec(24, site.dir.path().join("a.raw"));
    let again = site.host.launch(again).await.unwrap();
    assert_eq!(b.kill().await, OffReason::Killed);
    assert_eq!(
        traces_of(&site.dir.path().join("b.raw")),
        Vec::<String>::new()
    );
    let dir = site.dir.path().to_owned();
    site.host.shutdown().await;
    assert_eq!(again.off().await, OffReason::Killed);
    gone(&dir).await;
}
