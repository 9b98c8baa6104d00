//! Stub machines: an SSH server without a machine behind it, for tests of
//! everything around it.
//!
//! Its commands run on the computer of whoever bakes, so what is meant for a
//! machine as a whole must not touch it. It says what it is by `FORNO_STUB`.

use forno_link::{Command, Link, capture};

use crate::{StepContext, StepError};

/// The stub's own folder, when the machine is one.
pub(crate) async fn home(link: &dyn Link, ctx: &StepContext) -> Result<Option<String>, StepError> {
    let asking = Command::shell(r#"if [ -n "${FORNO_STUB:-}" ]; then printf %s "$HOME"; fi"#);
    let output = capture(link, asking, &ctx.cancel).await?;
    Ok(Some(output.stdout).filter(|home| home.starts_with('/') && home.len() > 1))
}
