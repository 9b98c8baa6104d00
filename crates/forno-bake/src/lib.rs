//! The bake: a recipe goes in, a proven image comes out, and nothing else stays.
//!
//! [`Engine::plan`] says what would happen and changes nothing. [`Engine::bake`]
//! does it: several recipes in the order in which they start from one another,
//! each phase by phase, each effect written ahead in the ledger of its bake and
//! undone by looking. What happens is told as events
//! ([`Engine::subscribe`]) and recorded in the bake's folder ([`Bakes`]).

mod bake;
mod bakes;
mod connection;
mod engine;
mod error;
mod exit;
mod folder;
mod http;
mod journal;
mod manifest;
mod names;
pub mod packer_manifest;
mod plan;
mod policy;
mod reach;
mod report;
mod resume;
mod settings;
mod sweep;

pub use bake::BucketPlace;
pub use bakes::{BakeFolder, Bakes};
pub use connection::{Connection, ConnectionWay, SshWay};
pub use engine::{Engine, RunOptions};
pub use error::{Error, ErrorKind};
pub use exit::ExitCode;
pub use forno_saga::{Ladder, Rung, UndoPolicy, Unreleased};
pub use journal::{Masker, Subscription, TooShort};
pub use manifest::{Manifest, PhaseTime};
pub use plan::{
    Candidate, Change, Estimate, Network, Plan, PlannedSource, Preflight, PreflightOutcome,
    RecipeSource, SourceImage, Variable,
};
pub use policy::{MOST_OF_A_MANAGED_POLICY, Policy, PolicyScope};
pub use reach::{Tunnel, agent_shell, agent_terminal, tunnel};
pub use report::{BakeReport, RunReport, RunResult};
pub use resume::{Outlook, Resumption};
pub use settings::{About, Answer, Ask, Goal, Ingress, OnFailure, Question, Settings, Tools};
pub use sweep::{Consent, Fate, Found, SweepOptions, SweepReport};
