//! `bindery migrate`: takes over what another Service Catalog controller provisioned.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use kube::Client;

use super::{
    manifest::{Document, documents},
    serve::catalog_lease,
};
use crate::{
    catalog::migration::{self, Objects},
    k8s::{self, leader},
};

/// Take over what another Service Catalog controller provisioned, in this cluster or from a dump.
///
/// Records an ExternalResource for every instance and binding that a broker holds, so that bindery uses and deletes
/// them as if it had created them. Sends nothing to a broker and changes no Secret. Changes nothing without --apply.
/// Stop the other controller first; with --filename, also stop bindery's catalog.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A dump: kubectl get clusterservicebrokers,servicebrokers,clusterserviceclasses,serviceclasses,\
        clusterserviceplans,serviceplans,serviceinstances,servicebindings,secrets --all-namespaces --output yaml"
)]
pub(super) struct MigrateArgs {
    /// Create the objects of this dump first, or of `-`, standard input. Existing objects stay unchanged.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: Option<PathBuf>,
    /// The installation's name.
    #[arg(long, env = "BINDERY_NAME", default_value = "bindery")]
    name: String,
    /// The installation's namespace.
    #[arg(long, env = "BINDERY_NAMESPACE", default_value = "bindery")]
    namespace: String,
    /// Take over only instances and bindings in this namespace. Can be repeated. Default: all namespaces.
    #[arg(long = "only-namespace", value_name = "NAMESPACE")]
    only: Vec<String>,
    /// Write the listed objects.
    #[arg(long)]
    apply: bool,
}

/// Returns a report of what was or would be taken over.
///
/// # Errors
/// When the dump or the cluster cannot be read, or the API server refuses an object.
pub(super) async fn run(args: &MigrateArgs) -> anyhow::Result<String> {
    let client = k8s::client().await?;
    let created = match &args.file {
        Some(file) => {
            let objects = read(file)?;
            ensure_stopped(&client, args).await?;
            objects.create(&client, args.apply).await?
        }
        None => Vec::new(),
    };
    let mut report = migration::take_over(&client, &args.only, args.apply).await?;
    report.created = created;
    Ok(format!("{report}\n"))
}

/// A running catalog would provision an instance of the dump before its status is written.
async fn ensure_stopped(client: &Client, args: &MigrateArgs) -> anyhow::Result<()> {
    let MigrateArgs { name, namespace, .. } = args;
    let lease = catalog_lease(name);
    let is_held = leader::is_held(client.clone(), namespace, &lease).await;
    let is_held = is_held.with_context(|| format!("cannot read the Lease {namespace}/{lease}"))?;
    ensure!(
        !is_held,
        "the catalog runs and would provision the instances of the dump again; stop it first: kubectl --namespace \
        {namespace} scale deployment/{name}-catalog --replicas=0"
    );
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Objects> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let parsed: anyhow::Result<Vec<_>> = documents(&text).iter().map(Document::parse).collect();
    Ok(Objects::read(parsed?)?)
}
