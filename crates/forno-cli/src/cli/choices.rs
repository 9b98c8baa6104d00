//! Words that several commands let one choose from.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Bars on a terminal, plain lines elsewhere and in CI
    #[default]
    Auto,
    /// What runs now, drawn in place
    Bars,
    /// A line per event
    Plain,
    /// An event per line as JSON, on standard output
    Json,
    /// A line `IMAGE ID` per image on standard output, and failures
    Quiet,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum MachineKind {
    /// A VM where KVM works, else a container for root, else a slow VM
    #[default]
    Auto,
    /// systemd-nspawn; needs root
    Container,
    /// QEMU, with KVM where it works
    Vm,
    /// No machine: commands run in a scratch folder of this one; for tests
    Stub,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Connect {
    /// SSH to the machine's address
    Ssh,
    /// Run Command of Systems Manager: no open port, no key pair, no sshd
    Ssm,
    /// SSH through a session of Systems Manager: no open port
    SshOverSsm,
}

impl From<Connect> for forno_recipe::Connect {
    fn from(connect: Connect) -> Self {
        match connect {
            Connect::Ssh => Self::Ssh,
            Connect::Ssm => Self::Ssm,
            Connect::SshOverSsm => Self::SshOverSsm,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailure {
    /// Take everything down
    #[default]
    Teardown,
    /// Stay, with the builder, for `forno shell` in another terminal, until Ctrl-C
    Keep,
    /// Ask what to do; takes down when nobody can be asked
    Ask,
}
