//! A playbook, run by the real `ansible-playbook` of this machine straight
//! against the builder, over what forno's own connection knows: address, pinned
//! host key, and an agent that signs. The private key is in no file.

mod galaxy;
mod process;
mod run;
mod told;
mod workspace;

pub(crate) use run::run;
