//! Tracks which bindings are ready, with a watch that caches only their names, and whether a catalog is running. If one
//! is, the webhook adds a scheduling gate to pods whose bindings are not ready.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use futures::{StreamExt, pin_mut};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource as _,
    runtime::{
        WatchStreamExt,
        watcher::{Event, watcher},
    },
};
use tracing::{debug, info};

use super::state::SeenBinding;
use crate::k8s::{
    explain_watch,
    guarded::Guarded,
    leader::{Leadership, observe},
    unreadable::Unreadable,
    watch::of_all,
};

/// Tells the webhook which bindings pods have to wait for.
pub trait Awaited: Send + Sync {
    /// Whether a pod of this namespace with these bindings needs a scheduling gate: a catalog is running, which will
    /// open the gate, and one of the bindings is not known to be ready. Answers from the cache, without waiting.
    fn needs_gate(&self, namespace: &str, bindings: &[String]) -> bool;
}

/// The cached readiness of bindings, and whether a catalog is running.
pub struct WatchedBindings {
    ready: Arc<Ready>,
    catalog: Leadership,
}

impl WatchedBindings {
    /// Returns the cache and the future of its watches, which the caller must run. `lease` is the name of the catalog's
    /// lease.
    pub fn new(
        client: Client,
        namespace: &str,
        lease: &str,
        unreadable: Unreadable,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (catalog, observing) = observe(client.clone(), namespace, lease);
        let ready = Arc::new(Ready::default());
        let watching = watch(client, ready.clone(), unreadable);
        let both = async {
            tokio::join!(observing, watching);
        };
        // Boxed, because every future that contains it would be large.
        (Self { ready, catalog }, Box::pin(both))
    }
}

impl Awaited for WatchedBindings {
    fn needs_gate(&self, namespace: &str, bindings: &[String]) -> bool {
        self.catalog.is_held() && self.ready.lacks_any(namespace, bindings)
    }
}

/// The bindings that are ready. `None` before the first list; then no binding counts as missing.
#[derive(Debug, Default)]
struct Ready(RwLock<Option<Names>>);

/// Names by namespace.
#[derive(Debug, Default)]
struct Names(HashMap<String, HashSet<String>>);

impl Ready {
    fn lacks_any(&self, namespace: &str, bindings: &[String]) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Names(known)) = known.as_ref() else { return false };
        let names = known.get(namespace);
        bindings.iter().any(|binding| !names.is_some_and(|names| names.contains(binding)))
    }

    fn has(&self, binding: &ObjectMeta) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let names = known.as_ref().and_then(|Names(known)| known.get(binding.namespace.as_deref()?));
        names.is_some_and(|names| binding.name.as_ref().is_some_and(|name| names.contains(name)))
    }

    /// Replaces all names with those of a new list.
    fn replace(&self, names: Names) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(names);
    }

    fn note(&self, binding: &ObjectMeta, is_ready: bool) {
        if let Some(names) = self.0.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            names.note(binding, is_ready);
        }
    }
}

impl Names {
    fn note(&mut self, binding: &ObjectMeta, is_ready: bool) {
        let (namespace, name) =
            (binding.namespace.clone().unwrap_or_default(), binding.name.clone().unwrap_or_default());
        if is_ready {
            self.0.entry(namespace).or_default().insert(name);
        } else if let Some(names) = self.0.get_mut(&namespace) {
            names.remove(&name);
            if names.is_empty() {
                self.0.remove(&namespace);
            }
        }
    }
}

/// Whether a binding is ready; `None` for an undecodable one, which is reported and changes nothing.
fn read(binding: &Guarded<SeenBinding>, unreadable: &Unreadable) -> Option<bool> {
    match &binding.0 {
        Ok(binding) => Some(binding.state().is_ready()),
        Err(invalid) => {
            unreadable.tell::<SeenBinding>(&(), invalid);
            None
        }
    }
}

/// Watches bindings. Never ends. The cache survives an outage of the API server. Without the custom resource definition
/// the cache stays empty.
async fn watch(client: Client, ready: Arc<Ready>, unreadable: Unreadable) {
    let api: Api<Guarded<SeenBinding>> = Api::all(client);
    let events = watcher(api, of_all()).default_backoff();
    pin_mut!(events);
    let mut listed = Names::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = Names::default(),
            Ok(Event::InitApply(binding)) => {
                let is_ready = read(&binding, &unreadable).unwrap_or_else(|| ready.has(binding.meta()));
                listed.note(binding.meta(), is_ready);
            }
            Ok(Event::InitDone) => {
                info!("the ServiceBindings are known");
                ready.replace(std::mem::take(&mut listed));
            }
            Ok(Event::Apply(binding)) => {
                if let Some(is_ready) = read(&binding, &unreadable) {
                    ready.note(binding.meta(), is_ready);
                }
            }
            Ok(Event::Delete(binding)) => ready.note(binding.meta(), false),
            // The watch reconnects by itself.
            Err(error) => debug!(error = explain_watch(&error), "ServiceBindings cannot be watched"),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, body::Body, response::IntoResponse, routing::get};
    use serde_json::{Value, json};

    use super::*;

    fn binding(name: &str, status: &Value) -> Value {
        json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"},
            "spec": {"instanceRef": {"name": "db"}}, "status": status
        })
    }

    fn with_secrets() -> Value {
        json!({"conditions": [], "secrets": [{"name": "b", "uid": "u", "resourceVersion": "1"}]})
    }

    fn unreadable() -> Unreadable {
        Unreadable::without_events(Arc::default())
    }

    fn seen(value: Value) -> SeenBinding {
        serde_json::from_value(value).unwrap()
    }

    /// An API server that lists these bindings and sends these watch events.
    fn api_server(bindings: &[Value], events: &[Value]) -> Client {
        let list = json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBindingList",
            "metadata": {"resourceVersion": "1"}, "items": bindings
        });
        // As of the API server: the type comes first.
        let line =
            |event: &Value| format!(r#"{{"type":{},"object":{}}}"#, event["type"], event["object"]) + "\n";
        let lines: String = events.iter().map(line).collect();
        let answer = async move |query: axum::extract::RawQuery| {
            if query.0.is_some_and(|query| query.contains("watch=true")) {
                let told = futures::stream::once(async { Ok::<_, std::io::Error>(lines) });
                Body::from_stream(told.chain(futures::stream::pending())).into_response()
            } else {
                Json(list).into_response()
            }
        };
        let path = "/apis/servicecatalog.k8s.io/v1beta1/servicebindings";
        Client::new(Router::new().route(path, get(answer)), "default")
    }

    #[test]
    fn before_the_first_list_no_binding_is_awaited() {
        assert!(!Ready::default().lacks_any("shop", &["b".to_owned()]));
    }

    #[test]
    fn one_binding_of_several_that_is_not_ready_is_enough() {
        let ready = Ready::default();
        ready.replace(Names::default());
        ready.note(seen(binding("a", &with_secrets())).meta(), true);
        assert!(!ready.lacks_any("shop", &["a".to_owned()]));
        assert!(ready.lacks_any("shop", &["a".to_owned(), "b".to_owned()]));
        assert!(ready.lacks_any("elsewhere", &["a".to_owned()]), "of another namespace");
        ready.note(seen(binding("a", &with_secrets())).meta(), false);
        assert!(ready.lacks_any("shop", &["a".to_owned()]));
    }

    #[test]
    fn a_binding_that_cannot_be_read_changes_nothing() {
        let bad = json!({"conditions": [], "secrets": "canary"});
        let guard = |status: &Value| serde_json::from_value(binding("b", status)).unwrap();
        assert_eq!(read(&guard(&bad), &unreadable()), None);
        assert_eq!(read(&guard(&with_secrets()), &unreadable()), Some(true));
        let ready = Ready::default();
        let meta = seen(binding("b", &Value::Null)).meta().clone();
        assert!(!ready.has(&meta));
        ready.replace(Names::default());
        ready.note(&meta, true);
        assert!(ready.has(&meta));
    }

    #[tokio::test]
    async fn the_watch_follows_changes() {
        let events = [
            json!({"type": "MODIFIED", "object": binding("late", &with_secrets())}),
            json!({"type": "DELETED", "object": binding("early", &with_secrets())}),
        ];
        let listed = [binding("early", &with_secrets()), binding("late", &Value::Null)];
        let ready = Arc::new(Ready::default());
        let watching = tokio::spawn(watch(api_server(&listed, &events), ready.clone(), unreadable()));
        let keeps_up = async {
            while !ready.lacks_any("shop", &["early".to_owned()])
                || ready.lacks_any("shop", &["late".to_owned()])
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), keeps_up).await.unwrap();
        watching.abort();
    }
}
