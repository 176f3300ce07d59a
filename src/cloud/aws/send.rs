//! Sends a call: the rate limit, and retries. The SDK's own retries are off, because they repeat calls that are not
//! idempotent.

use std::error::Error;

use aws_sdk_sts::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::{Account, AwsError, Call, ErrorKind};
use crate::cloud::retry::{CallError, repeating};

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
        let outcome = repeating(&self.rate, call, send).await;
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Credentials) {
            self.forget_clients();
        }
        outcome
    }
}

impl CallError for AwsError {
    fn kind(&self) -> ErrorKind {
        AwsError::kind(self)
    }
}
