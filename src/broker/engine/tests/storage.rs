//! Stores that reject writes: requests fail with the cause, and leave nothing that a delete does not find.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{
    super::*,
    fixture::{Bench, Opened, b, i, password_of, waits},
};

fn says_why<T: std::fmt::Debug>(answer: Result<T, Refusal>) {
    let refusal = answer.unwrap_err();
    assert!(matches!(refusal, Refusal::Store(_)), "{refusal:?}");
    assert!(refusal.to_string().contains("disk"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_touched_that_cannot_be_recorded() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    let read_only = |is: bool| broker.fate.read_only.store(is, Ordering::SeqCst);
    read_only(true);
    says_why(broker.provision(waits(), "prompt").await);
    assert!(bench.world().is_empty());
    read_only(false);
    broker.provision(waits(), "prompt").await.unwrap();
    read_only(true);
    says_why(broker.bind(waits(), "prompt").await);
    says_why(broker.update(waits(), json!({"parameters": {"size": 2}})).await);
    read_only(false);
    broker.bind(waits(), "prompt").await.unwrap();
    let before = bench.world();
    read_only(true);
    says_why(broker.unbind(waits(), "prompt").await);
    says_why(broker.deprovision(waits(), "prompt").await);
    assert_eq!(bench.world(), before);
    assert!(broker.binding(Caller::default(), i(), b()).await.is_ok(), "reading goes on");
    read_only(false);
    bench.settle_well(&broker, "the outage").await;
    assert!(broker.deprovision(waits(), "prompt").await.is_ok());
    assert!(bench.world().is_empty());
}

/// Makes the disk full at the n-th write of each operation, for a while.
async fn full(broker: &Opened, writes_before: usize, during: impl AsyncFnOnce(Opened)) {
    broker.fate.refused_after.store(writes_before, Ordering::SeqCst);
    broker.fate.refused.store(2, Ordering::SeqCst);
    during(broker.beside()).await;
    broker.fate.refused.store(0, Ordering::SeqCst);
    broker.fate.refused_after.store(0, Ordering::SeqCst);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_in_the_middle_leaves_what_a_delete_finds() {
    for writes_before in 0..3 {
        let bench = Bench::in_memory();
        let broker = bench.open();
        full(&broker, writes_before, async |broker| drop(broker.provision(waits(), "prompt").await)).await;
        bench.settle_well(&broker, &format!("a full disk at {writes_before} of provision")).await;
        broker.provision(waits(), "prompt").await.unwrap();
        full(&broker, writes_before, async |broker| drop(broker.bind(waits(), "prompt").await)).await;
        bench.settle_well(&broker, &format!("a full disk at {writes_before} of bind")).await;
        let mut was_done = false;
        full(&broker, writes_before, async |broker| {
            was_done = broker.update(waits(), json!({"parameters": {"size": 2}})).await.is_ok();
        })
        .await;
        bench.settle_well(&broker, &format!("a full disk at {writes_before} of update")).await;
        let size = broker.instance(&i()).await.unwrap().parameters.unwrap()["size"].as_u64();
        assert_eq!(size, Some(if was_done { 2 } else { 1 }), "{writes_before}");
        full(&broker, writes_before, async |broker| drop(broker.deprovision(waits(), "prompt").await)).await;
        bench.settle_well(&broker, &format!("a full disk at {writes_before} of deprovision")).await;
        broker.deprovision(waits(), "prompt").await.ok();
        assert!(bench.world().is_empty());
    }
}

/// Passwords, and the identities and parameters that users send, which may be as secret.
#[tokio::test]
async fn nothing_secret_lies_in_clear_in_the_file() {
    let bench = Bench::in_file();
    let broker = bench.open();
    let context = RequestContext { caller: Caller(Some("kubernetes hunter2-caller".to_owned())), ..waits() };
    let request = json!({
        "service_id": "s", "plan_id": "prompt", "organization_guid": "o", "space_guid": "n",
        "parameters": {"password": "hunter2-parameter"}, "context": {"namespace": "hunter2-context"},
    });
    let request = serde_json::from_value(request).unwrap();
    broker.engine.provision(context.clone(), i(), request).await.unwrap();
    let wanted = BindWanted::New(
        serde_json::from_value(
            json!({"service_id": "s", "plan_id": "prompt", "parameters": {"key": "hunter2-binding"}}),
        )
        .unwrap(),
    );
    let bound = broker.engine.bind(context.clone(), i(), b(), wanted).await.unwrap().bound.unwrap();
    broker.update(context, json!({"parameters": {"password": "hunter2-update"}})).await.unwrap();
    let mut seen = 0;
    for file in std::fs::read_dir(bench.folder()).unwrap().map(Result::unwrap) {
        let bytes = std::fs::read(file.path()).unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for secret in ["hunter2", &password_of(&bound).unwrap()] {
            assert!(!has(secret), "{secret} in {}", file.path().display());
        }
        seen += usize::from(has("records"));
    }
    assert!(seen > 0, "the store's files were not looked at");
}

/// A record that cannot be decrypted must not keep the instance and its other bindings.
#[tokio::test]
async fn a_binding_whose_record_does_not_open_goes_with_its_instance() {
    let bench = Bench::in_memory();
    let broker = bench.open();
    broker.provision(waits(), "prompt").await.unwrap();
    broker.bind(waits(), "prompt").await.unwrap();
    let store = &broker.0.records.store;
    let key = crate::broker::store::Key::binding(&i(), &b());
    let mut row = store.row(&key).await.unwrap().unwrap();
    row.sealed.bytes.reverse();
    let lease = store.acquire(&i()).await.unwrap().unwrap();
    let damage = vec![crate::broker::store::Change::Put(row)];
    store.commit(&lease, damage, crate::broker::store::Then::Release).await.unwrap();
    let refusal = broker.unbind(waits(), "prompt").await.unwrap_err().to_string();
    assert!(refusal.contains("binding b of service instance i is damaged"), "{refusal}");
    broker.deprovision(waits(), "prompt").await.unwrap();
    assert!(bench.world().is_empty() && !broker.is_recorded(&key).await);
}
