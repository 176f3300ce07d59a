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
    catalog::{context::Context, reconcile::resolve::Offer},
    osb::BindResponse,
};

/// Refuses transforms that no credentials can satisfy.
pub(super) fn check(binding: &ServiceBinding) -> Result<(), SecretError> {
    Ok(transforms::check(&binding.spec.secret_transforms)?)
}

/// Reads the Secrets that `addKeysFrom` names.
#[expect(clippy::unused_async)]
pub(super) async fn read_sources(binding: &ServiceBinding, _context: &Context) -> Result<Sources, Failure> {
    if !transforms::sources(&binding.spec.secret_transforms).is_empty() {
        return Err(NotBound::new(reasons::SECRET_NOT_APPROVED, "", Remedy::Retry).into());
    }
    Ok(Sources::new())
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
