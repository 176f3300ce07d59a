//! Writes the statuses of NamespaceBindings, and counts namespaces for the metrics.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tracing::warn;

use super::{
    controller::Controller,
    diff::{EVENT_ACTION, owner},
    report::{NamespaceCase, invalid_spec_status, report, spec_change_summary},
    rule::GRACE_TEXT,
};
use crate::apis::bindery::namespace_binding::{NamespaceBinding, NamespaceBindingStatus};
use crate::{
    apis::servicecatalog::{ServiceBinding, ServiceInstance},
    contract::FIELD_MANAGER,
    k8s::{events::Event, explain},
};

/// Objects by namespace, NamespaceBinding and name.
type Made<K> = HashMap<(String, String, String), Arc<K>>;

fn made<K: Resource<DynamicType = ()>>(objects: Vec<Arc<K>>) -> Made<K> {
    let key =
        |object: &K| (object.namespace().unwrap_or_default(), owner(object).to_owned(), object.name_any());
    objects.into_iter().map(|object| (key(&object), object)).collect()
}

impl Controller {
    /// Writes each status that changed. Returns whether all writes succeeded.
    pub(super) async fn write_statuses(&self) -> bool {
        let now = Timestamp::now();
        let mut reports = Vec::new();
        {
            let (instances, bindings) =
                (made(self.stores.instances.state()), made(self.stores.bindings.state()));
            let (rules, invalid) = self.rules();
            for rule in rules {
                let (cases, leaving) = (
                    self.cases(rule.name(), &instances, &bindings),
                    self.count_leaving(rule.name(), &instances),
                );
                let (old, generation) = known(&rule.object);
                reports.push((rule.object.clone(), report(&old, generation, cases, leaving, now)));
            }
            for (object, error) in invalid {
                let (old, generation) = known(&object);
                reports.push((object.as_ref().clone(), invalid_spec_status(&old, generation, &error, now)));
            }
        }
        self.metrics.namespaces(reports.iter().map(|(object, status)| {
            let counts = [
                ("ready", status.ready),
                ("pending", status.pending),
                ("failed", status.failed),
                ("expiring", status.expiring),
            ];
            (object.metadata.name.as_deref().unwrap_or_default(), counts)
        }));
        let mut all = true;
        let planned = self.plan.load_full();
        for (object, status) in reports {
            let name = object.name_any();
            // The plan does not follow the newer spec yet. The next plan triggers the next write.
            let is_newer =
                planned.generations.get(&name).is_some_and(|known| *known != object.metadata.generation);
            if is_newer || object.status.as_ref() == Some(&status) {
                continue;
            }
            if let Err(error) = self.write(&object, &status).await {
                warn!(namespacebinding = name, error = explain(&error), "status not written");
                all = false;
            }
        }
        all
    }

    fn cases<'a>(
        &self,
        rule: &str,
        instances: &'a Made<ServiceInstance>,
        bindings: &'a Made<ServiceBinding>,
    ) -> Vec<NamespaceCase<'a>> {
        let findings = self.lock_findings();
        let planned = self.plan.load();
        let mut cases = Vec::new();
        for (namespace, assignments) in &planned.namespaces {
            for assignment in assignments.iter().filter(|assignment| assignment.rule.name() == rule) {
                let key = (namespace.clone(), rule.to_owned(), assignment.rule.binding_name().to_owned());
                cases.push(NamespaceCase {
                    namespace: namespace.clone(),
                    verdict: assignment.verdict.clone(),
                    finding: findings
                        .get(namespace)
                        .and_then(|all| all.get(rule))
                        .cloned()
                        .unwrap_or_default(),
                    instance: instances.get(&key).map(Arc::as_ref),
                    binding: bindings.get(&key).map(Arc::as_ref),
                });
            }
        }
        cases
    }

    /// How many namespaces still have an instance that the plan does not want any more.
    fn count_leaving(&self, rule: &str, instances: &Made<ServiceInstance>) -> usize {
        let planned = self.plan.load();
        let is_given = |namespace: &String, name: &String| {
            let assignments = planned.namespaces.get(namespace).into_iter().flatten();
            assignments
                .into_iter()
                .any(|assignment| assignment.rule.name() == rule && assignment.rule.binding_name() == name)
        };
        let left = instances
            .keys()
            .filter(|(namespace, owner, name)| owner == rule && !is_given(namespace, name))
            .map(|(namespace, ..)| namespace);
        left.collect::<HashSet<_>>().len()
    }

    async fn write(&self, object: &NamespaceBinding, status: &NamespaceBindingStatus) -> kube::Result<()> {
        let name = object.name_any();
        let api: Api<NamespaceBinding> = Api::all(self.client.clone());
        let body = json!({
            "apiVersion": NamespaceBinding::api_version(&()), "kind": NamespaceBinding::kind(&()),
            "metadata": {"name": name, "uid": object.uid()}, "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch_status(&name, &parameters, &Patch::Apply(body)).await {
            Err(kube::Error::Api(error)) if error.is_not_found() || error.is_conflict() => return Ok(()),
            other => other?,
        };
        self.announce(object, status).await;
        Ok(())
    }

    /// Records events about the consequences of a changed spec and about an invalid spec.
    async fn announce(&self, object: &NamespaceBinding, status: &NamespaceBindingStatus) {
        let before = object.status.clone().unwrap_or_default();
        let grace = object.spec.grace_period.as_deref().unwrap_or(GRACE_TEXT);
        if let Some(note) = spec_change_summary(&before, status, grace) {
            let event = Event {
                is_warning: status.leaving > 0,
                reason: "SpecChanged".into(),
                action: EVENT_ACTION,
                note,
            };
            self.recorder.record(&object.object_ref(&()), &event).await;
        }
        for type_ in ["Accepted", "UpToDate"] {
            let of = |status: &NamespaceBindingStatus| {
                status.conditions.iter().find(|condition| condition.type_ == type_).cloned()
            };
            let Some(now) = of(status).filter(|now| now.status == "False") else { continue };
            if of(&before).is_some_and(|before| before.message == now.message) {
                continue;
            }
            let reason = if type_ == "Accepted" { "InvalidSpec" } else { "NewInstancesOnly" };
            let event = Event::warning(EVENT_ACTION, reason, now.message);
            self.recorder.record(&object.object_ref(&()), &event).await;
        }
    }
}

fn known(object: &NamespaceBinding) -> (NamespaceBindingStatus, i64) {
    (object.status.clone().unwrap_or_default(), object.metadata.generation.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, http::StatusCode, routing::any};
    use kube::{
        Client,
        runtime::{reflector, watcher},
    };

    use super::*;
    use crate::namespace_bindings::{controller::Stores, rule::tests::object};

    /// Whether a status counts as written after this answer of the API server.
    async fn is_written(code: StatusCode) -> bool {
        let rule = object("db", &json!({}));
        let answer = if code.is_success() {
            json!(rule)
        } else {
            json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "message": "no", "reason": "Because"})
        };
        let routes = Router::new().fallback(any(async move || (code, Json(answer))));
        let (rules, mut writer) = reflector::store();
        writer.apply_watcher_event(&watcher::Event::Apply(rule));
        let (namespaces, instances, bindings) =
            (reflector::store().0, reflector::store().0, reflector::store().0);
        let stores = Stores { rules, namespaces, instances, bindings };
        let (news, _triggers) = tokio::sync::mpsc::unbounded_channel();
        let client = Client::new(routes, "default");
        Controller::new(client, "bindery".to_owned(), Arc::default(), stores, news).write_statuses().await
    }

    #[tokio::test]
    async fn a_failed_write_does_not_count_as_written() {
        assert!(is_written(StatusCode::OK).await);
        assert!(!is_written(StatusCode::SERVICE_UNAVAILABLE).await);
    }
}
