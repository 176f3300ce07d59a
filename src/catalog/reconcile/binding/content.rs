//! What a binding's Secrets hold: the credentials after `secretTransforms`, and the variables, whose names refer to the
//! credentials as the broker returned them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::{Failure, NotBound, Remedy};
use crate::{
    apis::servicecatalog::{ExternalResource, ServiceBinding, reasons},
    bindings::{
        secret_extras::{Extras, Facts},
        secret_keys,
        secrets::SecretError,
        transforms::{self, SecretContent, Sources},
        variables::Variables,
    },
    catalog::{approved_secrets, context::Context, reconcile::resolve::Offer},
    osb::BindResponse,
};

/// Refuses transforms that no credentials can satisfy.
pub(super) fn check(binding: &ServiceBinding) -> Result<(), SecretError> {
    Ok(transforms::check(&binding.spec.secret_transforms)?)
}

/// Reads the Secrets that `addKeysFrom` names, if the webhook has approved them.
pub(super) async fn read_sources(binding: &ServiceBinding, context: &Context) -> Result<Sources, NotBound> {
    let references = transforms::sources(&binding.spec.secret_transforms);
    if references.is_empty() {
        return Ok(Sources::new());
    }
    let not_bound = |error: approved_secrets::SecretError| {
        let reason = match error {
            approved_secrets::SecretError::NotApproved(_) => reasons::SECRET_NOT_APPROVED,
            _ => reasons::ERROR_INJECTING_BIND_RESULT,
        };
        NotBound::new(reason, error.to_string(), Remedy::Retry)
    };
    context.secrets.check(binding).await.map_err(not_bound)?;
    let mut sources = Sources::new();
    for reference in references {
        let secret = context.secrets.read(reference, "spec.secretTransforms").await.map_err(not_bound)?;
        sources
            .insert((reference.namespace.clone(), reference.name.clone()), secret.data.unwrap_or_default());
    }
    Ok(sources)
}

/// The data of the Secret that pods mount. A key of the credentials counts before a fact of the same name.
pub(super) fn secret_data(
    binding: &ServiceBinding,
    response: &BindResponse,
    sources: &Sources,
    facts: BTreeMap<String, String>,
) -> Result<BTreeMap<String, ByteString>, SecretError> {
    let credentials = response.credentials.clone().unwrap_or_default();
    let transforms = &binding.spec.secret_transforms;
    let content = if transforms.is_empty() {
        SecretContent::from(&credentials)
    } else {
        transforms::apply(transforms, &credentials, sources)?
    };
    secret_keys::secret_data(content.or_facts(facts))
}

/// The facts that the binding's annotation asks for.
pub(super) fn facts(
    extras: &Extras,
    binding: &ServiceBinding,
    instance: &ExternalResource,
    offer: &Offer,
) -> BTreeMap<String, String> {
    let class = offer.class.common();
    extras.facts(&Facts {
        instance_name: &binding.spec.instance_ref.name,
        instance_id: &instance.spec.instance_id,
        service: &class.external_name,
        plan: &offer.plan.common().external_name,
        tags: &class.tags,
    })
}

/// The data of the Secret with the variables.
pub(super) fn variables(
    variables: &Variables,
    response: &BindResponse,
) -> Result<BTreeMap<String, ByteString>, Failure> {
    let values = variables.render(&response.credentials.clone().unwrap_or_default())?;
    let data = values.into_iter().map(|(name, value)| (name, ByteString(value.into_bytes()))).collect();
    secret_keys::check_size("the variables", &data)?;
    Ok(data)
}
