//! The tables of a recipe as they are written.
//!
//! These types are the one description of the format: serde fills them, the
//! JSON Schema, the shape check and the reference page are made from them, and
//! their comments are the reference's text. What a single table cannot know
//! (files, other recipes, rules across keys) is checked later, in `check`.

mod assertion;
mod builder;
mod image;
mod publish;
mod seal;
mod step;
mod top;

pub use assertion::{
    Assertion, CommandAssertion, FileAssertion, FileKind, PackageAssertion, PortAssertion,
    Protocol, ServiceAssertion, UserAssertion,
};
pub use builder::{
    Address, Architecture, Cipher, Connect, CpuCredits, DataVolume, Disk, Imds, ImdsTokens,
    KeyExchange, MachineOptions, Market, SshOptions, Tenancy, Timeouts, VolumeType,
};
pub use image::{BootMode, ImageDisk, TpmSupport};
pub use publish::{DeregistrationProtection, ImdsSupport};
pub use seal::{SealAllow, SealItem};
pub use step::OnFailure;
pub use top::AssumeRole;

pub(crate) use assertion::{CheckEntry, ProveTable, TestEntry, TestKindEntry};
pub(crate) use builder::{BuilderTable, SsmFiles, SsmTable, TemporaryProfileTable};
pub(crate) use image::{
    ImageTable, RegisterTable, SourceTable, VarDefault, VarEntry, VarSpec, VarType,
};
pub(crate) use publish::PublishTable;
pub(crate) use seal::SealTable;
pub(crate) use step::{ActionEntry, AnsibleEntry, FileEntry, ShellEntry, StepEntry};
pub(crate) use top::{ProjectFile, RecipeFile};
