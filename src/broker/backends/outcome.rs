//! The results and errors of a provider's calls.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::InstanceSpec;
use crate::osb::{Credentials, Endpoint, InstanceMetadata};

/// The progress of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress<T> {
    /// The work is complete.
    Done(T),
    /// The backend continues by itself; the engine calls again.
    Pending(Pending),
}

/// What the backend is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// A description for the user.
    pub description: String,
    /// How long to wait before the next call.
    pub again_after: Duration,
}

/// Whether the backend still has what was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// Everything exists.
    There,
    /// Something is missing or belongs to another owner. The text names it and the remedy, for the user.
    Differs(String),
}

/// What platforms may show about an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// A page to manage the instance.
    pub dashboard_url: Option<String>,
    /// Labels and attributes, if there are any.
    pub metadata: Option<InstanceMetadata>,
}

/// The contents of a binding. `Debug` shows no credential.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The keys that the service documents.
    pub credentials: Credentials,
    /// Every host and port that the service listens on, or nothing.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// When the credentials expire.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When to renew the credentials, before they expire.
    #[serde(default)]
    pub renew_before: Option<Timestamp>,
    /// For services that require `syslog_drain`.
    #[serde(default)]
    pub syslog_drain_url: Option<String>,
    /// For services that require `route_forwarding`.
    #[serde(default)]
    pub route_service_url: Option<String>,
    /// For services that require `volume_mount`.
    #[serde(default)]
    pub volume_mounts: Option<Value>,
}

/// Why a request is rejected. The text is for the user and names the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// The request is invalid: 400.
    #[error("{0}")]
    Invalid(String),
    /// The backend does not support the change: 422.
    #[error("{0}")]
    Unsupported(String),
    /// The binding needs an application's id: 422 `RequiresApp`.
    #[error("{0}")]
    RequiresApp(String),
}

/// A failed call to a backend. `Display` has the details, for the operator's log; [`ServiceError::user_message`] is the text
/// for users. Neither contains a statement or a credential.
#[derive(Clone, Debug, thiserror::Error)]
#[error("backend {backend}: {}", detail.as_ref().unwrap_or(problem))]
pub struct ServiceError {
    backend: String,
    problem: String,
    detail: Option<String>,
    reference: String,
    is_passing: bool,
    is_foreign: bool,
    is_refusal: bool,
}

impl ServiceError {
    /// Creates an error of `backend`. Users see `problem` but not `backend`: `problem` names what failed and the remedy,
    /// and contains no address, account or file.
    pub fn new(backend: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self {
            backend: backend.to_string(),
            problem: problem.to_string(),
            detail: None,
            reference: reference(),
            is_passing: false,
            is_foreign: false,
            is_refusal: false,
        }
    }

    /// Replaces the text for the log; the text for users stays.
    #[must_use]
    pub fn detailed(self, detail: impl fmt::Display) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }

    /// Marks the error as caused by the instance's state, which the user must change first. An update then fails with
    /// 422 instead of 500.
    #[must_use]
    pub fn refusal(self) -> Self {
        Self { is_refusal: true, ..self }
    }

    /// Whether the instance's state caused the error.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// The text for users, with the reference that finds the details in the log.
    #[must_use]
    pub fn user_message(&self) -> String {
        format!("{} (reference {})", self.problem, self.reference)
    }

    /// The reference that the log has for this error.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Marks the error as temporary: an asynchronous operation retries.
    #[must_use]
    pub fn passing(self) -> Self {
        Self { is_passing: true, ..self }
    }

    /// Marks the error as foreign: the resource of that name does not carry this installation's mark.
    #[must_use]
    pub fn foreign(self) -> Self {
        Self { is_foreign: true, ..self }
    }

    /// Whether the resource of that name does not carry this installation's mark.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }
}

/// A new reference that links a text for users to a line of the log.
pub(crate) fn reference() -> String {
    let mut id = Uuid::new_v4().simple().to_string();
    id.truncate(12);
    id
}

/// The text for users when the server does not answer or misbehaves; the log has the cause.
pub(super) const UNUSABLE: &str = "the database server cannot be used at present; try again later";

/// The text for users when only the operator can fix the problem; the log has the details.
pub(super) const MISCONFIGURED: &str =
    "the service is not set up so that this can be done; its operator finds the reason in the broker's log";

/// The result of `check_update` for a backend that cannot change instances.
pub(super) fn refuse_changes(from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
    let changed = [
        ("plan_id", from.plan_id != to.plan_id),
        ("parameters", from.parameters != to.parameters),
        ("maintenance_info", from.maintenance_version != to.maintenance_version),
    ];
    match changed.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((field, _)) => Err(Unacceptable::Unsupported(format!(
            "{field} of service instance {} cannot be changed; provision another instance",
            from.id
        ))),
    }
}
