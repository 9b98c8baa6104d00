//! The local terminal, raw for a while and restored on every way out.
