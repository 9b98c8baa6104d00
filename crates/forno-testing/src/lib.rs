//! What the tests of the workspace share.

mod python;
mod skip;

pub use python::python;
pub use skip::skip;
