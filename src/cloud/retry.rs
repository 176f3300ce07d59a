//! Repeats a call within the rate limit, after errors that permit it.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};

use super::{Call, ErrorKind, Retry, rate::TokenBucket};

/// How many times a call is retried.
const RETRIES: usize = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// An error of a call.
pub(in crate::cloud) trait CallError {
    fn kind(&self) -> ErrorKind;
}

/// Makes attempts within the rate limit.
pub(in crate::cloud) async fn repeating<T, E, F>(
    rate: &TokenBucket,
    call: Call<'_>,
    send: impl Fn() -> F,
) -> Result<T, E>
where
    E: CallError,
    F: Future<Output = Result<T, E>>,
{
    let pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(RETRIES)
        .with_jitter();
    let attempt = || async {
        rate.take().await;
        send().await
    };
    attempt.retry(pauses).when(|error: &E| may_repeat(call, error.kind())).await
}

fn may_repeat(call: Call<'_>, kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Throttled => true,
        ErrorKind::Unavailable => call.retry == Retry::Idempotent,
        _ => false,
    }
}
