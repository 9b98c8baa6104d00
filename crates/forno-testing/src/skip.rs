//! How a test says that this computer cannot run it.
//!
//! Real machines, a real sshd and a real Ansible are not everywhere, and a person
//! without them should still see the other tests. Where everything must be there,
//! a test that steps aside would hide what it was to show: with
//! `FORNO_TEST_STRICT` set, as in CI, it fails.

/// Says why a test is not run; the caller returns after it.
///
/// # Panics
/// Where `FORNO_TEST_STRICT` is set.
#[expect(clippy::print_stdout, reason = "a test tells the person who runs it")]
pub fn skip(reason: impl std::fmt::Display) {
    #[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
    let strict = std::env::var_os("FORNO_TEST_STRICT").is_some();
    assert!(
        !strict,
        "FORNO_TEST_STRICT is set and this test cannot run: {reason}"
    );
    println!("skipped: {reason}");
}
