//! Errors of AWS as the platform and the operator see them. Users see no account, no ARN and no action that they cannot
//! change; the log has all of it under the same reference.

use crate::{
    broker::backends::{ServiceError, cloud_error::without_accounts, outcome::MISCONFIGURED},
    cloud::aws::{AwsError, ErrorKind, missing_statement, stack_events::Failure, stacks::Stack},
};

const UNAVAILABLE: &str = "AWS cannot be used at present; try again later";
/// The digits of the number of an account.
const ACCOUNT_DIGITS: usize = 12;

/// An error of a call, for users and for the log.
pub(super) fn of_call(backend: &str, error: &AwsError) -> ServiceError {
    let told = match error.kind() {
        ErrorKind::Denied | ErrorKind::Credentials => MISCONFIGURED.to_owned(),
        ErrorKind::Throttled | ErrorKind::Unavailable => UNAVAILABLE.to_owned(),
        ErrorKind::Quota => {
            "a quota of the AWS account is used up; ask the operator to have it raised".to_owned()
        }
        ErrorKind::Conflict => "AWS still changes the resource; try again later".to_owned(),
        ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Invalid => {
            format!("AWS refused the request: {}", without_accounts(error.message(), ACCOUNT_DIGITS))
        }
    };
    let told = ServiceError::new(backend, told).detailed(error);
    if error.is_passing() { told.passing() } else { told }
}

/// The error of a stack that CloudFormation could not bring into the wanted state.
pub(super) fn of_stack(backend: &str, does: &str, stack: &Stack, failure: Option<&Failure>) -> ServiceError {
    let status = &stack.status;
    let way_out = status.way_out().unwrap_or("remove the cause and try again");
    let detail = failure.map_or_else(|| "no event has a reason".to_owned(), ToString::to_string);
    let statement = failure.and_then(|failure| missing_statement(&failure.reason));
    let told = match failure {
        Some(_) if statement.is_some() => MISCONFIGURED.to_owned(),
        Some(failure) => {
            format!(
                "{does} failed: {}: {}; {way_out}",
                failure.resource,
                without_accounts(&failure.reason, ACCOUNT_DIGITS)
            )
        }
        None => format!("{does} failed ({status}); {way_out}"),
    };
    let remedy = statement.map_or_else(
        || way_out.to_owned(),
        |statement| format!("add the statement {statement} to the policy of the deploy role"),
    );
    ServiceError::new(backend, told).detailed(format!("stack {} is {status}: {detail}; {remedy}", stack.id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cloud::aws::StackStatus;

    fn stack(status: &str) -> Stack {
        Stack {
            id: "arn:aws:cloudformation:eu-west-1:123456789012:stack/s/1".to_owned(),
            name: "s".to_owned(),
            status: StackStatus::new(status),
            parameters: BTreeMap::new(),
            outputs: BTreeMap::new(),
            tags: BTreeMap::new(),
            topics: Vec::new(),
        }
    }

    fn failure(reason: &str) -> Failure {
        Failure {
            resource: "Queue".to_owned(),
            kind: "AWS::SQS::Queue".to_owned(),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn users_see_the_first_reason_without_the_account() {
        let failure = failure("arn:aws:sqs:eu-west-1:123456789012:q is wrong");
        let told =
            of_stack("aws", "the creation", &stack("ROLLBACK_COMPLETE"), Some(&failure)).user_message();
        assert!(told.contains("Queue: arn:aws:sqs:eu-west-1:ACCOUNT:q is wrong"), "{told}");
        assert!(told.contains("created anew"), "{told}");
    }

    #[test]
    fn the_log_has_the_statement_that_the_deploy_role_lacks() {
        let failure = failure(
            "User: arn:aws:sts::123456789012:assumed-role/d/C is not authorized to perform: sqs:CreateQueue on resource: arn:aws:sqs:eu-west-1:123456789012:q because",
        );
        let error = of_stack("aws", "the creation", &stack("ROLLBACK_COMPLETE"), Some(&failure));
        assert!(!error.user_message().contains("sqs:CreateQueue"), "{}", error.user_message());
        let log = error.to_string();
        assert!(log.contains(r#""Action":"sqs:CreateQueue""#) && log.contains("deploy role"), "{log}");
    }
}
