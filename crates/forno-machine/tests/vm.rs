//! A virtual machine whose kernel gives up. That one boots, restarts and powers off
//! is shown by the bake on a virtual machine in the tests of the command line.

mod common;

use std::time::Duration;

use common::{Site, can_run, gone, source_disk};
use forno_machine::{Kind, OffReason};

/// Emulated, on a busy computer.
const BOOT: Duration = Duration::from_mins(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_told_from_a_restart() {
    if !can_run(Kind::Vm) {
        return;
    }
    let source = source_disk().await;
    let site = Site::start(Kind::Vm).await;
    let disk = site.copy_of(&source.path, "disk.raw").await;
    // The boot loader must still read its files, so only what it tells the kernel
    // to start is taken away, in the loader's own settings.
    take_init_away(&disk);
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

/// Overwrites the kernel's arguments in the boot loader's settings, in place: a
/// guest that has no root and whose first program is missing panics.
fn take_init_away(disk: &std::path::Path) {
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
        for offset in all_of(&buffer[..got], OLD) {
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

fn all_of(haystack: &[u8], needle: &[u8]) -> Vec<usize> {
    haystack
        .windows(needle.len())
        .enumerate()
        .filter(|(_, window)| *window == needle)
        .map(|(offset, _)| offset)
        .collect()
}
