//! What must be known before the broker is asked for credentials: the instance, what it is offered as, the parameters, and what
//! the Secrets hold besides the credentials. Mistakes are found here, so that no credentials are made that cannot be stored.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, ResourceExt};

use super::{
    Failure,
    bound_instance::{held, ready_instance},
    content,
    offer::{offer, variables_checksum},
    parameters,
    request::Request,
    write_secrets::{Content, write_secrets},
};
use crate::{
    apis::servicecatalog::{ExternalResource, ServiceBinding, ServiceBindingStatus},
    bindings::{
        secret_extras::Extras,
        secrets::{self, SecretError},
        transforms::Sources,
        variables::Variables,
    },
    catalog::{context::Context, parameters::Parameters, reconcile::resolve::Offer},
    contract::binding as contract,
    osb::BindResponse,
};

pub(super) struct Preparation {
    /// The ExternalResource of the instance.
    held: ExternalResource,
    pub(super) offer: Offer,
    parameters: Parameters,
    /// The Secrets that exist.
    pub(super) existing: Vec<(String, Option<Secret>)>,
    variables: Variables,
    extras: Extras,
    sources: Sources,
}

impl Preparation {
    pub(super) async fn of(
        binding: &ServiceBinding,
        context: &Context,
        status: &ServiceBindingStatus,
    ) -> Result<Self, Failure> {
        let instance = ready_instance(binding, context)?;
        let held = held(&instance, context).await?;
        let offer = offer(&held, context)?;
        let variables = Variables::find(
            binding.annotations().get(contract::ENV).map(String::as_str),
            offer.plan.common().external_metadata.as_ref(),
            offer.class.common().external_metadata.as_ref(),
            &offer.class.common().external_name,
        )?;
        let extras = Extras::parse(binding.annotations())?;
        secrets::check_names(binding)?;
        content::check(binding)?;
        let sources = content::read_sources(binding, context).await?;
        let existing = secrets::read(&secrets_api(binding, context), binding).await?;
        let parameters = parameters::find(binding, &offer, context, status).await?;
        Ok(Self { held, offer, parameters, existing, variables, extras, sources })
    }

    /// A request for the credentials.
    pub(super) fn request<'a>(
        &'a self,
        binding: &'a ServiceBinding,
        context: &'a Context,
        api: &'a Api<ServiceBinding>,
    ) -> Request<'a> {
        Request {
            binding,
            instance: &self.held,
            offer: &self.offer,
            parameters: &self.parameters,
            context,
            api,
        }
    }

    /// The data of the Secret that pods mount.
    pub(super) fn data(
        &self,
        binding: &ServiceBinding,
        response: &BindResponse,
    ) -> Result<BTreeMap<String, ByteString>, SecretError> {
        let facts = content::facts(&self.extras, binding, &self.held, &self.offer);
        content::secret_data(binding, response, &self.sources, facts)
    }

    /// Writes the Secrets.
    pub(super) async fn write(
        self,
        binding: &ServiceBinding,
        context: &Context,
        response: &BindResponse,
        data: BTreeMap<String, ByteString>,
        new: &mut ServiceBindingStatus,
    ) -> Result<(), Failure> {
        let variables = content::variables(&self.variables, response)?;
        let checksum = variables_checksum(binding, Some(&self.offer));
        let content = Content { offer: &self.offer, response, data, variables, extras: self.extras };
        write_secrets(binding, &content, &secrets_api(binding, context), new).await?;
        new.variables_checksum = Some(checksum);
        Ok(())
    }
}

fn secrets_api(binding: &ServiceBinding, context: &Context) -> Api<Secret> {
    Api::namespaced(context.client.clone(), &binding.namespace().unwrap_or_default())
}
