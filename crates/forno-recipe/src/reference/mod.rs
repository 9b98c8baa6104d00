//! The reference page: prose by hand, tables from the schema.

mod tables;

pub use tables::reference;
