//! The parameters of a bind request: those of the spec, those from Secrets, and the defaults that an administrator gives in
//! annotations of the plan and the Namespace.

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{NotBound, Remedy};
use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceBindingStatus, binding::BindingProperties, reasons},
    catalog::{
        context::Context,
        parameters::{self, Parameters},
        reconcile::resolve::Offer,
    },
    contract::binding as contract,
    osb::Object,
};

/// The parameters to send.
pub(super) async fn find(
    binding: &ServiceBinding,
    offer: &Offer,
    context: &Context,
    status: &ServiceBindingStatus,
) -> Result<Parameters, NotBound> {
    let secrets = context.secrets.parameters(binding, &binding.spec.parameters_from).await;
    let secrets = secrets.map_err(|error| NotBound::new(error.reason(), error.to_string(), Remedy::Retry))?;
    let merged = Parameters::merge(binding.spec.parameters.as_ref(), secrets).map_err(|error| {
        let message = format!("{error}; delete the binding and create another");
        NotBound::new(reasons::ERROR_WITH_PARAMETERS, message, Remedy::Watched)
    })?;
    let defaults = match &status.external_properties {
        // A repeated request must be the same, even if the defaults have changed.
        Some(in_force) => in_force.parameters.as_ref().map(parameters::without_redacted),
        None => {
            let namespace = ObjectRef::new(&binding.namespace().unwrap_or_default());
            let namespace = context.stores.namespaces.get(&namespace);
            let of_namespace = namespace
                .as_ref()
                .and_then(|namespace| namespace.annotations().get(contract::DEFAULT_PARAMETERS));
            defaults(
                (offer.plan.object_name(), offer.plan.annotation(contract::DEFAULT_PARAMETERS)),
                of_namespace.map(String::as_str),
            )
            .map_err(|message| NotBound::new(reasons::ERROR_WITH_PARAMETERS, message, Remedy::Retry))?
        }
    };
    Ok(merged.or_defaults(defaults.as_ref()))
}

/// What the broker is asked for, as a status shows it.
pub(super) fn properties(binding: &ServiceBinding, parameters: &Parameters) -> BindingProperties {
    BindingProperties {
        parameters: parameters.shown(),
        parameter_checksum: parameters.checksum(),
        user_info: binding.spec.user_info.clone(),
    }
}

/// Whether these parameters are those of the credentials in force.
pub(super) fn are_in_force(parameters: &Parameters, status: &ServiceBindingStatus) -> bool {
    let in_force = status.external_properties.as_ref();
    in_force.is_none_or(|in_force| in_force.parameter_checksum == parameters.checksum())
}

/// The defaults: those of the Namespace count before those of the plan.
fn defaults(
    (plan, of_plan): (&str, Option<&str>),
    of_namespace: Option<&str>,
) -> Result<Option<Object>, String> {
    let read = |what: &str, text: Option<&str>| {
        text.map(serde_json::from_str::<Object>).transpose().map_err(|_| {
            let name = contract::DEFAULT_PARAMETERS;
            format!(
                "annotation {name} of {what} is no JSON object; an administrator must write one, such as \
                {{\"name\": \"value\"}}, or remove it"
            )
        })
    };
    let of_plan = read(&format!("the plan's object {plan}"), of_plan)?;
    let of_namespace = read("the Namespace", of_namespace)?;
    Ok(parameters::defaults(of_plan.as_ref(), of_namespace.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_of_the_namespace_count_before_those_of_the_plan() {
        let both = defaults(("p", Some(r#"{"a": 1, "b": 1}"#)), Some(r#"{"b": 2}"#)).unwrap();
        assert_eq!(json!(both), json!({"a": 1, "b": 2}));
        assert_eq!(defaults(("p", None), None), Ok(None));
    }

    #[test]
    fn a_malformed_default_names_the_object_and_the_remedy() {
        for text in ["[1]", "{", "hunter2"] {
            let of_plan = defaults(("p", Some(text)), None).unwrap_err();
            assert!(of_plan.contains("of the plan's object p is no JSON object"), "{of_plan}");
            assert!(of_plan.contains("or remove it") && !of_plan.contains("hunter2"), "{of_plan}");
            let of_namespace = defaults(("p", None), Some(text)).unwrap_err();
            assert!(of_namespace.contains("of the Namespace is no JSON object"), "{of_namespace}");
        }
    }
}
