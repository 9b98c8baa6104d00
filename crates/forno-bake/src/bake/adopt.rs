//! After a call whose answer was lost: what it made, if it made anything.
//!
//! The name or the token is this bake's alone and the tag says whose it is, so what is
//! found is the work of that call. EC2 may show it late; a look that comes too early would
//! throw away a bake that has lost nothing but a reply.

use std::time::Duration;

use forno_aws::{Error, Kind, Outcome};
use forno_saga::Deadline;
use tokio_util::sync::CancellationToken;

/// How long what was made may stay unseen.
const WITHIN: Duration = Duration::from_secs(15);

/// Whether the call that failed so may have made what it should.
pub(super) fn may_be_there(error: &Error) -> bool {
    error.outcome() == Outcome::Unknown || error.kind() == Kind::Duplicate
}

/// Looks until it shows. An answer that it is not there is only believed in the end,
/// and a look that fails says nothing. Nobody looks for what is going to be undone.
pub(super) async fn adopt<T, F>(
    poll: Duration,
    cancel: &CancellationToken,
    look: impl Fn() -> F,
) -> Option<T>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    let until = Deadline::after(WITHIN);
    loop {
        if let Ok(Some(there)) = look().await {
            return Some(there);
        }
        tokio::select! {
            () = until.pause(poll) => {}
            () = cancel.cancelled() => return None,
        }
        if until.passed() {
            return None;
        }
    }
}
