//! What the image is: its packages and the files laid over them.
//!
//! Everything here goes into the key under which a made disk is kept.

use sha2::{Digest, Sha256};

use super::apt::Sources;

/// Counts changes of how an image is made that no text here shows.
const FORM: u32 = 1;

pub(super) const RELEASE: &str = "bookworm";
/// Debian's image for EC2 has this size as well.
pub(super) const DISK_BYTES: u64 = 8 << 30;
/// The label by which boot loader and kernel find the root.
pub(super) const LABEL: &str = "root";

/// Besides the essential packages and apt. From Debian's own image: what boots
/// it, what a cloud needs, and the small tools that people expect to find.
pub(super) const PACKAGES: &[&str] = &[
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "curl",
    "dbus",
    "debian-archive-keyring",
    "e2fsprogs",
    "gpgv",
    "initramfs-tools",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libnss-myhostname",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "logrotate",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "tzdata",
    "udev",
    "unattended-upgrades",
    "vim-tiny",
    "zstd",
];

/// A file of the image: path, mode, content.
pub(super) struct File {
    pub path: &'static str,
    pub mode: u32,
    pub content: String,
}

/// What is to be made.
#[derive(Debug)]
pub(super) struct Plan {
    pub sources: Sources,
    pub certificates: Vec<String>,
}

impl Plan {
    /// The name of its place in the cache.
    pub(super) fn key(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(&FORM.to_string());
        add(&DISK_BYTES.to_string());
        add(&PACKAGES.join(" "));
        add(&self.sources.render());
        for certificate in &self.certificates {
            add(certificate);
        }
        for file in self.files() {
            add(file.path);
            add(&file.mode.to_string());
            add(&file.content);
        }
        hex::encode(&hash.finalize()[..16])
    }

    /// The files laid over the packages.
    pub(super) fn files(&self) -> Vec<File> {
        let file = |path, content: &str| File {
            path,
            mode: 0o644,
            content: content.to_owned(),
        };
        vec![
            file(
                "etc/apt/sources.list.d/debian.sources",
                &self.sources.render(),
            ),
            file("etc/cloud/cloud.cfg.d/01_debian_cloud.cfg", CLOUD_INIT),
            file("etc/cloud/ds-identify.cfg", DS_IDENTIFY),
            file("etc/default/locale", "LANG=C.UTF-8\n"),
            file("etc/fstab", FSTAB),
            file("etc/hostname", "localhost\n"),
            file("etc/hosts", HOSTS),
            file("etc/machine-id", ""),
            file("boot/grub/grub.cfg", GRUB),
        ]
    }
}

/// The stages of cloud-init as on EC2. Left out are modules that serve other
/// distributions and configuration managers: each costs a start of Python code
/// at every boot. The full lists stand in cloud.cfg, which is Debian's.
const CLOUD_INIT: &str = "\
# This machine's cloud is EC2 or something that speaks as EC2 does.
datasource_list: [Ec2, NoCloud, None]
datasource:
  Ec2:
    strict_id: false
    metadata_urls: [\"http://169.254.169.254\"]
    max_wait: 30
    timeout: 10
locale: C.UTF-8
manage_etc_hosts: false
ssh_genkeytypes: [ed25519, ecdsa]
system_info:
  distro: debian
  default_user:
    name: admin
    lock_passwd: true
    gecos: Debian
    groups: [adm, audio, cdrom, dialout, dip, floppy, netdev, plugdev, sudo, video]
    sudo: [\"ALL=(ALL) NOPASSWD:ALL\"]
    shell: /bin/bash
cloud_init_modules:
  - seed_random
  - bootcmd
  - write-files
  - growpart
  - resizefs
  - disk_setup
  - mounts
  - set_hostname
  - update_hostname
  - update_etc_hosts
  - ca-certs
  - users-groups
  - ssh
cloud_config_modules:
  - locale
  - set-passwords
  - apt-configure
  - ntp
  - timezone
  - runcmd
cloud_final_modules:
  - package-update-upgrade-install
  - write-files-deferred
  - scripts-vendor
  - scripts-per-once
  - scripts-per-boot
  - scripts-per-instance
  - scripts-user
  - keys-to-console
  - phone-home
  - final-message
  - power-state-change
";

/// The datasource is known; looking for it would cost a second.
const DS_IDENTIFY: &str = "policy: enabled\n";

/// The kernel's command line mounts the root, writable.
const FSTAB: &str = "# The root is mounted by the kernel's command line.\n";

const HOSTS: &str = "\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
";

/// Loads whatever kernel the distribution's own links name, so a new kernel
/// takes effect at the next boot. `no_timer_check`: an emulated machine's timer
/// fails the kernel's test now and then. `panic=-1`: a panic ends the machine
/// instead of hanging it.
const GRUB: &str = "\
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=0
search --no-floppy --label root --set root
echo 'loading Linux'
linux /vmlinuz root=LABEL=root rw console=tty0 console=ttyS0,115200n8 no_timer_check panic=-1
initrd /initrd.img
boot
";

#[cfg(test)]
mod tests {
    use super::super::Mirror;
    use super::super::apt;
    use super::*;

    fn plan(archive: &str) -> Plan {
        Plan {
            sources: apt::choose(Some(&Mirror {
                archive: archive.to_owned(),
                security: None,
            }))
            .unwrap(),
            certificates: Vec::new(),
        }
    }

    #[test]
    fn the_key_covers_sources_and_certificates() {
        let first = plan("http://a.test/debian").key();
        assert_eq!(plan("http://a.test/debian").key(), first);
        assert_ne!(plan("http://b.test/debian").key(), first);
        let mut trusting = plan("http://a.test/debian");
        trusting.certificates.push("x".to_owned());
        assert_ne!(trusting.key(), first);
    }

    #[test]
    fn the_cloud_settings_are_yaml() {
        let value = serde_yaml_ng::from_str::<serde_json::Value>(CLOUD_INIT).unwrap();
        assert_eq!(value["datasource_list"][0], "Ec2");
        assert_eq!(value["datasource"]["Ec2"]["strict_id"], false);
        assert_eq!(value["system_info"]["default_user"]["name"], "admin");
    }
}
