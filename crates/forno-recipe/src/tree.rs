//! What a file or folder holds, as far as it can change an image.
//!
//! Two ways to look at a folder: as it is uploaded (everything, links as
//! links), and as Ansible reads it (links followed, ignored files left out).
//! Neither sees times, owners, or where the checkout lies.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use sha2::{Digest as _, Sha256};

use crate::canonical::Encoder;

/// Names that never count below a playbook: version control, and what Ansible
/// and Python leave behind.
const NEVER: [&str; 5] = [".git", ".hg", ".svn", "__pycache__", ".fact_cache"];
const NEVER_SUFFIXES: [&str; 2] = [".retry", ".pyc"];

/// Files that say what does not count.
const IGNORE_FILES: [&str; 2] = [".gitignore", ".fornoignore"];

/// The digest of one file: its bytes and permission bits.
pub(crate) fn file(path: &Path) -> io::Result<[u8; 32]> {
    let mut encoder = Encoder::new("file");
    let metadata = fs_err::metadata(path)?;
    encoder.text("mode", &mode(&metadata));
    encoder.bytes("contents", &contents(path)?);
    Ok(encoder.finish())
}

/// The digest of a folder as it is uploaded.
pub(crate) fn uploaded(root: &Path) -> io::Result<[u8; 32]> {
    let mut paths = Vec::new();
    everything(root, &mut paths)?;
    digest_of(root, paths, |path| fs_err::symlink_metadata(path))
}

/// The digest of a folder as Ansible reads it. `top` is the project: ignore
/// files count from there downwards, whatever lies above it.
pub(crate) fn readable(root: &Path, top: &Path) -> io::Result<[u8; 32]> {
    let above = ignores_above(root, top);
    let mut builder = WalkBuilder::new(root);
    builder
        .standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .parents(false)
        .follow_links(true)
        .add_custom_ignore_filename(IGNORE_FILES[1])
        .filter_entry(move |entry| {
            let name = entry.file_name().to_string_lossy();
            let folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0
                || !(NEVER.contains(&name.as_ref())
                    || NEVER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
                    || above
                        .iter()
                        .any(|ignore| ignore.matched(entry.path(), folder).is_ignore()))
        });
    let mut paths = Vec::new();
    for entry in builder.build() {
        match entry {
            Ok(entry) if entry.depth() > 0 => paths.push(entry.into_path()),
            Ok(_) => {}
            // Ansible could not read through it either.
            Err(error) if is_broken_link(&error) => {}
            Err(error) => {
                return Err(error
                    .into_io_error()
                    .unwrap_or_else(|| io::Error::other("unreadable folder")));
            }
        }
    }
    digest_of(root, paths, |path| fs_err::metadata(path))
}

fn is_broken_link(error: &ignore::Error) -> bool {
    match error {
        ignore::Error::Loop { .. } => true,
        ignore::Error::WithPath { path, err } => {
            is_broken_link(err)
                || (err
                    .io_error()
                    .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
                    && path.is_symlink())
        }
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            is_broken_link(err)
        }
        _ => false,
    }
}

/// The ignore files between the project's folder and `root`, both included
/// but for `root` itself, which the walk reads.
fn ignores_above(root: &Path, top: &Path) -> Vec<Gitignore> {
    if !root.starts_with(top) {
        return Vec::new();
    }
    root.ancestors()
        .skip(1)
        .take_while(|folder| folder.starts_with(top))
        .filter_map(|folder| {
            let mut builder = GitignoreBuilder::new(folder);
            for name in IGNORE_FILES {
                let file = folder.join(name);
                if file.is_file() {
                    // A line that is no pattern is skipped, as git does.
                    drop(builder.add(file));
                }
            }
            builder.build().ok()
        })
        .collect()
}

fn everything(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            everything(&path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

fn digest_of(
    root: &Path,
    mut paths: Vec<PathBuf>,
    look: impl Fn(&Path) -> io::Result<Metadata>,
) -> io::Result<[u8; 32]> {
    // By bytes, not by locale or by what the file system happens to say first.
    paths.sort_by(|a, b| {
        a.as_os_str()
            .as_encoded_bytes()
            .cmp(b.as_os_str().as_encoded_bytes())
    });
    let mut encoder = Encoder::new("folder");
    for path in paths {
        let metadata = match look(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => continue,
            Err(error) => return Err(error),
        };
        let relative = path.strip_prefix(root).unwrap_or(&path);
        encoder.bytes("path", relative.as_os_str().as_encoded_bytes());
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = fs_err::read_link(&path)?;
            encoder.bytes("link", target.as_os_str().as_encoded_bytes());
        } else if kind.is_dir() {
            encoder.text("folder", &mode(&metadata));
        } else if kind.is_file() {
            encoder.text("file", &mode(&metadata));
            encoder.bytes("contents", &contents(&path)?);
        }
        // Sockets and pipes have no contents to speak of.
    }
    Ok(encoder.finish())
}

fn mode(metadata: &Metadata) -> String {
    format!("{:04o}", metadata.permissions().mode() & 0o7777)
}

fn contents(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut file = fs_err::File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = io::Read::read(&mut file, &mut buffer)?;
        if length == 0 {
            return Ok(hasher.finalize().into());
        }
        hasher.update(&buffer[..length]);
    }
}
