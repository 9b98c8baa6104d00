//! The gateway against an endpoint on loopback that answers by script, refuses,
//! hangs, and drops connections. It speaks HTTP itself, so that nothing of the SDK is
//! replaced and no test feature of it is switched on.

mod bake_calls;
mod endpoint;
mod failures;
mod finding;
mod waiting;
