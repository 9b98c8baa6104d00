//! A real machine (a container with Debian's own systemd, sshd and cloud-init)
//! from its first boot to the seal, and once more as two other machines made from
//! its sealed disk. What it does would harm the computer it runs on, so nothing
//! less than a machine will do.

#![allow(clippy::print_stdout, reason = "it has no harness to speak for it")]

mod common;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{shell, step, told};
use forno_events::{Emitter, Event, StepId};
use forno_guest::{
    Action, Ansible, Assertion, Guest, PackageAssertion, ReadyOptions, SealOptions, SealVolume,
    ServiceAssertion, StepContext,
};
use forno_link::{
    AgentSocket, Auth, Command, HostKey, HostKeyPair, Identity, SshTarget, Watch, capture, connect,
};
use forno_machine::source::{self, SourceConfig};
use forno_machine::{DataDisk, Host, HostConfig, Kind, Machine, MachineSpec, copy_disk};
use secrecy::ExposeSecret;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if let Some(code) = forno_machine::helper_main(&args) {
        return code;
    }
    // As the usual harness answers when it is asked what there is.
    if args.iter().any(|arg| arg == "--list") {
        println!("a_machine_from_first_boot_to_seal: test");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(a_machine_from_first_boot_to_seal());
    ExitCode::SUCCESS
}

fn can_run() -> bool {
    let report = forno_machine::doctor::examine(Path::new("/nonexistent"));
    let finding = report.finding(Kind::Container);
    let root = rustix::process::geteuid().is_root();
    let able = finding.usable && report.source_packages.is_empty() && root;
    if !able {
        forno_testing::skip(format_args!(
            "a container machine needs root and its tools: {}",
            finding.notes.join("; ")
        ));
    }
    able
}

#[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
fn cache_dir() -> PathBuf {
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    var("FORNO_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("forno")))
        .or_else(|| Some(var("HOME")?.join(".cache/forno")))
        .expect("a home folder")
}

struct Site {
    dir: tempfile::TempDir,
    host: Host,
    events: Arc<Mutex<Vec<Event>>>,
}

/// A machine that is reached.
struct Builder {
    machine: Machine,
    guest: Guest,
    ctx: StepContext,
    identity: Arc<Identity>,
    _agent: AgentSocket,
}

/// Who makes a machine's host key.
#[derive(Clone, Copy, PartialEq)]
enum HostKeyOf {
    /// We do, as for every machine of a bake.
    Bake,
    /// The machine itself, as one in production does; it is asked for it.
    Machine,
}

impl Site {
    async fn boot(
        &self,
        number: u8,
        disk: PathBuf,
        data_disks: Vec<DataDisk>,
        keys: HostKeyOf,
    ) -> Builder {
        let id = format!("i-{number:017x}");
        let dir = self.dir.path().join(&id);
        fs_err::create_dir_all(&dir).unwrap();
        let identity = Arc::new(Identity::generate(&format!("forno {id}")));
        let host_key = HostKeyPair::generate();
        let private = host_key.private_openssh();
        let private = private.expose_secret().trim_end().replace('\n', "\n    ");
        let mut user_data = format!(
            "#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n    {private}\n  ed25519_public: {}\n",
            host_key.public().line()
        );
        if keys == HostKeyOf::Machine {
            "#cloud-config\n{}\n".clone_into(&mut user_data);
        }
        let imds_socket = dir.join("imds.sock");
        serve_metadata(&imds_socket, &id, user_data, identity.public_line());
        let [_, _, low, high] = std::process::id().to_be_bytes();
        let spec = MachineSpec {
            id,
            dir,
            disk,
            data_disks,
            vcpus: 2,
            memory_mib: 1024,
            public_address: Ipv4Addr::new(127, low.max(2), high, number),
            private_address: Ipv4Addr::new(172, 31, 6, number),
            imds_socket,
            services: Vec::new(),
        };
        let machine = self.host.launch(spec).await.unwrap();
        let agent = AgentSocket::new(identity.clone()).unwrap();
        let auth = Auth::Identity(identity.clone());
        let host_key = match keys {
            HostKeyOf::Bake => host_key.public(),
            HostKeyOf::Machine => shown_by(machine.ssh_address()).await,
        };
        let mut target = SshTarget::new(machine.ssh_address(), "admin", host_key, auth);
        target.agent_socket = Some(agent.path().to_owned());
        let cancel = CancellationToken::new();
        let link = connect(target, Duration::from_mins(3), &Watch::none(), &cancel).await;
        let link = link.unwrap_or_else(|error| {
            panic!("{error}\n{}", String::from_utf8_lossy(&machine.console()))
        });
        let seen = Arc::clone(&self.events);
        let emitter = Emitter::new(move |event| seen.lock().unwrap().push(event));
        Builder {
            machine,
            guest: Guest::new(Arc::new(link)),
            ctx: StepContext::new(StepId::new("step-01"), emitter, cancel),
            identity,
            _agent: agent,
        }
    }
}

/// The host key that a machine shows, once it shows one.
async fn shown_by(address: std::net::SocketAddr) -> HostKey {
    loop {
        let scan = tokio::process::Command::new("ssh-keyscan")
            .args(["-t", "ed25519", "-p", &address.port().to_string()])
            .arg(address.ip().to_string())
            .output();
        let output = String::from_utf8(scan.await.unwrap().stdout).unwrap();
        let key = output
            .lines()
            .find_map(|line| line.split_once(' ')?.1.parse().ok());
        match key {
            Some(key) => return key,
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

impl Builder {
    async fn say(&self, script: &str) -> String {
        let command = Command::shell(script).sudo(true);
        let output = capture(&**self.guest.link(), command, &self.ctx.cancel)
            .await
            .unwrap();
        assert!(output.exit.success(), "{script}: {output:?}");
        output.stdout.trim().to_owned()
    }

    async fn run(&self, action: Action) {
        if let Err(error) = self.guest.run(&step(action), &self.ctx).await {
            panic!("{}", told(&error));
        }
    }
}

async fn a_machine_from_first_boot_to_seal() {
    if !can_run() {
        return;
    }
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    let config = SourceConfig {
        cache_dir: cache_dir(),
        mirror: None,
        ca_bundle: bundle.exists().then(|| bundle.to_owned()),
    };
    let source = source::make_debian_disk(&config, &|_| {}, &CancellationToken::new())
        .await
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(HostConfig {
        run_dir: dir.path().join("run"),
        cache_dir: dir.path().join("cache"),
        kind: Some(Kind::Container),
        helper_exe: None,
    })
    .await
    .unwrap();
    let site = Site {
        dir,
        host,
        events: Arc::default(),
    };
    let disk = site.dir.path().join("first.raw");
    copy_disk(&source.path, &disk, |_| {}, &CancellationToken::new())
        .await
        .unwrap();

    let data = ["/dev/sdf", "/dev/sdg", "/dev/sdh"].map(|device| {
        let path = site.dir.path().join(device.replace('/', "."));
        let disk = fs_err::File::create(&path).unwrap();
        disk.set_len(1 << 26).unwrap();
        DataDisk {
            device: device.to_owned(),
            serial: device.replace('/', ""),
            disk: path,
        }
    });
    let first = site
        .boot(31, disk.clone(), data.into(), HostKeyOf::Bake)
        .await;
    println!("ready");
    ready(&site, &first).await;
    println!("assertions");
    assertions(&first).await;
    println!("cancel");
    cancelled_commands_of_root_end(&first).await;
    println!("playbook");
    playbook(&first).await;
    println!("reboot");
    a_restart_within_a_script(&first).await;
    reboot(&first).await;
    println!("seal");
    a_script_that_nobody_waits_for(&first).await;
    let old = seal(&first).await;
    println!("power off");
    first.guest.link().close().await;
    let off = first.machine.power_off(Duration::from_mins(2)).await;
    assert!(
        matches!(off, forno_machine::OffReason::GuestShutdown),
        "{off:?}"
    );

    let copies = ["second.raw", "third.raw"].map(|name| site.dir.path().join(name));
    for copy in &copies {
        copy_disk(&disk, copy, |_| {}, &CancellationToken::new())
            .await
            .unwrap();
    }
    println!("two other machines");
    let [second, third] = copies;
    let (second, third) = tokio::join!(
        site.boot(32, second, Vec::new(), HostKeyOf::Machine),
        site.boot(33, third, Vec::new(), HostKeyOf::Machine)
    );
    let (one, other) = tokio::join!(
        another_machine(&second, &first.identity),
        another_machine(&third, &first.identity)
    );
    strangers(&old, &one);
    strangers(&old, &other);
    strangers(&one, &other);
    second.machine.kill().await;
    third.machine.kill().await;
    site.host.shutdown().await;
    println!("test a_machine_from_first_boot_to_seal ... ok");
}

async fn ready(site: &Site, builder: &Builder) {
    let report = builder
        .guest
        .wait_ready(&ReadyOptions::default(), &builder.ctx)
        .await;
    let report = report.unwrap_or_else(|error| panic!("{}", told(&error)));
    assert_eq!(report.cloud_init, "done", "{report:?}");

    // Somebody holds a lock, and gives it back when the wait was seen.
    let hold = "python3 -c 'import fcntl, os, time\n\
                f = open(\"/var/lib/dpkg/lock-frontend\", \"w\"); fcntl.lockf(f, fcntl.LOCK_EX)\n\
                open(\"/run/held\", \"w\")\n\
                while os.path.exists(\"/run/held\"): time.sleep(0.1)' >/dev/null 2>&1 &\n\
                while [ ! -e /run/held ]; do sleep 0.1; done";
    builder.say(hold).await;
    let options = ReadyOptions::default();
    let waiting = builder.guest.wait_ready(&options, &builder.ctx);
    let freeing = async {
        loop {
            let seen = site.events.lock().unwrap().iter().any(|event| matches!(
                event,
                Event::Waiting { state, .. } if state.contains("lock-frontend is held by python3")
            ));
            if seen {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        builder.say("rm /run/held").await;
    };
    let (report, ()) = tokio::join!(waiting, freeing);
    report.unwrap();
}

async fn assertions(builder: &Builder) {
    let service = |name: &str, enabled, active| {
        Action::Assert(Assertion::Service(ServiceAssertion {
            name: name.into(),
            enabled,
            active,
        }))
    };
    builder.run(service("ssh", Some(true), Some(true))).await;
    builder
        .run(service("no-such-unit", Some(false), Some(false)))
        .await;
    for (action, message) in [
        (
            service("ssh", Some(false), Some(false)),
            "service ssh: expected not enabled, found enabled\nservice ssh: expected not active, found active (running)",
        ),
        (
            service("no-such-unit", Some(true), None),
            "service no-such-unit: expected to exist, found no such unit",
        ),
    ] {
        let error = builder
            .guest
            .run(&step(action), &builder.ctx)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let sudo = PackageAssertion {
        name: "sudo".into(),
        installed: true,
        version: Some("1.*".into()),
    };
    builder.run(Action::Assert(Assertion::Package(sudo))).await;
    let packages = builder.guest.packages(&builder.ctx).await.unwrap();
    assert!(
        packages
            .iter()
            .any(|package| package.name == "openssh-server")
    );
}

async fn cancelled_commands_of_root_end(builder: &Builder) {
    let cancel = CancellationToken::new();
    let link = builder.guest.link().clone();
    let token = cancel.clone();
    let running = tokio::spawn(async move {
        let script = "sleep 4711 & sudo -n sh -c 'trap \"\" TERM; sleep 4712; sleep 4713' & wait";
        let command = Command::shell(script).sudo(true);
        link.exec(command, Box::new(forno_link::link::Discard), &token)
            .await
    });
    let count = "grep -lsa 'sleep.471[1-3]' /proc/[0-9]*/cmdline | grep -vc /proc/$$/ || true";
    while builder.say(count).await.parse::<u32>().unwrap() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cancel.cancel();
    assert!(running.await.unwrap().unwrap_err().is_cancelled());
    for _ in 0..600 {
        if builder.say(count).await == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("left: {}", builder.say("ps -ef").await);
}

async fn playbook(builder: &Builder) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("play.yml");
    let text = "- hosts: all\n  tasks:\n    - ansible.builtin.copy: { content: '{{ ansible_user_id }}', dest: /etc/who }\n";
    fs_err::write(&path, text).unwrap();
    let ansible = Ansible {
        on_builder: false,
        playbook: path,
        requirements: None,
        roles_path: Vec::new(),
        groups: Vec::new(),
        empty_groups: Vec::new(),
        host: "builder".to_owned(),
        inventory: None,
        extra_vars: BTreeMap::new(),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        r#become: true,
        verbosity: 0,
        env: BTreeMap::new(),
        args: Vec::new(),
    };
    builder.run(Action::Ansible(ansible)).await;
    assert_eq!(builder.say("cat /etc/who").await, "root");
}

/// A script may not do what the step is for.
async fn a_restart_within_a_script(builder: &Builder) {
    let boot = || Command::shell("cat /proc/sys/kernel/random/boot_id");
    let link = builder.guest.link();
    let never = CancellationToken::new();
    let before = capture(&**link, boot(), &never).await.unwrap().stdout;
    let script = step(Action::Shell(shell(
        "sudo systemctl reboot; exec sleep 600",
    )));
    let error = builder.guest.run(&script, &builder.ctx).await.unwrap_err();
    assert_eq!(
        told(&error),
        "the script was cut off half way: the machine restarts\n\
         hint: a restart is a step of its own: `reboot = {}`, and what follows it is another"
    );
    // Told before it is down.
    loop {
        let within = Duration::from_mins(2);
        link.reconnect(within, &Watch::none(), &never)
            .await
            .unwrap();
        let now = capture(&**link, boot(), &never).await;
        if now.is_ok_and(|now| now.exit.success() && now.stdout != before) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let options = ReadyOptions::default();
    builder
        .guest
        .wait_ready(&options, &builder.ctx)
        .await
        .unwrap();
}

/// A script whose forno died, with its output where nobody collects it.
async fn a_script_that_nobody_waits_for(builder: &Builder) {
    let access = builder.guest.link().ssh_access().unwrap();
    let auth = Auth::Identity(builder.identity.clone());
    let target = SshTarget::new(access.address, access.user, access.host_key, auth);
    let make = || tokio::runtime::Runtime::new().unwrap();
    let theirs = std::thread::spawn(make).join().unwrap();
    theirs.spawn(async move {
        let never = CancellationToken::new();
        let link = connect(target, Duration::from_mins(1), &Watch::none(), &never).await;
        let ctx = StepContext::new(StepId::new("left"), Emitter::none(), never);
        let script = step(Action::Shell(shell("exec sleep 4761")));
        Guest::new(Arc::new(link.unwrap())).run(&script, &ctx).await
    });
    while builder.say(LEFT).await != "1" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    theirs.shutdown_background();
    // As when its connection ends.
    assert_eq!(builder.say(LEFT).await, "1");
}

const LEFT: &str = "pgrep -cx -f 'sleep 4761' || true";

async fn reboot(builder: &Builder) {
    let boot = "cat /proc/sys/kernel/random/boot_id";
    let before = builder.say(boot).await;
    builder.run(Action::Reboot).await;
    assert_ne!(builder.say(boot).await, before);
    let options = ReadyOptions::default();
    builder
        .guest
        .wait_ready(&options, &builder.ctx)
        .await
        .unwrap();
    let mut script = shell("id -un; echo \"$HOME $KEPT\"");
    script.sudo = true;
    script.env.insert("KEPT".into(), "kept".into());
    builder.run(Action::Shell(script)).await;
}

/// What makes a machine itself and no other: one line each, sorted by what it is.
async fn identity(builder: &Builder) -> BTreeMap<String, String> {
    // By what a DHCP server knows a machine: dhclient keeps it with its leases,
    // systemd-networkd makes it of the machine id.
    let text = builder
        .say(
            "cat /etc/machine-id | sed 's/^/machine-id /'; echo \"hostname $(hostname)\"; \
             echo \"instance $(cat /var/lib/cloud/data/instance-id)\"; \
             for key in /etc/ssh/ssh_host_*_key.pub; do echo \"$key $(cut -d' ' -f2 $key)\"; done; \
             for file in /var/lib/systemd/random-seed /var/lib/dhcp/*lease*; do \
               if [ -s \"$file\" ]; then echo \"$file $(md5sum <\"$file\")\"; fi; done; \
             echo \"dhcp $(systemd-id128 machine-id --app-specific=f0c0a1b2c3d4e5f60718293a4b5c6d7e)\"",
        )
        .await;
    let all: BTreeMap<String, String> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(what, value)| (what.to_owned(), value.to_owned()))
        .collect();
    for what in ["machine-id", "hostname", "instance", "dhcp"] {
        assert!(!all[what].is_empty(), "{all:?}");
    }
    assert!(
        all.contains_key("/etc/ssh/ssh_host_ed25519_key.pub"),
        "{all:?}"
    );
    all
}

/// Two machines that have nothing of themselves in common.
fn strangers(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    for (what, value) in one {
        assert_ne!(Some(value), other.get(what), "{what}");
    }
}

/// Seals it; gives the identity that is forgotten.
async fn seal(builder: &Builder) -> BTreeMap<String, String> {
    // Not every kind of machine makes these by itself.
    builder
        .say(
            "head -c 512 /dev/urandom >/var/lib/systemd/random-seed; mkdir -p /var/lib/dhcp; \
             echo 'default-duid \"\\000\\001\";' >>/var/lib/dhcp/dhclient.eth0.leases",
        )
        .await;
    let old = identity(builder).await;
    builder
        .say("echo x >/root/.bash_history; echo 'password hunter2-hunter2' >/etc/app.conf")
        .await;
    // One volume is mounted, one is not, one has nothing on it, and one is not there.
    builder
        .say(
            "for disk in f g; do
               mkfs.ext4 -q /dev/sd$disk; mkdir -p '/srv/our data'; mount /dev/sd$disk '/srv/our data'
               echo hunter2-hunter2 >'/srv/our data/token'
               [ $disk = f ] || umount '/srv/our data'
             done",
        )
        .await;
    let volumes = ["/dev/sdf", "/dev/sdg", "/dev/sdh", "/dev/sdi"].map(|device| SealVolume {
        device: device.to_owned(),
        serial: device.replace('/', ""),
    });
    let options = SealOptions {
        key_blobs: vec![builder.identity.public_blob()],
        secrets: vec!["hunter2-hunter2".into()],
        volumes: volumes.into(),
        ..SealOptions::default()
    };
    let error = builder
        .guest
        .seal(&options, &builder.ctx)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "secrets would be baked in:\n/dev/sdg/token: a secret of this bake\n\
         /etc/app.conf: a secret of this bake\n/srv/our data/token: a secret of this bake"
    );
    builder
        .say(
            "rm /etc/app.conf '/srv/our data/token'; mount /dev/sdg /mnt; rm /mnt/token; umount /mnt",
        )
        .await;
    let begun = std::time::Instant::now();
    let report = builder.guest.seal(&options, &builder.ctx).await;
    let report = report.unwrap_or_else(|error| panic!("{}", told(&error)));
    println!("sealed in {:?}", begun.elapsed());
    assert_eq!(report.warnings, Vec::<String>::new());
    // Nothing on a stock Debian looks like a secret, and nothing is passed over.
    assert!(report.allowed.is_empty());
    let unsearched = report.unsearched.iter();
    let unsearched: Vec<_> = unsearched
        .map(|file| (file.path.as_str(), file.why.as_str()))
        .collect();
    let told = [
        ("/dev/sdh", "no file system is on it"),
        ("/dev/sdi", "the machine does not show it"),
    ];
    assert_eq!(unsearched, told);
    assert_eq!(
        builder.say("mount | grep -c /dev/shm/forno || true").await,
        "0"
    );
    assert_eq!(builder.say(LEFT).await, "0");
    assert_eq!(builder.say("ls /dev/shm | grep forno || true").await, "");
    // The connection lives on, and so does sudo.
    assert_eq!(builder.say("id -un").await, "root");
    old
}

async fn another_machine(builder: &Builder, old_key: &Identity) -> BTreeMap<String, String> {
    let options = ReadyOptions::default();
    let report = builder.guest.wait_ready(&options, &builder.ctx).await;
    assert_eq!(
        report
            .unwrap_or_else(|error| panic!("{}", told(&error)))
            .cloud_init,
        "done"
    );
    let keys = builder
        .say("cat /home/admin/.ssh/authorized_keys /root/.ssh/authorized_keys")
        .await;
    assert!(keys.contains(&builder.identity.public_blob()), "{keys}");
    assert!(!keys.contains(&old_key.public_blob()), "{keys}");
    assert_eq!(
        builder.say("cat /etc/who").await,
        "root",
        "what was baked is there"
    );
    assert_eq!(
        builder.say("systemctl --failed --no-legend --plain").await,
        ""
    );
    assert_eq!(
        builder.say("journalctl --list-boots --quiet | wc -l").await,
        "1"
    );
    assert_eq!(
        builder
            .say("ls -A /root/.bash_history 2>/dev/null || true")
            .await,
        ""
    );
    identity(builder).await
}

/// As much of EC2's metadata service as a first boot asks for.
fn serve_metadata(socket: &Path, id: &str, user_data: String, key: String) {
    let listener = UnixListener::bind(socket).unwrap();
    let document = format!("{{\"instanceId\":\"{id}\",\"region\":\"us-east-1\"}}");
    let pages: Vec<(&str, String)> = vec![
        ("api/token", "token".into()),
        ("user-data", user_data),
        (
            "meta-data/",
            "instance-id\nlocal-hostname\nplacement/\npublic-keys/".into(),
        ),
        ("meta-data/instance-id", id.into()),
        ("meta-data/local-hostname", id.into()),
        ("meta-data/placement/", "availability-zone".into()),
        ("meta-data/placement/availability-zone", "us-east-1a".into()),
        ("meta-data/public-keys/", "0=key".into()),
        ("meta-data/public-keys/0/", "openssh-key".into()),
        ("meta-data/public-keys/0/openssh-key", key),
        ("dynamic/", "instance-identity/".into()),
        ("dynamic/instance-identity/", "document".into()),
        ("dynamic/instance-identity/document", document),
    ];
    let pages = Arc::new(pages);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let pages = Arc::clone(&pages);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut lines = Vec::new();
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|n| n > 2) {
                    lines.push(std::mem::take(&mut line));
                }
                let path = lines
                    .first()
                    .and_then(|l| l.split(' ').nth(1))
                    .unwrap_or("/");
                let page = path
                    .trim_start_matches('/')
                    .split_once('/')
                    .map_or("", |(_, page)| page);
                let found = pages
                    .iter()
                    .find(|(name, _)| name.trim_end_matches('/') == page.trim_end_matches('/'));
                let (status, body) = match found {
                    Some((_, body)) => ("200 OK", body.as_str()),
                    None => ("404 Not Found", ""),
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
}
