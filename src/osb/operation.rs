//! Asynchronous operations (spec.md, "Polling Last Operation").

use serde::{Deserialize, Serialize};

use super::Operation;

/// The body of a 202 answer to a request that has no other body, such as a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsyncResponse {
    /// The operation to poll with `last_operation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// The state of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationState {
    /// Still running; poll again later.
    #[default]
    #[serde(rename = "in progress")]
    InProgress,
    /// Done.
    #[serde(rename = "succeeded")]
    Succeeded,
    /// Failed; the description says why.
    #[serde(rename = "failed")]
    Failed,
}

/// The answer to `GET …/last_operation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastOperation {
    /// The state of the operation.
    pub state: OperationState,
    /// The description for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// With a failed update or delete: whether the instance can still be used; absent means true (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_usable: Option<bool>,
    /// With a failed update: whether the update may be repeated; absent means true (since 2.16).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_repeatable: Option<bool>,
}
