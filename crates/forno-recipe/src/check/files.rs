//! Paths that a recipe names on this machine.

use std::path::Path;

use super::Checks;
use crate::diagnostic::{Problem, Span};
use crate::project::normal;
use crate::recipe::SourcePath;
use crate::suggest::closest;
use crate::text::Text;
use crate::vars::reason;

/// What must be at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    File,
    Folder,
    Either,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    File,
    Folder,
}

impl Checks<'_> {
    /// Resolves a path relative to the file in which it stands, without
    /// looking whether it is there.
    pub(super) fn path(&mut self, span: &Span, written: &str) -> Option<SourcePath> {
        if written.trim().is_empty() {
            self.bad_at(span.clone(), "this path is empty", "names nothing");
            return None;
        }
        let folder = span.source.path.parent().unwrap_or(Path::new(""));
        Some(SourcePath {
            written: written.to_owned(),
            absolute: normal(&folder.join(written)),
        })
    }

    /// Resolves a path to something that must be there.
    pub(super) fn existing(
        &mut self,
        span: &Span,
        written: &str,
        expect: Expect,
    ) -> Option<(SourcePath, Found)> {
        let path = self.path(span, written)?;
        let found = match fs_err::metadata(&path.absolute) {
            Ok(metadata) if metadata.is_file() => Found::File,
            Ok(metadata) if metadata.is_dir() => Found::Folder,
            Ok(_) => {
                self.bad_at(
                    span.clone(),
                    format!("`{written}` is neither a file nor a folder"),
                    "a device, socket or pipe",
                );
                return None;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let problem = Problem::new(format!("there is no `{written}`"))
                    .at(span.clone())
                    .label(format!(
                        "looked for `{}`",
                        self.project.show(&path.absolute)
                    ));
                self.bad(match neighbour(&path.absolute) {
                    Some(close) => {
                        problem.help(format!("did you mean `{close}`, in the same folder?"))
                    }
                    None => problem.help("paths are relative to the file in which they stand"),
                });
                return None;
            }
            Err(error) => {
                self.bad_at(
                    span.clone(),
                    format!("cannot read `{written}`: {}", reason(&error)),
                    format!("looked for `{}`", self.project.show(&path.absolute)),
                );
                return None;
            }
        };
        match (expect, found) {
            (Expect::File, Found::Folder) => {
                self.bad_at(
                    span.clone(),
                    format!("`{written}` is a folder"),
                    "expected a file",
                );
                None
            }
            (Expect::Folder, Found::File) => {
                self.bad_at(
                    span.clone(),
                    format!("`{written}` is a file"),
                    "expected a folder",
                );
                None
            }
            _ => Some((path, found)),
        }
    }

    /// The contents of a file with its templates filled in.
    pub(super) fn filled_in(&mut self, span: &Span, path: &SourcePath) -> Option<Text> {
        let text = match fs_err::read_to_string(&path.absolute) {
            Ok(text) => text,
            Err(error) => {
                self.bad_at(
                    span.clone(),
                    format!("cannot read `{}`: {}", path.written, reason(&error)),
                    "to be filled in",
                );
                return None;
            }
        };
        match self.context.render(&text) {
            // What is shown in place of a secret is the file as it is.
            Ok(rendered) if rendered.secret => Some(Text::secret(rendered.value, text)),
            Ok(rendered) => Some(Text::plain(rendered.value)),
            Err(problems) => {
                let source = crate::diagnostic::SourceText::new(
                    path.absolute.clone(),
                    self.project.show(&path.absolute),
                    text,
                );
                let whole = Span {
                    range: 0..source.text.len(),
                    source: std::sync::Arc::new(source),
                };
                for problem in problems {
                    let text = &whole.source.text;
                    self.walk
                        .diagnostics
                        .push(crate::walk::template_problem(&whole, text, problem));
                }
                None
            }
        }
    }
}

/// A name in the same folder that is spelled nearly alike.
fn neighbour(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let names: Vec<String> = fs_err::read_dir(path.parent()?)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    closest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
}
