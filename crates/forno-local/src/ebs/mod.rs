//! The EBS direct APIs: snapshots read and written block by block, over REST with JSON.
//! What is put together here is a snapshot like any other, on the same kind of disk.

mod assembly;
mod blocks;
mod error;
mod look;
mod operation;
mod request;
mod write;

pub(crate) use assembly::Assemblies;
pub(crate) use error::{document as error_document, exception, refuse};
pub(crate) use operation::{Operation, names};
pub(crate) use request::Request;
