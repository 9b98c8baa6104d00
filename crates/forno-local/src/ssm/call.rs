//! One call of Systems Manager: its input, and what its operation may use.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::Digest as _;

use super::check;
use crate::api::error::ApiError;
use crate::api::page::Page;
use crate::faults::Marks;
use crate::service::Service;
use crate::state::regions::Region;
use crate::state::world::RegionState;

/// What an operation gets. It runs where it may block, inside the runtime.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a Arc<Service>,
    pub(crate) region: Region,
    /// What a plan of faults does to its work.
    pub(crate) marks: Marks,
    pub(crate) body: &'a [u8],
}

/// What an operation has come to.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: Value,
    /// Whether the world on disk changed.
    pub(crate) changed: bool,
}

impl Call<'_> {
    /// The input, in the operation's own form; members that it does not have
    /// are refused. What was given is not repeated: commands are secret.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        read(self.body)
    }

    /// Looks at the call's region.
    pub(super) fn look<T>(&self, look: impl FnOnce(&RegionState) -> T) -> T {
        self.service.store.read(|world| {
            let nothing = RegionState::default();
            look(world.regions.get(self.region.name).unwrap_or(&nothing))
        })
    }

    /// Changes the call's region.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut RegionState) -> T) -> T {
        let region = self.region.name;
        self.service
            .store
            .change(|world| change(world.region(region)))
    }

    /// The part of a result that is asked for; a token is bound to the rest of
    /// its request.
    pub(super) fn page(
        &self,
        size: Option<usize>,
        token: Option<&str>,
        sizes: RangeInclusive<usize>,
    ) -> Result<Page, ApiError> {
        if let Some(size) = size {
            check::within("maxResults", size, sizes.clone())?;
        }
        let mut rest: Value = serde_json::from_slice(self.body).unwrap_or_default();
        if let Value::Object(members) = &mut rest {
            members.retain(|name, _| name != "MaxResults" && name != "NextToken");
        }
        let query = hex::encode(sha2::Sha256::digest(rest.to_string()));
        let token = token.filter(|token| !token.is_empty());
        Page::of(Some(size.unwrap_or(*sizes.end())), token, query)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let told = error.to_string();
        let told = match told.split_once(", expected ") {
            Some((start, expected)) if !start.starts_with("unknown field") => {
                format!("expected {expected}")
            }
            _ => told,
        };
        check::invalid(told)
    })
}

impl Reply {
    /// Of an operation that changed nothing on disk.
    pub(super) fn of(body: Value) -> Self {
        Self {
            body,
            changed: false,
        }
    }

    /// One page of a list.
    pub(super) fn paged(name: &str, items: Vec<Value>, next: Option<String>) -> Self {
        let mut body = Map::from_iter([(name.to_owned(), Value::Array(items))]);
        if let Some(next) = next {
            body.insert("NextToken".to_owned(), Value::String(next));
        }
        Self::of(Value::Object(body))
    }

    /// Of one whose change is to be on disk before it is told.
    pub(super) fn saved(body: Value) -> Self {
        Self {
            body,
            changed: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_not_repeated() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "PascalCase")]
        struct Input {
            #[expect(dead_code, reason = "only read")]
            commands: Vec<String>,
        }
        let told = |body: &str| read::<Input>(body.as_bytes()).unwrap_err();
        let told = |body| told(body).message().to_owned();
        let wrong = told(r#"{"Commands": "secret"}"#);
        assert_eq!(wrong, "expected a sequence at line 1 column 21");
        let unknown = told(r#"{"Other": "secret"}"#);
        assert!(
            unknown.starts_with("unknown field `Other`, expected"),
            "{unknown}"
        );
    }
}
