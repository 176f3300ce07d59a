//! An object in an answer of the API server that may be unreadable without making the whole answer so. kube's
//! `DeserializeGuard` does the same by way of a tree of values for each object, which takes more memory, and a second copy of
//! the code that reads each type; here the object's text is kept until it is read.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, core::error_boundary::InvalidObject};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// An object, or why it cannot be read. It is deserialized from JSON only, and in an event of a watch only after the event's type,
/// which Kubernetes writes first.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<K, InvalidObject>);

/// What can be read of an object that is otherwise unreadable.
#[derive(Default, Deserialize)]
struct MetadataAlone {
    #[serde(default)]
    metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(text.get()).map_err(|error| {
            // Without readable metadata the report names no object.
            let MetadataAlone { metadata } = serde_json::from_str(text.get()).unwrap_or_default();
            InvalidObject { error: error.to_string(), metadata }
        })))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|invalid| &mut invalid.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::{ResourceExt, core::WatchEvent};
    use serde_json::json;

    use super::*;

    fn read(object: &serde_json::Value) -> Guarded<Pod> {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn an_unreadable_object_keeps_its_metadata_if_that_can_be_read() {
        let name = json!({"name": "a", "namespace": "shop"});
        let containers = json!({"containers": "none"});
        assert!(read(&json!({"metadata": name})).0.is_ok());
        let unreadable = read(&json!({"metadata": name, "spec": containers}));
        assert!(unreadable.0.is_err());
        assert_eq!(
            (unreadable.name_any(), unreadable.namespace()),
            ("a".to_owned(), Some("shop".to_owned()))
        );
        for object in [json!({"metadata": 1, "spec": containers}), json!({"spec": containers}), json!("pod")]
        {
            let unreadable = read(&object);
            assert!(unreadable.0.is_err());
            assert_eq!(unreadable.name_any(), "");
        }
    }

    #[test]
    fn events_of_a_watch_hold_guarded_objects() {
        let event = r#"{"type": "MODIFIED", "object": {"metadata": {"name": "a"}, "spec": []}}"#;
        let WatchEvent::Modified(pod) = serde_json::from_str::<WatchEvent<Guarded<Pod>>>(event).unwrap()
        else {
            panic!("another event");
        };
        assert!(pod.0.is_err());
        assert_eq!(pod.name_any(), "a");
    }
}
