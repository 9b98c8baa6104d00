//! The instance metadata service: one small HTTP server per machine, on a unix
//! socket that the machine sees as 169.254.169.254. What it answers is read
//! from the world at each request, so tags and addresses are never stale.

mod server;
mod tokens;
mod tree;

pub(crate) use server::Server;
