//! Errors of Alibaba Cloud as the platform and the operator see them. Users see no account and no action that they cannot
//! change; the log has all of it under the same reference.

use crate::{
    broker::backends::{ServiceError, cloud_error::without_accounts, outcome::MISCONFIGURED},
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
            _ => format!("Alibaba Cloud refused the request: {}", without_accounts(&error.message(), ACCOUNT_DIGITS)),
        },
    };
    let told = ServiceError::new(backend, told).detailed(error);
    if error.is_passing() { told.passing() } else { told }
}
