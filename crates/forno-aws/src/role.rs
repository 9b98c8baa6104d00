//! Roles that are assumed on the way to the one that bakes, each with the credentials of the
//! one before.
//!
//! The SDK's own provider for this knows neither the codes of MFA devices nor transitive tags.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result as Provided, SharedCredentialsProvider, future,
};
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::attempts::chain_text;

/// Before credentials end by less than this, others are asked for.
const MARGIN: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// In the words of STS's AssumeRole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    pub session_name: String,
    pub external_id: Option<String>,
    /// `None`: an hour.
    pub duration: Option<Duration>,
    /// Of the device whose code is asked for.
    pub mfa_serial: Option<String>,
    /// Of the session.
    pub tags: Vec<(String, String)>,
    /// Keys of tags that go on to roles assumed with this one.
    pub transitive_tag_keys: Vec<String>,
    /// What of the role's permissions is wanted, in JSON.
    pub policy: Option<String>,
    /// The same, as managed policies.
    pub policy_arns: Vec<String>,
}

/// Asks a person for the code that a device shows.
#[async_trait]
pub trait AskCode: Send + Sync {
    /// `None`: there was no answer.
    async fn code(&self, serial: &str) -> Option<String>;
}

impl fmt::Debug for dyn AskCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AskCode")
    }
}

/// The same settings with the credentials of the last role.
pub(crate) fn assume(
    mut config: SdkConfig,
    roles: Vec<Role>,
    ask: Option<&Arc<dyn AskCode>>,
) -> SdkConfig {
    for role in roles {
        let provider = Assumed {
            sts: aws_sdk_sts::Client::new(&config),
            role,
            ask: Mutex::new(ask.cloned()),
            held: Mutex::default(),
        };
        let provider = SharedCredentialsProvider::new(provider);
        config = config.to_builder().credentials_provider(provider).build();
    }
    config
}

#[derive(Debug)]
struct Assumed {
    sts: aws_sdk_sts::Client,
    role: Role,
    /// Once: in the middle of a bake nobody expects to be asked.
    ask: Mutex<Option<Arc<dyn AskCode>>>,
    held: Mutex<Option<Credentials>>,
}

impl ProvideCredentials for Assumed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl Assumed {
    async fn credentials(&self) -> Provided {
        let mut held = self.held.lock().await;
        let now = Timestamp::now();
        let lives = |known: &Credentials, margin| {
            let end = known.expiry().and_then(|at| Timestamp::try_from(at).ok());
            end.is_none_or(|end| now + margin < end)
        };
        if let Some(known) = held.as_ref().filter(|known| lives(known, MARGIN)) {
            return Ok(known.clone());
        }
        match self.assume().await {
            Ok(fresh) => Ok(held.insert(fresh).clone()),
            // They are good for a while yet, and there may be others by then.
            Err(error) => match held.as_ref() {
                Some(known) if lives(known, jiff::SignedDuration::ZERO) => Ok(known.clone()),
                _ => Err(error),
            },
        }
    }

    async fn assume(&self) -> Provided {
        let Role {
            arn,
            session_name,
            external_id,
            duration,
            mfa_serial,
            tags,
            transitive_tag_keys,
            policy,
            policy_arns,
        } = &self.role;
        let code = match mfa_serial {
            None => None,
            Some(serial) => Some(self.code(serial).await?),
        };
        let tags = tags.iter().map(|(key, value)| {
            // A key and a value are all that a tag needs.
            Tag::builder().key(key).value(value).build().ok()
        });
        let tags: Vec<Tag> = tags.flatten().collect();
        let policies: Vec<_> = policy_arns
            .iter()
            .map(|arn| PolicyDescriptorType::builder().arn(arn).build())
            .collect();
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let seconds =
            duration.map(|duration| i32::try_from(duration.as_secs()).unwrap_or(i32::MAX));
        let reply = self
            .sts
            .assume_role()
            .role_arn(arn)
            .role_session_name(session_name)
            .set_external_id(external_id.clone())
            .set_duration_seconds(seconds)
            .set_serial_number(mfa_serial.clone())
            .set_token_code(code)
            .set_tags((!tags.is_empty()).then_some(tags))
            .set_transitive_tag_keys(some(transitive_tag_keys))
            .set_policy(policy.clone())
            .set_policy_arns((!policies.is_empty()).then_some(policies))
            .send()
            .await
            .map_err(|error| refused(format!("cannot assume {arn}: {}", chain_text(&error))))?;
        let made = reply
            .credentials
            .ok_or_else(|| refused(format!("cannot assume {arn}: no credentials in the reply")))?;
        Ok(Credentials::new(
            made.access_key_id,
            made.secret_access_key,
            Some(made.session_token),
            std::time::SystemTime::try_from(made.expiration).ok(),
            "AssumeRole",
        ))
    }

    async fn code(&self, serial: &str) -> Result<String, CredentialsError> {
        let ask = self.ask.lock().await.take().ok_or_else(|| {
            refused(format!(
                "{} wants a code of {serial}, and nobody can be asked for it",
                self.role.arn
            ))
        })?;
        ask.code(serial)
            .await
            .ok_or_else(|| refused(format!("no code of {serial} was given")))
    }
}

fn refused(why: String) -> CredentialsError {
    CredentialsError::provider_error(why)
}
