//! What a provider answers.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::InstanceSpec;
use crate::osb::{Credentials, Endpoint, InstanceMetadata};

/// How far a call got.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress<T> {
    /// All of it is done.
    Done(T),
    /// The backend goes on by itself; call again.
    Pending(Pending),
}

/// What a backend is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// For the user.
    pub description: String,
    /// When it is worth asking again.
    pub again_after: Duration,
}

/// Whether the backend has what was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// All of it is there.
    There,
    /// Something is missing, or somebody else's. The text names what and the remedy, for the user.
    Differs(String),
}

/// What is told of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// A page to manage the instance.
    pub dashboard_url: Option<String>,
    /// Labels and attributes, if there are any.
    pub metadata: Option<InstanceMetadata>,
}

/// What a binding gives. `Debug` shows no credential.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The keys that the service documents.
    pub credentials: Credentials,
    /// Where the service listens; all of it that matters, or nothing.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// When the credentials end.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When they are best renewed, which is before they end.
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

/// Why something cannot be had as it is wanted. The text is for the user, and names the field and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// The request cannot be meant so: answered 400.
    #[error("{0}")]
    Invalid(String),
    /// The backend cannot change so: answered 422.
    #[error("{0}")]
    Unsupported(String),
    /// The binding needs an application's id: answered 422 `RequiresApp`.
    #[error("{0}")]
    RequiresApp(String),
}

/// A backend that could not do what it was asked to. Shown in full it is for the operator, who finds it in the log; what
/// users are told is [`ServiceError::told`]. Neither holds a statement or a credential.
#[derive(Clone, Debug, thiserror::Error)]
#[error("server {server}: {}", detail.as_ref().unwrap_or(problem))]
pub struct ServiceError {
    server: String,
    problem: String,
    detail: Option<String>,
    reference: String,
    is_passing: bool,
    is_foreign: bool,
    is_refusal: bool,
}

impl ServiceError {
    /// An error of this server, or whatever else the backend is. The problem is told to users, the server is not: the
    /// text names what failed and the remedy, but no address, account or file.
    pub fn new(server: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self {
            server: server.to_string(),
            problem: problem.to_string(),
            detail: None,
            reference: reference(),
            is_passing: false,
            is_foreign: false,
            is_refusal: false,
        }
    }

    /// The same error, with what the log says in place of what users are told.
    #[must_use]
    pub fn detailed(self, detail: impl fmt::Display) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }

    /// The same error, but the instance is in a state in which the change cannot be made: its user has to do something
    /// about that first. An update is answered 422 rather than 500.
    #[must_use]
    pub fn refusal(self) -> Self {
        Self { is_refusal: true, ..self }
    }

    /// Whether the instance's state is in the way.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// For users, with the reference under which the log has the rest.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{} (reference {})", self.problem, self.reference)
    }

    /// Under which the log has the error in full.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The same error, but one that may pass by itself: an asynchronous operation goes on trying.
    #[must_use]
    pub fn passing(self) -> Self {
        Self { is_passing: true, ..self }
    }

    /// The same error: what stands under the name does not carry this installation's mark.
    #[must_use]
    pub fn foreign(self) -> Self {
        Self { is_foreign: true, ..self }
    }

    /// Whether what stands under the name does not carry this installation's mark.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Whether it may pass by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }
}

/// What leads from a text for users to a line of the log.
pub(crate) fn reference() -> String {
    let mut id = Uuid::new_v4().simple().to_string();
    id.truncate(12);
    id
}

/// What users are told of a server that does not answer, or not as it should; the log has why.
pub(super) const UNUSABLE: &str = "the database server cannot be used at present; try again later";

/// What users are told of what only the operator can mend; the log has what that is.
pub(super) const MISCONFIGURED: &str =
    "the service is not set up so that this can be done; its operator finds the reason in the broker's log";

/// The answer of a backend that cannot change instances.
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
