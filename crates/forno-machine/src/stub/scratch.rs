//! A stub's disk: its scratch folder, packed into the disk file while it is off.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, MachineSpec};

/// The folders and files of a stub that runs.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    /// Its home and working folder; this alone is on its disk.
    pub home: PathBuf,
    /// Comes first on its PATH.
    pub bin: PathBuf,
    /// Holds a new id for each boot.
    pub boot_id: PathBuf,
    /// What its guest asked of its machine: `reboot` or `poweroff`.
    pub order: PathBuf,
    /// Stands for `/dev/shm`: empty at every boot, never on its disk.
    pub memory: PathBuf,
    disk: PathBuf,
}

/// Options are skipped as far as scripts commonly use them.
const SUDO: &str = r#"#!/bin/sh
shell=
while [ $# -gt 0 ]; do
  case "$1" in
    -i|-s) shell=yes; shift ;;
    -u|-g|-U|-p|-C|-h|-r|-t|-T|-D|-R) shift 2 ;;
    --) shift; break ;;
    -*) shift ;;
    *=*) export "$1"; shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || [ -z "$shell" ] || exec sh
[ $# -gt 0 ] || exit 0
exec "$@"
"#;

const REBOOT: &str = "#!/bin/sh\necho reboot > \"$FORNO_STUB_ORDER\"\n";
const POWEROFF: &str = "#!/bin/sh\necho poweroff > \"$FORNO_STUB_ORDER\"\n";
const SHUTDOWN: &str = r#"#!/bin/sh
word=poweroff
for arg in "$@"; do [ "$arg" = -r ] && word=reboot; done
echo "$word" > "$FORNO_STUB_ORDER"
"#;
const SYSTEMCTL: &str = r#"#!/bin/sh
for arg in "$@"; do
  case "$arg" in
    reboot|poweroff) echo "$arg" > "$FORNO_STUB_ORDER"; exit 0 ;;
    halt) echo poweroff > "$FORNO_STUB_ORDER"; exit 0 ;;
  esac
done
echo "systemctl: a stub has no services" >&2
exit 1
"#;

impl Scratch {
    /// Unpacks a stub's disk.
    pub(super) fn open(spec: &MachineSpec) -> Result<Self, Error> {
        let scratch = Self {
            home: spec.dir.join("scratch"),
            bin: spec.dir.join("bin"),
            boot_id: spec.dir.join("boot-id"),
            order: spec.dir.join("order"),
            memory: spec.dir.join("memory"),
            disk: spec.disk.clone(),
        };
        for folder in [&scratch.home, &scratch.bin] {
            if folder.exists() {
                fs_err::remove_dir_all(folder).map_err(|e| Error::file("empty", folder, e))?;
            }
            fs_err::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
        }
        drop(fs_err::remove_file(&scratch.order));
        let disk =
            fs_err::File::open(&spec.disk).map_err(|e| Error::file("open", &spec.disk, e))?;
        let mut archive = tar::Archive::new(disk);
        archive.set_preserve_permissions(true);
        archive.unpack(&scratch.home).map_err(|e| {
            Error::new(
                ErrorKind::Disk,
                format!("{} is not the disk of a stub: {e}", spec.disk.display()),
            )
            .caused_by(e)
        })?;
        for (name, script) in [
            ("sudo", SUDO),
            ("reboot", REBOOT),
            ("poweroff", POWEROFF),
            ("halt", POWEROFF),
            ("shutdown", SHUTDOWN),
            ("systemctl", SYSTEMCTL),
        ] {
            let path = scratch.bin.join(name);
            fs_err::write(&path, script)
                .and_then(|()| fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)))
                .map_err(|e| Error::file("write", &path, e))?;
        }
        scratch.begin_boot()?;
        Ok(scratch)
    }

    /// A variable that every process of this stub has in its environment, and no
    /// other.
    pub(super) fn mark(&self) -> (&'static str, &Path) {
        ("FORNO_STUB_ORDER", &self.order)
    }

    /// Empty memory, and a new boot id, as the kernel writes it.
    pub(super) fn begin_boot(&self) -> Result<(), Error> {
        if self.memory.exists() {
            fs_err::remove_dir_all(&self.memory)
                .map_err(|e| Error::file("empty", &self.memory, e))?;
        }
        fs_err::create_dir(&self.memory)
            .and_then(|()| fs_err::set_permissions(&self.memory, PermissionsExt::from_mode(0o700)))
            .map_err(|e| Error::file("create", &self.memory, e))?;
        let digits = hex::encode(rand::random::<[u8; 16]>());
        let id = [
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..],
        ];
        fs_err::write(&self.boot_id, format!("{}\n", id.join("-")))
            .map_err(|e| Error::file("write", &self.boot_id, e))
    }

    /// What the guest asked of its machine since it was last looked at.
    pub(super) fn take_order(&self) -> Option<String> {
        let order = fs_err::read_to_string(&self.order).ok()?;
        drop(fs_err::remove_file(&self.order));
        Some(order.trim().to_owned())
    }

    /// Packs the scratch folder into the disk and removes what ran.
    pub(super) fn close(&self) -> Result<(), Error> {
        let partial = self.disk.with_extension("partial");
        self.pack(&partial)
            .and_then(|()| {
                // A disk may have been grown to the size of its volume.
                let length = fs_err::metadata(&self.disk)?.len();
                let packed = fs_err::OpenOptions::new().write(true).open(&partial)?;
                if packed.metadata()?.len() < length {
                    packed.set_len(length)?;
                }
                fs_err::rename(&partial, &self.disk)
            })
            .map_err(|e| Error::file("write", &self.disk, e))?;
        for folder in [&self.home, &self.bin] {
            fs_err::remove_dir_all(folder).map_err(|e| Error::file("remove", folder, e))?;
        }
        Ok(())
    }

    fn pack(&self, to: &Path) -> std::io::Result<()> {
        let mut archive = tar::Builder::new(fs_err::File::create(to)?);
        archive.follow_symlinks(false);
        for entry in fs_err::read_dir(&self.home)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                archive.append_dir_all(&name, entry.path())?;
            } else {
                archive.append_path_with_name(entry.path(), &name)?;
            }
        }
        archive.into_inner()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &Path) -> MachineSpec {
        MachineSpec {
            id: "i-1".to_owned(),
            dir: dir.join("m"),
            disk: dir.join("disk"),
            data_disks: Vec::new(),
            vcpus: 1,
            memory_mib: 64,
            public_address: [127, 0, 0, 2].into(),
            private_address: [172, 31, 0, 9].into(),
            imds_socket: dir.join("imds"),
            services: Vec::new(),
        }
    }

    #[test]
    fn files_survive_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path());
        crate::disk::make_stub_disk(&spec.disk).unwrap();
        crate::disk::grow_disk(&spec.disk, 1 << 20).unwrap();
        let scratch = Scratch::open(&spec).unwrap();
        let script = scratch.home.join("a/run.sh");
        fs_err::create_dir_all(script.parent().unwrap()).unwrap();
        fs_err::write(&script, "#!/bin/sh\n").unwrap();
        fs_err::set_permissions(&script, PermissionsExt::from_mode(0o750)).unwrap();
        scratch.close().unwrap();
        assert!(!script.exists());
        assert_eq!(fs_err::metadata(&spec.disk).unwrap().len(), 1 << 20);
        let again = Scratch::open(&spec).unwrap();
        let mode = fs_err::metadata(again.home.join("a/run.sh"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o750);
    }

    #[test]
    fn every_boot_has_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path());
        crate::disk::make_stub_disk(&spec.disk).unwrap();
        let scratch = Scratch::open(&spec).unwrap();
        let first = fs_err::read_to_string(&scratch.boot_id).unwrap();
        scratch.begin_boot().unwrap();
        assert_ne!(fs_err::read_to_string(&scratch.boot_id).unwrap(), first);
        assert_eq!(first.trim().len(), 36);
    }
}
