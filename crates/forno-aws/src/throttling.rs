//! Being throttled costs no attempt.
//!
//! The SDK counts a throttled attempt like a failed one and gives up after a few.
//! But EC2 refuses so whenever others of the account are busy: the call was not
//! made, and it will be served once the bucket has tokens again. So each such
//! refusal adds an attempt and the SDK's own growing pauses go on, until the call's
//! time is over.

use aws_smithy_runtime::client::retries::TokenBucket;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::FinalizerInterceptorContextRef;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::RetryConfig;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ThrottlingIsFree;

impl Intercept for ThrottlingIsFree {
    fn name(&self) -> &'static str {
        "no attempt is spent on being throttled"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_some_and(is_throttled)
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
