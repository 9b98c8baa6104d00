//! What this computer can run, why not, and what to install.

use std::path::Path;

use crate::vm::{KvmMemory, examine_kvm};
use crate::{Kind, source};

/// The finding about every kind.
#[derive(Debug, Clone)]
pub struct Report {
    /// One finding per kind, in the order of [`Kind::ALL`].
    pub kinds: Vec<Finding>,
    /// What `auto` picks; none when nothing real is usable (a stub is never
    /// picked by itself).
    pub choice: Option<Kind>,
    /// Why it picks that.
    pub reason: String,
    /// How a virtual machine would run.
    pub kvm: Kvm,
    /// Debian packages that are missing for the making of the source disk.
    pub source_packages: Vec<String>,
}

/// The finding about one kind.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The kind.
    pub kind: Kind,
    /// Whether machines of this kind can be started here.
    pub usable: bool,
    /// Whole sentences' worth of remarks: what is missing, what to expect.
    pub notes: Vec<String>,
    /// Debian packages that would make it usable.
    pub packages: Vec<String>,
}

impl Finding {
    /// The command that installs what is missing; none when nothing is.
    pub fn install_command(&self) -> Option<String> {
        install_command(&self.packages)
    }
}

/// The command that installs packages; none for none.
pub(crate) fn install_command(packages: &[String]) -> Option<String> {
    (!packages.is_empty()).then(|| format!("apt-get install {}", packages.join(" ")))
}

/// What is known about hardware virtualisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kvm {
    /// A guest was seen to run under it since this computer started.
    Proven,
    /// It looks right but no guest has run under it yet; the first one will tell.
    Likely,
    /// It opens but cannot be trusted, and why.
    Broken(String),
    /// It is not there or closed to this user, and why.
    Absent(String),
}

impl Report {
    /// The finding about one kind.
    pub fn finding(&self, kind: Kind) -> &Finding {
        let [vm, container, stub] = &self.kinds[..] else {
            unreachable!("there is a finding for each of three kinds");
        };
        match kind {
            Kind::Vm => vm,
            Kind::Container => container,
            Kind::Stub => stub,
        }
    }
}

/// Looks at this computer. Cheap (some milliseconds), starts nothing.
/// `cache_dir` is where hosts remember what was proven.
pub fn examine(cache_dir: &Path) -> Report {
    judge(&Facts {
        root: rustix::process::geteuid().is_root(),
        kvm: examine_kvm(&KvmMemory::of(cache_dir)),
        loops: Path::new("/dev/loop-control").exists(),
        tun: Path::new("/dev/net/tun").exists(),
        has: &find_program,
        source_packages: source::missing_packages(),
    })
}

/// What the judgement rests on.
struct Facts<'a> {
    root: bool,
    kvm: Kvm,
    loops: bool,
    tun: bool,
    has: &'a dyn Fn(&str) -> bool,
    source_packages: Vec<String>,
}

const VM_TOOLS: [(&str, &str); 2] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
];
const CONTAINER_TOOLS: [(&str, &str); 8] = [
    ("systemd-nspawn", "systemd-container"),
    ("slirp4netns", "slirp4netns"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("resize2fs", "e2fsprogs"),
];

fn judge(facts: &Facts<'_>) -> Report {
    let vm = judge_vm(facts);
    let container = judge_container(facts);
    let fast_kvm = matches!(facts.kvm, Kvm::Proven | Kvm::Likely);
    let (choice, reason) = if vm.usable && fast_kvm {
        (
            Some(Kind::Vm),
            "virtual machines run here with KVM".to_owned(),
        )
    } else if container.usable {
        (
            Some(Kind::Container),
            format!(
                "containers start within seconds, and {}",
                without_kvm(facts, &vm)
            ),
        )
    } else if vm.usable {
        (
            Some(Kind::Vm),
            format!(
                "only virtual machines can run here, emulated, which takes about a minute per boot: {}",
                container.notes.join("; ")
            ),
        )
    } else {
        (
            None,
            format!(
                "neither containers ({}) nor virtual machines ({}) can run here",
                container.notes.join("; "),
                vm.notes.join("; ")
            ),
        )
    };
    let stub = Finding {
        kind: Kind::Stub,
        usable: true,
        notes: vec!["runs commands in a scratch folder of this computer; for tests".to_owned()],
        packages: Vec::new(),
    };
    Report {
        kinds: vec![vm, container, stub],
        choice,
        reason,
        kvm: facts.kvm.clone(),
        source_packages: facts.source_packages.clone(),
    }
}

fn without_kvm(facts: &Facts<'_>, vm: &Finding) -> String {
    match &facts.kvm {
        _ if !vm.usable => "virtual machines cannot run".to_owned(),
        Kvm::Broken(why) | Kvm::Absent(why) => {
            format!("virtual machines would be emulated ({why})")
        }
        Kvm::Proven | Kvm::Likely => "virtual machines run with KVM".to_owned(),
    }
}

fn judge_vm(facts: &Facts<'_>) -> Finding {
    let (mut notes, packages) = missing(facts, &VM_TOOLS);
    notes.push(match &facts.kvm {
        Kvm::Proven => "KVM works".to_owned(),
        Kvm::Likely => "KVM looks right; the first guest proves it".to_owned(),
        Kvm::Broken(why) => format!("KVM is not used: {why}"),
        Kvm::Absent(why) => format!("emulated, because {why}"),
    });
    Finding {
        kind: Kind::Vm,
        usable: packages.is_empty(),
        notes,
        packages,
    }
}

fn judge_container(facts: &Facts<'_>) -> Finding {
    let (mut notes, packages) = missing(facts, &CONTAINER_TOOLS);
    if !facts.root {
        notes.push("needs root".to_owned());
    }
    if !facts.loops {
        notes.push("there is no /dev/loop-control (modprobe loop)".to_owned());
    }
    if !facts.tun {
        notes.push("there is no /dev/net/tun (modprobe tun)".to_owned());
    }
    let usable = notes.is_empty();
    if usable {
        notes.push("shares this computer's kernel".to_owned());
    }
    Finding {
        kind: Kind::Container,
        usable,
        notes,
        packages,
    }
}

fn missing(facts: &Facts<'_>, tools: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let absent = tools.iter().filter(|(program, _)| !(facts.has)(program));
    let mut notes = Vec::new();
    let mut packages = Vec::<String>::new();
    for (program, package) in absent {
        notes.push(format!("{program} is not installed"));
        if !packages.iter().any(|known| known == package) {
            packages.push((*package).to_owned());
        }
    }
    (notes, packages)
}

/// Where programs are: looked for here, and run from here. A search path of an
/// ordinary user lacks the folders of administration, so it is not asked.
pub(crate) const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether a program is where programs are.
pub(crate) fn find_program(name: &str) -> bool {
    PROGRAMS
        .split(':')
        .any(|folder| Path::new(folder).join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(root: bool, kvm: Kvm, has: &dyn Fn(&str) -> bool) -> Facts<'_> {
        Facts {
            root,
            kvm,
            loops: true,
            tun: true,
            has,
            source_packages: Vec::new(),
        }
    }

    fn absent() -> Kvm {
        Kvm::Absent("there is no /dev/kvm".to_owned())
    }

    #[test]
    fn proven_kvm_wins_then_containers_then_emulation() {
        let all = |_: &str| true;
        assert_eq!(
            judge(&facts(true, Kvm::Proven, &all)).choice,
            Some(Kind::Vm)
        );
        assert_eq!(
            judge(&facts(true, absent(), &all)).choice,
            Some(Kind::Container)
        );
        let broken = Kvm::Broken("no vmx".to_owned());
        assert_eq!(
            judge(&facts(true, broken, &all)).choice,
            Some(Kind::Container)
        );
        assert_eq!(judge(&facts(false, absent(), &all)).choice, Some(Kind::Vm));
    }

    #[test]
    fn missing_programs_name_their_packages() {
        let none = |_: &str| false;
        let report = judge(&facts(true, absent(), &none));
        assert_eq!(report.choice, None);
        assert_eq!(
            report.finding(Kind::Container).install_command().as_deref(),
            Some(
                "apt-get install systemd-container slirp4netns iproute2 util-linux mount e2fsprogs"
            )
        );
        assert!(report.finding(Kind::Stub).usable);
        assert_eq!(report.finding(Kind::Stub).install_command(), None);
    }

    #[test]
    fn a_broken_kvm_is_told_in_the_notes() {
        let all = |_: &str| true;
        let report = judge(&facts(false, Kvm::Broken("why".to_owned()), &all));
        let notes = report.finding(Kind::Vm).notes.join(" ");
        assert!(notes.contains("KVM is not used: why"), "{notes}");
    }
}
