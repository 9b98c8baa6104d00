//! The command line as it is used: help, wrong usage, records, validation.
//! Nothing here starts a machine.

mod help;
mod records;
mod usage;
mod validate;

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

/// `forno` with nothing of the environment of whoever runs the tests.
fn forno(home: &Path) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a test has no settings")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::cargo_bin("forno").expect("the binary is built");
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", home)
        .env("FORNO_HOME", home.join("forno"))
        .env("FORNO_CACHE", home.join("cache"))
        .env("TZ", "UTC")
        .current_dir(home);
    command
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A repository with these files.
fn repository(files: &[(&str, &str)]) -> TempDir {
    let folder = folder();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs_err::write(path, text).expect("a file");
    }
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
