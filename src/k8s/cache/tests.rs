use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::*;

/// A kind of many objects: lookups read the value of the key `of`.
impl Cached for ConfigMap {
    type Facts = Arc<str>;

    fn facts(&self, texts: &mut Texts) -> Arc<str> {
        texts.share(self.data.as_ref().map_or("", |data| &data["of"]))
    }
}

fn object(namespace: &str, name: &str, version: &str, of: &str) -> ConfigMap {
    let metadata = json!({"namespace": namespace, "name": name, "uid": name, "resourceVersion": version});
    serde_json::from_value(json!({"metadata": metadata, "data": {"of": of}})).unwrap()
}

fn names(found: &[ObjectRef<ConfigMap>]) -> Vec<String> {
    found
        .iter()
        .map(|reference| format!("{}/{}", reference.namespace.as_deref().unwrap(), reference.name))
        .collect()
}

#[tokio::test]
async fn the_cache_follows_the_watch() {
    let (cache, mut writer) = cache();
    let (a, b) = (object("shop", "a", "1", "x"), object("shop", "b", "2", "y"));
    let elsewhere = object("elsewhere", "a", "3", "x");
    writer.apply(&Event::Init);
    for object in [&a, &b, &elsewhere] {
        writer.apply(&Event::InitApply(object.clone()));
    }
    assert!(!cache.has(&ObjectRef::from_obj(&a)), "a list counts when it is complete");
    writer.apply(&Event::InitDone);
    cache.wait_until_ready().await;
    assert_eq!(cache.get(&ObjectRef::from_obj(&a)).as_deref(), Some(&a), "the whole object");
    assert_eq!(names(&cache.find(|of| **of == *"x")), ["elsewhere/a", "shop/a"]);
    assert_eq!(names(&cache.find_in("shop", |_| true)), ["shop/a", "shop/b"]);
    assert_eq!(cache.map(|of| (**of == *"y").then(|| of.to_string())), ["y"]);
    assert!(cache.any(|of| **of == *"y") && !cache.any_in("elsewhere", |of| **of == *"y"));

    let changed = object("shop", "a", "4", "y");
    writer.apply(&Event::Apply(changed.clone()));
    assert_eq!(cache.get(&ObjectRef::from_obj(&a)).as_deref(), Some(&changed));
    assert!(!cache.any_in("shop", |of| **of == *"x"));
    writer.apply(&Event::Delete(b.clone()));
    assert_eq!(cache.get(&ObjectRef::from_obj(&b)), None);
    assert_eq!(CacheReader::all(&cache).count(), 2);

    writer.apply(&Event::Init);
    writer.apply(&Event::InitApply(b.clone()));
    writer.apply(&Event::InitDone);
    let left: Vec<Value> = CacheReader::all(&cache).map(|object| json!(*object)).collect();
    assert_eq!(left, [json!(b)], "a new list replaces the old one");
}
