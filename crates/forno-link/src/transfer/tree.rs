//! A local folder as a tar stream, the same for the same content: sorted by
//! name, without times and local owners.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use tar::{Builder, EntryType, Header};

use super::TreeTarget;

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Below the root.
    path: PathBuf,
    mode: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder,
    File { size: u64 },
    Link { to: PathBuf },
}

const BLOCK: u64 = 512;

impl Tree {
    pub(super) fn walk(root: &Path, ignore_file: Option<&str>) -> io::Result<Self> {
        if !fs_err::metadata(root)?.is_dir() {
            return Err(io::Error::other(format!("{} is no folder", root.display())));
        }
        let mut walk = WalkBuilder::new(root);
        walk.standard_filters(false)
            .follow_links(false)
            .sort_by_file_name(std::ffi::OsStr::cmp);
        if let Some(name) = ignore_file {
            walk.add_custom_ignore_filename(name);
        }
        let mut entries = Vec::new();
        for entry in walk.build() {
            let entry = entry.map_err(io::Error::other)?;
            let ours = ignore_file.is_some_and(|name| entry.file_name() == name);
            if entry.depth() == 0 || ours {
                continue;
            }
            let path = entry.path();
            let metadata = fs_err::symlink_metadata(path)?;
            let kind = if metadata.is_dir() {
                Kind::Folder
            } else if metadata.is_file() {
                Kind::File {
                    size: metadata.len(),
                }
            } else if metadata.is_symlink() {
                Kind::Link {
                    to: fs_err::read_link(path)?,
                }
            } else {
                return Err(io::Error::other(format!(
                    "{} is neither a file nor a folder nor a symbolic link",
                    path.display()
                )));
            };
            entries.push(Entry {
                path: path
                    .strip_prefix(root)
                    .map_err(io::Error::other)?
                    .to_owned(),
                mode: metadata.permissions().mode() & 0o7777,
                kind,
            });
        }
        Ok(Self {
            root: root.to_owned(),
            entries,
        })
    }

    /// The stream's size, but for long names.
    pub(super) fn size(&self) -> u64 {
        let content = |entry: &Entry| match entry.kind {
            Kind::File { size } => size.next_multiple_of(BLOCK),
            _ => 0,
        };
        self.entries.iter().map(|e| BLOCK + content(e)).sum::<u64>() + 2 * BLOCK
    }

    pub(super) fn write(&self, to: impl Write, target: &TreeTarget) -> io::Result<()> {
        let mut archive = Builder::new(to);
        for entry in &self.entries {
            let mut header = Header::new_gnu();
            let mode = match entry.kind {
                Kind::Folder => target.folder_mode,
                Kind::File { .. } => target.file_mode,
                Kind::Link { .. } => Some(0o777),
            };
            header.set_mode(mode.unwrap_or(entry.mode));
            header.set_mtime(0);
            set_owner(&mut header, target)?;
            match &entry.kind {
                Kind::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_size(0);
                    archive.append_data(&mut header, &entry.path, io::empty())?;
                }
                Kind::File { size } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(*size);
                    let file = fs_err::File::open(self.root.join(&entry.path))?;
                    let exact = Exact {
                        inner: file,
                        path: &entry.path,
                        left: *size,
                    };
                    archive.append_data(&mut header, &entry.path, exact)?;
                }
                Kind::Link { to } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    archive.append_link(&mut header, &entry.path, to)?;
                }
            }
        }
        archive.finish()
    }
}

/// By name where one is given, so that the machine's own numbers count.
fn set_owner(header: &mut Header, target: &TreeTarget) -> io::Result<()> {
    let number = |name: &Option<String>| name.as_ref().and_then(|n| n.parse::<u64>().ok());
    header.set_uid(number(&target.owner).unwrap_or(0));
    header.set_gid(number(&target.group).unwrap_or(0));
    if let Some(owner) = &target.owner
        && number(&target.owner).is_none()
    {
        header.set_username(owner)?;
    }
    if let Some(group) = &target.group
        && number(&target.group).is_none()
    {
        header.set_groupname(group)?;
    }
    Ok(())
}

/// Fails when a file is no longer as long as announced: an archive with a wrong
/// length in it would put everything after it in disorder.
struct Exact<'a, R> {
    inner: R,
    path: &'a Path,
    left: u64,
}

impl<R: Read> Read for Exact<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::other(format!(
                "{} became shorter while it was read",
                self.path.display()
            )));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path, target: &TreeTarget) -> Vec<String> {
        let tree = Tree::walk(root, target.ignore_file.as_deref()).unwrap();
        let mut bytes = Vec::new();
        tree.write(&mut bytes, target).unwrap();
        tar::Archive::new(bytes.as_slice())
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn sorted_and_without_what_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["b", "a", "sub/z.log", "sub/keep", ".hidden"] {
            let path = root.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, name).unwrap();
        }
        fs_err::write(root.join(".fornoignore"), "*.log\n").unwrap();
        fs_err::write(root.join(".gitignore"), "a\n").unwrap();
        let target = TreeTarget::new("/x");
        assert_eq!(
            names(root, &target),
            [".gitignore", ".hidden", "a", "b", "sub", "sub/keep"]
        );
    }

    #[test]
    fn the_same_content_is_the_same_stream() {
        let make = |order: [&str; 3]| {
            let dir = tempfile::tempdir().unwrap();
            for name in order {
                fs_err::write(dir.path().join(name), name).unwrap();
            }
            let tree = Tree::walk(dir.path(), None).unwrap();
            let mut bytes = Vec::new();
            tree.write(&mut bytes, &TreeTarget::new("/x")).unwrap();
            assert_eq!(bytes.len() as u64, tree.size());
            bytes
        };
        assert_eq!(make(["1", "2", "3"]), make(["3", "1", "2"]));
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("f"), "12345").unwrap();
        let tree = Tree::walk(dir.path(), None).unwrap();
        fs_err::write(dir.path().join("f"), "1").unwrap();
        let error = tree
            .write(io::sink(), &TreeTarget::new("/x"))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "f became shorter while it was read");
    }

    #[test]
    fn a_socket_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let error = Tree::walk(dir.path(), None).unwrap_err().to_string();
        assert!(
            error.ends_with("/s is neither a file nor a folder nor a symbolic link"),
            "{error}"
        );
    }
}
