//! `bindery crds`: the custom resource definitions, printed or applied.

use std::fmt::Write;

use anyhow::bail;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};

use crate::{
    catalog, contract,
    k8s::{self, explain},
    namespace_bindings,
    operators::aws,
    policy,
};

/// Print the custom resource definitions, or apply them.
#[derive(Debug, clap::Args)]
pub(super) struct CrdsArgs {
    /// Apply the definitions to the cluster (server-side apply) instead of printing them.
    #[arg(long)]
    apply: bool,
    /// The definitions of service-operator.aws, which `bindery aws-operator` serves, instead of bindery's others.
    #[arg(long)]
    aws_operator: bool,
}

/// Prints or applies the definitions.
///
/// # Errors
/// When they cannot be written as YAML or the API server refuses one.
pub(super) async fn run(args: &CrdsArgs) -> anyhow::Result<String> {
    if !args.apply {
        return yaml(&args.definitions());
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(k8s::client().await?);
    let apply = PatchParams::apply(contract::FIELD_MANAGER).force();
    let mut applied = String::new();
    for definition in args.definitions() {
        let name = definition.name_any();
        if let Err(error) = definitions.patch(&name, &apply, &Patch::Apply(&definition)).await {
            bail!("cannot apply {name}: {}", explain(&error));
        }
        writeln!(applied, "{name} applied")?;
    }
    Ok(applied)
}

impl CrdsArgs {
    fn definitions(&self) -> Vec<CustomResourceDefinition> {
        if self.aws_operator {
            return aws::definitions();
        }
        [catalog::crds(), namespace_bindings::crds(), policy::crds()].concat()
    }
}

fn yaml(definitions: &[CustomResourceDefinition]) -> anyhow::Result<String> {
    definitions
        .iter()
        .map(|definition| {
            Ok(format!("---\n{}", serde_saphyr::to_string(&serde_json::to_value(definition)?)?))
        })
        .collect()
}
