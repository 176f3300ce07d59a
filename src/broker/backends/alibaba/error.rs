//! Errors of Alibaba Cloud as the platform and the operator see them. Users see no account and no action that they cannot
//! change; the log has all of it under the same reference.

use crate::{
    broker::backends::{ServiceError, outcome::MISCONFIGURED},
    cloud::alibaba::{AlibabaError, ErrorKind},
};

const UNAVAILABLE: &str = "Alibaba Cloud cannot be used at present; try again later";
/// The digits of the number of an account.
const ACCOUNT_DIGITS: usize = 16;

/// An error of a call, for users and for the log.
pub(super) fn of_call(backend: &str, error: &AlibabaError) -> ServiceError {
    let told = match error.kind() {
        ErrorKind::Denied | ErrorKind::Credentials => MISCONFIGURED.to_owned(),
        ErrorKind::Throttled | ErrorKind::Unavailable => UNAVAILABLE.to_owned(),
        ErrorKind::Quota => {
            "a quota of the Alibaba Cloud account is used up; ask the operator to have it raised".to_owned()
        }
        ErrorKind::Conflict => "Alibaba Cloud still changes the resource; try again later".to_owned(),
        ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Invalid => match error.code() {
            "Pay.InsufficientBalance"
            | "Order.InstHasUnpaidOrder"
            | "Order.NoRealNameAuthentication"
            | "OrderStatus.UnPaid"
            | "RISK.RISK_CONTROL_REJECTION" => {
                "the Alibaba Cloud account may not order this; its operator finds the reason in the broker's log"
                    .to_owned()
            }
            _ => format!("Alibaba Cloud refused the request: {}", without_accounts(&error.message())),
        },
    };
    let told = ServiceError::new(backend, told).detailed(error);
    if error.is_passing() { told.passing() } else { told }
}

/// A resource of that name does not carry the installation's mark.
pub(super) fn foreign(backend: &str, what: &str) -> ServiceError {
    let problem = format!("{what} exists and is not this installation's; bindery leaves it alone");
    ServiceError::new(backend, problem).foreign()
}

/// The text with every number of an account replaced.
fn without_accounts(text: &str) -> String {
    let mut shown = String::new();
    let mut digits = String::new();
    for letter in text.chars().map(Some).chain([None]) {
        match letter {
            Some(digit) if digit.is_ascii_digit() => digits.push(digit),
            other => {
                shown.push_str(if digits.len() == ACCOUNT_DIGITS { "ACCOUNT" } else { &digits });
                digits.clear();
                shown.extend(other);
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_see_no_number_of_an_account() {
        assert_eq!(without_accounts("acs:ram::1234567890123456:user/x 8080"), "acs:ram::ACCOUNT:user/x 8080");
    }
}
