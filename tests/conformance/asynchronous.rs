//! Operations that take long, requests that are repeated, and requests that meet.

use std::time::Duration;

use bindery::broker::Timing;
use serde_json::{Value, json};

use crate::{
    client::{B, I, binding, instance, owned, polled},
    fake::Fault,
    platform::{IMPATIENT, Platform, TIMING, but, until},
    stores::Store,
};

on_each_store!(
    a_lasting_plan_requires_polling,
    a_repeated_provision_is_the_same_operation,
    a_repeated_update_is_the_same_operation,
    a_repeated_deprovision_is_the_same_operation,
    a_repeated_bind_is_the_same_operation,
    a_repeated_unbind_is_the_same_operation,
    requests_at_the_same_time_make_one_instance,
    who_polls_is_not_kept_waiting,
    another_instance_is_409_also_while_it_is_made,
    another_binding_is_409_also_while_it_is_made,
    an_operation_in_progress_says_so,
    an_operation_that_failed_says_so,
    an_ended_operation_is_remembered,
    an_operation_goes_on_after_a_restart,
    an_operation_that_is_not_known_is_400,
    the_operation_of_what_never_was_is_404,
    an_update_is_polled_with_the_old_plan,
    requests_that_meet_are_told_to_come_again,
    bindings_wait_for_their_instance,
    bindings_that_meet_are_made_one_after_the_other,
    a_binding_that_waits_can_be_deleted,
    a_binding_is_deleted_after_what_is_under_way,
    bindings_that_wait_are_made_after_a_restart,
    what_is_there_is_told_beside_what_is_under_way,
    a_delete_halts_a_lasting_creation,
    a_delete_halts_a_creation_that_somebody_waits_for,
    a_delete_halts_a_lasting_binding,
    a_finished_delete_is_told_to_each_client_as_it_wants,
    a_finished_unbinding_is_told_to_each_client_as_it_wants,
    a_delete_that_was_waited_for_is_forgotten,
    a_creation_that_failed_stays_failed_after_its_delete,
    a_creation_that_was_halted_stays_failed_after_its_delete,
    a_binding_that_failed_stays_failed_after_its_delete,
);

fn update() -> Value {
    json!({"service_id": "s", "parameters": {"a": 1}})
}

async fn a_lasting_plan_requires_polling(store: Store) {
    let at = Platform::on(store).await;
    at.put(I, instance("lasting")).await.must_be("AsyncRequired");
    at.put(&format!("{I}?accepts_incomplete=false"), instance("lasting")).await.must_be("AsyncRequired");
    assert!(at.fake.world().is_empty());
    at.made("lasting").await;
    at.patch(I, update()).await.must_be("AsyncRequired");
    at.put(B, binding("lasting")).await.must_be("AsyncRequired");
    at.bound("lasting").await;
    at.delete(&owned(B, "lasting")).await.must_be("AsyncRequired");
    at.delete(&owned(I, "lasting")).await.must_be("AsyncRequired");
    at.get(B).await.must(200);
}

async fn a_repeated_provision_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let first = at.put(&polled(I), instance("lasting")).await.must(202);
    assert_eq!(at.put(&polled(I), instance("lasting")).await.must(202), first);
    drop(held);
    at.ended(I).await;
    at.put(&polled(I), instance("lasting")).await.must(200);
    assert_eq!(at.calls("provision"), 1);
}

async fn a_repeated_update_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let first = at.patch(&polled(I), update()).await.operation();
    assert_eq!(at.patch(&polled(I), update()).await.operation(), first);
    drop(held);
    at.ended(I).await;
    at.patch(&polled(I), update()).await.must(200);
    assert_eq!(at.calls("update"), 1);
}

async fn a_repeated_deprovision_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let path = polled(&owned(I, "lasting"));
    let first = at.delete(&path).await.operation();
    assert_eq!(at.delete(&path).await.operation(), first);
    drop(held);
    at.ended(I).await;
    at.delete(&path).await.must(410);
    assert_eq!(at.calls("deprovision"), 1);
}

async fn a_repeated_bind_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let first = at.put(&polled(B), binding("lasting")).await.operation();
    assert_eq!(at.put(&polled(B), binding("lasting")).await.operation(), first);
    drop(held);
    at.ended(B).await;
    at.put(&polled(B), binding("lasting")).await.must(200);
    assert_eq!(at.calls("bind"), 1);
}

async fn a_repeated_unbind_is_the_same_operation(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let held = at.hold().await;
    let path = polled(&owned(B, "lasting"));
    let first = at.delete(&path).await.operation();
    assert_eq!(at.delete(&path).await.operation(), first);
    drop(held);
    at.ended(B).await;
    at.delete(&path).await.must(410);
    assert_eq!(at.calls("unbind"), 1);
}

async fn requests_at_the_same_time_make_one_instance(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let requests = [I, I, &polled(I)].map(|path| at.begin("PUT", path, Some(instance("p"))));
    until("one has begun", async || at.get(&format!("{I}/last_operation")).await.status == 200).await;
    drop(held);
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(request.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert!([vec![200, 200, 201], vec![200, 201, 202]].contains(&statuses), "{statuses:?}");
    assert_eq!(at.calls("provision"), 1);
}

async fn who_polls_is_not_kept_waiting(store: Store) {
    let at = Platform::with(store, Timing { answer: Duration::from_millis(20), ..TIMING }).await;
    let held = at.hold().await;
    let operation = at.put(&polled(I), instance("p")).await.operation();
    assert_eq!(at.put(&polled(I), instance("p")).await.operation(), operation);
    drop(held);
    assert_eq!(at.ended(I).await["state"], "succeeded");
    let held = at.hold().await;
    at.put(&polled(B), binding("p")).await.must(202);
    drop(held);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    for (path, of) in [(B, "p"), (I, "p")] {
        let held = at.hold().await;
        at.delete(&polled(&owned(path, of))).await.must(202);
        drop(held);
        assert_eq!(at.ended(path).await["state"], "succeeded");
    }
    assert!(at.fake.world().is_empty());
}

async fn another_instance_is_409_also_while_it_is_made(store: Store) {
    let at = Platform::on(store).await;
    let _held = at.hold().await;
    at.put(&polled(I), instance("lasting")).await.must(202);
    for changes in
        [json!({"parameters": {"a": 1}}), json!({"space_guid": "x"}), json!({"plan_id": "lasting-too"})]
    {
        at.put(&polled(I), but(instance("lasting"), &changes)).await.must(409);
    }
}

async fn another_binding_is_409_also_while_it_is_made(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let _held = at.hold().await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    at.put(&polled(B), but(binding("lasting"), &json!({"parameters": {"a": 1}}))).await.must(409);
}

async fn an_operation_in_progress_says_so(store: Store) {
    let at = Platform::on(store).await;
    at.fake.be_at_it(1_000_000);
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    let path = format!("{I}/last_operation?operation={operation}");
    let described = async || at.get(&path).await.body["description"].is_string();
    until("the service's words are told", described).await;
    let answer = at.get(&path).await;
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(answer.must(200)["state"], "in progress");
}

async fn an_operation_that_failed_says_so(store: Store) {
    let at = Platform::on(store).await;
    at.fake.fail("provision", Fault::Half);
    at.put(&polled(I), instance("lasting")).await.must(202);
    let told = at.ended(I).await;
    assert_eq!(told["state"], "failed");
    assert!(told["description"].as_str().unwrap().contains("half-way"), "{told}");
    at.made("lasting").await;
    at.fake.fail("bind", Fault::Before);
    at.put(&polled(B), binding("lasting")).await.must(202);
    assert_eq!(at.ended(B).await["state"], "failed");
}

async fn an_ended_operation_is_remembered(store: Store) {
    let at = Platform::on(store).await;
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    at.ended(I).await;
    for path in [format!("{I}/last_operation"), format!("{I}/last_operation?operation={operation}")] {
        for _ in 0..3 {
            assert_eq!(at.get(&path).await.must(200)["state"], "succeeded");
        }
    }
    at.fake.fail("update", Fault::Before);
    at.patch(&polled(I), update()).await.must(202);
    at.ended(I).await;
    assert_eq!(at.ended(I).await["state"], "failed");
    let first = format!("{I}/last_operation?operation={operation}");
    assert_eq!(at.get(&first).await.must(200)["state"], "succeeded", "the one before is known by its id");
}

async fn an_operation_goes_on_after_a_restart(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let operation = at.put(&polled(I), instance("lasting")).await.operation();
    let at = at.restarted(|services| services).await;
    let path = format!("{I}/last_operation?operation={operation}");
    assert_eq!(at.get(&path).await.must(200)["state"], "in progress");
    drop(held);
    assert_eq!(at.ended(I).await["state"], "succeeded");
    assert_eq!(at.get(&path).await.must(200)["state"], "succeeded");
    at.put(&polled(I), instance("lasting")).await.must(200);
}

async fn an_operation_that_is_not_known_is_400(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    let long = "x".repeat(10_001);
    for operation in ["other", "%F0%9F%90%9F%2F%26", &long] {
        at.get(&format!("{I}/last_operation?operation={operation}")).await.must(400);
        at.get(&format!("{B}/last_operation?operation={operation}")).await.must(400);
    }
    // Some clients send the parameter without a value.
    at.get(&format!("{I}/last_operation?operation=")).await.must(200);
}

async fn the_operation_of_what_never_was_is_404(store: Store) {
    let at = Platform::on(store).await;
    at.get(&format!("{I}/last_operation")).await.must(404);
    at.get(&format!("{B}/last_operation")).await.must(404);
    at.made("p").await;
    at.get(&format!("{B}/last_operation")).await.must(404);
}

async fn an_update_is_polled_with_the_old_plan(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let change = json!({"service_id": "s", "plan_id": "lasting-too"});
    let operation = at.patch(&polled(I), change).await.operation();
    let path = format!("{}&operation={operation}", owned(&format!("{I}/last_operation"), "lasting"));
    assert_eq!(at.get(&path).await.must(200)["state"], "in progress");
    drop(held);
    at.ended(I).await;
    assert_eq!(at.get(&path).await.must(200)["state"], "succeeded");
}

async fn requests_that_meet_are_told_to_come_again(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let held = at.hold().await;
    at.patch(&polled(I), update()).await.must(202);
    let other = json!({"service_id": "s", "parameters": {"a": 2}});
    at.patch(&polled(I), other).await.must_be("ConcurrencyError");
    at.put(&polled(I), instance("lasting")).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(I, "lasting"))).await.must_be("ConcurrencyError");
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(B, "lasting"))).await.must_be("ConcurrencyError");
    drop(held);
    at.ended(I).await;

    let _held = at.hold().await;
    at.delete(&polled(&owned(I, "lasting"))).await.must(202);
    at.put(&polled(I), instance("lasting")).await.must(409);
    at.patch(&polled(I), json!({"service_id": "s", "parameters": {"a": 3}}))
        .await
        .must_be("ConcurrencyError");
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(B, "lasting"))).await.must_be("ConcurrencyError");
}

async fn bindings_wait_for_their_instance(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    let held = at.hold().await;
    at.put(&polled(I), instance("lasting")).await.must(202);
    at.put(&polled(B), binding("lasting")).await.must_be("ConcurrencyError");
    drop(held);
    at.ended(I).await;
    let _held = at.hold().await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must(202);
    at.patch(&polled(I), update()).await.must_be("ConcurrencyError");
    at.delete(&polled(&owned(I, "lasting"))).await.must_be("ConcurrencyError");
    at.get(I).await.must(200);
}

async fn a_delete_halts_a_lasting_creation(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let created = at.put(&polled(I), instance("lasting")).await.operation();
    let deleted = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    assert_ne!(created, deleted);
    let state = async |operation: &str| {
        at.get(&format!("{I}/last_operation{operation}")).await.must(200)["state"].clone()
    };
    assert_eq!(state("").await, "in progress", "the delete is the last operation");
    assert_eq!(state(&format!("?operation={created}")).await, "failed");
    drop(held);
    assert_eq!(at.ended(I).await["state"], "succeeded");
    assert_eq!((at.calls("provision"), at.fake.world().is_empty()), (0, true));
}

async fn a_delete_halts_a_creation_that_somebody_waits_for(store: Store) {
    let at = Platform::on(store).await;
    let held = at.hold().await;
    let creating = at.begin("PUT", I, Some(instance("p")));
    let is_begun = async || at.get(&format!("{I}/last_operation")).await.status == 200;
    until("the instance is being made", is_begun).await;
    let deleting = at.begin("DELETE", &owned(I, "p"), None);
    creating.await.unwrap().must(500);
    drop(held);
    deleting.await.unwrap().must(200);
    assert_eq!((at.calls("provision"), at.fake.world().is_empty()), (0, true));
    at.get(I).await.must(404);
}

async fn a_delete_halts_a_lasting_binding(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let created = at.put(&polled(B), binding("lasting")).await.operation();
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    let path = format!("{B}/last_operation?operation={created}");
    assert_eq!(at.get(&path).await.must(200)["state"], "failed");
    drop(held);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    at.get(B).await.must(404);
    assert_eq!((at.calls("bind"), at.fake.world().logins.len()), (0, 0));
}

async fn a_finished_delete_is_told_to_each_client_as_it_wants(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    let operation = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    at.ended(I).await;
    at.get(&format!("{I}/last_operation?operation={operation}")).await.must(410);
    for query in ["", "?operation=other"] {
        assert_eq!(at.get(&format!("{I}/last_operation{query}")).await.must(200)["state"], "succeeded");
    }
}

async fn a_finished_unbinding_is_told_to_each_client_as_it_wants(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let operation = at.delete(&polled(&owned(B, "lasting"))).await.operation();
    at.ended(B).await;
    at.get(&format!("{B}/last_operation?operation={operation}")).await.must(410);
    for query in ["", "?operation=other"] {
        assert_eq!(at.get(&format!("{B}/last_operation{query}")).await.must(200)["state"], "succeeded");
    }
}

async fn a_delete_that_was_waited_for_is_forgotten(store: Store) {
    let at = Platform::on(store).await;
    at.made("p").await;
    at.bound("p").await;
    at.delete(&owned(B, "p")).await.must(200);
    at.delete(&owned(I, "p")).await.must(200);
    at.get(&format!("{B}/last_operation")).await.must(404);
    at.get(&format!("{I}/last_operation")).await.must(404);
}

async fn state(at: &Platform, path: &str, operation: &str) -> Value {
    at.get(&format!("{path}/last_operation?operation={operation}")).await.must(200)["state"].clone()
}

async fn a_creation_that_failed_stays_failed_after_its_delete(store: Store) {
    let at = Platform::on(store).await;
    at.fake.fail("provision", Fault::Half);
    let failed = at.put(&polled(I), instance("lasting")).await.operation();
    assert_eq!(at.ended(I).await["state"], "failed");
    at.fake.fail("deprovision", Fault::Before);
    let undone = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    assert_eq!(at.ended(I).await["state"], "failed");
    for operation in [&failed, &undone] {
        assert_eq!(state(&at, I, operation).await, "failed");
    }
    let deleted = at.delete(&polled(&owned(I, "lasting"))).await.operation();
    assert_eq!(at.ended(I).await["state"], "succeeded");
    at.get(&format!("{I}/last_operation?operation={deleted}")).await.must(410);
    let at = at.restarted(|services| services).await;
    for operation in [failed, undone] {
        assert_eq!(state(&at, I, &operation).await, "failed", "it made nothing that is there");
    }
}

async fn a_creation_that_was_halted_stays_failed_after_its_delete(store: Store) {
    let at = Platform::with(store, Timing { answer: Duration::from_millis(20), ..TIMING }).await;
    for (plan, delete) in [("lasting", polled(&owned(I, "lasting"))), ("p", owned(I, "p"))] {
        let held = at.hold().await;
        let halted = at.put(&polled(I), instance(plan)).await.operation();
        let deleting = at.begin("DELETE", &delete, None);
        let is_halted = async || state(&at, I, &halted).await == "failed";
        until("the creation is halted", is_halted).await;
        drop(held);
        assert!([200, 202].contains(&deleting.await.unwrap().status));
        assert_eq!(at.ended(I).await["state"], "succeeded");
        assert_eq!(state(&at, I, &halted).await, "failed", "{plan}");
        at.delete(&delete).await.must(410);
    }
}

async fn a_binding_that_failed_stays_failed_after_its_delete(store: Store) {
    let at = Platform::on(store).await;
    at.made("lasting").await;
    at.fake.fail("bind", Fault::Half);
    let failed = at.put(&polled(B), binding("lasting")).await.operation();
    assert_eq!(at.ended(B).await["state"], "failed");
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    assert_eq!(state(&at, B, &failed).await, "failed");
}

/// Cloud Foundry binds many applications to one instance at once, and does not repeat what was refused.
async fn bindings_that_meet_are_made_one_after_the_other(store: Store) {
    for plan in ["lasting", "p"] {
        let at = Platform::with(store, Timing { answer: Duration::from_millis(20), ..IMPATIENT }).await;
        at.made(plan).await;
        let held = at.hold().await;
        let paths = ["", "2", "3"].map(|suffix| format!("{B}{suffix}"));
        let mut operations = Vec::new();
        for path in &paths {
            operations.push(at.put(&polled(path), binding(plan)).await.operation());
        }
        for (path, operation) in paths.iter().zip(&operations) {
            assert_eq!(at.put(&polled(path), binding(plan)).await.operation(), *operation, "the same again");
            assert_eq!(state(&at, path, operation).await, "in progress");
            at.get(path).await.must(404);
            at.put(&polled(path), but(binding(plan), &json!({"parameters": {"a": 1}}))).await.must(409);
        }
        let other = but(binding(plan), &json!({"parameters": {"bad": 1}}));
        at.put(&polled(&format!("{B}4")), other).await.must_say(400, "bad");
        drop(held);
        for (path, operation) in paths.iter().zip(&operations) {
            assert_eq!(at.ended(path).await["state"], "succeeded", "{plan} {path}");
            assert_eq!(state(&at, path, operation).await, "succeeded");
            at.get(path).await.must(200);
        }
        assert_eq!((at.calls("bind"), at.fake.world().logins.len()), (3, 3));
    }
}

async fn a_binding_that_waits_can_be_deleted(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    let held = at.hold().await;
    at.put(&polled(B), binding("lasting")).await.must(202);
    let second = format!("{B}2");
    let operation = at.put(&polled(&second), binding("lasting")).await.operation();
    at.delete(&polled(&owned(&second, "p2"))).await.must(400);
    at.delete(&polled(&owned(&second, "lasting"))).await.must(200);
    assert_eq!(state(&at, &second, &operation).await, "failed");
    drop(held);
    assert_eq!(at.ended(B).await["state"], "succeeded", "the first one is not concerned");
    at.delete(&polled(&owned(&second, "lasting"))).await.must(410);
    at.delete(&polled(&owned(B, "lasting"))).await.must(202);
    assert_eq!(at.ended(B).await["state"], "succeeded");
    assert_eq!((at.calls("bind"), at.fake.world().logins.len()), (1, 0));
}

async fn a_binding_is_deleted_after_what_is_under_way(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let held = at.hold().await;
    let second = format!("{B}2");
    at.put(&polled(&second), binding("lasting")).await.must(202);
    at.delete(&polled(&owned(B, "p2"))).await.must(400);
    let operation = at.delete(&polled(&owned(B, "lasting"))).await.operation();
    assert_eq!(at.delete(&polled(&owned(B, "lasting"))).await.operation(), operation);
    assert_eq!(state(&at, B, &operation).await, "in progress");
    at.get(B).await.must(404);
    drop(held);
    assert_eq!(at.ended(&second).await["state"], "succeeded");
    assert_eq!(at.ended(B).await["state"], "succeeded");
    at.get(&format!("{B}/last_operation?operation={operation}")).await.must(410);
    assert_eq!(at.fake.world().logins.len(), 1);
}

async fn bindings_that_wait_are_made_after_a_restart(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    let held = at.hold().await;
    let second = format!("{B}2");
    at.put(&polled(B), binding("lasting")).await.must(202);
    let operation = at.put(&polled(&second), binding("lasting")).await.operation();
    let at = at.restarted(|services| services).await;
    drop(held);
    for path in [B, &second] {
        assert_eq!(at.ended(path).await["state"], "succeeded");
        at.get(path).await.must(200);
    }
    assert_eq!(state(&at, &second, &operation).await, "succeeded");
}

async fn what_is_there_is_told_beside_what_is_under_way(store: Store) {
    let at = Platform::with(store, IMPATIENT).await;
    at.made("lasting").await;
    at.bound("lasting").await;
    let credentials = at.get(B).await.must(200)["credentials"].clone();
    let _held = at.hold().await;
    at.put(&polled(&format!("{B}2")), binding("lasting")).await.must(202);
    assert_eq!(at.put(&polled(B), binding("lasting")).await.must(200)["credentials"], credentials);
}
