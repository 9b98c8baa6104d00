//! Making an image out of a machine: what is this machine's own is forgotten,
//! so that every machine started from the image gets its own.
//!
//! Three commands: one forgets and looks whether it is forgotten, one looks for
//! secrets on what is left, one writes everything to the disk. The connection
//! they run over stays; a new one can no longer be made.

mod options;

use bytes::Bytes;
use forno_link::{Command, Exit, Link, Stdin, capture};
use secrecy::ExposeSecret;

pub use options::{Allowed, Finding, SealItem, SealOptions, SealReport};

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
    if let Some(home) = crate::stub::home(link, ctx).await? {
        scan(link, options, &home, ctx).await?;
        return Ok(SealReport {
            warnings: vec!["a stub has nothing to forget".into()],
            ..SealReport::default()
        });
    }
    let report = forget(link, options, "", ctx).await?;
    scan(link, options, "", ctx).await?;
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

async fn scan(
    link: &dyn Link,
    options: &SealOptions,
    root: &str,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let command = Command::script(SCAN, [root])
        .sudo(true)
        .stdin(Stdin::Bytes(Bytes::from(texts(options))));
    let output = capture(link, command, &ctx.cancel).await?;
    if !output.exit.success() || output.dropped > 0 {
        let reason = output.reason();
        return Err(StepError::guest(format!(
            "cannot look for secrets: {reason}"
        )));
    }
    let mut findings: Vec<Finding> = output
        .stdout
        .lines()
        .filter_map(|line| {
            let (kind, path) = line.split_once(' ')?;
            let path = path.strip_prefix(root).unwrap_or(path).to_owned();
            let kind = match kind {
                "secret" => "a secret of this bake",
                "private-key" => "a private key",
                _ => return None,
            };
            let allowed = options.allowed.iter().any(|a| matches(&a.path, &path));
            (!allowed).then(|| Finding {
                path,
                kind: kind.to_owned(),
            })
        })
        .collect();
    if findings.is_empty() {
        return Ok(());
    }
    findings.sort();
    Err(StepError::new(StepErrorKind::Secrets(findings)).hint(
        "remove them in a last step; what a machine needs at run time it should get when it starts",
    ))
}

/// One text a line; of a secret of many lines the longest.
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

    #[tokio::test]
    async fn secrets_are_found_by_path_and_kind() {
        let Some((_server, link, ctx)) = bench().await else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in [
            ("etc/app.conf", "token = hunter2-hunter2\n"),
            ("opt/it's here/binary", "\0\u{1}hunter2-hunter2\0"),
            (
                "home/a/.ssh/id",
                "-----BEGIN OPENSSH PRIVATE KEY-----\nxyz\n",
            ),
            (
                "etc/ssl/private/snakeoil.key",
                "-----BEGIN PRIVATE KEY-----\nxyz\n",
            ),
            (
                "opt/venv/lib/site-packages/t/test.pem",
                "-----BEGIN RSA PRIVATE KEY-----\n",
            ),
            ("usr/share/doc/key", "-----BEGIN RSA PRIVATE KEY-----\n"),
            ("usr/local/etc/key", "-----BEGIN EC PRIVATE KEY-----\n"),
            ("etc/doc", "a key begins with -----BEGIN PRIVATE KEY-----\n"),
            ("etc/innocent", "hunter2\n"),
        ] {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        let options = SealOptions {
            secrets: vec![SecretString::from("hunter2-hunter2")],
            allowed: vec![Allowed {
                path: "/etc/ssl/private/*".into(),
                reason: "made for this test".into(),
            }],
            ..SealOptions::default()
        };
        let root = dir.path().to_str().unwrap();
        let error = scan(&*link, &options, root, &ctx).await.unwrap_err();
        insta::assert_snapshot!(error.to_string(), @r"
        secrets would be baked in:
        /etc/app.conf: a secret of this bake
        /home/a/.ssh/id: a private key
        /opt/it's here/binary: a secret of this bake
        /usr/local/etc/key: a private key
        ");
        assert!(!error.to_string().contains("hunter2"));

        let empty = tempfile::tempdir().unwrap();
        scan(&*link, &options, empty.path().to_str().unwrap(), &ctx)
            .await
            .unwrap();
    }
}
