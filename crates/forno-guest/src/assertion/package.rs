//! A package: installed or not, in a version.

use forno_link::Link;
use globset::Glob;

use super::facts::{Comparison, Facts};
use crate::{Mismatch, PackageAssertion, StepContext, StepError};

const LOOK: &str = r#"
if command -v dpkg-query >/dev/null; then
    dpkg-query -W -f 'status ${db:Status-Status}\nversion ${Version}\n' -- "$1" 2>/dev/null || :
elif command -v rpm >/dev/null; then
    rpm -q --qf 'status installed\nversion %{VERSION}-%{RELEASE}\n' -- "$1" 2>/dev/null | grep -E '^(status|version) ' || :
else
    echo "neither dpkg nor rpm is there" >&2
    exit 1
fi
"#;

pub(super) async fn evaluate(
    link: &dyn Link,
    wanted: &PackageAssertion,
    ctx: &StepContext,
) -> Result<Vec<Mismatch>, StepError> {
    let name = &wanted.name;
    let facts = Facts::ask(link, name, LOOK, &[name], ctx).await?;
    let version = facts.get("version").unwrap_or("");
    let installed = facts.get("status") == Some("installed");
    let mut comparison = Comparison::default();
    match (wanted.installed, installed) {
        (true, false) => {
            comparison.differs(format!("package {name}"), "installed", "not installed")
        }
        (false, true) => {
            comparison.differs(
                format!("package {name}"),
                "not installed",
                format!("version {version}"),
            );
        }
        (true, true) => {
            if let Some(pattern) = &wanted.version {
                let glob = Glob::new(pattern)
                    .map_err(|error| StepError::guest(format!("version of {name}: {error}")))?;
                if !glob.compile_matcher().is_match(version) {
                    comparison.differs(format!("version of {name}"), pattern, version);
                }
            }
        }
        (false, false) => {}
    }
    Ok(comparison.0)
}
