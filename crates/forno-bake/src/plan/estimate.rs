//! How long a bake may take: what is known is how long the last ones took.

use crate::plan::view::Estimate;
use crate::{Bakes, Manifest};

/// So many of the newest count.
const LAST: usize = 5;

/// From finished bakes of this image in the same region of the same account, which this
/// machine remembers. The pocket EC2 is an account of its own.
pub(super) fn estimate(
    bakes: &Bakes,
    image: &str,
    region: &str,
    account: Option<&str>,
) -> Option<Estimate> {
    let known = bakes.list().ok()?.into_iter().rev();
    let manifests = known
        .filter(|folder| folder.id().image() == image)
        .filter_map(|folder| folder.manifest().ok()?)
        .filter(|made| made.region == region && made.account.as_deref() == account);
    let mut took: Vec<u64> = manifests.take(LAST).map(|made| lasted(&made)).collect();
    took.sort_unstable();
    Some(Estimate {
        elapsed_ms: *took.get(took.len() / 2)?,
        bakes: took.len(),
    })
}

/// Milliseconds from the first call to the last.
fn lasted(made: &Manifest) -> u64 {
    let lasted = made.finished.duration_since(made.started);
    u64::try_from(lasted.as_millis()).unwrap_or(0)
}
