//! Errors of calls: the action, the resource, AWS's own message, its request id, and what to do. No credential is part
//! of one.

use std::{error::Error, fmt};

use aws_sdk_sts::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use serde_json::json;

use super::{Call, ErrorKind, sdk};

/// Messages of AWS can repeat the whole request.
const LONGEST_MESSAGE: usize = 600;

/// A failed call.
#[derive(Clone, Debug, thiserror::Error)]
pub struct AwsError {
    action: String,
    resource: String,
    kind: ErrorKind,
    message: String,
    request_id: Option<String>,
}

impl AwsError {
    /// An error before anything was sent.
    pub(super) fn before_call(resource: &str, kind: ErrorKind, message: impl Into<String>) -> Self {
        let (action, resource) = ("aws".to_owned(), resource.to_owned());
        Self { action, resource, kind, message: message.into(), request_id: None }
    }

    /// An answer that lacks what the API promises.
    pub(super) fn incomplete(call: Call<'_>, missing: &str) -> Self {
        Self::of_call(call, ErrorKind::Invalid, format!("the answer has no {missing}"), None)
    }

    /// An answer that says why the request is wrong.
    pub(super) fn refused(call: Call<'_>, reason: impl Into<String>) -> Self {
        Self::of_call(call, ErrorKind::Invalid, reason.into(), None)
    }

    /// Work that AWS has not done in time.
    pub(super) fn unavailable(call: Call<'_>, reason: &str) -> Self {
        Self::of_call(call, ErrorKind::Unavailable, reason.to_owned(), None)
    }

    pub(super) fn from_sdk<E>(call: Call<'_>, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let request_id = error.request_id().map(ToOwned::to_owned);
        let SdkError::ServiceError(answered) = error else {
            let is_lost = match error {
                // The client classifies an other failure only if a connection was lost before the answer.
                SdkError::DispatchFailure(failure) => {
                    failure.is_io() || failure.is_timeout() || failure.as_other().is_some()
                }
                SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
                _ => false,
            };
            // What keeps a request from being sent is nearly always the lack of credentials.
            let kind = if is_lost { ErrorKind::Unavailable } else { ErrorKind::Credentials };
            return Self::of_call(call, kind, sdk::cause(error), request_id);
        };
        let meta = answered.err().meta();
        let (code, message) = (meta.code().unwrap_or_default(), meta.message().unwrap_or_default());
        let kind = kind(code, message, answered.raw().status().as_u16());
        // Some services put the id into the body instead of a header.
        let request_id = meta.request_id().map(ToOwned::to_owned).or(request_id);
        Self::of_call(call, kind, format!("{code}: {message}"), request_id)
    }

    /// An error that a service answered.
    pub(super) fn of_answer(
        call: Call<'_>,
        code: &str,
        message: &str,
        status: u16,
        request_id: Option<String>,
    ) -> Self {
        // Codes in JSON come as `com.amazonaws.eks#NotFound` or `NotFound:http://…`.
        let code = code.split(':').next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        Self::of_call(call, kind(code, message, status), format!("{code}: {message}"), request_id)
    }

    pub(super) fn of_call(
        call: Call<'_>,
        kind: ErrorKind,
        mut message: String,
        request_id: Option<String>,
    ) -> Self {
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        Self { action: call.action.to_owned(), resource: call.resource.to_owned(), kind, message, request_id }
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The action that failed, such as `iam:CreateUser`.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The message of AWS.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.kind.is_passing()
    }

    /// The policy statement to add for a denied action.
    #[must_use]
    pub fn statement(&self) -> Option<String> {
        if self.kind != ErrorKind::Denied {
            return None;
        }
        Some(missing_statement(&self.message).unwrap_or_else(|| statement(&self.action, &self.resource)))
    }

    fn remedy(&self) -> String {
        match self.kind {
            ErrorKind::Denied => format!(
                "add the statement {} to the policy of the caller",
                self.statement().unwrap_or_default()
            ),
            ErrorKind::Credentials => {
                "check the AWS credentials, the clock of the machine and the region".to_owned()
            }
            ErrorKind::Throttled => "lower `requestsPerSecond`, or ask AWS for a higher quota".to_owned(),
            ErrorKind::Unavailable => {
                "check the network, the endpoint and the AWS Health Dashboard".to_owned()
            }
            ErrorKind::Quota => "ask AWS for a higher quota, or use another account".to_owned(),
            ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Conflict | ErrorKind::Invalid => {
                String::new()
            }
        }
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, resource, message, request_id, .. } = self;
        write!(f, "{action} on {resource}: {message}")?;
        if let Some(id) = request_id {
            write!(f, " (request {id})")?;
        }
        match self.remedy() {
            remedy if remedy.is_empty() => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

/// The policy statement that a message of AWS about a denied action asks for.
#[must_use]
pub fn missing_statement(message: &str) -> Option<String> {
    let word_after = |marker: &str| message.split_once(marker)?.1.split_whitespace().next();
    Some(statement(word_after("not authorized to perform: ")?, word_after("on resource: ").unwrap_or("*")))
}

fn statement(action: &str, resource: &str) -> String {
    json!({"Effect": "Allow", "Action": action, "Resource": resource}).to_string()
}

fn kind(code: &str, message: &str, status: u16) -> ErrorKind {
    match code.trim_end_matches("Exception") {
        "AccessDenied" | "Unauthorized" | "UnauthorizedOperation" | "NotAuthorized" => ErrorKind::Denied,
        "NoSuchEntity" | "NoSuchBucket" | "NoSuchKey" | "ResourceNotFound" => ErrorKind::NotFound,
        // CloudFormation has no code of its own for a stack that does not exist.
        "ValidationError" if message.contains("does not exist") => ErrorKind::NotFound,
        "EntityAlreadyExists" | "AlreadyExists" | "ResourceInUse" => ErrorKind::Exists,
        "Throttling"
        | "Throttled"
        | "ThrottledError"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "RequestThrottled"
        | "SlowDown" => ErrorKind::Throttled,
        "ExpiredToken"
        | "InvalidClientTokenId"
        | "UnrecognizedClient"
        | "SignatureDoesNotMatch"
        | "InvalidSignature"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "InvalidToken"
        | "InvalidAccessKeyId"
        | "AuthFailure" => ErrorKind::Credentials,
        "LimitExceeded" => ErrorKind::Quota,
        "DeleteConflict"
        | "ConcurrentModification"
        | "OperationInProgress"
        | "EntityTemporarilyUnmodifiable"
        | "TokenAlreadyExists" => ErrorKind::Conflict,
        _ if status >= 500 => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(message: &str) -> AwsError {
        let call = Call::write("sqs:CreateQueue", "stack s");
        AwsError::of_call(
            call,
            kind("AccessDenied", message, 403),
            message.to_owned(),
            Some("r-1".to_owned()),
        )
    }

    #[test]
    fn a_denied_action_names_the_statement_to_add() {
        let message = "User: arn:aws:iam::1:user/b is not authorized to perform: iam:PassRole on resource: \
                       arn:aws:iam::1:role/d because no identity-based policy allows the iam:PassRole action";
        let text = denied(message).to_string();
        let statement = r#"{"Action":"iam:PassRole","Effect":"Allow","Resource":"arn:aws:iam::1:role/d"}"#;
        assert!(text.contains(statement) && text.contains("request r-1"), "{text}");
    }

    #[test]
    fn a_denial_without_details_names_the_call() {
        let text = denied("Access denied").to_string();
        assert!(text.contains(r#""Action":"sqs:CreateQueue""#) && text.contains("stack s"), "{text}");
    }

    #[rstest::rstest]
    #[case("Throttling", "Rate exceeded", 400, ErrorKind::Throttled, true)]
    #[case("ValidationError", "Stack with id s does not exist", 400, ErrorKind::NotFound, false)]
    #[case("ValidationError", "No updates are to be performed.", 400, ErrorKind::Invalid, false)]
    #[case("AlreadyExistsException", "", 400, ErrorKind::Exists, false)]
    #[case("InternalFailure", "", 500, ErrorKind::Unavailable, true)]
    #[case("ExpiredToken", "", 403, ErrorKind::Credentials, false)]
    #[case("LimitExceededException", "", 409, ErrorKind::Quota, false)]
    fn codes_have_kinds(
        #[case] code: &str,
        #[case] message: &str,
        #[case] status: u16,
        #[case] expected: ErrorKind,
        #[case] is_passing: bool,
    ) {
        let kind = kind(code, message, status);
        assert_eq!(kind, expected);
        let error = AwsError::of_call(Call::read("a:B", "c"), kind, String::new(), None);
        assert_eq!(error.is_passing(), is_passing);
    }

    #[test]
    fn a_long_message_is_cut() {
        let error = AwsError::of_call(Call::read("a:B", "c"), ErrorKind::Invalid, "ä".repeat(5000), None);
        assert!(error.to_string().len() < 1300);
    }
}
