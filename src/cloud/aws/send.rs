//! Sends a call: the rate limit, and retries. The SDK's own retries are off, because they repeat calls that are not
//! idempotent.

use std::{error::Error, time::Duration};

use aws_sdk_sts::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use backon::{ExponentialBuilder, Retryable};

use super::{Account, AwsError, Call, ErrorKind, Retry};

/// How many times a call is retried.
const RETRIES: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Account {
    /// Sends a request within the rate limit, and again after an error that permits it.
    ///
    /// # Errors
    /// Names the action, the resource and the remedy.
    pub async fn call<T, E, F>(&self, call: Call<'_>, send: impl Fn() -> F) -> Result<T, AwsError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.repeating(call, || async { send().await.map_err(|error| AwsError::from_sdk(call, &error)) })
            .await
    }

    /// Makes attempts within the rate limit.
    pub(super) async fn repeating<T, F>(&self, call: Call<'_>, send: impl Fn() -> F) -> Result<T, AwsError>
    where
        F: Future<Output = Result<T, AwsError>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(RETRIES)
            .with_jitter();
        let attempt = || async {
            self.rate.take().await;
            send().await
        };
        let outcome = attempt.retry(pauses).when(|error| may_repeat(call, error)).await;
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Credentials) {
            self.forget_clients();
        }
        outcome
    }
}

fn may_repeat(call: Call<'_>, error: &AwsError) -> bool {
    match error.kind() {
        ErrorKind::Throttled => true,
        ErrorKind::Unavailable => call.retry == Retry::Idempotent,
        _ => false,
    }
}
