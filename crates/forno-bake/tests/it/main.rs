//! Whole bakes by the engine, on the pocket EC2's stub machines: what is told
//! on the way, what is left afterwards, and how they end.

mod agents;
mod builder;
mod cancel;
mod capture;
mod corpus;
mod course;
mod fire;
mod keep;
mod machine;
mod nightly;
mod options;
mod policy;
mod profile;
mod publish;
mod resume;
mod rig;
mod roles;
mod sweep;
mod trial;
mod undo;
mod volumes;
