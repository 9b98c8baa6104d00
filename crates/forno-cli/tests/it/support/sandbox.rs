//! A folder with a repository, a state folder, and an environment that holds nothing
//! of whoever runs the tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::traces::clear;
use super::{Endpoint, Finished, Recipe, Running};

/// On what the machines of a test stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    Stub,
    Container,
    Vm,
}

impl Machine {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stub => "stub",
            Self::Container => "container",
            Self::Vm => "vm",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sandbox {
    dir: TempDir,
    machine: Machine,
    /// Certificates for machines, where the environment names none.
    trusted: Option<PathBuf>,
}

impl Sandbox {
    pub(crate) fn new(machine: Machine) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("forno-it-")
            .tempdir()
            .expect("a temporary folder");
        let sandbox = Self {
            dir,
            machine,
            trusted: None,
        };
        sandbox.file("forno.toml", "images = [\"images\"]\n");
        sandbox
    }

    /// For machines that need more than this computer may have; says why and gives
    /// nothing where it has not.
    pub(crate) fn real(machine: Machine) -> Option<Self> {
        let sandbox = Self::new(machine);
        let doctor = sandbox.run(&["local", "doctor", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&doctor.stdout)
            .unwrap_or_else(|error| panic!("{error}: {doctor}"));
        let usable = usable(&report, machine.as_str())
            .unwrap_or_else(|| panic!("nothing about {machine:?} in {report}"));
        if usable {
            return Some(sandbox);
        }
        let machine = machine.as_str();
        forno_testing::skip(format_args!("no {machine} can run here: {report}"));
        None
    }

    /// Machines trust these certificates too, unless FORNO_CA_BUNDLE names others.
    pub(crate) fn trust(&mut self, bundle: &Path) {
        self.trusted = Some(bundle.to_owned());
    }

    /// Where the repository lies.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `FORNO_HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders");
        fs_err::write(&path, text).expect("a file");
        path
    }

    /// Puts `images/NAME.toml`.
    pub(crate) fn recipe(&self, recipe: &Recipe) {
        self.file(&format!("images/{}.toml", recipe.name()), &recipe.toml());
    }

    pub(crate) fn forno(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forno"));
        command
            .env_clear()
            .env("PATH", outside("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("TZ", "UTC")
            .env("LANG", "C.UTF-8")
            // The SDK must not look for an instance role of this computer.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("FORNO_HOME", self.home())
            .env("FORNO_CACHE", cache())
            .env("FORNO_MACHINE", self.machine.as_str())
            .current_dir(self.path())
            .args(arguments);
        if let Some(bundle) = &self.trusted {
            command.env("FORNO_CA_BUNDLE", bundle);
        }
        // How this computer reaches package mirrors is not a matter of the test.
        for name in [
            "FORNO_MIRROR",
            "FORNO_CA_BUNDLE",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            if let Some(value) = outside(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// As [`Sandbox::forno`], on a computer without this program; only root can
    /// make believe so.
    pub(crate) fn forno_without(&self, program: &str, arguments: &[&str]) -> Option<Command> {
        if !rustix::process::geteuid().is_root() {
            forno_testing::skip(format_args!("hiding {program} takes root"));
            return None;
        }
        let plain = self.forno(arguments);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c"])
            .arg("mount --bind /dev/null \"$0\" && exec \"$@\"")
            .arg(program)
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(self.path())
            .env_clear();
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        Some(command)
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.forno(arguments))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        self.start(arguments).finish()
    }

    /// An endpoint in the foreground of another process; bakes with `--local` use it.
    pub(crate) fn serve(&self) -> Endpoint {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, arguments: &[&str]) -> Endpoint {
        Endpoint::start(self, arguments)
    }

    /// A folder for PATH with every program of this computer but those whose names
    /// begin so.
    pub(crate) fn path_without(&self, prefix: &str) -> PathBuf {
        let folder = self.path().join("programs");
        fs_err::create_dir(&folder).expect("a folder");
        let path = outside("PATH").expect("PATH is set");
        for entry in std::env::split_paths(&path)
            .flat_map(std::fs::read_dir)
            .flatten()
        {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            let link = folder.join(&name);
            if !name.to_string_lossy().starts_with(prefix) && !link.is_symlink() {
                std::os::unix::fs::symlink(entry.path(), link).expect("a link");
            }
        }
        folder
    }

    /// The folders of the bakes so far, the oldest first.
    pub(crate) fn bakes(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs_err::read_dir(self.home().join("bakes")) else {
            return Vec::new();
        };
        let mut bakes: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_dir())
            .collect();
        bakes.sort();
        bakes
    }

    /// The manifest of the only bake.
    #[track_caller]
    pub(crate) fn manifest(&self) -> serde_json::Value {
        let bakes = self.bakes();
        assert_eq!(bakes.len(), 1, "{bakes:?}");
        let text = fs_err::read_to_string(bakes[0].join("manifest.json")).expect("a manifest");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        clear(self.path());
    }
}

/// Finds `usable` of a kind of machine wherever the report has it.
fn usable(report: &serde_json::Value, kind: &str) -> Option<bool> {
    match report {
        serde_json::Value::Object(fields) => {
            if fields.get("kind").and_then(serde_json::Value::as_str) == Some(kind) {
                return fields.get("usable").and_then(serde_json::Value::as_bool);
            }
            if let Some(of_kind) = fields.get(kind) {
                return of_kind.get("usable").and_then(serde_json::Value::as_bool);
            }
            fields.values().find_map(|value| usable(value, kind))
        }
        serde_json::Value::Array(values) => values.iter().find_map(|value| usable(value, kind)),
        _ => None,
    }
}

/// The cache of whoever runs the tests: a Debian disk takes minutes to make.
fn cache() -> PathBuf {
    if let Some(cache) = outside("FORNO_CACHE") {
        return cache.into();
    }
    if let Some(shared) = outside("XDG_CACHE_HOME") {
        return Path::new(&shared).join("forno");
    }
    let home = outside("HOME").expect("HOME is set");
    Path::new(&home).join(".cache/forno")
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests themselves are run in an environment"
)]
fn outside(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
