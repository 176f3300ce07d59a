//! `bindery wait`, `bindery namespaces` and `bindery extend`: CI and people ask about namespaces that get services
//! from NamespaceBindings. The commands only read and annotate; the controller decides.

mod wait;

use std::fmt::Debug;

use anyhow::{Context, bail};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::Namespace,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::warn;

pub(super) use self::wait::{WaitArgs, wait};
use crate::{
    broker::config::Lifetime,
    contract::{FIELD_MANAGER, branch},
    k8s::{
        self, explain,
        guarded::Guarded,
        list::{Listed, list},
        timeout_error,
    },
    namespace_bindings::{
        NamespaceBinding,
        overview::{Found, rows, table},
    },
};

/// Show namespaces and the services that NamespaceBindings give them.
#[derive(Debug, clap::Args)]
pub(super) struct NamespacesArgs {
    /// Show only this namespace.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Print a table, or a JSON list of objects.
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputForm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum OutputForm {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// Let a namespace keep its services beyond the ttl or gracePeriod of its NamespaceBindings.
///
/// The time counts from now, so repeating the command does not add up. An end that is already later is kept.
#[derive(Debug, clap::Args)]
pub(super) struct ExtendArgs {
    /// The namespace.
    #[arg(long, short)]
    namespace: String,
    /// How long the namespace keeps its services from now: 90m, 24h, 7d.
    #[arg(long = "for", value_name = "TIME")]
    time: Lifetime,
}

/// Returns the table or the JSON list.
///
/// # Errors
/// When the API server cannot be read.
pub(super) async fn namespaces(args: &NamespacesArgs) -> anyhow::Result<String> {
    let client = k8s::client().await?;
    let found = find(&client, args.namespace.as_deref()).await?;
    let now = Timestamp::now();
    let rows = rows(&found, now);
    match args.output {
        OutputForm::Json => Ok(format!("{}\n", serde_json::to_string_pretty(&rows)?)),
        OutputForm::Table if rows.is_empty() => {
            Ok("no namespace is selected by a NamespaceBinding; see kubectl get nsb\n".to_owned())
        }
        OutputForm::Table => Ok(table(&rows, now)),
    }
}

/// Extends the time of a namespace.
///
/// # Errors
/// When the namespace does not exist or cannot be changed.
pub(super) async fn extend(args: &ExtendArgs) -> anyhow::Result<String> {
    let api: Api<Namespace> = Api::all(k8s::client().await?);
    let name = &args.namespace;
    let namespace = match api.get_metadata_opt(name).await {
        Ok(Some(namespace)) => namespace,
        Ok(None) => bail!("there is no namespace {name}"),
        Err(error) => bail!("cannot read the namespace {name}: {}", explain(&error)),
    };
    let known = namespace.metadata.annotations.as_ref().and_then(|all| all.get(branch::EXTENDED_UNTIL));
    let known: Option<Timestamp> = known.and_then(|until| until.parse().ok());
    let length = SignedDuration::try_from(args.time.duration()).context("--for is too long")?;
    let asked = Timestamp::now().checked_add(length).context("--for is too long")?;
    let until = known.map_or(asked, |known| known.max(asked));
    let patch = json!({"metadata": {"annotations": {branch::EXTENDED_UNTIL: until.to_string()}}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    if let Err(error) = api.patch_metadata(name, &parameters, &Patch::Merge(patch)).await {
        bail!("cannot annotate the namespace {name}: {}", explain(&error));
    }
    Ok(format!("{name} keeps its services at least until {until:.0}\n"))
}

/// The API server refused a request or did not answer it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {}", explain(.error))]
struct Unread {
    what: String,
    error: kube::Error,
}

impl Unread {
    fn to(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| Self { what, error }
    }

    /// The API server did not answer in time.
    fn silence() -> Self {
        Self::to("read from the API server")(timeout_error())
    }

    /// Whether a retry may succeed: the API server is unreachable, starting or overloaded.
    fn passes(&self) -> bool {
        match &self.error {
            kube::Error::Api(status) => status.code == 429 || status.code >= 500,
            kube::Error::HyperError(_) | kube::Error::Service(_) => true,
            _ => false,
        }
    }
}

/// Reads the state of one namespace, or of all.
async fn find(client: &Client, namespace: Option<&str>) -> Result<Found, Unread> {
    let rules = list::<NamespaceBinding>(&Api::all(client.clone()), ListParams::default()).await;
    let rules = warned("NamespaceBinding", rules.map_err(Unread::to("list NamespaceBindings"))?);
    let api: Api<Namespace> = Api::all(client.clone());
    let namespaces: Vec<PartialObjectMeta<Namespace>> = match namespace {
        Some(name) => {
            let found = api.get_metadata_opt(name).await;
            found.map_err(Unread::to(format!("read the namespace {name}")))?.into_iter().collect()
        }
        None => {
            let all = api.list_metadata(&ListParams::default()).await;
            all.map_err(Unread::to("list namespaces"))?.items
        }
    };
    let (instances, bindings) = tokio::try_join!(made(client, namespace), made(client, namespace))?;
    Ok(Found { rules, namespaces, instances, bindings })
}

/// Lists the objects of a kind that were made for NamespaceBindings.
async fn made<K>(client: &Client, namespace: Option<&str>) -> Result<Vec<K>, Unread>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<Guarded<K>> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let objects = list(&api, ListParams::default().labels(branch::NAMESPACE_BINDING)).await;
    Ok(warned(&K::kind(&()), objects.map_err(Unread::to(format!("list {}", K::plural(&()))))?))
}

/// Returns the readable objects and warns about the others.
fn warned<K>(kind: &str, listed: Listed<K>) -> Vec<K> {
    for unread in &listed.unread {
        warn!("{kind} {unread}; it is skipped. Correct it");
    }
    listed.items
}
