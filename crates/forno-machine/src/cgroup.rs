//! A control group for each container.
//!
//! Two containers in one cgroup would each run a service manager that believes
//! it owns `system.slice`, and stopping a service in one would end its processes
//! in the other. Folders of a cgroup file system outlive their processes, so
//! they lie under one folder per host, named after its run folder, which the
//! guardian and the next host's start remove.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The cgroup hierarchies that a container's service manager uses.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cgroups {
    roots: Vec<PathBuf>,
}

impl Cgroups {
    /// The folders of the host with this run folder, one per hierarchy.
    pub(crate) fn of_host(run_dir: &Path) -> Self {
        let digest = Sha256::digest(run_dir.as_os_str().as_encoded_bytes());
        let name = format!("forno-{}", &hex::encode(digest)[..16]);
        let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            roots: hierarchies(&mounts)
                .map(|mount| mount.join(&name))
                .collect(),
        }
    }

    /// The folders, for somebody to remove.
    pub(crate) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Removes what a lost predecessor left.
    pub(crate) fn clear(&self) {
        for root in &self.roots {
            remove_tree(root);
        }
    }

    /// Makes a machine's groups and returns the files through which a process
    /// enters them. Limits are set where the hierarchy has the controllers.
    pub(crate) fn make(
        &self,
        id: &str,
        vcpus: u32,
        memory_mib: u32,
    ) -> std::io::Result<Vec<PathBuf>> {
        let mut entries = Vec::new();
        for root in &self.roots {
            fs_err::create_dir_all(root)?;
            // Best effort: which controllers a hierarchy has is the computer's
            // business, and a machine without a limit still runs.
            for above in root.parent().into_iter().chain([root.as_path()]) {
                for controller in ["+cpu", "+memory", "+pids"] {
                    drop(fs_err::write(
                        above.join("cgroup.subtree_control"),
                        controller,
                    ));
                }
            }
            let group = root.join(id);
            fs_err::create_dir_all(&group)?;
            drop(fs_err::write(
                group.join("cpu.max"),
                format!("{} 100000", u64::from(vcpus) * 100_000),
            ));
            drop(fs_err::write(
                group.join("memory.max"),
                format!("{memory_mib}M"),
            ));
            entries.push(group.join("cgroup.procs"));
        }
        Ok(entries)
    }

    /// Removes a machine's groups; they must be empty of processes.
    pub(crate) fn remove(&self, id: &str) {
        for root in &self.roots {
            remove_tree(&root.join(id));
        }
    }
}

/// The mount points of the named systemd hierarchy and of the unified one.
fn hierarchies(mounts: &str) -> impl Iterator<Item = PathBuf> + '_ {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind, options) = (fields.nth(1)?, fields.next()?, fields.next()?);
        let wanted = kind == "cgroup2"
            || (kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"));
        wanted.then(|| PathBuf::from(point))
    })
}

/// Removes a cgroup folder and all below it, as far as they are empty.
pub(crate) fn remove_tree(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    drop(std::fs::remove_dir(folder));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_unified_hierarchies_are_found() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
            cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = hierarchies(hybrid).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                Path::new("/sys/fs/cgroup/systemd"),
                Path::new("/sys/fs/cgroup/unified")
            ]
        );
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(hierarchies(unified).count(), 1);
    }
}
