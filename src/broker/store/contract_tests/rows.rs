//! The records: the installation, rows and tombstones.

use std::time::Duration;

use super::{LONG_LEASE, PATIENCE, Testbed, binding, change, instance, put, row, take};
use crate::broker::store::{Change, Key, Row, State, Store as _, Then, cipher::Sealed};

pub(crate) async fn installation_is_proposed_once<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    assert_eq!(store.recorded_installation().await.unwrap(), None);
    assert_eq!(store.installation("one").await.unwrap(), "one");
    assert_eq!(store.installation("two").await.unwrap(), "one");
    let other = bed.open(LONG_LEASE).await;
    assert_eq!(other.recorded_installation().await.unwrap().as_deref(), Some("one"));
    assert_eq!(other.installation("three").await.unwrap(), "one");
}

pub(crate) async fn brokers_that_start_at_once_agree_on_the_installation<T: Testbed>() {
    let bed = T::new().await;
    let starts = (0..4).map(async |number| {
        let store = bed.open(LONG_LEASE).await;
        store.installation(&format!("proposal {number}")).await.unwrap()
    });
    let agreed = futures::future::join_all(starts).await;
    assert!(agreed.iter().all(|id| *id == agreed[0]), "{agreed:?}");
}

pub(crate) async fn rows_are_put_replaced_and_removed<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let (i, b) = (instance("i"), binding("i", "b"));
    assert_eq!(store.row(&i).await.unwrap(), None);
    change(&store, "i", vec![put(&i, "1"), put(&b, "2")]).await;
    assert_eq!(store.row(&i).await.unwrap(), Some(row(&i, State::Ready, "1")));
    assert_eq!(store.row(&b).await.unwrap(), Some(row(&b, State::Ready, "2")));
    change(&store, "i", vec![Change::Put(row(&b, State::Deleting, "3"))]).await;
    assert_eq!(store.bindings(&i.instance).await.unwrap(), [row(&b, State::Deleting, "3")]);
    // Removing a row that does not exist is not an error.
    change(&store, "i", vec![Change::Remove(b.clone()), Change::Remove(binding("i", "never"))]).await;
    assert_eq!(store.bindings(&i.instance).await.unwrap(), []);
    assert_eq!(store.instances().await.unwrap(), [row(&i, State::Ready, "1")]);
    change(&store, "i", vec![Change::Remove(i.clone())]).await;
    assert_eq!(store.row(&i).await.unwrap(), None);
}

pub(crate) async fn every_part_of_a_row_comes_back<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let contents = [Vec::new(), (0..=255).collect(), vec![7; 100_000]];
    for (number, state) in State::ALL.into_iter().enumerate() {
        let server = format!("сервер \"{number}\" 'main'").into();
        let bytes = contents[number % contents.len()].clone();
        let sealed = Sealed { key_id: format!("key {number}"), bytes };
        let written = Row { key: binding("i", &number.to_string()), state, server, sealed };
        change(&store, "i", vec![Change::Put(written.clone())]).await;
        assert_eq!(store.row(&written.key).await.unwrap().as_ref(), Some(&written));
        assert_eq!(store.bindings(&"i".into()).await.unwrap().last(), Some(&written));
    }
}

/// Ids may be any text that a platform sends, up to some hundred bytes.
pub(crate) async fn odd_ids_are_kept_apart<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let long = "0123456789".repeat(50);
    let ids = [
        "", " ", "/", "a/b", "a", "A", "a#b", "'; --", "\"", "\\", "%_", "\0", "a\0b", "é", "e\u{301}",
        "𝛼\n", &long,
    ];
    for id in ids {
        let bindings = ids.iter().map(|other| put(&binding(id, other), &format!("{id}, {other}")));
        let changes = [put(&instance(id), id)].into_iter().chain(bindings).collect();
        change(&store, id, changes).await;
    }
    for id in ids {
        assert_eq!(store.row(&instance(id)).await.unwrap(), Some(row(&instance(id), State::Ready, id)));
        assert_eq!(store.bindings(&id.into()).await.unwrap().len(), ids.len(), "of {id:?}");
        for other in ids {
            let (key, content) = (binding(id, other), format!("{id}, {other}"));
            assert_eq!(store.row(&key).await.unwrap(), Some(row(&key, State::Ready, &content)));
        }
    }
    assert_eq!(store.instances().await.unwrap().len(), ids.len());
    // An instance differs from its binding with an empty id.
    change(&store, "a", vec![Change::Remove(instance("a"))]).await;
    change(&store, "A", vec![Change::Remove(binding("A", ""))]).await;
    for (key, is_there) in
        [(instance("a"), false), (binding("a", ""), true), (instance("A"), true), (binding("A", ""), false)]
    {
        assert_eq!(store.row(&key).await.unwrap().is_some(), is_there, "{key}");
    }
}

pub(crate) async fn rows_come_in_the_order_of_their_ids<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let mut ids = ["b", "a-1", "a", "B", "é", "a1", "_", "a 1", "z", "10", "9", "я", "𝛼", "\u{ffff}"];
    for id in ids {
        let held = [instance(id), binding(id, "only")].map(|key| put(&key, "")).to_vec();
        change(&store, id, held).await;
        change(&store, "of all", vec![put(&binding("of all", id), "")]).await;
    }
    ids.sort_unstable();
    let instances = store.instances().await.unwrap();
    assert_eq!(instances.iter().map(|row| row.key.instance.as_str()).collect::<Vec<_>>(), ids);
    assert!(instances.iter().all(|row| row.key.binding.is_none()));
    let bindings = store.bindings(&"of all".into()).await.unwrap();
    let found: Vec<_> = bindings.iter().filter_map(|row| row.key.binding.as_ref()).collect();
    assert_eq!(found.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ids);
}

pub(crate) async fn unfinished_rows_are_found<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let mut expected = Vec::new();
    for state in State::ALL {
        for key in [instance(state.as_str()), binding(state.as_str(), "b"), binding("other", state.as_str())]
        {
            change(&store, key.instance.as_str(), vec![Change::Put(row(&key, state, ""))]).await;
            if state.is_unfinished() {
                expected.push(key);
            }
        }
    }
    assert_eq!(sorted(store.unfinished().await.unwrap()), sorted(expected.clone()));
    for key in &expected {
        change(&store, key.instance.as_str(), vec![put(key, "")]).await;
    }
    assert_eq!(store.unfinished().await.unwrap(), []);
}

pub(crate) async fn rows_sealed_otherwise_are_found<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let (i, b) = (instance("i"), binding("i", "b"));
    let sealed = |key: &Key, key_id: &str| {
        let mut row = row(key, State::Ready, "");
        row.sealed.key_id = key_id.to_owned();
        Change::Put(row)
    };
    change(&store, "i", vec![sealed(&i, "former"), sealed(&b, "current")]).await;
    assert_eq!(store.sealed_otherwise("current").await.unwrap(), vec![i.clone()]);
    assert_eq!(store.sealed_otherwise("former").await.unwrap(), vec![b.clone()]);
    change(&store, "i", vec![sealed(&i, "current")]).await;
    assert_eq!(store.sealed_otherwise("current").await.unwrap(), []);
    assert_eq!(sorted(store.sealed_otherwise("former").await.unwrap()), [i, b]);
}

pub(crate) async fn deletes_are_remembered_and_forgotten<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let (i, b) = (instance("i"), binding("i", ""));
    change(&store, "i", vec![put(&i, ""), put(&b, "")]).await;
    assert_eq!(store.tombstone(&b).await.unwrap(), None);
    let ended = |key: &Key, operation: &str| {
        vec![Change::Remove(key.clone()), Change::Tombstone(key.clone(), operation.to_owned())]
    };
    change(&store, "i", ended(&b, "first")).await;
    change(&store, "i", ended(&b, "second")).await;
    assert_eq!(store.tombstone(&b).await.unwrap().as_deref(), Some("second"));
    assert_eq!(store.tombstone(&i).await.unwrap(), None);
    change(&store, "i", ended(&i, "third")).await;
    assert_eq!(store.tombstone(&i).await.unwrap().as_deref(), Some("third"));
    assert_eq!(store.row(&i).await.unwrap(), None);
    store.forget_tombstones(Duration::from_hours(1)).await.unwrap();
    assert_eq!(store.tombstone(&b).await.unwrap().as_deref(), Some("second"));
    let forgotten = async {
        while store.tombstone(&i).await.unwrap().is_some() || store.tombstone(&b).await.unwrap().is_some() {
            store.forget_tombstones(Duration::ZERO).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
}

pub(crate) async fn a_commit_without_changes_is_one<T: Testbed>() {
    let bed = T::new().await;
    let store = bed.open(LONG_LEASE).await;
    let lease = take(&store, &"i".into()).await;
    store.commit(&lease, Vec::new(), Then::Keep).await.unwrap();
    store.commit(&lease, Vec::new(), Then::Release).await.unwrap();
    take(&store, &"i".into()).await;
}

fn sorted(mut keys: Vec<Key>) -> Vec<Key> {
    keys.sort();
    keys
}
