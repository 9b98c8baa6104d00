//! A foreign endpoint: moto is EC2, and a real sshd each machine. What forno asks is
//! judged by people who have never heard of it; `tests/foreign/endpoint.py` says what
//! stands between the two, and why.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Finished, Machine, Running, Sandbox, eventually, traces};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign");

/// The machines' programs, besides those that every computer has.
const PROGRAMS: [&str; 4] = [
    "/usr/sbin/sshd",
    "/usr/bin/sudo",
    "/usr/bin/curl",
    "/usr/bin/unshare",
];

/// Moto's own images have no snapshot that says how large a disk is, and the machines
/// no cloud-init that would make host keys anew.
const RECIPE: &str = "schema = 1\n\
    [image]\nname = 'foreign'\ndescription = 'made elsewhere'\ntags = { team = 'web' }\n\
    snapshot_tags = { kept = 'cold' }\n\
    [source]\nowners = ['amazon']\nname = 'al2023-ami-2023*-x86_64'\n\
    [builder]\nuser = 'ec2-user'\ningress_cidrs = ['192.0.2.0/24']\n\
    disk = { size = '16GiB' }\n\
    [seal]\nkeep = ['host-keys']\n\
    [[seal.allow]]\npath = '/etc/ssh/ssh_host_ed25519_key'\nreason = 'nothing would make another'\n";

struct Foreign {
    endpoint: Running,
    url: String,
    python: PathBuf,
    sandbox: Sandbox,
}

impl Foreign {
    /// Nothing where this computer lacks what it takes, which is told.
    fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            forno_testing::skip("an sshd with a root of its own takes root");
            return None;
        }
        let missing: Vec<_> = PROGRAMS
            .iter()
            .filter(|path| !Path::new(path).exists())
            .collect();
        let venv = Command::new("python3")
            .args(["-c", "import venv, ensurepip"])
            .output();
        if !missing.is_empty() || !venv.is_ok_and(|output| output.status.success()) {
            forno_testing::skip(format_args!(
                "python3 with venv, or one of these, is missing: {missing:?}"
            ));
            return None;
        }
        let python = forno_testing::python(
            &Path::new(SCRIPTS).join("requirements.txt"),
            Path::new(env!("CARGO_TARGET_TMPDIR")),
        );
        let sandbox = Sandbox::new(Machine::Stub);
        let mut endpoint = Command::new(&python);
        endpoint
            .arg(Path::new(SCRIPTS).join("endpoint.py"))
            .arg(sandbox.path())
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let endpoint = Running::start(endpoint);
        let url = endpoint.until_stdout("\n").trim().to_owned();
        Some(Self {
            endpoint,
            url,
            python,
            sandbox,
        })
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let mut command = self.sandbox.forno(arguments);
        command
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        Running::start(command).finish()
    }

    /// What is there, as boto3 sees it.
    fn holds(&self) -> Value {
        let mut command = Command::new(&self.python);
        command
            .arg(Path::new(SCRIPTS).join("holds.py"))
            .arg(&self.url);
        Running::start(command).finish().code(0).json()
    }

    /// The machines' disks that hold this file.
    fn disks_with(&self, file: &str) -> Vec<String> {
        let disks = fs_err::read_dir(self.sandbox.path().join("disks")).expect("disks");
        let mut found: Vec<String> = disks
            .map(|disk| disk.expect("a disk").path())
            .filter(|disk| disk.join(file).exists())
            .map(|disk| {
                disk.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        found.sort();
        found
    }

    /// Its machines end with it.
    fn end(self) {
        self.endpoint.signal(Signal::TERM);
        self.endpoint.finish().code(0);
        eventually(&Vec::<String>::new(), || traces(self.sandbox.path()));
    }
}

/// Of everything that a bake makes on the way.
#[track_caller]
fn nothing_is_left(holds: &Value) {
    for kind in ["instances", "key_pairs", "security_groups", "volumes"] {
        assert_eq!(holds[kind], json!([]), "{kind} of {holds}");
    }
}

#[test]
fn a_bake_at_a_foreign_endpoint_makes_an_image_and_leaves_nothing_else() {
    let Some(foreign) = Foreign::start() else {
        return;
    };
    let recipe = format!(
        "{RECIPE}\
         [[step]]\nname = 'who was here'\n\
         shell = {{ run = 'echo forno >/etc/made-by', sudo = true }}\n\
         [[test]]\nname = 'it is in the image'\nrun = 'grep -x forno /etc/made-by'\n"
    );
    foreign.sandbox.file("images/foreign.toml", &recipe);
    foreign.run(&["bake", "foreign"]).code(0);

    let holds = foreign.holds();
    nothing_is_left(&holds);
    assert_eq!(holds["launched"], 2, "a builder and a machine for the test");
    let [image] = &holds["images"].as_array().expect("images")[..] else {
        panic!("{holds}")
    };
    assert!(
        image["name"]
            .as_str()
            .expect("a name")
            .starts_with("foreign-"),
        "{image}"
    );
    assert_eq!(image["description"], "made elsewhere");
    assert_eq!(image["state"], "available");
    assert_eq!(image["tags"]["team"], "web");
    assert_eq!(image["tags"]["forno:image"], "foreign");
    let [snapshot] = &holds["snapshots"].as_array().expect("snapshots")[..] else {
        panic!("{holds}")
    };
    assert_eq!(
        (&snapshot["team"], &snapshot["kept"]),
        (&json!("web"), &json!("cold"))
    );
    assert_eq!(
        foreign.disks_with("etc/made-by").len(),
        3,
        "builder, image, test machine"
    );

    let listed = foreign.run(&["images", "--json"]).code(0);
    assert!(
        listed
            .stdout
            .contains(image["name"].as_str().expect("a name")),
        "{listed}"
    );
    foreign.run(&["sweep"]).code(0);
    assert_eq!(foreign.holds()["images"], holds["images"]);
    foreign.end();
}

#[test]
fn a_failed_bake_at_a_foreign_endpoint_leaves_nothing() {
    let Some(foreign) = Foreign::start() else {
        return;
    };
    let recipe =
        format!("{RECIPE}[[step]]\nname = 'no'\nshell = {{ run = 'touch /tmp/here; exit 7' }}\n");
    foreign.sandbox.file("images/foreign.toml", &recipe);
    foreign.run(&["bake", "foreign"]).code(30).says(&["7"]);
    let holds = foreign.holds();
    nothing_is_left(&holds);
    assert_eq!(
        (&holds["launched"], &holds["images"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(
        foreign.disks_with("tmp/here").len(),
        1,
        "the step ran on the machine"
    );
    foreign.end();
}
