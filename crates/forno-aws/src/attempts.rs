//! From an SDK error to ours, with all of a call's attempts in mind.
//!
//! The SDK repeats a call on its own and reports only the last attempt. That is not
//! enough to know whether the call took effect: when the first reply is lost after
//! the image was made, the second attempt is refused as a duplicate. So the calls
//! that change something are watched, and an attempt without a certain outcome makes
//! the whole call uncertain.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    Error as ErasedError, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::codes;
use crate::error::{Error, Inner, Kind, Outcome};

/// One call in the making: what to say about it should it fail.
#[derive(Debug)]
pub(crate) struct Pending {
    operation: &'static str,
    region: String,
    resource: Option<String>,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    attempts: AtomicU32,
    uncertain: AtomicBool,
}

impl Pending {
    pub(crate) fn new(operation: &'static str, region: &str) -> Self {
        Self {
            operation,
            region: region.to_owned(),
            resource: None,
            log: Arc::default(),
        }
    }

    /// What the call is about.
    pub(crate) fn on(mut self, resource: impl fmt::Display) -> Self {
        self.resource = Some(resource.to_string());
        self
    }

    /// The watcher to hang on the call; `E` is the error type of its operation.
    pub(crate) fn watch<E>(&self) -> Watch<E> {
        Watch {
            log: Arc::clone(&self.log),
            error: PhantomData,
        }
    }

    /// What came back is not what EC2 documents.
    pub(crate) fn malformed(&self, what: impl fmt::Display) -> Error {
        self.error(
            Kind::Lost,
            Outcome::Unknown,
            None,
            format!("the reply makes no sense: {what}"),
            None,
        )
    }

    /// A describe call that should have found it did not.
    pub(crate) fn not_found(&self, code: &str, message: impl Into<String>) -> Error {
        self.error(
            Kind::NotFound,
            Outcome::DidNotHappen,
            Some(code.to_owned()),
            message.into(),
            None,
        )
    }

    /// A part of what was asked for was refused, inside of a good reply.
    pub(crate) fn refused(&self, code: &str, message: impl Into<String>) -> Error {
        self.error(
            codes::kind(code, "", 200),
            Outcome::Unknown,
            Some(code.to_owned()),
            message.into(),
            None,
        )
    }

    pub(crate) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> Error
    where
        E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let request_id = request_id(error);
        let (kind, outcome, code, message) = match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                let code = service.err().code().unwrap_or_default();
                let message = service.err().message().unwrap_or_default();
                let kind = codes::kind(code, message, status);
                let outcome = codes::outcome(kind, status);
                if code.is_empty() {
                    // No answer of EC2's: a proxy, a captive portal, something else.
                    let message = format!(
                        "unexpected reply with status {status}: {}",
                        chain_text(service.err())
                    );
                    (kind, outcome, None, message)
                } else {
                    let message = message.trim().to_owned();
                    (kind, outcome, Some(code.to_owned()), message)
                }
            }
            SdkError::TimeoutError(_) => (
                Kind::Lost,
                Outcome::Unknown,
                None,
                "no answer in time".to_owned(),
            ),
            SdkError::ResponseError(response) => (
                Kind::Lost,
                Outcome::Unknown,
                None,
                format!("unreadable reply with status {}", response.raw().status()),
            ),
            other => before_or_while_sending(other),
        };
        self.error(kind, outcome, code, message, request_id)
    }

    fn error(
        &self,
        kind: Kind,
        outcome: Outcome,
        code: Option<String>,
        message: String,
        request_id: Option<String>,
    ) -> Error {
        let outcome = if self.log.uncertain.load(Ordering::Acquire) {
            Outcome::Unknown
        } else {
            outcome
        };
        Error::new(Inner {
            kind,
            outcome,
            operation: self.operation,
            region: self.region.clone(),
            resource: self.resource.clone(),
            code,
            message,
            request_id,
            attempts: self.log.attempts.load(Ordering::Acquire),
        })
    }
}

fn before_or_while_sending<E>(
    error: &SdkError<E, HttpResponse>,
) -> (Kind, Outcome, Option<String>, String)
where
    E: StdError + Send + Sync + 'static,
{
    let text = chain_text(error);
    if find::<CredentialsError>(error).is_some() {
        return (Kind::Credentials, Outcome::DidNotHappen, None, text);
    }
    match error {
        SdkError::ConstructionFailure(_) => (Kind::Settings, Outcome::DidNotHappen, None, text),
        _ if never_connected(error) => (Kind::Unreachable, Outcome::DidNotHappen, None, text),
        _ => (Kind::Lost, Outcome::Unknown, None, text),
    }
}

/// From the header; endpoints that leave it out have it in the body, which the SDK
/// does not read it from.
fn request_id<E>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    if let Some(id) = error.request_id() {
        return Some(id.to_owned());
    }
    let body = std::str::from_utf8(error.raw_response()?.body().bytes()?).ok()?;
    ["RequestID", "RequestId"].into_iter().find_map(|element| {
        let (_, rest) = body.split_once(&format!("<{element}>"))?;
        let (id, _) = rest.split_once(&format!("</{element}>"))?;
        Some(id.trim().to_owned())
    })
}

/// What credential providers say, as an error of ours.
pub(crate) fn credentials_error(region: &str, error: &CredentialsError) -> Error {
    Error::local(
        Kind::Credentials,
        "loading of credentials",
        region,
        chain_text(error),
    )
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Nothing was sent.
pub(crate) fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(hyper) = error.downcast_ref::<hyper_util::client::legacy::Error>()
            && hyper.is_connect()
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The messages of an error and its causes, each said once.
pub(crate) fn chain_text(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let part = error.to_string();
        if !part.is_empty() && !parts.iter().any(|earlier| earlier.contains(&part)) {
            parts.push(part);
        }
        next = error.source();
    }
    parts.join(": ")
}

/// Notes each attempt of a call.
pub(crate) struct Watch<E> {
    log: Arc<Log>,
    error: PhantomData<fn() -> E>,
}

impl<E> fmt::Debug for Watch<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("log", &self.log).finish()
    }
}

impl<E> Intercept for Watch<E>
where
    E: StdError + ProvideErrorMetadata + fmt::Debug + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "forno's watch over attempts"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.log.attempts.fetch_add(1, Ordering::AcqRel);
        if let Some(Err(error)) = context.output_or_error() {
            let status = context
                .response()
                .map_or(0, |response| response.status().as_u16());
            if attempt_outcome::<E>(error, status) == Outcome::Unknown {
                self.log.uncertain.store(true, Ordering::Release);
            }
        }
        Ok(())
    }
}

fn attempt_outcome<E>(error: &OrchestratorError<ErasedError>, status: u16) -> Outcome
where
    E: StdError + ProvideErrorMetadata + fmt::Debug + Send + Sync + 'static,
{
    if let Some(refusal) = error.as_operation_error() {
        let (code, message) = refusal
            .downcast_ref::<E>()
            .map(|error| {
                (
                    error.code().unwrap_or_default(),
                    error.message().unwrap_or_default(),
                )
            })
            .unwrap_or_default();
        return codes::outcome(codes::kind(code, message, status), status);
    }
    if let Some(connector) = error.as_connector_error() {
        return if never_connected(connector) {
            Outcome::DidNotHappen
        } else {
            Outcome::Unknown
        };
    }
    if error.is_timeout_error() || error.is_response_error() {
        return Outcome::Unknown;
    }
    // What is left failed on this side: signing, credentials, an interceptor.
    Outcome::DidNotHappen
}

/// Keeps the SDK from repeating what EC2 has no capacity for. That comes as a 500,
/// and each repetition is time in which the next zone could have been asked.
#[derive(Debug)]
pub(crate) struct NoRetryForCapacity;

impl ClassifyRetry for NoRetryForCapacity {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        use aws_sdk_ec2::operation::run_instances::RunInstancesError;

        let code = context
            .output_or_error()
            .and_then(Result::err)
            .and_then(OrchestratorError::as_operation_error)
            .and_then(ErasedError::downcast_ref::<RunInstancesError>)
            .and_then(ProvideErrorMetadata::code);
        match code {
            Some(code) if codes::kind(code, "", 500) == Kind::Capacity => {
                RetryAction::RetryForbidden
            }
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "no retry for capacity"
    }
}
