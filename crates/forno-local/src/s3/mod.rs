//! Objects in buckets: enough of S3 to carry files to machines and back with
//! presigned requests, in one go or in parts, and to make and remove the bucket
//! for it. Contents lie in files of the state folder and are never in memory as
//! a whole.

mod body;
mod buckets;
mod checksum;
mod chunked;
mod documents;
mod error;
mod files;
mod headers;
mod list;
mod multipart;
mod objects;
mod operation;
mod reply;
mod request;

pub(crate) use error::{document as error_document, refuse};
pub(crate) use operation::{Operation, names};
pub(crate) use request::{Address, Request};
