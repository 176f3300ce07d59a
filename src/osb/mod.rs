//! The types of the Open Service Broker API 2.17: ids, headers, bodies and errors.
//!
//! Both sides use them: `broker` answers with these types and `catalog` sends requests with them. This module does no
//! IO, and knows of HTTP only header and field names. Source: openservicebrokerapi/servicebroker `spec.md` and
//! `profile.md` at tag v2.17.

mod binding;
mod catalog;
mod error;
mod ids;
mod instance;
pub(crate) mod null;
mod operation;
mod version;

pub use binding::{BindRequest, BindResponse, BindingMetadata, Credentials, Endpoint, RotateRequest};
pub use catalog::{Catalog, Plan, Service};
pub use error::{ErrorBody, ErrorCode};
pub use ids::{BindingId, InstanceId, Operation, PlanId, ServiceId};
pub use instance::{
    Context, FetchedInstance, InstanceMetadata, PreviousValues, ProvisionRequest, ProvisionResponse,
    UpdateRequest,
};
pub use operation::{AsyncResponse, LastOperation, OperationState};
pub use version::{ApiVersion, UnsupportedVersion};

/// The HTTP headers of the API (spec.md, "API Version Header", "Originating Identity", "Request Identity").
pub mod header {
    /// The API version of the platform, `MAJOR.MINOR`.
    pub const API_VERSION: &str = "x-broker-api-version";
    /// The user who caused the request: platform name and base64 JSON.
    pub const ORIGINATING_IDENTITY: &str = "x-broker-api-originating-identity";
    /// The id of the request, echoed in the response.
    pub const REQUEST_IDENTITY: &str = "x-broker-api-request-identity";
}

/// A JSON object for parameters, metadata and the like.
pub type Object = serde_json::Map<String, serde_json::Value>;
