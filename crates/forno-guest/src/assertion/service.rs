//! A service of systemd: enabled, active.

use forno_link::Link;

use super::facts::{Comparison, Facts};
use crate::{Mismatch, ServiceAssertion, StepContext, StepError};

const LOOK: &str = r#"
command -v systemctl >/dev/null || { echo "systemd is not there" >&2; exit 1; }
echo "load $(systemctl show --property=LoadState --value -- "$1")"
echo "enabled $(systemctl is-enabled -- "$1" 2>/dev/null)"
echo "active $(systemctl is-active -- "$1" 2>/dev/null)"
"#;

pub(super) async fn evaluate(
    link: &dyn Link,
    wanted: &ServiceAssertion,
    ctx: &StepContext,
) -> Result<Vec<Mismatch>, StepError> {
    let name = &wanted.name;
    let unit = if name.contains('.') {
        name.clone()
    } else {
        format!("{name}.service")
    };
    let facts = Facts::ask(link, name, LOOK, &[&unit], ctx).await?;
    let mut comparison = Comparison::default();
    let load = facts.get("load").unwrap_or("");
    if load == "not-found" && (wanted.enabled == Some(true) || wanted.active == Some(true)) {
        comparison.differs(format!("service {name}"), "a unit of that name", "none");
        return Ok(comparison.0);
    }
    // `static` and `indirect` units are started by others; `alias` by its own name.
    let states = [
        (
            "enabled",
            wanted.enabled,
            &[
                "enabled",
                "enabled-runtime",
                "alias",
                "static",
                "indirect",
                "generated",
            ][..],
        ),
        ("active", wanted.active, &["active", "reloading"][..]),
    ];
    for (property, wanted, yes) in states {
        let found = facts.get(property).unwrap_or("");
        if let Some(wanted) = wanted
            && yes.contains(&found) != wanted
        {
            let expected = if wanted {
                property.to_owned()
            } else {
                format!("not {property}")
            };
            let found = if found.is_empty() { "unknown" } else { found };
            comparison.differs(format!("service {name}"), expected, found);
        }
    }
    Ok(comparison.0)
}
