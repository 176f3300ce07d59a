//! Of which bindings the Secrets have been written, as the webhook knows it from a watch that keeps nothing but
//! their names; and whether the catalog is there to write the others'.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use futures::{StreamExt, pin_mut};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::{Deserialize, de::IgnoredAny};
use tracing::{debug, info};

use crate::admission::gates::Awaited;
use crate::{
    apis::servicecatalog::ServiceBinding,
    k8s::{
        explain_watch,
        leader::{Leadership, observe},
        unreadable::Unreadable,
    },
};

/// A ServiceBinding, as little of it as tells whether its Secrets have been written.
#[derive(Resource, Clone, Debug, Deserialize)]
#[resource(inherit = "ServiceBinding")]
struct Seen {
    metadata: ObjectMeta,
    status: Option<SeenStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SeenStatus {
    secrets: Vec<IgnoredAny>,
}

/// What is known of the bindings, and of the catalog.
pub struct WatchedBindings {
    written: Arc<Written>,
    catalog: Leadership,
}

impl WatchedBindings {
    /// The bindings, and the watches that keep what is known of them and have to be run. `lease` is the catalog's.
    pub fn new(
        client: Client,
        namespace: &str,
        lease: &str,
        unreadable: Unreadable,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (catalog, observing) = observe(client.clone(), namespace, lease);
        let written = Arc::new(Written::default());
        let watching = watch(client, written.clone(), unreadable);
        let both = async {
            tokio::join!(observing, watching);
        };
        // It would make every future that holds it a large one.
        (Self { written, catalog }, Box::pin(both))
    }
}

impl Awaited for WatchedBindings {
    fn is_any(&self, namespace: &str, bindings: &[String]) -> bool {
        self.catalog.is_held() && self.written.lacks_any(namespace, bindings)
    }
}

/// The bindings whose Secrets have been written; nothing before they have been read once.
#[derive(Debug, Default)]
struct Written(RwLock<Option<Names>>);

/// Names by namespace.
#[derive(Debug, Default)]
struct Names(HashMap<String, HashSet<String>>);

impl Written {
    fn lacks_any(&self, namespace: &str, bindings: &[String]) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Names(known)) = known.as_ref() else { return false };
        let names = known.get(namespace);
        bindings.iter().any(|binding| !names.is_some_and(|names| names.contains(binding)))
    }

    /// Whether the binding is known to have its Secrets.
    fn has(&self, binding: &ObjectMeta) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let names = known.as_ref().and_then(|Names(known)| known.get(binding.namespace.as_deref()?));
        names.is_some_and(|names| binding.name.as_ref().is_some_and(|name| names.contains(name)))
    }

    /// Replaces what is known by what a list had.
    fn replace(&self, names: Names) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(names);
    }

    fn note(&self, binding: &ObjectMeta, is_written: bool) {
        if let Some(names) = self.0.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            names.note(binding, is_written);
        }
    }
}

impl Names {
    fn note(&mut self, binding: &ObjectMeta, is_written: bool) {
        let (namespace, name) =
            (binding.namespace.clone().unwrap_or_default(), binding.name.clone().unwrap_or_default());
        if is_written {
            self.0.entry(namespace).or_default().insert(name);
        } else if let Some(names) = self.0.get_mut(&namespace) {
            names.remove(&name);
            if names.is_empty() {
                self.0.remove(&namespace);
            }
        }
    }
}

/// A binding that is being deleted loses its Secrets.
fn is_written(binding: &Seen) -> bool {
    binding.metadata.deletion_timestamp.is_none()
        && binding.status.as_ref().is_some_and(|status| !status.secrets.is_empty())
}

/// The same for a binding that may be unreadable. An unreadable binding is reported and changes nothing.
fn read(binding: &DeserializeGuard<Seen>, unreadable: &Unreadable) -> Option<bool> {
    match &binding.0 {
        Ok(binding) => Some(is_written(binding)),
        Err(invalid) => {
            unreadable.tell::<Seen>(&(), invalid);
            None
        }
    }
}

/// Keeps what is known for ever. It stays known while the API server is away. Without the custom resource definition
/// nothing is ever known.
async fn watch(client: Client, written: Arc<Written>, unreadable: Unreadable) {
    let api: Api<DeserializeGuard<Seen>> = Api::all(client);
    let events = watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let mut listed = Names::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = Names::default(),
            Ok(Event::InitApply(binding)) => {
                let is_written = read(&binding, &unreadable).unwrap_or_else(|| written.has(binding.meta()));
                listed.note(binding.meta(), is_written);
            }
            Ok(Event::InitDone) => {
                info!("the ServiceBindings are known");
                written.replace(std::mem::take(&mut listed));
            }
            Ok(Event::Apply(binding)) => {
                if let Some(is_written) = read(&binding, &unreadable) {
                    written.note(binding.meta(), is_written);
                }
            }
            Ok(Event::Delete(binding)) => written.note(binding.meta(), false),
            // The watch goes on by itself.
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

    fn seen(value: Value) -> Seen {
        serde_json::from_value(value).unwrap()
    }

    /// An API server with these bindings, the watch of which tells these events and then nothing.
    fn api_server(bindings: &[Value], events: &[Value]) -> Client {
        let list = json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBindingList",
            "metadata": {"resourceVersion": "1"}, "items": bindings
        });
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
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
    fn before_the_first_list_nothing_is_missed() {
        assert!(!Written::default().lacks_any("shop", &["b".to_owned()]));
    }

    #[test]
    fn one_of_several_that_is_not_written_is_enough() {
        let written = Written::default();
        written.replace(Names::default());
        written.note(&seen(binding("a", &with_secrets())).metadata, true);
        assert!(!written.lacks_any("shop", &["a".to_owned()]));
        assert!(written.lacks_any("shop", &["a".to_owned(), "b".to_owned()]));
        assert!(written.lacks_any("elsewhere", &["a".to_owned()]), "of another namespace");
        written.note(&seen(binding("a", &with_secrets())).metadata, false);
        assert!(written.lacks_any("shop", &["a".to_owned()]));
    }

    #[test]
    fn only_a_binding_that_keeps_its_secrets_counts_as_written() {
        assert!(is_written(&seen(binding("b", &with_secrets()))));
        assert!(!is_written(&seen(binding("b", &Value::Null))));
        assert!(!is_written(&seen(binding("b", &json!({"conditions": []})))));
        let mut going = binding("b", &with_secrets());
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!is_written(&seen(going)));
    }

    #[test]
    fn one_that_cannot_be_read_says_nothing() {
        let bad = json!({"conditions": [], "secrets": "canary"});
        let guard = |status: &Value| serde_json::from_value(binding("b", status)).unwrap();
        assert_eq!(read(&guard(&bad), &unreadable()), None);
        assert_eq!(read(&guard(&with_secrets()), &unreadable()), Some(true));
        let written = Written::default();
        let meta = seen(binding("b", &Value::Null)).metadata;
        assert!(!written.has(&meta));
        written.replace(Names::default());
        written.note(&meta, true);
        assert!(written.has(&meta));
    }

    #[tokio::test]
    async fn the_watch_keeps_up() {
        let events = [
            json!({"type": "MODIFIED", "object": binding("late", &with_secrets())}),
            json!({"type": "DELETED", "object": binding("early", &with_secrets())}),
        ];
        let listed = [binding("early", &with_secrets()), binding("late", &Value::Null)];
        let written = Arc::new(Written::default());
        let watching = tokio::spawn(watch(api_server(&listed, &events), written.clone(), unreadable()));
        let keeps_up = async {
            while !written.lacks_any("shop", &["early".to_owned()])
                || written.lacks_any("shop", &["late".to_owned()])
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), keeps_up).await.unwrap();
        watching.abort();
    }
}
