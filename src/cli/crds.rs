//! `bindery crds`: the custom resource definitions, printed or applied.

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};

use crate::{catalog, contract};

/// Prints the custom resource definitions as YAML, or brings those of the cluster up to date.
#[derive(Debug, clap::Args)]
pub(super) struct CrdsArgs {
    /// Apply them to the cluster (server-side) instead of printing them.
    #[arg(long)]
    apply: bool,
}

/// Prints or applies the definitions.
///
/// # Errors
/// When they cannot be written as YAML or the API server refuses one.
pub(super) async fn run(args: &CrdsArgs) -> anyhow::Result<String> {
    if !args.apply {
        return yaml();
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(Client::try_default().await?);
    let apply = PatchParams::apply(contract::FIELD_MANAGER).force();
    let mut applied = String::new();
    for definition in catalog::crds() {
        let name = definition.name_any();
        definitions
            .patch(&name, &apply, &Patch::Apply(&definition))
            .await
            .with_context(|| format!("cannot apply {name}"))?;
        applied.push_str(&format!("{name} applied\n"));
    }
    Ok(applied)
}

fn yaml() -> anyhow::Result<String> {
    catalog::crds()
        .iter()
        .map(|definition| {
            Ok(format!("---\n{}", serde_saphyr::to_string(&serde_json::to_value(definition)?)?))
        })
        .collect()
}
