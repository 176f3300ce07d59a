//! What a request for the credentials of a binding needs.

use kube::Api;

use crate::{
    apis::servicecatalog::{ExternalResource, ServiceBinding},
    catalog::{context::Context, parameters::Parameters, reconcile::resolve::Offer},
};

/// One request for the credentials of a binding.
pub(super) struct Request<'a> {
    pub(super) binding: &'a ServiceBinding,
    /// The ExternalResource of the instance.
    pub(super) instance: &'a ExternalResource,
    pub(super) offer: &'a Offer,
    pub(super) parameters: &'a Parameters,
    pub(super) context: &'a Context,
    pub(super) api: &'a Api<ServiceBinding>,
}
