//! An attempt that certainly did nothing costs none.
//!
//! The SDK counts every failed attempt and gives up after a few. But EC2 throttles
//! whenever others of the account are busy, and a network is away for a minute now
//! and then: in both cases the call was not made, and it will be served later. So each
//! such attempt adds one, and the SDK's own growing pauses go on until the call's time
//! is over. An endpoint that has never answered is another matter: that is a wrong
//! address, and nobody should wait for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_smithy_runtime::client::retries::TokenBucket;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;

use crate::attempts::never_connected;

/// Clones share what they know of the endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct HarmlessIsFree {
    has_answered: Arc<AtomicBool>,
}

impl HarmlessIsFree {
    fn is_harmless(&self, context: &FinalizerInterceptorContextRef<'_>) -> bool {
        if let Some(response) = context.response() {
            self.has_answered.store(true, Ordering::Relaxed);
            return is_throttled(response);
        }
        let error = context.output_or_error().and_then(Result::err);
        self.has_answered.load(Ordering::Relaxed)
            && error
                .and_then(OrchestratorError::as_connector_error)
                .is_some_and(|error| never_connected(error))
    }
}

impl Intercept for HarmlessIsFree {
    fn name(&self) -> &'static str {
        "no attempt is spent on what did nothing"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.is_harmless(context)
            && let Some(retry) = cfg.load::<RetryConfig>().cloned()
        {
            let attempts = retry.max_attempts().saturating_add(1);
            let state = cfg.interceptor_state();
            state.store_put(retry.with_max_attempts(attempts));
            // The SDK's budget of retries is for faults; a hundred bakes that are
            // throttled at once have none.
            state.store_put(TokenBucket::unlimited());
        }
        Ok(())
    }
}

/// By the code in the text: here, under every operation of every service, no type
/// of an error is known.
fn is_throttled(response: &HttpResponse) -> bool {
    const CODES: [&str; 4] = [
        "RequestLimitExceeded",
        "Throttling",
        "TooManyRequestsException",
        "SlowDown",
    ];
    let text = || std::str::from_utf8(response.body().bytes()?).ok();
    response.status().as_u16() >= 400
        && text().is_some_and(|text| CODES.iter().any(|code| text.contains(code)))
}
