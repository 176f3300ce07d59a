//! The ServiceBindings that pods wait for, as little of each as it takes to say whether it is ready and why not. Where
//! the kind is not installed there are none.

use std::{borrow::Cow, pin::pin};

use futures::{
    StreamExt,
    channel::mpsc::{UnboundedReceiver, UnboundedSender},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher::{self, watcher},
    },
};
use serde::Deserialize;
use tracing::debug;

use crate::catalog::api::{ConditionType, Conditions, LocalReference, ServiceBinding};

/// A ServiceBinding.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SeenBinding {
    metadata: ObjectMeta,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    instance_ref: LocalReference,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Conditions,
}

/// Which binding has changed.
pub(super) type BindingRef = ObjectRef<SeenBinding>;

/// The bindings that changed, for one controller.
pub(super) type BindingQueue = UnboundedReceiver<BindingRef>;

impl SeenBinding {
    /// Whether its Secrets have been written.
    pub(crate) fn is_ready(&self) -> bool {
        self.status.conditions.is_true(ConditionType::Ready)
    }

    /// Why it is not ready: reason and message, if anything has been said of it yet.
    pub(crate) fn why_not_ready(&self) -> Option<(&str, &str)> {
        let ready = self.status.conditions.get(ConditionType::Ready)?;
        Some((&ready.reason, &ready.message))
    }

    /// The instance that it is of.
    pub(crate) fn instance(&self) -> &str {
        &self.spec.instance_ref.name
    }
}

impl Resource for SeenBinding {
    type DynamicType = ();
    type Scope = k8s_openapi::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ServiceBinding::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ServiceBinding::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ServiceBinding::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ServiceBinding::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Watches for ever, and tells every listener of each binding that changed.
pub(super) async fn watch(
    client: Client,
    mut writer: Writer<SeenBinding>,
    listeners: Vec<UnboundedSender<BindingRef>>,
) {
    let api: Api<SeenBinding> = Api::all(client);
    let store = writer.as_reader();
    let events = watcher(api, watcher::Config::default()).modify(strip).default_backoff();
    let mut events = pin!(events);
    let tell = |binding: &BindingRef| {
        for listener in &listeners {
            // A closed queue means that everything ends.
            let _ = listener.unbounded_send(binding.clone());
        }
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                writer.apply_watcher_event(&event);
                match event {
                    watcher::Event::Apply(binding) | watcher::Event::Delete(binding) => {
                        tell(&ObjectRef::from_obj(&binding));
                    }
                    watcher::Event::InitDone => {
                        store.state().iter().for_each(|binding| tell(&ObjectRef::from_obj(binding.as_ref())));
                    }
                    watcher::Event::Init | watcher::Event::InitApply(_) => {}
                }
            }
            // The watch goes on by itself, also when the kind appears later.
            Err(error) => debug!(%error, "the watch of ServiceBindings was interrupted"),
        }
    }
}

fn strip(binding: &mut SeenBinding) {
    let ObjectMeta { name, namespace, uid, resource_version, .. } = std::mem::take(&mut binding.metadata);
    binding.metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
}
