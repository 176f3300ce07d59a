//! What a binding is of, and what names its variables: the annotation, or the catalog's metadata. A binding follows a change of
//! either.

use kube::{ResourceExt, runtime::reflector::ObjectRef};
use sha2::{Digest, Sha256};

use super::{NotBound, Remedy};
use crate::{
    apis::servicecatalog::{
        ExternalResource, ExternalResourceKind, ServiceBinding, ServiceBindingStatus, reasons,
    },
    bindings::{secret_extras, variables},
    catalog::{context::Context, ledger::external_resource_name, reconcile::resolve::Offer},
    contract::binding as contract,
};

/// The class and plan from which the instance was made.
pub(super) fn offer(held: &ExternalResource, context: &Context) -> Result<Offer, NotBound> {
    let broker = held.spec.broker.key();
    let class = context.stores.class_with_id(&broker, &held.spec.service_id);
    let plan = context.stores.plan_with_id(&broker, &held.spec.plan_id);
    let (Some(class), Some(plan)) = (class, plan) else {
        let message = format!(
            "the broker does not offer the class or plan of the instance any more; register the {broker} again"
        );
        return Err(NotBound::new(reasons::ERROR_INSTANCE_REFS_UNRESOLVED, message, Remedy::Watched));
    };
    let offer = Offer { class, plan };
    if !offer.is_bindable() {
        let (class, plan) = (&offer.class.common().external_name, &offer.plan.common().external_name);
        let message = format!(
            "the plan {plan:?} of the class {class:?} cannot be bound; delete the binding and use another plan"
        );
        return Err(NotBound::new(reasons::ERROR_NONBINDABLE_SERVICE_CLASS, message, Remedy::Never));
    }
    Ok(offer)
}

/// What the binding was made from, if it has been asked for and is offered now.
pub(super) fn known_offer(binding: &ServiceBinding, context: &Context) -> Option<Offer> {
    let id = binding.broker_id()?;
    let name = external_resource_name(ExternalResourceKind::ServiceBinding, id);
    let held = context.stores.external_resources.get(&ObjectRef::new(&name))?;
    offer(&held, context).ok()
}

/// What names the variables of a binding.
pub(super) enum Names {
    /// A source of this checksum; `by_annotation` is whether it is the binding's own.
    Known { checksum: String, by_annotation: bool },
    /// Neither the annotation nor, at the moment, the catalog.
    Unknown,
}

pub(super) fn named_variables(binding: &ServiceBinding, context: &Context) -> Names {
    let offer = known_offer(binding, context);
    let by_annotation = binding.annotations().contains_key(contract::ENV);
    if offer.is_none() && !by_annotation {
        return Names::Unknown;
    }
    Names::Known { checksum: variables_checksum(binding, offer.as_ref()), by_annotation }
}

impl Names {
    /// Whether the Secret of the variables was written with these. Versions of bindery that noted annotations only left no checksum
    /// where the catalog names the variables: theirs are taken to be right.
    pub(super) fn is_what_is_written(&self, status: &ServiceBindingStatus) -> bool {
        match (self, &status.variables_checksum) {
            (Self::Unknown, _) => true,
            (Self::Known { checksum, .. }, Some(written)) => checksum == written,
            (Self::Known { by_annotation, .. }, None) => !by_annotation,
        }
    }

    /// Notes the checksum where an earlier version left none.
    pub(super) fn note(&self, status: &mut ServiceBindingStatus) {
        if let Self::Known { checksum, .. } = self {
            status.variables_checksum = Some(checksum.clone());
        }
    }
}

/// The checksum covers the annotations for the Secrets as well, which a binding follows like its variables.
pub(super) fn variables_checksum(binding: &ServiceBinding, offer: Option<&Offer>) -> String {
    let names = variables::checksum(
        binding.annotations().get(contract::ENV).map(String::as_str),
        offer.and_then(|offer| offer.plan.common().external_metadata.as_ref()),
        offer.and_then(|offer| offer.class.common().external_metadata.as_ref()),
        offer.map(|offer| offer.class.common().external_name.as_str()).unwrap_or_default(),
    );
    match secret_extras::source(binding.annotations()) {
        None => names,
        Some(source) => hex::encode(Sha256::digest(names + &source)),
    }
}
