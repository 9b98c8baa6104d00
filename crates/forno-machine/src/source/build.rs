//! The making itself: packages into a tree, settings over it, the tree into a
//! disk that boots by itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use jiff::Zoned;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::cache::{Record, Workshop};
use super::image::{DISK_BYTES, LABEL, PACKAGES, Plan, RELEASE};
use super::{certificates, sandbox};
use crate::disk::{ROOT_START, SECTOR, write_boot_record};
use crate::net::text;
use crate::{Error, ErrorKind, doctor};

const GRUB_MODULES_DIR: &str = "/usr/lib/grub/i386-pc";
const GRUB_MODULES: &[&str] = &[
    "biosdisk",
    "part_msdos",
    "ext2",
    "normal",
    "linux",
    "search",
    "search_label",
    "configfile",
    "echo",
    "test",
    "ls",
    "gzio",
    "minicmd",
    "serial",
    "terminal",
];
/// Where the boot record ends and the partition table begins.
const BOOT_CODE: usize = 440;

const TOOLS: [(&str, &str); 5] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("grub-mkimage", "grub-common"),
    ("unshare", "util-linux"),
    ("dpkg-query", "dpkg"),
];

/// Debian packages that are missing for the making of disks.
pub(crate) fn missing_packages() -> Vec<String> {
    let mut packages = TOOLS
        .iter()
        .filter(|(program, _)| !doctor::find_program(program))
        .map(|(_, package)| (*package).to_owned())
        .collect::<Vec<_>>();
    if !Path::new(GRUB_MODULES_DIR).join("boot.img").is_file() {
        packages.push("grub-pc-bin".to_owned());
    }
    packages
}

pub(super) fn check_tools() -> Result<(), Error> {
    let packages = missing_packages();
    if let Some(command) = doctor::install_command(&packages) {
        return Err(Error::new(
            ErrorKind::MissingTool,
            format!(
                "the source disk cannot be made without {}",
                packages.join(", ")
            ),
        )
        .with_hint(command));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new(
            ErrorKind::Unusable,
            "the source disk can only be made by root",
        )
        .with_hint("run once as root with the same cache folder; the disk is then found there"));
    }
    Ok(())
}

/// Makes the disk and its record in the workshop.
pub(super) async fn build(
    plan: &Plan,
    workshop: &Workshop,
    progress: &(dyn Fn(Progress) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let tree = workshop.dir.join("tree");
    install(plan, workshop, &tree, progress, cancel).await?;
    progress(Progress::Configuring);
    configure(plan, &tree)?;
    if !plan.certificates.is_empty() {
        trust(plan, &tree, cancel).await?;
    }
    let list = package_list(&tree, cancel).await?;
    progress(Progress::Packing);
    let disk = workshop.disk();
    pack(&tree, &disk, cancel).await?;
    make_bootable(workshop, &disk, cancel).await?;
    let now = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    workshop.write_record(&Record {
        date: now.strftime("%Y%m%d").to_string(),
        serial: now.strftime("%H%M").to_string(),
        packages_digest: hex::encode(Sha256::digest(list.join("\n"))),
        packages: list.len(),
        size_bytes: DISK_BYTES,
    })?;
    let path = workshop.dir.join("packages.txt");
    fs_err::write(&path, list.join("\n") + "\n").map_err(|e| Error::file("write", &path, e))?;
    fs_err::remove_dir_all(&tree).map_err(|e| Error::file("remove", &tree, e))
}

async fn install(
    plan: &Plan,
    workshop: &Workshop,
    tree: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<(), Error> {
    progress(Progress::Resolving);
    let sources = workshop.dir.join("debian.sources");
    fs_err::write(&sources, plan.sources.render())
        .map_err(|e| Error::file("write", &sources, e))?;
    let include = format!("--include={}", PACKAGES.join(","));
    let mut count = Count::default();
    sandbox::run(
        &[
            "mmdebstrap",
            "--verbose",
            "--mode=root",
            "--format=directory",
            "--variant=minbase",
            &include,
            "--aptopt=APT::Install-Recommends \"false\"",
            "--dpkgopt=force-unsafe-io",
            // Nothing starts while it is installed into a folder.
            "--customize-hook=chroot \"$1\" systemctl enable systemd-networkd.service",
            RELEASE,
            text(tree)?,
            text(&sources)?,
        ],
        &mut |line| {
            if count.hear(line) {
                progress(Progress::Packages {
                    done: count.done,
                    total: count.total,
                });
            }
        },
        cancel,
    )
    .await
}

/// Counts packages by what apt and dpkg say about each.
#[derive(Debug, Default)]
struct Count {
    done: usize,
    total: usize,
}

impl Count {
    /// True when the count has changed.
    fn hear(&mut self, line: &str) -> bool {
        if let Some(number) = newly_installed(line) {
            self.total += number;
            return true;
        }
        let done = line.starts_with("Setting up ") && self.done < self.total;
        if done {
            self.done += 1;
        }
        done
    }
}

fn newly_installed(line: &str) -> Option<usize> {
    let (before, _) = line.split_once(" newly installed")?;
    before.rsplit(' ').next()?.parse().ok()
}

fn configure(plan: &Plan, tree: &Path) -> Result<(), Error> {
    // mmdebstrap's own settings would live on in every machine.
    for leftover in [
        "etc/apt/sources.list",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
        "etc/resolv.conf",
    ] {
        remove_if_there(&tree.join(leftover))?;
    }
    let folder = tree.join("etc/apt/sources.list.d");
    for entry in fs_err::read_dir(&folder).into_iter().flatten().flatten() {
        remove_if_there(&entry.path())?;
    }
    forget_host_keys(tree)?;
    for file in plan.files() {
        let path = tree.join(file.path);
        let written = path
            .parent()
            .map_or(Ok(()), fs_err::create_dir_all)
            .and_then(|()| fs_err::write(&path, &file.content))
            .and_then(|()| fs_err::set_permissions(&path, PermissionsExt::from_mode(file.mode)));
        written.map_err(|e| Error::file("write", &path, e))?;
    }
    let resolver = tree.join("etc/resolv.conf");
    symlink("../run/systemd/resolve/stub-resolv.conf", &resolver)
        .map_err(|e| Error::file("make", &resolver, e))?;
    for keyring in plan.sources.keyrings() {
        let to = tree.join(keyring.strip_prefix("/").unwrap_or(&keyring));
        to.parent()
            .map_or(Ok(()), fs_err::create_dir_all)
            .and_then(|()| fs_err::copy(&keyring, &to).map(drop))
            .map_err(|e| Error::file("copy", &keyring, e))?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs_err::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
        _ => Ok(()),
    }
}

/// Every machine makes its own.
fn forget_host_keys(tree: &Path) -> Result<(), Error> {
    let folder = tree.join("etc/ssh");
    for entry in fs_err::read_dir(&folder)
        .map_err(|e| Error::file("list", &folder, e))?
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("ssh_host_") {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// Adds the certificates that Debian does not bring already.
async fn trust(plan: &Plan, tree: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let store = tree.join("etc/ssl/certs/ca-certificates.crt");
    let known = certificates::split(&fs_err::read_to_string(&store).unwrap_or_default());
    let folder = tree.join("usr/local/share/ca-certificates");
    fs_err::create_dir_all(&folder).map_err(|e| Error::file("create", &folder, e))?;
    let mut added = 0;
    for certificate in &plan.certificates {
        if known.contains(certificate) {
            continue;
        }
        let name = format!(
            "local-{}.crt",
            &hex::encode(Sha256::digest(certificate))[..16]
        );
        let path = folder.join(name);
        fs_err::write(&path, certificate).map_err(|e| Error::file("write", &path, e))?;
        added += 1;
    }
    if added == 0 {
        return Ok(());
    }
    sandbox::run(
        &["chroot", text(tree)?, "update-ca-certificates"],
        &mut |_| {},
        cancel,
    )
    .await
}

async fn package_list(tree: &Path, cancel: &CancellationToken) -> Result<Vec<String>, Error> {
    let admin = tree.join("var/lib/dpkg");
    let mut list = Vec::new();
    sandbox::run(
        &[
            "dpkg-query",
            "--admindir",
            text(&admin)?,
            "--show",
            "--showformat=${Package} ${Version} ${Architecture}\\n",
        ],
        &mut |line| list.push(line.to_owned()),
        cancel,
    )
    .await?;
    list.sort();
    Ok(list)
}

async fn pack(tree: &Path, disk: &Path, cancel: &CancellationToken) -> Result<(), Error> {
    let made = File::create(disk).and_then(|file| {
        file.set_len(DISK_BYTES)?;
        write_boot_record(&file, DISK_BYTES)
    });
    made.map_err(|e| Error::file("create", disk, e))?;
    let blocks = format!("{}k", (DISK_BYTES - ROOT_START) / 1024);
    // The file is new, so what is not written is zero: no inode table needs to
    // be written, by this program or by a machine's kernel later. GRUB of this
    // release does not know the two newest features.
    let extended = format!("offset={ROOT_START},assume_storage_prezeroed=1,lazy_journal_init=1");
    sandbox::run(
        &[
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-L",
            LABEL,
            "-e",
            "remount-ro",
            "-O",
            "^metadata_csum_seed,^orphan_file",
            "-E",
            &extended,
            "-d",
            text(tree)?,
            text(disk)?,
            &blocks,
        ],
        &mut |_| {},
        cancel,
    )
    .await
}

/// GRUB without a chroot: its first sector before the partition table, its core
/// in the gap behind.
async fn make_bootable(
    workshop: &Workshop,
    disk: &Path,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let core = workshop.dir.join("core.img");
    let mut argv = vec![
        "grub-mkimage",
        "-O",
        "i386-pc",
        "-d",
        GRUB_MODULES_DIR,
        "-p",
        "(hd0,msdos1)/boot/grub",
        "-o",
        text(&core)?,
    ];
    argv.extend(GRUB_MODULES);
    sandbox::run(&argv, &mut |_| {}, cancel).await?;
    let boot_image = Path::new(GRUB_MODULES_DIR).join("boot.img");
    let first = fs_err::read(&boot_image).map_err(|e| Error::file("read", &boot_image, e))?;
    let rest = fs_err::read(&core).map_err(|e| Error::file("read", &core, e))?;
    if first.len() < BOOT_CODE || rest.len() as u64 > ROOT_START - SECTOR {
        return Err(Error::new(
            ErrorKind::Source,
            format!(
                "GRUB's core of {} bytes does not fit before the partition",
                rest.len()
            ),
        ));
    }
    OpenOptions::new()
        .write(true)
        .open(disk)
        .and_then(|file| {
            file.write_all_at(&first[..BOOT_CODE], 0)?;
            file.write_all_at(&rest, SECTOR)?;
            file.sync_all()
        })
        .map_err(|e| Error::file("write", disk, e))?;
    fs_err::remove_file(&core).map_err(|e| Error::file("remove", &core, e))?;
    let sources = workshop.dir.join("debian.sources");
    fs_err::remove_file(&sources).map_err(|e| Error::file("remove", &sources, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_counted_by_what_apt_says() {
        let mut count = Count::default();
        assert!(!count.hear("Reading package lists..."));
        assert!(count.hear("0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded."));
        assert!(count.hear("Setting up libc6:amd64 (2.36-9) ..."));
        assert!(count.hear("Setting up perl (5) ..."));
        // Some are set up twice.
        assert!(!count.hear("Setting up perl (5) ..."));
        assert_eq!((count.done, count.total), (2, 2));
    }
}
