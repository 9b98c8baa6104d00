//! What is done to a running machine.
//!
//! A [`Guest`] is a machine at the end of a link. [`Guest::run`] does one
//! [`Step`] to it (a script, files, a playbook, a restart, an assertion), with
//! attempts and deadline; the other methods are what a bake does by itself:
//! waiting until the machine is ready, listing its packages, sealing it.
//!
//! Output leaves as events, line by line and unmasked: whoever takes the events
//! masks and records them.

mod ansible;
mod assertion;
mod context;
mod error;
mod file;
mod guest;
mod local;
mod output;
mod packages;
mod process;
mod ready;
mod reboot;
mod seal;
mod shell;
mod step;
mod stub;

pub use context::{Decide, Decision, RunLog, RunState, StepContext};
pub use error::{StepError, StepErrorKind};
pub use guest::Guest;
pub use packages::{Package, PackageManager};
pub use ready::{CloudInit, ReadyOptions, ReadyReport};
pub use seal::{Allowed, Finding, SealItem, SealOptions, SealReport, SealVolume, Unsearched};
pub use step::{
    Action, Ansible, Assertion, CommandAssertion, Download, FileAssertion, FileKind, Local,
    Mismatch, OnFailure, PackageAssertion, PortAssertion, Protocol, Script, SecretValue,
    ServiceAssertion, Shell, Step, StepReport, Upload, UploadSource, UserAssertion,
};
