//! Certificates that the image is to trust besides Debian's own.

use std::path::Path;

use crate::{Error, ErrorKind};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Reads a bundle as single certificates, which is how Debian's trust store
/// wants them.
pub(super) fn read(path: &Path) -> Result<Vec<String>, Error> {
    let text = fs_err::read_to_string(path).map_err(|e| Error::file("read", path, e))?;
    let found = split(&text);
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("{} holds no certificate in PEM form", path.display()),
        ));
    }
    Ok(found)
}

/// The certificates of a text, without what stands between them.
pub(super) fn split(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(BEGIN) {
        let Some(length) = rest[begin..].find(END) else {
            break;
        };
        let end = begin + length + END.len();
        let body = rest[begin..end].replace('\r', "");
        found.push(format!("{body}\n"));
        rest = &rest[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_taken_apart() {
        let one = format!("{BEGIN}\nAAAA\n{END}\n");
        let bundle =
            format!("# first\n{one}\n# second\r\n{BEGIN}\r\nBBBB\r\n{END}\n{BEGIN}\ncut off");
        assert_eq!(split(&bundle), [one, format!("{BEGIN}\nBBBB\n{END}\n")]);
    }
}
