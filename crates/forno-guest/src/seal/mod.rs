//! Making an image out of a machine: what is this machine's own is forgotten,
//! so that every machine started from the image gets its own.
//!
//! Runs of steps that are still there end first. Then three commands: one forgets and looks whether it is forgotten, one looks for
//! secrets on what is left, one writes everything to the disk. The connection
//! they run over stays; a new one can no longer be made.

mod options;

use bytes::Bytes;
use forno_link::{Command, Exit, Link, Stdin, capture};
use secrecy::ExposeSecret;

pub use options::{Allowed, Finding, SealItem, SealOptions, SealReport, SealVolume, Unsearched};

use crate::assertion::matches;
use crate::error::StepErrorKind;
use crate::{StepContext, StepError};

const FORGET: &str = include_str!("forget.sh");
const SCAN: &str = include_str!("scan.sh");

/// A shorter piece of a secret is found everywhere.
const SHORTEST: usize = 8;

pub(crate) async fn run(
    link: &dyn Link,
    options: &SealOptions,
    ctx: &StepContext,
) -> Result<SealReport, StepError> {
    crate::shell::sweep(link, ctx).await?;
    if let Some(home) = crate::stub::home(link, ctx).await? {
        let scanned = scan(link, options, &home, ctx).await?;
        return Ok(SealReport {
            warnings: vec!["a stub has nothing to forget".into()],
            allowed: scanned.allowed,
            unsearched: scanned.unsearched,
            ..SealReport::default()
        });
    }
    let mut report = forget(link, options, "", ctx).await?;
    let scanned = scan(link, options, "", ctx).await?;
    report.allowed = scanned.allowed;
    report.unsearched = scanned.unsearched;
    let sync = capture(link, Command::shell("sync").sudo(true), &ctx.cancel).await?;
    if !sync.exit.success() {
        let reason = sync.reason();
        return Err(StepError::guest(format!("cannot write the disk: {reason}")));
    }
    Ok(report)
}

/// `root` is the folder of the machine's root; empty on the machine itself.
async fn forget(
    link: &dyn Link,
    options: &SealOptions,
    root: &str,
    ctx: &StepContext,
) -> Result<SealReport, StepError> {
    let keys = options.key_blobs.join("\n");
    let items = SealItem::ALL
        .iter()
        .filter(|item| !options.keep.contains(item));
    let args = [keys.as_str(), root]
        .into_iter()
        .chain(items.map(|item| item.as_str()));
    let output = capture(link, Command::script(FORGET, args).sudo(true), &ctx.cancel).await?;
    let mut report = SealReport::default();
    let mut failed = Vec::new();
    for line in output.stdout.lines() {
        ctx.line(forno_events::Stream::Stdout, line);
        match line.split_once(' ') {
            Some(("did", item)) => {
                report
                    .forgotten
                    .extend(SealItem::ALL.iter().filter(|i| i.as_str() == item));
            }
            Some(("warn", text)) => report.warnings.push(text.to_owned()),
            Some(("fail", text)) => {
                let (item, why) = text.split_once(' ').unwrap_or((text, ""));
                failed.push(format!("{item}: {}", why.trim()));
            }
            _ => {}
        }
    }
    let tail: Vec<String> = output.stderr.lines().map(str::to_owned).collect();
    let wanted = SealItem::ALL.len()
        - SealItem::ALL
            .iter()
            .filter(|i| options.keep.contains(i))
            .count();
    if failed.is_empty() && output.exit == Exit::Code(0) && report.forgotten.len() == wanted {
        return Ok(report);
    }
    if failed.is_empty() {
        failed.push(output.reason());
    }
    let error = StepError::guest(format!("cannot seal the machine:\n{}", failed.join("\n")));
    Err(if failed.iter().any(|f| f.contains("new SSH host keys")) {
        error.hint("install cloud-init in the image and do not disable it")
    } else {
        error
    }
    .tail(tail))
}

/// What a scan tells when it found nothing that must not be.
#[derive(Debug, Default)]
struct Scanned {
    allowed: Vec<(Finding, String)>,
    unsearched: Vec<Unsearched>,
}

async fn scan(
    link: &dyn Link,
    options: &SealOptions,
    root: &str,
    ctx: &StepContext,
) -> Result<Scanned, StepError> {
    // Those of a stub are the computer's own.
    let volumes = options.volumes.iter().filter(|_| root.is_empty());
    let volumes = volumes.flat_map(|volume| [volume.device.as_str(), volume.serial.as_str()]);
    let command = Command::script(SCAN, std::iter::once(root).chain(volumes))
        .sudo(true)
        .stdin(Stdin::Bytes(Bytes::from(texts(options))))
        .public_stdin(ctx.public && options.secrets.is_empty());
    let output = capture(link, command, &ctx.cancel).await?;
    if !output.exit.success() || output.dropped > 0 {
        let reason = output.reason();
        return Err(StepError::guest(format!(
            "cannot look for secrets: {reason}"
        )));
    }
    let mut scanned = Scanned::default();
    let mut findings = Vec::new();
    let mut more = false;
    for line in output.stdout.lines() {
        let Some((what, path)) = line.split_once('\t') else {
            more |= line == "more";
            continue;
        };
        let path = path.to_owned();
        match what.split_once(' ') {
            Some(("find", kind)) => {
                let finding = Finding {
                    path,
                    kind: kind.to_owned(),
                };
                let allowed = options
                    .allowed
                    .iter()
                    .find(|a| matches(&a.path, &finding.path));
                match allowed {
                    Some(allowed) => scanned.allowed.push((finding, allowed.reason.clone())),
                    None => findings.push(finding),
                }
            }
            Some(("unsearched", why)) => scanned.unsearched.push(Unsearched {
                path,
                why: why.to_owned(),
            }),
            _ => {}
        }
    }
    findings.sort();
    if more {
        findings.push(Finding {
            path: "and more".into(),
            kind: "only the first are listed".into(),
        });
    }
    if findings.is_empty() {
        return Ok(scanned);
    }
    Err(StepError::new(StepErrorKind::Secrets(findings)).hint(
        "remove them in a last step: what a machine needs at run time it should get when it starts; \
         what is to be there is named with a reason in `[[seal.allow]]`",
    ))
}

/// One text a line; of a text of many lines the longest.
fn texts(options: &SealOptions) -> String {
    let mut texts = String::new();
    for secret in &options.secrets {
        let lines = secret.expose_secret().lines().map(str::trim);
        if let Some(line) = lines.max_by_key(|line| line.len())
            && line.len() >= SHORTEST
        {
            texts.push_str(line);
            texts.push('\n');
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn the_script_knows_every_item() {
        for item in SealItem::ALL {
            let (name, function) = (item.as_str(), item.as_str().replace('-', "_"));
            assert!(FORGET.contains(&format!("{name}) {function} ;;")), "{name}");
            assert!(FORGET.contains(&format!("\n{function}() {{")), "{name}");
        }
    }

    #[test]
    fn a_secret_of_many_lines_is_looked_for_by_its_longest() {
        let options = SealOptions {
            secrets: vec![
                SecretString::from("hunter2-hunter2"),
                SecretString::from("-----BEGIN X-----\nabcdefghijklmnopqrstuvwxyz\nxyz\n"),
                SecretString::from("short"),
            ],
            ..SealOptions::default()
        };
        assert_eq!(
            texts(&options),
            "hunter2-hunter2\nabcdefghijklmnopqrstuvwxyz\n"
        );
    }

    /// A machine's root with something of everything in it, and what stays.
    fn furnish(root: &std::path::Path, blob: &str) -> Vec<&'static str> {
        let files = [
            (
                "etc/passwd",
                "root:x:0:0::/root:/bin/sh\nadmin:x:1000:1000::/home/ad min:/bin/sh\nsys:x:3:3::/usr:/bin/sh\n",
            ),
            ("etc/machine-id", "0123456789abcdef\n"),
            ("var/lib/dbus/machine-id", "0123456789abcdef\n"),
            ("etc/ssh/sshd_config", "Port 22\n"),
            (
                "etc/ssh/ssh_host_ed25519_key",
                "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
            ),
            ("etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 x\n"),
            ("usr/bin/cloud-init", ""),
            ("var/lib/cloud/instances/i-1/user-data.txt", "secret"),
            ("var/lib/cloud/data/instance-id", "i-1"),
            ("var/lib/cloud/sem/config_scripts_per_once.once", ""),
            ("var/lib/cloud/scripts/per-boot/mine.sh", "echo"),
            ("var/log/cloud-init-output.log", "x"),
            ("var/lib/dhcp/dhclient.eth0.leases", "lease"),
            ("var/lib/dhcpcd/duid", "00:01"),
            ("var/lib/NetworkManager/secret_key", "x"),
            ("var/lib/systemd/random-seed", "x"),
            ("etc/udev/rules.d/70-persistent-net.rules", "x"),
            ("etc/udev/rules.d/70-other.rules", "x"),
            ("var/cache/apt/archives/a.deb", "x"),
            ("var/cache/apt/pkgcache.bin", "x"),
            ("var/lib/apt/lists/mirror_Packages", "x"),
            ("root/.bash_history", "x"),
            ("root/.bashrc", "x"),
            ("home/ad min/.python_history", "x"),
            ("home/ad min/.ansible/tmp/x", "x"),
            ("home/ad min/.ansible/roles/kept", "x"),
            ("var/lib/amazon/ssm/Vault/Store/RegistrationKey", "x"),
            ("var/lib/amazon/ssm/registration", "x"),
            (
                "var/lib/amazon/ssm/i-0a/document/orchestration/9f-1/awsrunShellScript/0.awsrunShellScript/_script.sh",
                "secret",
            ),
            (
                "var/lib/amazon/ssm/i-0a/document/state/completed/9f-1.2026-11-26",
                "secret",
            ),
            ("var/lib/amazon/ssm/i-0a/inventory/kept", "x"),
            ("tmp/a b/c", "x"),
            ("var/tmp/x", "x"),
            ("tmp/systemd-private-1-x.service/tmp/y", "x"),
            ("var/log/auth.log", "x"),
            ("var/log/auth.log.1", "x"),
            ("var/log/old.gz", "x"),
            ("var/log/journal/0123/system.journal", "x"),
        ];
        for (path, content) in files {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        for home in ["root", "home/ad min"] {
            let ssh = root.join(home).join(".ssh");
            fs_err::create_dir_all(&ssh).unwrap();
            let ours = format!("no-pty,command=\"echo 'no'\" ssh-ed25519 {blob} forno\n");
            let theirs = if home == "root" {
                ""
            } else {
                "ssh-ed25519 OTHER team\n"
            };
            fs_err::write(ssh.join("authorized_keys"), format!("{theirs}{ours}")).unwrap();
        }
        vec![
            "etc/machine-id",
            "etc/passwd",
            "etc/ssh/sshd_config",
            "etc/udev/rules.d/70-other.rules",
            "home/ad min/.ansible/roles/kept",
            "home/ad min/.ssh/authorized_keys",
            "root/.bashrc",
            "usr/bin/cloud-init",
            "var/lib/amazon/ssm/i-0a/inventory/kept",
            "var/lib/cloud/scripts/per-boot/mine.sh",
            "var/lib/dbus/machine-id",
            "var/log/auth.log",
        ]
    }

    fn files(root: &std::path::Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs_err::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    let path = entry.path();
                    let path = path.strip_prefix(root).unwrap();
                    found.push(path.display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    async fn bench() -> Option<(
        forno_link::testing::Sshd,
        std::sync::Arc<forno_link::SshLink>,
        StepContext,
    )> {
        let server = forno_link::testing::sshd()
            .await
            .map_err(|why| eprintln!("skipped: {why}"))
            .ok()?;
        let link = server.link().await;
        let ctx = StepContext::new(
            forno_events::StepId::new("seal"),
            forno_events::Emitter::none(),
            tokio_util::sync::CancellationToken::new(),
        );
        Some((server, link, ctx))
    }

    #[tokio::test]
    async fn what_is_the_machines_own_goes_and_the_rest_stays() {
        let Some((_server, link, ctx)) = bench().await else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("the root");
        let blob = "AAAAC3NzaC1lZDI1NTE5AAAAIours+/=";
        let stays = furnish(&root, blob);
        let options = SealOptions {
            key_blobs: vec![blob.into()],
            ..SealOptions::default()
        };
        let report = forget(&*link, &options, root.to_str().unwrap(), &ctx)
            .await
            .unwrap();
        assert_eq!(report.forgotten, SealItem::ALL);
        assert_eq!(files(&root), stays);
        let read = |path: &str| fs_err::read_to_string(root.join(path)).unwrap();
        assert_eq!(
            read("home/ad min/.ssh/authorized_keys"),
            "ssh-ed25519 OTHER team\n"
        );
        assert_eq!(read("etc/machine-id") + &read("var/log/auth.log"), "");
        let id = fs_err::read_link(root.join("var/lib/dbus/machine-id")).unwrap();
        assert_eq!(id, std::path::Path::new("/etc/machine-id"));
    }

    #[tokio::test]
    async fn what_is_to_be_kept_is_kept() {
        let Some((_server, link, ctx)) = bench().await else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        furnish(dir.path(), "AAAA");
        let before = files(dir.path());
        let options = SealOptions {
            keep: SealItem::ALL.to_vec(),
            ..SealOptions::default()
        };
        let report = forget(&*link, &options, dir.path().to_str().unwrap(), &ctx)
            .await
            .unwrap();
        assert!(report.forgotten.is_empty());
        assert_eq!(files(dir.path()), before);
    }

    #[tokio::test]
    async fn a_machine_that_could_not_be_reached_again_is_not_sealed() {
        let Some((_server, link, ctx)) = bench().await else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        furnish(dir.path(), "AAAA");
        fs_err::remove_file(dir.path().join("usr/bin/cloud-init")).unwrap();
        let root = dir.path().to_str().unwrap();
        let error = forget(&*link, &SealOptions::default(), root, &ctx)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot seal the machine:\nhost-keys: nothing on this machine would make new SSH host keys at the next boot"
        );
        assert!(error.hint.unwrap().contains("cloud-init"));
        assert!(dir.path().join("etc/ssh/ssh_host_ed25519_key").exists());
    }

    fn put(root: &std::path::Path, files: &[(&str, String)]) {
        for (path, content) in files {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
    }

    /// Letters and digits as a generator of tokens would make them; put together
    /// here, so that nobody who searches this repository finds one.
    fn token(length: usize) -> String {
        "aB3dE6gH9".chars().cycle().take(length).collect()
    }

    fn key(name: &str) -> String {
        let dashes = "-----";
        let body = token(64);
        format!("{dashes}BEGIN {name}{dashes}\n{body}\n{body}\n{dashes}END {name}{dashes}\n")
    }

    #[tokio::test]
    async fn secrets_are_found_by_path_and_kind() {
        let Some((_server, link, ctx)) = bench().await else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let one_line = key("PRIVATE KEY").replace('\n', "\\n");
        let encrypted = key("RSA PRIVATE KEY").replacen(
            '\n',
            "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n",
            1,
        );
        let putty = "PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\nAAAA\n";
        let found: Vec<(&str, String)> = vec![
            ("etc/app.conf", "token = hunter2-hunter2\n".into()),
            ("opt/it's here/binary", "\0\u{1}hunter2-hunter2\0".into()),
            (
                "usr/lib/python3/dist-packages/x/s",
                "hunter2-hunter2".into(),
            ),
            ("home/a/.ssh/id", key("OPENSSH PRIVATE KEY")),
            ("home/a/id.ppk", putty.into()),
            ("home/a/gpg", key("PGP PRIVATE KEY BLOCK")),
            ("usr/local/etc/key", key("EC PRIVATE KEY")),
            ("usr/lib/own/key", key("ENCRYPTED PRIVATE KEY")),
            ("srv/old.key", encrypted),
            (
                "srv/account.json",
                format!("{{\"type\": \"service_account\", \"private_key\": \"{one_line}\"}}"),
            ),
            (
                "srv/indented.yml",
                format!("key: |\n    {}", key("PRIVATE KEY").replace('\n', "\n    ")),
            ),
            (
                "srv/aws.env",
                format!("AWS_SECRET_ACCESS_KEY=\"{}\"\n", token(40)),
            ),
            (
                "srv/aws.py",
                format!("connect('AKIA{}', '{}')\n", "Q2".repeat(8), token(40)),
            ),
            (
                "srv/azure",
                format!("Endpoint;AccountKey={}==\n", token(86)),
            ),
            ("srv/github", format!("x gh{}_{}\n", "p", token(36))),
            (
                "srv/github2",
                format!("github{}_{}_{}", "_pat", token(22), token(59)),
            ),
            ("srv/gitlab", format!("gl{}-{}\n", "pat", token(20))),
            (
                "srv/slack",
                format!("xo{}-12345678901-{}\n", "xb", token(24)),
            ),
            ("srv/npm", format!("np{}_{}\n", "m", token(36))),
            ("srv/pypi", format!("py{}-AgE{}\n", "pi", token(60))),
            ("srv/stripe", format!("sk_{}_{}\n", "live", token(24))),
            ("srv/vault", format!("hv{}.{}\n", "s", token(30))),
            ("root/.netrc", "machine x login y\n  password z\n".into()),
            (
                "etc/apt/auth.conf.d/x.conf",
                "machine x login y password z\n".into(),
            ),
            (
                "root/.git-credentials",
                "https://me:word@git.example\n".into(),
            ),
            ("root/.npmrc", "//registry/:_authToken=abc\n".into()),
            ("root/.pypirc", "[pypi]\npassword = abc\n".into()),
            (
                "root/.docker/config.json",
                "{\"auths\":{\"r\":{\"auth\":\"YTpi\"}}}".into(),
            ),
            (
                "root/.kube/config",
                format!("users:\n- user:\n    token: {}\n", token(30)),
            ),
            (
                "srv/kube.yml",
                format!("    client-key-data: {}\n", token(80)),
            ),
            ("root/.aws/credentials", "aws_session_token = abc\n".into()),
        ];
        put(dir.path(), &found);
        put(
            dir.path(),
            &[("var/lib/dpkg/info/x.md5sums", String::new())],
        );
        let large = fs_err::File::create(dir.path().join("srv/large")).unwrap();
        large.set_len(200 << 20).unwrap();
        let options = SealOptions {
            secrets: vec![SecretString::from("hunter2-hunter2")],
            ..SealOptions::default()
        };
        let root = dir.path().to_str().unwrap();
        let error = scan(&*link, &options, root, &ctx).await.unwrap_err();
        insta::assert_snapshot!(error.to_string());
        assert!(!error.to_string().contains("hunter2"));

        let options = SealOptions {
            allowed: vec![Allowed {
                path: "/*".into(),
                reason: "made for this test".into(),
            }],
            ..options
        };
        let scanned = scan(&*link, &options, root, &ctx).await.unwrap();
        let told: std::collections::BTreeSet<_> = scanned
            .allowed
            .iter()
            .map(|(finding, _)| finding.path.trim_start_matches('/'))
            .collect();
        assert_eq!(told, found.iter().map(|(path, _)| *path).collect());
        assert_eq!(scanned.allowed[0].1, "made for this test");
        let unsearched = Unsearched {
            path: "/srv/large".into(),
            why: "larger than 128 MiB".into(),
        };
        assert_eq!(scanned.unsearched, [unsearched]);
    }

    #[tokio::test]
    async fn what_only_speaks_of_secrets_or_is_public_is_none() {
        let Some((_server, link, ctx)) = bench().await else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let dashes = "-----";
        let packaged = key("PRIVATE KEY");
        let begin = format!("{dashes}BEGIN PRIVATE KEY{dashes}");
        put(
            dir.path(),
            &[
                ("etc/short", "hunter2".into()),
                ("etc/doc", format!("a key begins with\n{begin}\nand ends\n")),
                ("srv/template", format!("{begin}\n{{{{ key }}}}\n")),
                ("srv/public.pem", key("CERTIFICATE")),
                ("srv/own.pub", key("PUBLIC KEY")),
                ("srv/Go", format!("\0{begin}{}", token(80))),
                (
                    "srv/aws.md",
                    format!("AWS_SECRET_ACCESS_KEY={}EXAMPLEKEY", token(30)),
                ),
                (
                    "srv/id",
                    format!("AKIA{}\n{}\n", "Q2".repeat(8), "0a".repeat(20)),
                ),
                ("srv/names", format!("sha_gh{}_{}\n", "p", token(36))),
                ("root/.npmrc", "//registry/:_authToken=${TOKEN}\n".into()),
                ("root/.netrc", "machine x login y\n".into()),
                ("root/.docker/config.json", "{\"auths\":{}}".into()),
                ("root/.kube/config", "clusters: []\n".into()),
                (
                    "opt/venv/lib/site-packages/t/test.pem",
                    key("RSA PRIVATE KEY"),
                ),
                ("etc/ssl/private/ssl-cert-snakeoil.key", key("PRIVATE KEY")),
                ("usr/share/doc/x/key", packaged.clone()),
                ("lib/x/key", packaged),
                ("etc/binary", "\0\u{1}\u{2}hunter2".into()),
            ],
        );
        // Sums as dpkg has them, also for a path from before /lib was /usr/lib.
        let sums = "cd \"$0\"; mkdir -p var/lib/dpkg/info usr/lib; mv lib/x usr/lib; \
            { md5sum usr/share/doc/x/key; md5sum usr/lib/x/key | sed s,usr/,,; } >var/lib/dpkg/info/x.md5sums";
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", sums])
            .arg(dir.path())
            .status();
        assert!(status.unwrap().success());
        let root = dir.path().to_str().unwrap();
        let options = SealOptions {
            secrets: vec![SecretString::from("hunter2-hunter2")],
            ..SealOptions::default()
        };
        let scanned = scan(&*link, &options, root, &ctx).await;
        let scanned = scanned.unwrap_or_else(|error| panic!("{error}"));
        assert!(scanned.allowed.is_empty() && scanned.unsearched.is_empty());

        // One that was changed is not the package's any more.
        let key = dir.path().join("usr/share/doc/x/key");
        fs_err::write(&key, fs_err::read_to_string(&key).unwrap() + "\n").unwrap();
        let error = scan(&*link, &options, root, &ctx).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "secrets would be baked in:\n/usr/share/doc/x/key: a private key"
        );
    }

    /// What the script says when one of its programs is another.
    fn scanned_with(program: &str, text: &str) -> std::process::Output {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), &[("root/key", key("PRIVATE KEY"))]);
        put(dir.path(), &[("bin/other", text.to_owned())]);
        let other = dir.path().join("bin").join(program);
        fs_err::rename(dir.path().join("bin/other"), &other).unwrap();
        fs_err::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::process::Command::new("/bin/sh")
            .args(["-c", SCAN, "sh"])
            .arg(dir.path().join("root"))
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", other.parent().unwrap().display()),
            )
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    }

    #[test]
    fn a_search_that_breaks_does_not_pass_for_one_that_found_nothing() {
        for (program, text) in [
            ("find", "#!/bin/sh\necho 'find: bad -fprint0' >&2; exit 1\n"),
            ("grep", "#!/bin/sh\nkill -KILL $$\n"),
            ("xargs", "#!/bin/sh\nexit 127\n"),
            // Ends in the middle of it.
            (
                "xargs",
                "#!/bin/sh\ncase $* in *-E*) echo 'xargs: grep: terminated by signal 9' >&2; exit 125 ;; esac\nexec /usr/bin/xargs \"$@\"\n",
            ),
        ] {
            let output = scanned_with(program, text);
            assert!(!output.status.success(), "{program}: {output:?}");
            assert!(!output.stderr.is_empty(), "{program}: {output:?}");
        }
        let broken = "#!/bin/sh\necho \"find: '/srv/a b': Input/output error\" >&2\nexec /usr/bin/find \"$@\"\n";
        let output = scanned_with("find", broken);
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "find a private key\t/key\nunsearched Input/output error\t/srv/a b\n"
        );
    }
}
