//! A local folder as a tar stream.
