//! `bindery serve`: the roles in a Kubernetes cluster.

mod args;
mod roles;

use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::{args::Role, roles::Roles};
pub(super) use self::{args::ServeArgs, roles::catalog_lease};
use crate::{
    k8s,
    telemetry::{Metrics, ops::Readiness},
};

/// Runs the roles until `stop` is cancelled or a role fails.
///
/// # Errors
/// When a role cannot start or ends with an error. The other roles are stopped first.
pub(super) async fn run(args: ServeArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let roles = Roles {
        client: k8s::client().await?,
        metrics: Arc::new(Metrics::new()),
        readiness: Readiness::default(),
        stop: stop.clone(),
        args,
    };
    info!(version = env!("CARGO_PKG_VERSION"), roles = ?roles.args.roles, "bindery starts");
    // A replica that waits for leadership is ready, so roles with a leader do not delay readiness.
    for role in roles.args.roles.iter().filter(|role| !role.is_elected()) {
        roles.readiness.wait_for(role.name(), "is starting");
    }
    let mut tasks = JoinSet::new();
    let ops_stop = CancellationToken::new();
    roles.start_ops(&mut tasks, ops_stop.clone());
    if roles.args.roles.contains(&Role::Admission) {
        roles.start_admission(&mut tasks);
    }
    if roles.args.roles.contains(&Role::Broker) {
        roles.start_broker(&mut tasks).await?;
    }
    if roles.args.roles.contains(&Role::Catalog) {
        roles.start_catalog(&mut tasks);
    }
    if roles.args.roles.contains(&Role::Enforcement) {
        roles.start_enforcement(&mut tasks);
    }
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        // A role that ends stops the whole process, and Kubernetes restarts it.
        stop.cancel();
        // The operations port closes last, so that it can report that the roles are stopping.
        if tasks.len() == 1 {
            ops_stop.cancel();
        }
        let ended = ended.context("a role panicked").flatten();
        outcome = outcome.and(ended);
    }
    outcome
}
