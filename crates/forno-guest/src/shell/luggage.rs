//! What a script has with it: files and folders beside its own folder, in the archive with
//! which it is sent.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::run::add;

/// Links to folders may lead in a circle.
const DEEPEST: u32 = 64;

/// Held in memory: it is little.
#[derive(Default)]
pub(crate) struct Luggage {
    items: Vec<Item>,
}

struct Item {
    name: String,
    mode: u32,
    content: Vec<u8>,
}

impl Luggage {
    /// A file that only its user can read.
    pub(crate) fn file(&mut self, name: &str, content: Vec<u8>) {
        self.items.push(Item {
            name: name.to_owned(),
            mode: 0o600,
            content,
        });
    }

    /// All files of a folder with their modes, but for what git keeps of it; links are
    /// followed.
    pub(crate) fn tree(&mut self, name: &str, folder: &Path) -> io::Result<()> {
        self.below(name, folder, 0)
    }

    fn below(&mut self, name: &str, folder: &Path, depth: u32) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!(
                "{} is too deep a folder, or leads in a circle",
                folder.display()
            )));
        }
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let file = entry.file_name();
            if file == ".git" {
                continue;
            }
            let path = entry.path();
            let file = file.to_str().ok_or_else(|| {
                io::Error::other(format!("the name of {} is no text", path.display()))
            })?;
            let name = format!("{name}/{file}");
            let metadata = fs_err::metadata(&path)?;
            if metadata.is_dir() {
                self.below(&name, &path, depth + 1)?;
            } else if metadata.is_file() {
                self.items.push(Item {
                    name,
                    mode: metadata.permissions().mode() & 0o777,
                    content: fs_err::read(&path)?,
                });
            }
        }
        Ok(())
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.items.iter().map(|item| item.content.len()).sum()
    }

    pub(super) fn load(&self, archive: &mut tar::Builder<Vec<u8>>) -> io::Result<()> {
        for item in &self.items {
            add(archive, &item.name, item.mode, &item.content)?;
        }
        Ok(())
    }
}
