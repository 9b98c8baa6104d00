//! What stands in the ledger about each kind of effect: enough to find it
//! again without its id, and nothing secret.

use std::fmt;

use forno_aws::{Gateway, Identity};
use forno_events::Resource;
use forno_saga::{Effect, EffectId, Intent};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::plan::is_loopback;

/// The kinds, in EC2's words.
pub(crate) const KEY_PAIR: &str = "key-pair";
pub(crate) const SECURITY_GROUP: &str = "security-group";
pub(crate) const INSTANCE: &str = "instance";
pub(crate) const IMAGE: &str = "image";
/// A copy of the image in another region.
pub(crate) const COPY: &str = "image-copy";
/// A snapshot of a volume of the builder's, whether the image stands on it or not.
pub(crate) const SNAPSHOT: &str = "snapshot";
/// A role for machines, and the instance profile that they get it by.
pub(crate) const ROLE: &str = "role";
pub(crate) const PROFILE: &str = "instance-profile";
/// A bucket of our own.
pub(crate) const BUCKET: &str = "bucket";
/// What lies below a prefix of somebody else's bucket: `BUCKET/PREFIX/`.
pub(crate) const OBJECTS: &str = "objects";

/// Where the effects of a bake lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlaceOf {
    pub(crate) region: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    /// The unique id of the user or role session that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) caller: Option<String>,
}

impl PlaceOf {
    pub(crate) fn new(gateway: &Gateway, identity: Option<&Identity>) -> Self {
        Self {
            region: gateway.region().to_owned(),
            endpoint_url: gateway.endpoint_url().map(str::to_owned),
            account: identity.map(|identity| identity.account.clone()),
            caller: identity.map(|identity| identity.user_id.clone()),
        }
    }

    /// Whether what was made there is to be looked for here. To look in the wrong
    /// place would be to find nothing and to believe it gone.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let endpoint = match (&self.endpoint_url, &other.endpoint_url) {
            // An endpoint on this machine has another port each time, but a user of its own.
            (Some(a), Some(b)) if is_loopback(a) && is_loopback(b) => self.caller == other.caller,
            (a, b) => a == b,
        };
        endpoint && self.region == other.region && self.account == other.account
    }
}

impl fmt::Display for PlaceOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        if let Some(account) = &self.account {
            write!(f, " of account {account}")?;
        }
        if let Some(url) = &self.endpoint_url {
            write!(f, " at {url}")?;
        }
        Ok(())
    }
}

/// All kinds are found by the tags `forno:bake` and `forno:step`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NamedIntent {
    pub(crate) step: String,
    /// The unique name of a key pair, a security group or an image.
    pub(crate) name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CopyIntent {
    pub(crate) step: String,
    pub(crate) name: String,
    /// Where it is to be.
    pub(crate) region: String,
    pub(crate) client_token: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotIntent {
    pub(crate) step: String,
    pub(crate) volume: String,
    /// At which the builder has the volume.
    pub(crate) device: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct InstanceIntent {
    pub(crate) step: String,
    pub(crate) client_token: String,
    pub(crate) instance_type: String,
    pub(crate) subnet: String,
}

/// A launch, as it stands in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LaunchIntent {
    #[serde(flatten)]
    pub(crate) instance: InstanceIntent,
    /// The public host key that the machine was told to show, as a line of OpenSSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host_key: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) id: String,
}

impl NamedIntent {
    pub(crate) fn intent(effect: EffectId, kind: &str, name: &str, step: &str) -> Intent {
        intent(
            effect,
            kind,
            &Self {
                step: step.to_owned(),
                name: name.to_owned(),
            },
        )
    }
}

pub(crate) fn intent(effect: EffectId, kind: &str, intent: &impl Serialize) -> Intent {
    Intent {
        effect,
        kind: kind.to_owned(),
        // Plain structs of strings.
        intent: serde_json::to_value(intent).unwrap_or_default(),
    }
}

pub(crate) fn read<T: DeserializeOwned>(value: &serde_json::Value) -> Result<T, serde_json::Error> {
    T::deserialize(value)
}

/// Whether an effect is one of those that are named `ROLE.NUMBER`.
pub(crate) fn is_numbered(effect: &str, role: &str) -> bool {
    effect
        .strip_prefix(role)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// The id that EC2 gave, where it is known.
pub(crate) fn id(effect: &Effect) -> Option<String> {
    let made: Made = read(effect.done.as_ref()?).ok()?;
    Some(made.id)
}

/// Where it lies, if not where the bake does.
pub(crate) fn region(effect: &Effect) -> Option<String> {
    let intent: CopyIntent = read(&effect.intent).ok()?;
    Some(intent.region)
}

/// The effect as events name it.
pub(crate) fn resource(effect: &Effect, region: &str) -> Resource {
    let id = id(effect)
        .or_else(|| {
            read::<NamedIntent>(&effect.intent)
                .ok()
                .map(|intent| intent.name)
        })
        .unwrap_or_else(|| effect.id.to_string());
    Resource {
        kind: effect.kind.clone(),
        id,
        region: self::region(effect).unwrap_or_else(|| region.to_owned()),
    }
}
