//! Keeps the reports in the API server equal to the findings. A report is written only when its content changes.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::report::{NAME, REPORT_KINDS, ReportKind};
use crate::{
    contract::{FIELD_MANAGER, binding::MANAGED_BY},
    k8s::{delete_by_uid, explain, is_for_terminating_namespace, list::turn, with_timeout},
};

/// The time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many reports are written at once.
const CONCURRENCY: usize = 8;
/// How many reports the API server sends at once: a report can be large.
const PAGE: u32 = 20;

/// A report in the API server.
struct Known {
    uid: Option<String>,
    /// The digest of its content.
    digest: u64,
}

/// Writes the reports of all installed kinds.
pub(super) struct ReportWriter {
    client: Client,
    installed: Vec<&'static ReportKind>,
    known: BTreeMap<(&'static ReportKind, String), Known>,
}

impl ReportWriter {
    pub(super) fn new(client: Client) -> Self {
        Self { client, installed: Vec::new(), known: BTreeMap::new() }
    }

    /// The kinds of reports that are installed in the cluster.
    pub(super) fn installed(&self) -> &[&'static ReportKind] {
        &self.installed
    }

    /// The namespaces that have a report.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &String> {
        self.known.keys().map(|(_, namespace)| namespace)
    }

    /// Reads which kinds are installed and which reports exist, for a start and in case somebody changed one.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
    pub(super) async fn read(&mut self) -> Result<(), String> {
        let (mut installed, mut known) = (Vec::new(), BTreeMap::new());
        for kind in &REPORT_KINDS {
            let version = kind.api_version();
            let failed = |error: &kube::Error| {
                format!("cannot read {}s of {version}: {}", kind.kind(), explain(error))
            };
            let request = self.client.list_api_group_resources(&version);
            match with_timeout(TIMEOUT, request).await {
                Ok(resources) if resources.resources.iter().any(|it| it.kind == kind.kind()) => {}
                Ok(_) => continue,
                // The API server answers for a group that does not exist with a text, which has no reason.
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(failed(&error)),
            }
            installed.push(kind);
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
            let (label, value) = MANAGED_BY;
            let mut page = ListParams::default().labels(&format!("{label}={value}")).limit(PAGE);
            loop {
                let listed = with_timeout(TIMEOUT, api.list(&page)).await.map_err(|error| failed(&error))?;
                for object in listed.items.iter().filter(|object| object.name_any() == NAME) {
                    let content = serde_json::to_value(object).unwrap_or_default();
                    let found = Known { uid: object.uid(), digest: digest(&content) };
                    known.insert((kind, object.namespace().unwrap_or_default()), found);
                }
                if !turn(&mut page, listed.metadata) {
                    break;
                }
            }
        }
        (self.installed, self.known) = (installed, known);
        Ok(())
    }

    /// Writes the reports of these namespaces; `None` deletes one. Returns the namespaces whose report could not be written.
    pub(super) async fn write(&mut self, reports: Vec<(String, Option<Value>)>) -> Vec<String> {
        let mut steps = Vec::new();
        for (namespace, report) in &reports {
            for &kind in &self.installed {
                let known = self.known.get(&(kind, namespace.clone()));
                let is_needed = match (report, known) {
                    (Some(report), Some(known)) => digest(report) != known.digest,
                    (Some(_), None) | (None, Some(_)) => true,
                    (None, None) => false,
                };
                if is_needed {
                    let uid = known.and_then(|known| known.uid.clone());
                    steps.push(write_one(self.client.clone(), kind, namespace, report.as_ref(), uid));
                }
            }
        }
        let written: Vec<_> = stream::iter(steps).buffer_unordered(CONCURRENCY).collect().await;
        let mut failed = Vec::new();
        for Written { kind, namespace, outcome } in written {
            let place = (kind, namespace.clone());
            match outcome {
                Ok(Some(known)) => drop(self.known.insert(place, known)),
                Ok(None) => drop(self.known.remove(&place)),
                Err(error) => {
                    warn!(
                        kind = kind.kind(),
                        namespace, error, "a report is not written; bindery tries again"
                    );
                    failed.push(namespace);
                }
            }
        }
        failed
    }
}

/// What became of one report.
struct Written {
    kind: &'static ReportKind,
    namespace: String,
    /// The report that exists now.
    outcome: Result<Option<Known>, String>,
}

async fn write_one(
    client: Client,
    kind: &'static ReportKind,
    namespace: &str,
    report: Option<&Value>,
    uid: Option<String>,
) -> Written {
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind.resource());
    let outcome = match report {
        Some(report) => apply(&api, kind, report).await,
        None => delete(&api, uid).await,
    };
    let outcome = match outcome {
        Ok(known) => Ok(known),
        // Nothing can be written into a namespace that is being deleted, and nothing of it will be left.
        Err(kube::Error::Api(status)) if status.is_not_found() || is_for_terminating_namespace(&status) => {
            debug!(kind = kind.kind(), namespace, "no report is written into a namespace that is going");
            Ok(None)
        }
        Err(error) => Err(explain(&error)),
    };
    Written { kind, namespace: namespace.to_owned(), outcome }
}

async fn apply(api: &Api<DynamicObject>, kind: &ReportKind, report: &Value) -> kube::Result<Option<Known>> {
    let mut object = report.clone();
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind());
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&object);
    let applied = with_timeout(TIMEOUT, api.patch(NAME, &parameters, &patch)).await?;
    Ok(Some(Known { uid: applied.uid(), digest: digest(report) }))
}

async fn delete(api: &Api<DynamicObject>, uid: Option<String>) -> kube::Result<Option<Known>> {
    with_timeout(TIMEOUT, delete_by_uid::delete(api, NAME, uid)).await?;
    Ok(None)
}

/// A digest of what bindery writes into a report. Fields that others add do not count.
fn digest(report: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for pointer in ["/results", "/summary", "/metadata/ownerReferences", "/metadata/annotations"] {
        let part = report.pointer(pointer).map(ToString::to_string).unwrap_or_default();
        part.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_report_does_not_depend_on_what_the_api_server_adds() {
        let written = json!({"metadata": {"name": "bindery", "ownerReferences": [{"name": "p", "uid": "u"}]},
            "results": [{"policy": "p", "result": "warn"}], "summary": {"warn": 1, "pass": 0}});
        let mut read = written.clone();
        read["metadata"]["resourceVersion"] = json!("17");
        read["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(digest(&written), digest(&read));
        read["results"][0]["result"] = json!("pass");
        assert_ne!(digest(&written), digest(&read), "somebody changed the report");
    }
}
