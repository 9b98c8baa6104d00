//! The creating calls of a bake, asked about before the first of them: a
//! missing permission is cheaper here than after half an hour.

use forno_aws::{Call, Gateway, Kind, Launch, NewKeyPair, NewSecurityGroup, Verdict};

use super::view::{Preflight, PreflightOutcome};
use crate::{Error, ErrorKind};

/// What is asked about.
pub(super) struct Calls {
    pub(super) key: Option<NewKeyPair>,
    pub(super) group: Option<NewSecurityGroup>,
    pub(super) launch: Launch,
}

pub(super) async fn ask(gateway: &Gateway, calls: &Calls) -> Result<Vec<Preflight>, Error> {
    let mut asked = Vec::new();
    if let Some(key) = &calls.key {
        asked.push(("ImportKeyPair", Call::ImportKeyPair(key)));
    }
    if let Some(group) = &calls.group {
        asked.push(("CreateSecurityGroup", Call::CreateSecurityGroup(group)));
    }
    asked.push(("RunInstances", Call::RunInstance(&calls.launch)));

    let verdicts =
        futures::future::join_all(asked.iter().map(|(_, call)| gateway.preflight(*call))).await;
    let mut found = Vec::new();
    for ((name, _), verdict) in asked.iter().zip(verdicts) {
        let (outcome, detail) = match verdict {
            Ok(Verdict::Allowed) => (PreflightOutcome::Allowed, None),
            // What a moment's capacity says is tried over in the launch itself.
            Ok(Verdict::Denied(error)) if error.kind() == Kind::Capacity => {
                (PreflightOutcome::Unclear, Some(error.to_string()))
            }
            Ok(Verdict::Denied(error)) => {
                let hint = error.hint();
                let denied = Error::new(ErrorKind::Preflight(format!("not allowed: {error}")));
                return Err(match hint {
                    Some(hint) => denied.with_hint(hint),
                    None => denied,
                });
            }
            Ok(Verdict::Unclear(error)) | Err(error) => {
                (PreflightOutcome::Unclear, Some(error.to_string()))
            }
        };
        found.push(Preflight {
            call: (*name).to_owned(),
            outcome,
            detail,
        });
    }
    Ok(found)
}
