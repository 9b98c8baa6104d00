//! Where the packages come from: this computer's own apt sources, as far as they
//! are Debian 12's, or a mirror.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Mirror;
use crate::{Error, ErrorKind};

const RELEASE: &str = "bookworm";
const SUITES: [&str; 4] = [
    "bookworm",
    "bookworm-updates",
    "bookworm-security",
    "bookworm-backports",
];
/// Part of the image as a package, so a source signed by it needs nothing more.
pub(super) const ARCHIVE_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Apt sources for the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// A keyring's path, or a key itself over several lines.
    signed_by: Option<String>,
}

impl Sources {
    /// The content of a `.sources` file.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            if !text.is_empty() {
                text.push('\n');
            }
            let signed_by = entry.signed_by.as_deref().unwrap_or(ARCHIVE_KEYRING);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nSigned-By: {signed_by}",
                entry.uris.join(" "),
                entry.suites.join(" "),
                entry.components.join(" "),
            );
        }
        text
    }

    /// Keyrings that the image needs and no package of it brings.
    pub(super) fn keyrings(&self) -> Vec<PathBuf> {
        self.entries
            .iter()
            .filter_map(|entry| entry.signed_by.as_deref())
            .filter(|signed_by| signed_by.starts_with('/') && !signed_by.contains('\n'))
            .filter(|path| !path.starts_with("/usr/share/keyrings/debian-archive-"))
            .map(PathBuf::from)
            .collect()
    }
}

/// The sources of a mirror, or of this computer.
pub(super) fn choose(mirror: Option<&Mirror>) -> Result<Sources, Error> {
    match mirror {
        Some(mirror) => of_mirror(mirror),
        None => of_files(&source_files()?),
    }
}

fn of_mirror(mirror: &Mirror) -> Result<Sources, Error> {
    let archive = mirror.archive.trim_end_matches('/');
    let security = mirror
        .security
        .clone()
        .unwrap_or_else(|| format!("{archive}-security"));
    for uri in [archive, &security] {
        if !is_remote(uri) || uri.contains(char::is_whitespace) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("{uri:?} is not the http or https address of a package archive"),
            ));
        }
    }
    let entry = |uri: &str, suites: &[&str]| Entry {
        uris: vec![uri.to_owned()],
        suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
        components: vec!["main".to_owned()],
        signed_by: None,
    };
    Ok(Sources {
        entries: vec![
            entry(archive, &["bookworm", "bookworm-updates"]),
            entry(&security, &["bookworm-security"]),
        ],
    })
}

/// This computer's source files with their texts, in apt's order.
fn source_files() -> Result<Vec<(PathBuf, String)>, Error> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    let folder = Path::new("/etc/apt/sources.list.d");
    if let Ok(entries) = fs_err::read_dir(folder) {
        let mut found = entries
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>();
        found.sort();
        paths.extend(found);
    }
    let mut files = Vec::new();
    for path in paths {
        let known = path
            .extension()
            .is_some_and(|ext| ext == "list" || ext == "sources");
        if known && path.is_file() {
            let text = fs_err::read_to_string(&path).map_err(|e| Error::file("read", &path, e))?;
            files.push((path, text));
        }
    }
    Ok(files)
}

fn of_files(files: &[(PathBuf, String)]) -> Result<Sources, Error> {
    let entries = files
        .iter()
        .flat_map(|(path, text)| {
            if path.extension().is_some_and(|ext| ext == "sources") {
                parse_stanzas(text)
            } else {
                parse_lines(text)
            }
        })
        .filter_map(narrow)
        .collect::<Vec<_>>();
    let has_release = entries
        .iter()
        .any(|entry| entry.suites.iter().any(|suite| suite == RELEASE));
    if !has_release {
        return Err(Error::new(
            ErrorKind::Source,
            format!("this computer's apt sources do not offer Debian 12 ({RELEASE})"),
        )
        .with_hint("name a mirror of Debian's archive in the settings"));
    }
    Ok(Sources { entries })
}

/// Keeps of an entry what belongs to Debian 12 and can be reached from anywhere.
fn narrow(mut entry: Entry) -> Option<Entry> {
    entry
        .suites
        .retain(|suite| SUITES.contains(&suite.as_str()));
    entry.uris.retain(|uri| is_remote(uri));
    // Other distributions' repositories reuse Debian's suite names at times.
    let debian = entry.components.iter().any(|name| name == "main");
    (debian && !entry.suites.is_empty() && !entry.uris.is_empty()).then_some(entry)
}

fn is_remote(uri: &str) -> bool {
    uri.starts_with("http://") || uri.starts_with("https://")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn parse_stanzas(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields = Vec::<(String, String)>::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            entries.extend(stanza(&fields));
            fields.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    entries
}

fn stanza(fields: &[(String, String)]) -> Option<Entry> {
    let get = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    let enabled = !matches!(get("enabled"), Some("no" | "false" | "0"));
    let binary = words(get("types")?).iter().any(|kind| kind == "deb");
    (enabled && binary).then_some(())?;
    Some(Entry {
        uris: words(get("uris")?),
        suites: words(get("suites")?),
        components: words(get("components").unwrap_or_default()),
        signed_by: get("signed-by").map(str::to_owned),
    })
}

fn parse_lines(text: &str) -> Vec<Entry> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    rest.starts_with([' ', '\t']).then_some(())?;
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let mut parts = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uris: vec![parts.next()?],
        suites: vec![parts.next()?],
        components: parts.collect(),
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Vec<(PathBuf, String)> {
        list.iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn only_the_release_is_taken_from_both_formats() {
        let sources = of_files(&files(&[
            (
                "a.sources",
                "Types: deb deb-src\n# remark\nURIs: http://archive.test/debian\n\
                 Suites: bookworm bookworm-updates\nComponents: main contrib\n\
                 Signed-By: /etc/apt/keyrings/own.gpg\n\n\
                 Types: deb\nEnabled: no\nURIs: http://off.test/d\nSuites: bookworm\nComponents: main\n",
            ),
            (
                "b.list",
                "# deb http://no.test/d bookworm main\n\
                 deb [arch=amd64 signed-by=/k.gpg] http://sec.test/s bookworm-security main # why\n\
                 deb http://other.test/x stable main\n\
                 deb cdrom:[disc]/ bookworm main\n",
            ),
        ]))
        .unwrap();
        insta::assert_snapshot!(sources.render(), @r"
        Types: deb
        URIs: http://archive.test/debian
        Suites: bookworm bookworm-updates
        Components: main contrib
        Signed-By: /etc/apt/keyrings/own.gpg

        Types: deb
        URIs: http://sec.test/s
        Suites: bookworm-security
        Components: main
        Signed-By: /k.gpg
        ");
        assert_eq!(
            sources.keyrings(),
            [Path::new("/etc/apt/keyrings/own.gpg"), Path::new("/k.gpg")]
        );
    }

    #[test]
    fn a_computer_without_the_release_is_told_so() {
        let error =
            of_files(&files(&[("x.list", "deb http://a.test/u noble main\n")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert!(error.hint().is_some());
    }

    #[test]
    fn a_mirror_brings_its_security_sibling() {
        let mirror = Mirror {
            archive: "http://mirror.test/debian/".to_owned(),
            security: None,
        };
        let text = choose(Some(&mirror)).unwrap().render();
        assert!(
            text.contains("URIs: http://mirror.test/debian-security\n"),
            "{text}"
        );
        let bad = Mirror {
            archive: "ftp://x".to_owned(),
            security: None,
        };
        assert_eq!(choose(Some(&bad)).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
