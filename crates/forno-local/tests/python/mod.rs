//! A Python with the pinned clients, made once per list of requirements and
//! kept beside the build.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::Digest as _;

/// The interpreter of the tests' own environment.
pub(crate) fn interpreter() -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requirements.txt");
    let list = std::fs::read(&requirements).unwrap();
    let digest = hex::encode(sha2::Sha256::digest(&list));
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{}", &digest[..16]));
    let python = home.join("bin/python3");
    let complete = home.join("complete");
    if complete.exists() {
        return python;
    }
    // Only one test binary makes it; a broken one from before is made anew.
    let lock = std::fs::File::create(home.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !complete.exists() {
        let _ = std::fs::remove_dir_all(&home);
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
        run(Command::new(&python).args(pip).arg(&requirements));
        std::fs::write(&complete, "").unwrap();
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
