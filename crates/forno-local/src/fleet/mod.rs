//! The machines behind the instances. Actions change the world and leave
//! orders here; what the machines then do comes back as changes of the world.

mod agent;
mod burial;
mod captures;
mod gate;
mod keeper;
mod orders;

pub(crate) use agent::{AGENT_VERSION, Agent, over};
pub(crate) use burial::bury;
pub(crate) use keeper::user_initiated;
pub(crate) use orders::{Capture, Fleet, Order, Part};
