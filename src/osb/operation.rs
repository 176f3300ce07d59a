//! Asynchronous operations (spec.md, "Polling Last Operation").

use serde::{Deserialize, Serialize};

use super::Operation;

/// The body of an answer 202 to a request without one of its own, such as a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncResponse {
    /// What to ask `last_operation` for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationState {
    /// Ask again later.
    #[default]
    #[serde(rename = "in progress")]
    InProgress,
    /// Done.
    #[serde(rename = "succeeded")]
    Succeeded,
    /// Ended without success; the description tells why.
    #[serde(rename = "failed")]
    Failed,
}

/// The answer to `GET …/last_operation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOperation {
    /// How far the operation is.
    pub state: OperationState,
    /// For the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// With a failed update or delete: whether the instance can still be used; absent means true (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_usable: Option<bool>,
    /// With a failed update: whether it may be tried again; absent means true (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_repeatable: Option<bool>,
}
