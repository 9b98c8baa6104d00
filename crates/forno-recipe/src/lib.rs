//! Recipes: TOML in, checked plain data out.
//!
//! [`Project::find`] finds the repository's `forno.toml`, [`load`] reads one
//! recipe and tells everything that is wrong with it at once ([`Diagnostics`]),
//! [`bake_order`] says which images wait for which, [`digest()`] tells whether
//! anything changed, [`schema()`] is the format for editors. Nothing here talks to
//! a cloud, reads the environment, or knows a command line.

mod ami_name;
mod canonical;
mod check;
mod diagnostic;
mod digest;
mod model;
mod node;
mod order;
mod project;
mod recipe;
mod reference;
mod schema;
mod shape;
mod suggest;
mod template;
mod text;
mod tree;
mod units;
mod vars;
mod walk;

pub use ami_name::AmiNameFault;
pub use check::MOST_USER_DATA;
pub use diagnostic::{Diagnostics, Problem};
pub use digest::{Digest, DigestError, SEMANTICS, digest};
pub use model::{
    Address, Architecture, Assertion, AssumeRole, BootMode, Cipher, CommandAssertion, Connect,
    CpuCredits, DataVolume, DeregistrationProtection, Disk, FileAssertion, FileKind, ImageDisk,
    Imds, ImdsSupport, ImdsTokens, KeyExchange, MachineOptions, Market, OnFailure,
    PackageAssertion, PortAssertion, Protocol, SealAllow, SealItem, ServiceAssertion, SshOptions,
    Tenancy, Timeouts, TpmSupport, UserAssertion, VolumeType,
};
pub use order::{Circular, bake_order};
pub use project::{Inputs, PROJECT_FILE, Project, RecipeEntry, Unset, load};
pub use recipe::{
    Action, Ansible, Bucket, Builder, Check, Download, Filters, LeftOut, MASK, Prove, Publish,
    Recipe, Register, Script, Seal, Shell, Source, SourcePath, Step, TemporaryProfile, Test,
    TestKind, Upload, UploadSource, UserData, Var, VarOrigin, VarValue,
};
pub use reference::reference;
pub use schema::{project_schema, schema};
pub use text::{BakeFacts, Late, LateError, Lines, Text, Value};
pub use units::{Mode, Period, Size, UnitError};
pub use vars::SHORTEST_SECRET;
