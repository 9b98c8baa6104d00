//! What the tests stand on: a place to run `forno` in, an endpoint to ask, and the
//! traces that a machine leaves on this computer.

mod endpoint;
mod recipes;
mod run;
mod sandbox;
mod traces;

pub(crate) use endpoint::Endpoint;
pub(crate) use recipes::Recipe;
pub(crate) use run::{Finished, Running};
pub(crate) use sandbox::{Machine, Sandbox};
pub(crate) use traces::{eventually, traces};
