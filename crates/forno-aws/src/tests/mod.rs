//! Against an endpoint that misbehaves.
