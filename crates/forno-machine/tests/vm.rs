//! A virtual machine from the same disk.

mod common;

use std::time::{Duration, Instant};

use common::{Site, can_run, gone, source_disk};
use forno_machine::{Kind, OffReason};

/// Emulated, on a busy computer.
const BOOT: Duration = Duration::from_mins(20);

#[tokio::test(flavor = "multi_thread")]
async fn the_same_disk_boots_as_a_virtual_machine() {
    if !can_run(Kind::Vm) {
        return;
    }
    let source = source_disk().await;
    let site = Site::start(Kind::Vm).await;
    let disk = site.copy_of(&source.path, "disk.raw").await;
    let began = Instant::now();
    let machine = site.host.launch(site.spec(31, disk)).await.unwrap();
    let booted = tokio::time::timeout(BOOT, machine.booted()).await;
    let console = || String::from_utf8_lossy(&machine.console()).into_owned();
    assert_eq!(booted, Ok(true), "{}", console());
    println!("login prompt {:.1?}", began.elapsed());
    site.first_ssh(&machine, "true", BOOT).await;
    println!("first ssh command done {:.1?}", began.elapsed());
    let address = machine.ssh_address();
    let facts = site
        .ssh(address, "cloud-init status --wait; cloud-init query cloud_name; test -e /var/lib/user-data-ran && echo ran; systemd-detect-virt")
        .await
        .unwrap();
    assert!(facts.contains("status: done"), "{facts}");
    assert!(facts.contains("aws"), "{facts}");
    assert!(facts.contains("ran"), "{facts}");
    let failed = site
        .ssh(address, "systemctl --failed --no-legend --plain")
        .await
        .unwrap();
    assert_eq!(failed.trim(), "", "failed units");
    site.ssh(address, "getent hosts localhost && sudo apt-get update -q")
        .await
        .unwrap();
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let before = site.ssh(address, boot_id).await.unwrap();
    drop(site.ssh(address, "sudo systemctl reboot").await);
    let after = tokio::time::timeout(BOOT, async {
        loop {
            match site.ssh(address, boot_id).await {
                Ok(id) if id != before => break,
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    })
    .await;
    assert!(after.is_ok(), "no second boot: {}", console());
    println!("second boot done {:.1?}", began.elapsed());
    assert_eq!(machine.power_off(BOOT).await, OffReason::GuestShutdown);
    let dir = site.dir.path().to_owned();
    site.host.shutdown().await;
    gone(&dir).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_from_a_restart() {
    if !can_run(Kind::Vm) {
        return;
    }
    let source = source_disk().await;
    let site = Site::start(Kind::Vm).await;
    let disk = site.copy_of(&source.path, "disk.raw").await;
    // Without its file system the kernel has nothing to mount. The boot loader
    // must still read its files, so only the label by which the kernel looks
    // for its root is taken away, in the loader's own settings.
    rename_root_label(&disk);
    let machine = site.host.launch(site.spec(32, disk)).await.unwrap();
    let reason = tokio::time::timeout(BOOT, machine.off()).await.unwrap();
    assert!(
        matches!(&reason, OffReason::Panic(line) if line.contains("Kernel panic")),
        "{reason:?}: {}",
        String::from_utf8_lossy(&machine.console())
    );
    let dir = site.dir.path().to_owned();
    site.host.shutdown().await;
    gone(&dir).await;
}

/// Overwrites `rw console=tty0` by `init=/nothing` and blanks in the boot
/// loader's settings, in place: a guest whose first program is missing panics.
fn rename_root_label(disk: &std::path::Path) {
    use std::os::unix::fs::FileExt;
    const OLD: &[u8] = b"root=LABEL=root rw console=tty0";
    const NEW: &[u8] = b"rdinit=/nothing console=ttyS0  ";
    assert_eq!(OLD.len(), NEW.len());
    let file = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk)
        .unwrap();
    let length = file.metadata().unwrap().len();
    let mut at = 0;
    let mut buffer = vec![0; 4 << 20];
    let mut hits = 0;
    while at < length {
        let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) else {
            break;
        };
        at = data;
        let got = file.file().read_at(&mut buffer, at).unwrap();
        for offset in memchr_all(&buffer[..got], OLD) {
            file.file().write_all_at(NEW, at + offset as u64).unwrap();
            hits += 1;
        }
        if got == 0 {
            break;
        }
        // Its file is smaller than a block and so within one chunk.
        at += got as u64;
    }
    assert!(hits > 0, "the boot loader's settings were not found");
}

fn memchr_all(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    haystack
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(offset, _)| offset)
        .collect()
}
