//! QEMU's command line for a machine.
//!
//! The user network is laid out so that 169.254.169.254 lies in it; requests to
//! that address start a relay each. The SMBIOS strings are EC2's, by which the
//! guest's own cloud-init knows where it is.

use std::path::Path;

use crate::net::text;
use crate::relay::METADATA_ADDRESS;
use crate::spec::machine_uuid;
use crate::{Error, MachineSpec, helper, mac_address};

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Tcg,
}

/// The socket of QEMU's machine protocol, in the machine's folder, where QEMU
/// is started: the path of a unix socket must be short.
pub(super) const QMP_SOCKET: &str = "qmp.sock";
/// A modest processor with what speeds up a guest's cryptography. QEMU's `max`
/// emulates instructions with which Debian's kernel was seen to go wrong.
const EMULATED_CPU: &str = "qemu64,+rdrand,+ssse3,+sse4.1,+sse4.2,+aes,+pclmulqdq,-svm";
/// QEMU's name for the guest's network.
pub(super) const NETDEV: &str = "n0";

/// The arguments, program first.
pub(super) fn command(
    spec: &MachineSpec,
    helper_exe: &Path,
    console: &Path,
    accelerator: Accelerator,
) -> Result<Vec<String>, Error> {
    let uuid = machine_uuid(&spec.id);
    let mut forwards = String::new();
    let metadata = (80, spec.imds_socket.clone());
    for (port, socket) in [&metadata].into_iter().chain(&spec.services) {
        let relay = shell_words::join([text(helper_exe)?, helper::RELAY_PIPE, text(socket)?]);
        forwards.push_str(&format!(
            ",guestfwd=tcp:{METADATA_ADDRESS}:{port}-cmd:{}",
            comma(&relay)
        ));
    }
    let (accel, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg,thread=multi", EMULATED_CPU),
    };
    let mut argv = vec!["qemu-system-x86_64".to_owned()];
    let mut add = |option: &str, value: String| argv.extend([option.to_owned(), value]);
    add("-name", spec.id.clone());
    add("-accel", accel.to_owned());
    add("-cpu", cpu.to_owned());
    add("-smp", spec.vcpus.to_string());
    add("-m", format!("{}M", spec.memory_mib));
    add("-display", "none".to_owned());
    add("-vga", "none".to_owned());
    add(
        "-chardev",
        format!("file,id=serial,append=on,path={}", comma(text(console)?)),
    );
    add("-serial", "chardev:serial".to_owned());
    add("-qmp", format!("unix:{QMP_SOCKET},server=on,wait=off"));
    add("-smbios", "type=0,vendor=Amazon_EC2".to_owned());
    add(
        "-smbios",
        format!("type=1,manufacturer=Amazon_EC2,serial={uuid},uuid={uuid}"),
    );
    add(
        "-drive",
        format!(
            "if=none,id=root,format=raw,discard=unmap,file={}",
            comma(text(&spec.disk)?)
        ),
    );
    add("-device", "virtio-blk-pci,drive=root".to_owned());
    add(
        "-netdev",
        format!(
            "user,id={NETDEV},net=169.254.0.0/16,host=169.254.0.2,dns=169.254.0.3,\
             dhcpstart=169.254.0.15{forwards}"
        ),
    );
    // In slot 5, so that the guest calls it ens5 as on EC2.
    add(
        "-device",
        format!(
            "virtio-net-pci,netdev={NETDEV},addr=0x5,mac={}",
            mac_address(spec.private_address)
        ),
    );
    add("-device", "virtio-rng-pci".to_owned());
    // As on Nitro: a controller each, whose serial number is the volume's.
    for (number, data) in spec.data_disks.iter().enumerate() {
        let file = comma(text(&data.disk)?);
        add(
            "-drive",
            format!("if=none,id=data{number},format=raw,discard=unmap,file={file}"),
        );
        add(
            "-device",
            format!("nvme,drive=data{number},serial={}", data.serial),
        );
    }
    // A guest that restarts ends QEMU, which then says why, and is started
    // again: so every boot begins from the same state.
    argv.extend(["-no-reboot", "-nodefaults", "-no-user-config"].map(str::to_owned));
    Ok(argv)
}

/// QEMU separates the parts of an option with commas.
fn comma(value: &str) -> String {
    value.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn commas_and_blanks_in_paths_survive() {
        let spec = MachineSpec {
            id: "i-0123".to_owned(),
            dir: PathBuf::from("/m"),
            disk: PathBuf::from("/a,b/disk"),
            data_disks: Vec::new(),
            vcpus: 2,
            memory_mib: 512,
            public_address: [127, 1, 2, 3].into(),
            private_address: [172, 31, 0, 9].into(),
            imds_socket: PathBuf::from("/a b/imds,1"),
            services: vec![(9000, PathBuf::from("/s"))],
        };
        let argv = command(
            &spec,
            Path::new("/bin/x"),
            Path::new("/m/console.log"),
            Accelerator::Tcg,
        )
        .unwrap();
        assert!(argv.iter().any(|arg| arg.ends_with("file=/a,,b/disk")));
        assert!(argv.iter().any(|arg| arg.ends_with(
            "-cmd:/bin/x __machine-relay-pipe '/a b/imds,,1',\
                     guestfwd=tcp:169.254.169.254:9000-cmd:/bin/x __machine-relay-pipe /s"
        )));
        let uuid = machine_uuid("i-0123");
        assert_eq!(uuid.len(), 36);
        assert!(uuid.starts_with("ec2"));
    }
}
