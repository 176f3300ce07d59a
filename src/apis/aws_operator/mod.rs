//! `service-operator.aws/v1alpha1`: the kinds of the AWS Service Operator. Pure.

mod crd;
mod field;
mod fields;
mod kind;
mod object;

pub use self::{
    crd::crds,
    kind::Kind,
    object::{AdditionalResources, AwsObject, Status},
};

/// The API group.
pub const GROUP: &str = "service-operator.aws";
/// The version.
pub const VERSION: &str = "v1alpha1";
