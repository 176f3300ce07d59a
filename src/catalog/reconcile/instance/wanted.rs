//! What the spec asks of the broker: the parameters, some of them from Secrets, and the plan.

use super::properties::properties;
use crate::{
    apis::servicecatalog::{ServiceInstance, instance::InstanceProperties},
    catalog::{
        approved_secrets::SecretError,
        context::Context,
        parameters::Parameters,
        reconcile::{Next, resolve::Offer},
    },
    osb::Object,
};

/// What the spec asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) parameters: Parameters,
    pub(super) properties: InstanceProperties,
}

/// Why the parameters cannot be sent.
pub(super) struct Unusable {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// When to look again. Nothing announces a change of a Secret.
    pub(super) next: Next,
}

impl From<SecretError> for Unusable {
    fn from(error: SecretError) -> Self {
        // The approval is an annotation of the instance, whose change enqueues it.
        let next = if matches!(error, SecretError::NotApproved(_)) { Next::AwaitChange } else { Next::Retry };
        Self { reason: error.reason(), message: error.to_string(), next }
    }
}

/// Reads what the spec asks for, with these defaults for parameters.
pub(super) async fn read(
    context: &Context,
    instance: &ServiceInstance,
    offer: &Offer,
    defaults: Option<&Object>,
) -> Result<Wanted, Unusable> {
    let parameters = parameters(context, instance).await?.or_defaults(defaults);
    let properties = properties(offer, &parameters, instance.spec.user_info.as_ref());
    Ok(Wanted { parameters, properties })
}

async fn parameters(context: &Context, instance: &ServiceInstance) -> Result<Parameters, Unusable> {
    let sources = &instance.spec.parameters_from;
    let of_secrets = context.secrets.parameters(instance, sources).await?;
    match Parameters::merge(instance.spec.parameters.as_ref(), of_secrets) {
        Ok(parameters) => Ok(parameters),
        // Without Secrets, only another spec helps, which enqueues the instance.
        Err(error) if sources.is_empty() => {
            Err(Unusable { next: Next::AwaitChange, ..Unusable::from(SecretError::from(error)) })
        }
        Err(error) => Err(SecretError::from(error).into()),
    }
}

/// The broker's description of a failure. A broker may quote parameters in it, so values from Secrets are removed.
pub(super) async fn redacted(context: &Context, instance: &ServiceInstance, description: &str) -> String {
    if instance.spec.parameters_from.is_empty() {
        return description.to_owned();
    }
    match parameters(context, instance).await {
        Ok(parameters) => parameters.redacted(description),
        Err(_) => {
            "the broker's description is left out, because the Secrets of spec.parametersFrom, which it may \
            quote, cannot be read; see the broker's log"
                .to_owned()
        }
    }
}
