//! Errors of calls: the action, the resource, the code and message of Alibaba Cloud, its request id, and what to do. No
//! credential is part of one.

use std::fmt;

use serde_json::json;

use super::{Call, ErrorKind};
use crate::cloud::retry::CallError;

/// Messages can repeat parts of the request.
const LONGEST_MESSAGE: usize = 600;

/// A failed call.
#[derive(Clone, Debug, thiserror::Error)]
pub struct AlibabaError {
    action: &'static str,
    resource: String,
    kind: ErrorKind,
    code: String,
    message: String,
    request_id: Option<String>,
}

/// What a product answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: Option<String>,
}

impl AlibabaError {
    /// An error that no product answered.
    pub(super) fn new(call: Call<'_>, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            action: call.action,
            resource: call.resource.to_owned(),
            kind,
            code: String::new(),
            message: shortened(message.into()),
            request_id: None,
        }
    }

    /// The error of a call that was to get credentials. A role that does not exist says nothing about the resource of the call
    /// that the credentials are for.
    pub(super) fn of_credentials(self) -> Self {
        let kind = if self.kind.is_passing() { self.kind } else { ErrorKind::Credentials };
        Self { kind, ..self }
    }

    /// An answer that lacks what the API promises.
    pub(super) fn incomplete(call: Call<'_>, missing: &str) -> Self {
        Self::new(call, ErrorKind::Invalid, format!("the answer has no {missing}"))
    }

    /// An error that a product answered.
    pub(super) fn of_answer(call: Call<'_>, refusal: Refusal) -> Self {
        let Refusal { status, code, message, request_id } = refusal;
        // A product without roles of its own means the role of the caller.
        let is_of_roles = ["ram:", "sts:"].iter().any(|product| call.action.starts_with(product));
        let kind = match code.as_str() {
            "EntityNotExist.Role" if !is_of_roles => ErrorKind::Credentials,
            code => kind(code, status),
        };
        // The message about a wrong signature repeats what was signed.
        let message = if code == "SignatureDoesNotMatch" {
            "the secret does not belong to the access key".to_owned()
        } else {
            message
        };
        Self { code, request_id, ..Self::new(call, kind, message) }
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The code of Alibaba Cloud; empty if no product answered.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The code and the message of Alibaba Cloud.
    #[must_use]
    pub fn message(&self) -> String {
        if self.code.is_empty() { self.message.clone() } else { format!("{}: {}", self.code, self.message) }
    }

    /// Whether the same call may succeed later without a change.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.kind.is_passing()
    }

    fn remedy(&self) -> String {
        match self.kind {
            ErrorKind::Denied => {
                let statement = json!({"Effect": "Allow", "Action": self.action, "Resource": "*"});
                format!("the policy of the caller needs a statement such as {statement}, for the resource")
            }
            ErrorKind::Credentials => "check the credentials and the clock of the machine".to_owned(),
            ErrorKind::Throttled => {
                "lower `apiCallsPerSecond`, or ask Alibaba Cloud for a higher quota".to_owned()
            }
            ErrorKind::Unavailable => "check the network, the endpoint and the region".to_owned(),
            ErrorKind::Quota => "ask Alibaba Cloud for a higher quota".to_owned(),
            ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Conflict | ErrorKind::Invalid => {
                String::new()
            }
        }
    }
}

impl CallError for AlibabaError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for AlibabaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: {}", self.action, self.resource, self.message())?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        match self.remedy() {
            remedy if remedy.is_empty() => Ok(()),
            remedy => write!(f, "; {remedy}"),
        }
    }
}

fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// The kind of a code. The status alone tells little: RDS answers 400, 403 and 404 for an instance that is gone.
fn kind(code: &str, status: u16) -> ErrorKind {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| code.starts_with(prefix));
    match code {
        "InvalidAccessKeyId.NotFound"
        | "InvalidAccessKeyId.Inactive"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingSecurityToken"
        | "SecurityTokenExpired"
        | "RequestTimeTooSkewed"
        | "SignatureNonceUsed" => ErrorKind::Credentials,
        "Forbidden.InstanceNotFound" => ErrorKind::NotFound,
        "AccessDenied" | "Forbidden" | "Forbidden.RAM" => ErrorKind::Denied,
        "BucketAlreadyExists" => ErrorKind::Exists,
        // No stock, an account's mode, a tag of the system: waiting does not help.
        "OperationDenied.ZoneResource" | "OperationDenied.AccountMode" => ErrorKind::Invalid,
        "IncorrectDBInstanceState"
        | "IncorrectAccountStatus"
        | "IncorrectDBState"
        | "DbRestoring"
        | "Database.ConnectError"
        | "InvalidConcurrentOperate"
        | "LockTimeout"
        | "ConcurrentTaskExceeded" => ErrorKind::Conflict,
        "AccountLimitExceeded" | "TooManyBuckets" | "InsufficientAvailableQuota" => ErrorKind::Quota,
        "InternalError" | "ServiceUnavailable" | "ExternalFailure" | "RequestMetaDataFailed" => {
            ErrorKind::Unavailable
        }
        "TooManyRequests" | "SlowDown" | "QpsLimitExceeded" => ErrorKind::Throttled,
        _ if begins(&["Throttling"]) => ErrorKind::Throttled,
        _ if begins(&["InvalidSecurityToken", "InvalidTimeStamp", "AuthenticationFail.OIDCToken"]) => {
            ErrorKind::Credentials
        }
        _ if begins(&["NoPermission", "AuthenticationFail.NoPermission"]) => ErrorKind::Denied,
        _ if begins(&["OperationDenied.", "GeneralIns.", "DeleteConflict"]) => ErrorKind::Conflict,
        _ if begins(&["EntityNotExist", "NoSuch"]) || code.ends_with(".NotFound") => ErrorKind::NotFound,
        _ if begins(&["EntityAlreadyExist"]) || code.ends_with(".Duplicate") => ErrorKind::Exists,
        _ if begins(&["LimitExceeded"]) || code.ends_with("QuotaExceeded") => ErrorKind::Quota,
        _ if status >= 500 => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("InvalidDBInstanceId.NotFound", 404, ErrorKind::NotFound)]
    #[case("InvalidDBInstanceName.NotFound", 400, ErrorKind::NotFound)]
    #[case("Forbidden.InstanceNotFound", 403, ErrorKind::NotFound)]
    #[case("EntityNotExist.User.Policy", 404, ErrorKind::NotFound)]
    #[case("NoSuchBucket", 404, ErrorKind::NotFound)]
    #[case("InvalidAccessKeyId.NotFound", 404, ErrorKind::Credentials)]
    #[case("IncorrectDBInstanceState", 403, ErrorKind::Conflict)]
    #[case("OperationDenied.DBInstanceStatus", 400, ErrorKind::Conflict)]
    #[case("OperationDenied.ZoneResource", 403, ErrorKind::Invalid)]
    #[case("DeleteConflict.User.AccessKey", 409, ErrorKind::Conflict)]
    #[case("InvalidAccountName.Duplicate", 400, ErrorKind::Exists)]
    #[case("EntityAlreadyExists.User", 409, ErrorKind::Exists)]
    #[case("LimitExceeded.User.AccessKey", 409, ErrorKind::Quota)]
    #[case("Throttling.User", 400, ErrorKind::Throttled)]
    #[case("Forbidden.RAM", 403, ErrorKind::Denied)]
    #[case("NoPermission", 403, ErrorKind::Denied)]
    #[case("InvalidSecurityToken.Expired", 403, ErrorKind::Credentials)]
    #[case("BucketNotEmpty", 409, ErrorKind::Invalid)]
    #[case("", 502, ErrorKind::Unavailable)]
    fn codes_have_kinds(#[case] code: &str, #[case] status: u16, #[case] expected: ErrorKind) {
        assert_eq!(kind(code, status), expected);
    }

    fn refused(code: &str, message: &str) -> AlibabaError {
        let request_id = Some("r-1".to_owned());
        let refusal = Refusal { status: 403, code: code.to_owned(), message: message.to_owned(), request_id };
        AlibabaError::of_answer(Call::write("ram:CreateUser", "user u"), refusal)
    }

    #[test]
    fn an_error_names_action_resource_code_request_and_remedy() {
        let text = refused("NoPermission", "You are not authorized").to_string();
        for part in ["ram:CreateUser on user u", "NoPermission: You are", "request r-1", r#""Action":"ram:"#]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_was_signed_is_not_repeated_and_long_messages_are_cut() {
        let text = refused("SignatureDoesNotMatch", "server string to sign is: AccountPassword=s3cret");
        assert!(!text.to_string().contains("s3cret"), "{text}");
        assert!(refused("X", &"ä".repeat(5000)).to_string().len() < 1500);
    }
}
