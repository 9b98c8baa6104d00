//! A user: there or not, with number, groups, home and shell.

use forno_link::Link;

use super::facts::{Comparison, Facts};
use crate::{Mismatch, StepContext, StepError, UserAssertion};

const LOOK: &str = r#"
entry=$(getent passwd "$1") || { echo missing; exit 0; }
echo "uid $(echo "$entry" | cut -d: -f3)"
echo "home $(echo "$entry" | cut -d: -f6)"
echo "shell $(echo "$entry" | cut -d: -f7)"
echo "groups $(id -nG -- "$1")"
"#;

pub(super) async fn evaluate(
    link: &dyn Link,
    wanted: &UserAssertion,
    ctx: &StepContext,
) -> Result<Vec<Mismatch>, StepError> {
    let name = &wanted.name;
    let facts = Facts::ask(link, name, LOOK, &[name], ctx).await?;
    let mut comparison = Comparison::default();
    let exists = facts.get("missing").is_none();
    if exists != wanted.exists {
        let words = |exists: bool| if exists { "there" } else { "not there" };
        comparison.differs(format!("user {name}"), words(wanted.exists), words(exists));
    }
    if !exists || !wanted.exists {
        return Ok(comparison.0);
    }
    let uid = wanted.uid.map(|uid| uid.to_string());
    comparison.equal(format!("uid of {name}"), uid.as_deref(), facts.get("uid"));
    comparison.equal(
        format!("home of {name}"),
        wanted.home.as_deref(),
        facts.get("home"),
    );
    comparison.equal(
        format!("shell of {name}"),
        wanted.shell.as_deref(),
        facts.get("shell"),
    );
    let groups: Vec<&str> = facts.get("groups").unwrap_or("").split(' ').collect();
    let missing: Vec<&str> = wanted
        .groups
        .iter()
        .map(String::as_str)
        .filter(|group| !groups.contains(group))
        .collect();
    if !missing.is_empty() {
        comparison.differs(
            format!("groups of {name}"),
            missing.join(", "),
            groups.join(", "),
        );
    }
    Ok(comparison.0)
}
