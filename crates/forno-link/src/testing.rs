//! A real OpenSSH server on loopback, for tests.
