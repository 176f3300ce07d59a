//! The custom resource definitions, which the operator creates itself, as the original did: the seed's manifest has none.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, CustomResourceExt, ResourceExt,
    api::{Patch, PatchParams},
};
use tracing::{info, warn};

use crate::{
    apis::{aws_operator::crds, bindery::external_resource::ExternalResource},
    contract::FIELD_MANAGER,
    k8s::explain,
};

/// How often a definition that cannot be applied is tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The definitions that the operator needs.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = crds();
    definitions.push(ExternalResource::crd());
    definitions
}

/// Applies the definitions and waits until the API server serves all of them.
pub(super) async fn establish(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in definitions() {
        let name = definition.name_any();
        while let Err(problem) = apply(&api, &definition).await {
            warn!(name, problem, "the custom resource definition is not there; bindery tries again");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    info!("the kinds of service-operator.aws are served");
}

async fn apply(
    api: &Api<CustomResourceDefinition>,
    definition: &CustomResourceDefinition,
) -> Result<(), String> {
    let name = definition.name_any();
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(&name, &parameters, &Patch::Apply(definition)).await;
    let applied = match applied {
        // Without the right to write it, an administrator has to.
        Err(kube::Error::Api(status)) if status.is_forbidden() => match api.get_opt(&name).await {
            Ok(Some(found)) => found,
            _ => {
                let remedy =
                    "let bindery create it, or apply it: bindery crds --aws-operator | kubectl apply -f -";
                return Err(format!("{}; {remedy}", status.message));
            }
        },
        Err(error) => return Err(explain(&error)),
        Ok(applied) => applied,
    };
    let conditions = applied.status.and_then(|status| status.conditions).unwrap_or_default();
    let is_established =
        conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True");
    if is_established { Ok(()) } else { Err("it is not established yet".to_owned()) }
}
