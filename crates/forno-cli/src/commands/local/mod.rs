//! `forno local`

pub(crate) mod doctor;
pub(crate) mod reset;
pub(crate) mod serve;
