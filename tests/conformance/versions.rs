//! Each version of the API gets exactly the fields that it knows. `strict` checks every answer for unknown fields;
//! the tests here check that known fields are present.

use serde_json::{Value, json};

use crate::{
    client::{B, Client, I, binding, instance, owned, polled},
    fake::Fault,
    platform::{Platform, but, until},
    stores::Store,
};

on_each_store!(
    a_platform_with_2_13_gets_the_fields_it_knows,
    a_platform_with_2_14_gets_the_fields_it_knows,
    a_platform_with_2_15_gets_the_fields_it_knows,
    a_platform_with_2_16_gets_the_fields_it_knows,
    a_platform_with_2_17_gets_the_fields_it_knows,
    newer_fields_of_an_older_platform_are_ignored,
);

/// What is seen over a life, with the version that brought it.
const SEEN: [(&str, u16); 14] = [
    ("schemas", 13),
    ("instances_retrievable", 14),
    ("bindings_retrievable", 14),
    ("allow_context_updates", 15),
    ("plan_updateable of a plan", 15),
    ("maximum_polling_duration", 15),
    ("maintenance_info", 15),
    ("maintenance_info of an instance", 15),
    ("endpoints", 15),
    ("Retry-After", 15),
    ("instance_usable", 16),
    ("expires_at", 16),
    ("renew_before", 17),
    ("binding_rotatable", 17),
];

async fn life(store: Store, version: &'static str) {
    let at = Platform::on(store).await;
    let client = at.speaking(version);
    let mut seen = offered(&client).await;
    seen.extend(bound(&at, &client).await);
    seen.extend(updated(&at, &client).await);
    let minor: u16 = version.split_once('.').unwrap().1.parse().unwrap();
    for (what, since) in SEEN {
        let found = seen.iter().find(|(seen, _)| *seen == what).expect(what);
        assert_eq!(found.1, minor >= since, "{what} in {version}");
    }
}

type Seen = Vec<(&'static str, bool)>;

async fn offered(client: &Client) -> Seen {
    let catalog = client.get("/v2/catalog").await.must(200);
    let service = &catalog["services"][0];
    let plans = service["plans"].as_array().unwrap();
    let of_plan = |field: &str| plans.iter().any(|plan| plan.get(field).is_some());
    vec![
        ("schemas", of_plan("schemas")),
        ("instances_retrievable", service["instances_retrievable"] == true),
        ("bindings_retrievable", service["bindings_retrievable"] == true),
        ("allow_context_updates", service["allow_context_updates"] == true),
        ("plan_updateable of a plan", of_plan("plan_updateable")),
        ("maximum_polling_duration", of_plan("maximum_polling_duration")),
        ("maintenance_info", of_plan("maintenance_info")),
        ("binding_rotatable", of_plan("binding_rotatable")),
    ]
}

async fn bound(at: &Platform, client: &Client) -> Seen {
    client.put(I, instance("q")).await.must(201);
    client.put(I, instance("q")).await.must(200);
    let found = client.get(I).await.must(200);
    let wanted = but(binding("q"), &json!({"parameters": {"expires_in": 100}}));
    let made = client.put(B, wanted.clone()).await.must(201);
    client.put(B, wanted).await.must(200);
    client.get(B).await.must(200);
    client.delete(&owned(B, "q")).await.must(200);
    at.fake.fail("deprovision", Fault::Half);
    let failed = client.delete(&owned(I, "q")).await.must(500);
    client.delete(&owned(I, "q")).await.must(200);
    vec![
        ("maintenance_info of an instance", found.get("maintenance_info").is_some()),
        ("endpoints", made.get("endpoints").is_some()),
        ("expires_at", made["metadata"].get("expires_at").is_some()),
        ("renew_before", made["metadata"].get("renew_before").is_some()),
        ("instance_usable", failed.get("instance_usable").is_some()),
    ]
}

async fn updated(at: &Platform, client: &Client) -> Seen {
    let held = at.hold().await;
    client.put(&polled(I), instance("lasting")).await.must(202);
    let polling = client.get(&format!("{I}/last_operation")).await;
    let retry = polling.headers.contains_key("retry-after");
    drop(held);
    assert_eq!(client.ended(I).await["state"], "succeeded");
    at.fake.fail("update", Fault::Half);
    client.patch(&polled(I), json!({"service_id": "s", "parameters": {"a": 1}})).await.must(202);
    assert_eq!(client.ended(I).await["state"], "failed");
    client.bound("lasting").await;
    client.delete(&polled(&owned(B, "lasting"))).await.must(202);
    client.ended(B).await;
    client.delete(&polled(&owned(I, "lasting"))).await.must(202);
    until("all is gone", async || at.holds_nothing()).await;
    vec![("Retry-After", retry)]
}

async fn a_platform_with_2_13_gets_the_fields_it_knows(store: Store) {
    life(store, "2.13").await;
}

async fn a_platform_with_2_14_gets_the_fields_it_knows(store: Store) {
    life(store, "2.14").await;
}

async fn a_platform_with_2_15_gets_the_fields_it_knows(store: Store) {
    life(store, "2.15").await;
}

async fn a_platform_with_2_16_gets_the_fields_it_knows(store: Store) {
    life(store, "2.16").await;
}

async fn a_platform_with_2_17_gets_the_fields_it_knows(store: Store) {
    life(store, "2.17").await;
}

/// To an older platform a newer field is an extension, which is ignored.
async fn newer_fields_of_an_older_platform_are_ignored(store: Store) {
    let at = Platform::on(store).await;
    let info = json!({"maintenance_info": {"version": "9.0.0"}});
    at.speaking("2.14").put(I, but(instance("p"), &info)).await.must(201);
    let update: Value = but(json!({"service_id": "s", "parameters": {"a": 1}}), &info);
    at.speaking("2.14").patch(I, update).await.must(200);
    let both = but(binding("p"), &json!({"predecessor_binding_id": "none"}));
    at.speaking("2.16").put(B, both).await.must(201);
    at.speaking("2.15")
        .put(&format!("{I}2"), but(instance("p"), &info))
        .await
        .must_be("MaintenanceInfoConflict");
}
