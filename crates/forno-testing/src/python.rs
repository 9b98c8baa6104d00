//! A Python with pinned packages, for tests that let others speak to `forno`:
//! made once per list of requirements and kept beside the build.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::Digest as _;

/// The interpreter that has these requirements, every one of them pinned.
/// `folder` is the test's `CARGO_TARGET_TMPDIR`.
///
/// # Panics
/// Where it cannot be made.
pub fn python(requirements: &Path, folder: &Path) -> PathBuf {
    let list = fs_err::read(requirements).expect("a list of requirements");
    let digest = hex::encode(sha2::Sha256::digest(&list));
    let home = folder.join(format!("python-{}", &digest[..16]));
    let python = home.join("bin/python3");
    let complete = home.join("complete");
    if complete.exists() {
        return python;
    }
    // Only one test binary makes it; a broken one from before is made anew.
    let lock = fs_err::File::create(home.with_extension("lock")).expect("a lock");
    lock.file().lock().expect("a lock");
    if !complete.exists() {
        let _ = fs_err::remove_dir_all(&home);
        run(Command::new("python3").args(["-m", "venv"]).arg(&home));
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
        ];
        run(Command::new(&python).args(pip).arg(requirements));
        fs_err::write(&complete, "").expect("a mark");
    }
    python
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
