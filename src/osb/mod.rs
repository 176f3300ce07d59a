//! The Open Service Broker API's vocabulary, version 2.17: ids, headers, bodies and errors as types.
//!
//! Both ends share it: `broker` answers with these types and `catalog` asks with them. Nothing here does IO or
//! knows HTTP beyond header and field names. Source: openservicebrokerapi/servicebroker `spec.md` and `profile.md`
//! at tag v2.17.

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

/// Names of the HTTP headers that the API adds (spec.md, "API Version Header", "Originating Identity", "Request Identity").
pub mod header {
    /// The version of the API that the platform speaks, `MAJOR.MINOR`.
    pub const API_VERSION: &str = "x-broker-api-version";
    /// Who caused the request: platform name and base64 JSON.
    pub const ORIGINATING_IDENTITY: &str = "x-broker-api-originating-identity";
    /// An id of the request, echoed in the response.
    pub const REQUEST_IDENTITY: &str = "x-broker-api-request-identity";
}

/// A JSON object as the API uses it for parameters, metadata and the like.
pub type Object = serde_json::Map<String, serde_json::Value>;
