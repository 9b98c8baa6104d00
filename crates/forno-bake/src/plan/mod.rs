//! What would happen, and why: everything about a bake that can be known
//! before it makes anything.

mod change;
mod estimate;
mod ingress;
mod network;
mod preflight;
mod prepare;
mod publish;
mod saved;
mod source;
mod steps;
mod view;
mod volumes;

pub(crate) use ingress::{is_loopback, sources as ingress};
pub(crate) use network::Place;
pub(crate) use prepare::{Base, Machine, Prepared, digest_of, plan, prepare, unmanaged};
pub use saved::RecipeSource;
pub(crate) use saved::Saved;
pub(crate) use source::newest_finished;
pub(crate) use steps::ids;
pub use view::{
    Candidate, Change, Estimate, Network, Plan, PlannedSource, Preflight, PreflightOutcome,
    SourceImage, Variable,
};
