//! Patterns of action names: `Create*|Run*`, `ec2:*`, `GetParameter`.

use serde::{Deserialize, Serialize};

use super::log::ServiceName;
use crate::api::filters::Glob;

/// Which actions an entry of a plan is about: patterns with `*` and `?`,
/// separated by `|`, each of an action's name or of `service:name`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Actions {
    text: String,
    globs: Vec<Glob>,
}

impl Actions {
    /// Any pattern; one that no action has is never struck.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let globs = text.split('|').map(|part| Glob::new(part.trim())).collect();
        Self { text, globs }
    }

    /// Every action that there is.
    pub fn known() -> impl Iterator<Item = (ServiceName, &'static str)> {
        known()
    }

    pub(crate) fn matches(&self, service: ServiceName, action: &str) -> bool {
        let whole = format!("{}:{action}", service.name());
        self.globs
            .iter()
            .any(|glob| glob.matches(action) || glob.matches(&whole))
    }

    /// Whether one of these actions, of a service that makes or moves things, is meant.
    pub(super) fn any_of(&self, actions: &[&str]) -> bool {
        let services = [ServiceName::Ec2, ServiceName::Ebs, ServiceName::Ssm];
        actions.iter().any(|action| {
            services
                .iter()
                .any(|service| self.matches(*service, action))
        })
    }
}

/// What people write must name something: a misspelt action would be a fault
/// that never happens.
impl TryFrom<String> for Actions {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        for part in text.split('|') {
            let one = Self::new(part);
            if !known().any(|(service, action)| one.matches(service, action)) {
                return Err(format!(
                    "no action is called `{}`; expected names of the pocket EC2's actions such as `RunInstances`, with \
                     `*`, `?` and `|`",
                    part.trim()
                ));
            }
        }
        Ok(Self::new(text))
    }
}

impl From<Actions> for String {
    fn from(actions: Actions) -> Self {
        actions.text
    }
}

/// Every action of every service.
fn known() -> impl Iterator<Item = (ServiceName, &'static str)> {
    let ec2 = crate::ec2::names().map(|name| (ServiceName::Ec2, name));
    let ebs = crate::ebs::names().map(|name| (ServiceName::Ebs, name));
    let iam = crate::iam::names().map(|name| (ServiceName::Iam, name));
    let ssm = crate::ssm::names().map(|name| (ServiceName::Ssm, name));
    let s3 = crate::s3::names().map(|name| (ServiceName::S3, name));
    ec2.chain(ebs)
        .chain(iam)
        .chain(ssm)
        .chain(s3)
        .chain(crate::service::STS_ACTIONS.map(|name| (ServiceName::Sts, name)))
        .chain([(ServiceName::SsmMessages, crate::channel::ACTION)])
}

/// Whether a service has an action of this name.
pub(super) fn is_known(service: ServiceName, action: &str) -> bool {
    known().any(|one| one == (service, action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_of_the_name_with_or_without_its_service() {
        let hit = |pattern: &str, service, action| Actions::new(pattern).matches(service, action);
        assert!(hit("*", ServiceName::Sts, "GetCallerIdentity"));
        assert!(hit("Run*|Create?mage", ServiceName::Ec2, "CreateImage"));
        assert!(hit("ec2:*", ServiceName::Ec2, "RunInstances"));
        assert!(!hit("ec2:*", ServiceName::Ssm, "GetParameter"));
        assert!(!hit("run*", ServiceName::Ec2, "RunInstances"));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        assert!(Actions::try_from("RunInstances | ssm:Get*".to_owned()).is_ok());
        for bad in ["RunInstance", "RunInstances|Craete*", "", "sts:Run*"] {
            assert!(Actions::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
