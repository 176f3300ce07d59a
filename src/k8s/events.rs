//! Events, each told once. An event's name follows from what it says about whom, so that saying it again counts the same
//! event up, also after another replica has taken over. kube's `Recorder` would write one anew then, and within minutes
//! keep the old text when only the text is new.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::debug;

use super::namespaces::Namespaces;
use crate::{
    contract::FIELD_MANAGER,
    k8s::{explain, in_time},
};

/// How long an event's note may be, in bytes (`events.k8s.io/v1`).
const LONGEST_NOTE: usize = 1024;
/// The longest name of an object that begins its events' names.
const LONGEST_NAME: usize = 200;
/// For how long the same is not said again of the same object, however many of its pods give cause.
const QUIET: Duration = Duration::from_mins(5);
/// How long it may take to write an event. What is told of the others must not wait for it.
const LONGEST_WRITE: Duration = Duration::from_secs(10);
/// How often the same is said again of a pod that stays as it is: the API server forgets events after an hour.
pub(super) const AGAIN: Duration = Duration::from_mins(55);

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// Whether something is wrong.
    pub(super) is_warning: bool,
    /// In one CamelCase word.
    pub(super) reason: &'static str,
    /// In a sentence.
    pub(super) note: String,
}

impl Notice {
    pub(super) fn warning(reason: &'static str, note: String) -> Self {
        Self { is_warning: true, reason, note }
    }
}

/// Writes events.
pub(super) struct Teller {
    client: Client,
    namespaces: Namespaces,
    /// Which events were told when and how often, by uid of whom they are about and name.
    told: Mutex<HashMap<String, Told>>,
}

#[derive(Clone, Copy)]
struct Told {
    at: Instant,
    times: i32,
}

impl Teller {
    pub(super) fn new(client: Client, namespaces: Namespaces) -> Self {
        Self { client, namespaces, told: Mutex::default() }
    }

    /// Tells the users of an object, unless they were just told the same or its namespace is being deleted. An event
    /// that cannot be written is no failure: metrics and `bindery who` tell the same.
    pub(super) async fn tell(&self, about: &ObjectReference, notice: &Notice) {
        let namespace = about.namespace.as_deref().unwrap_or_default();
        if self.namespaces.is_ending(namespace) {
            return;
        }
        let name = event_name(about, notice);
        let Some(times) = self.turn(&name, Instant::now()) else { return };
        if let Err(error) = in_time(LONGEST_WRITE, self.write(namespace, &name, about, notice, times)).await {
            debug!(
                namespace,
                object = about.name,
                reason = notice.reason,
                error = explain(&error),
                "event not written"
            );
            // Whoever has cause next says it again.
            self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }
    }

    /// How often the event will have been told with this time; nothing if it is too soon.
    fn turn(&self, name: &str, now: Instant) -> Option<i32> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, told| now < told.at + AGAIN * 2);
        match told.get_mut(name) {
            Some(told) if now < told.at + QUIET => None,
            Some(told) => {
                *told = Told { at: now, times: told.times.saturating_add(1) };
                Some(told.times)
            }
            None => {
                told.insert(name.to_owned(), Told { at: now, times: 1 });
                Some(1)
            }
        }
    }

    async fn write(
        &self,
        namespace: &str,
        name: &str,
        about: &ObjectReference,
        notice: &Notice,
        times: i32,
    ) -> kube::Result<()> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&parameters, &event(name, about, notice)).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                // A predecessor's count is not known, and a series begins with the second time.
                let series = json!({"count": times.max(2), "lastObservedTime": MicroTime(Timestamp::now())});
                let patch = Patch::Merge(json!({"series": series}));
                api.patch(name, &PatchParams::default(), &patch).await.map(drop)
            }
            written => written.map(drop),
        }
    }
}

fn event_name(about: &ObjectReference, notice: &Notice) -> String {
    let uid = about.uid.as_deref().unwrap_or_default();
    let digest = Sha256::digest(format!("{uid}\0{}\0{}", notice.reason, notice.note));
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = about.name.as_deref().filter(|name| name.len() <= LONGEST_NAME);
    format!("{}.{hash}", name.unwrap_or(FIELD_MANAGER))
}

fn event(name: &str, about: &ObjectReference, notice: &Notice) -> Event {
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| FIELD_MANAGER.to_owned());
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some(if notice.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(notice.reason.to_owned()),
        note: Some(shortened(&notice.note).to_owned()),
        action: Some("Bind".to_owned()),
        regarding: Some(about.clone()),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(instance),
        ..Event::default()
    }
}

fn shortened(note: &str) -> &str {
    if note.len() < LONGEST_NOTE {
        return note;
    }
    let end = (0..LONGEST_NOTE).rev().find(|end| note.is_char_boundary(*end)).unwrap_or_default();
    &note[..end]
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;

    use super::*;

    fn about(name: &str, uid: &str) -> ObjectReference {
        ObjectReference {
            name: Some(name.to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }

    fn notice(note: &str) -> Notice {
        Notice::warning("BindingMissing", note.to_owned())
    }

    #[test]
    fn the_same_about_the_same_is_one_event_and_anything_else_another() {
        let name = event_name(&about("web", "1"), &notice("a"));
        assert!(name.starts_with("web.") && name.len() == "web.".len() + 16, "{name}");
        assert_eq!(name, event_name(&about("web", "1"), &notice("a")));
        assert_ne!(name, event_name(&about("web", "1"), &notice("b")));
        assert_ne!(name, event_name(&about("web", "2"), &notice("a")));
        let long = event_name(&about(&"a".repeat(253), "1"), &notice("a"));
        assert!(long.starts_with("bindery."), "{long}");
    }

    #[test]
    fn a_note_is_cut_where_a_character_ends() {
        let short = "é".repeat(511);
        assert_eq!(shortened(&short), short);
        let long = format!("a{}", "é".repeat(600));
        assert_eq!(shortened(&long).len(), 1023);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_just_said_is_not_said_again() {
        let service = tower::service_fn(async |_| {
            Ok::<_, std::io::Error>(axum::http::Response::new(axum::body::Body::empty()))
        });
        let teller = Teller::new(Client::new(service, "default"), Namespaces(reflector::store().0));
        let start = Instant::now();
        assert_eq!(teller.turn("a", start), Some(1));
        assert_eq!(teller.turn("a", start + QUIET / 2), None);
        assert_eq!(teller.turn("b", start + QUIET / 2), Some(1));
        assert_eq!(teller.turn("a", start + AGAIN), Some(2));
        assert_eq!(teller.turn("a", start + AGAIN * 4), Some(1), "forgotten as the API server forgets");
    }
}
