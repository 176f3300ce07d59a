//! One call of an API: its name for errors, the rate limit, and retries. The SDK's own retries are off, because they
//! repeat calls that are not idempotent.

use std::{error::Error, time::Duration};

use aws_sdk_sts::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use backon::{ExponentialBuilder, Retryable};

use super::{Account, AwsError, ErrorKind};

/// How many times a call is retried.
const RETRIES: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After which errors a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After throttling and after a lost answer: a repetition has no further effect.
    Idempotent,
    /// After throttling only: a call whose answer was lost may have had its effect.
    OnlyThrottled,
}

/// The name of a call: the action of IAM, and the resource.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub(super) action: &'static str,
    pub(super) resource: &'a str,
    retry: Retry,
}

impl<'a> Call<'a> {
    /// A call that changes nothing.
    #[must_use]
    pub fn read(action: &'static str, resource: &'a str) -> Self {
        Self { action, resource, retry: Retry::Idempotent }
    }

    /// A call that changes something, and changes nothing more when it is repeated.
    #[must_use]
    pub fn write(action: &'static str, resource: &'a str) -> Self {
        Self::read(action, resource)
    }

    /// A call that has another effect each time.
    #[must_use]
    pub fn once(action: &'static str, resource: &'a str) -> Self {
        Self { action, resource, retry: Retry::OnlyThrottled }
    }

    fn may_repeat(self, error: &AwsError) -> bool {
        match error.kind() {
            ErrorKind::Throttled => true,
            ErrorKind::Unavailable => self.retry == Retry::Idempotent,
            _ => false,
        }
    }
}

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
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(RETRIES)
            .with_jitter();
        let attempt = || async {
            self.rate.take().await;
            send().await.map_err(|error| AwsError::from_sdk(call, &error))
        };
        let outcome = attempt.retry(pauses).when(|error| call.may_repeat(error)).await;
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Credentials) {
            self.forget_clients();
        }
        outcome
    }
}
