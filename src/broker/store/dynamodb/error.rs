//! Errors of DynamoDB with their remedies, and the retry of conflicting calls.

use std::{error::Error, fmt::Debug, time::Duration};

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use backon::{ExponentialBuilder, Retryable};

use crate::{broker::store::StoreError, cloud::aws::sdk};

/// Why the SDK's call failed. Omits the response, because its `Debug` output is long.
pub(super) fn explain<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
    R: Debug,
{
    match error {
        SdkError::ServiceError(refused) => {
            let meta = refused.err().meta();
            let code = meta.code().unwrap_or("an error without a code");
            let message = meta.message().unwrap_or("without a message");
            format!("{code}: {message}; {}", remedy(code))
        }
        SdkError::TimeoutError(_) => {
            "no answer in time; check the network and the endpoint, and the table's throttling metrics"
                .to_owned()
        }
        other => format!("cannot be asked: {}; {CREDENTIALS_OR_NETWORK}", sdk::cause(other)),
    }
}

const CREDENTIALS_OR_NETWORK: &str =
    "check the network, the endpoint, the region and the broker's AWS credentials";

fn remedy(code: &str) -> &'static str {
    match code {
        "AccessDeniedException" => {
            "allow the broker's role the action that it names; docs/stores-dynamodb.md has the whole policy"
        }
        "ResourceNotFoundException" => {
            "check table, region and account; a broker makes the table when it starts"
        }
        "ExpiredTokenException" | "ExpiredToken" => "the broker's AWS credentials are over; renew them",
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException" => {
            "check the broker's AWS credentials, and the clock of its machine"
        }
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TransactionConflictException"
        | "TransactionInProgressException" => {
            "it was tried several times; repeat the request, and give the table more capacity if this goes on"
        }
        "ItemCollectionSizeLimitExceededException" | "LimitExceededException" => {
            "ask AWS for a higher quota, or use another account"
        }
        "InternalServerError" | "ServiceUnavailable" => {
            "repeat the request, and see the AWS Health Dashboard"
        }
        _ => "see docs/stores-dynamodb.md",
    }
}

/// Whether another call on the same item caused the failure; the call changed nothing and can be retried.
pub(super) fn is_conflict<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    matches!(code, Some("TransactionConflictException" | "TransactionInProgressException"))
}

/// Retries a call that conflicts on its item. `None` means that the condition did not hold and nothing was changed.
pub(super) async fn conditional<T, E, R, F>(call: impl FnMut() -> F) -> Result<Option<T>, SdkError<E, R>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E, R>>>,
{
    match past_conflicts(is_conflict, call).await {
        Ok(done) => Ok(Some(done)),
        Err(SdkError::ServiceError(refused))
            if refused.err().code() == Some("ConditionalCheckFailedException") =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Retries a call while it conflicts on its item. The SDK retries throttling and missing answers, but not conflicts.
pub(super) async fn past_conflicts<T, E, F>(again: fn(&E) -> bool, call: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let delays = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(25))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(8)
        .with_jitter();
    call.retry(delays).when(again).await
}

/// An error of the store.
pub(super) fn failed(store: &str, problem: impl Into<String>) -> StoreError {
    StoreError::Failed { store: store.to_owned(), problem: problem.into() }
}
