//! Many policies, many requests at once, and what a policy costs each request. `BINDERY_SOAK_POLICIES=100` is the full size.

use std::{collections::BTreeSet, time::Duration};

use bindery::{
    apis::bindery::credential_policy::{CredentialPolicy, Mode, RuleName},
    policy::Policies,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    cluster::{Answer, Place, until},
    exceptions::bad,
    objects::policy_of,
    table::rules,
    webhook::Webhook,
};

/// As large as pods are in practice: 20 containers with 40 variables each.
fn large() -> Value {
    let variables =
        (0..40).map(|number| json!({"name": format!("SETTING_{number}"), "value": "v".repeat(100)}));
    let variables: Vec<_> = variables.collect();
    let containers =
        (0..20).map(|number| json!({"name": format!("c{number}"), "image": "i:1", "env": variables}));
    let mut pod = bad();
    pod["spec"]["containers"] = containers.collect();
    pod
}

fn good() -> Value {
    let mut pod = bad();
    pod["spec"]["containers"] = json!([{"name": "app", "image": "app:1"}]);
    pod
}

fn allowed() -> Answer {
    Answer::Allowed { warned: BTreeSet::new() }
}

#[tokio::test]
async fn many_policies_stay_within_the_cost_that_the_api_server_allows() {
    let size = std::env::var("BINDERY_SOAK_POLICIES").map_or(10, |text| text.parse().unwrap());
    let place = Place::new("many").await;
    let namespace = place.namespace("shop").await;
    // Some allow-lists, because they are a part of the cost.
    let mut rules = rules();
    rules["bindingsOnly"]["allowSecrets"] = (0..20).map(|number| format!("allowed-{number}*")).collect();
    for number in 0..size {
        let name = place.unique(&format!("p{number}"));
        let mode = if number % 2 == 0 { Mode::Enforce } else { Mode::Audit };
        place.enforce(&policy_of(&name, &namespace, mode, &rules)).await;
    }
    place.settled().await;
    assert_eq!(place.create(&namespace, &good()).await, allowed());
    assert_eq!(place.create(&namespace, &large()).await, allowed());
    let refused = place.create(&namespace, &bad()).await;
    assert!(matches!(refused, Answer::Refused { .. }), "{refused:?}");
}

/// Whatever policies come, change and go meanwhile, one that stays refuses every pod that violates it, and no other pod.
#[tokio::test]
async fn requests_get_the_right_verdict_while_policies_change() {
    let place = Place::new("burst").await;
    let namespace = place.namespace("shop").await;
    let stays = policy_of(&place.unique("stays"), &namespace, Mode::Enforce, &json!({"filesOnly": {}}));
    place.enforce(&stays).await;
    place.settled().await;
    let changes = async {
        for number in 0..10 {
            let name = place.unique(&format!("changes{}", number % 3));
            let allowed = json!({"noPlainText": {"allowVariables": [format!("A{number}")]}});
            place.enforce(&policy_of(&name, &namespace, Mode::Enforce, &allowed)).await;
        }
    };
    let requests = stream::iter(0..200).map(|number| {
        let (place, namespace) = (&place, &namespace);
        async move {
            let is_bad = number % 2 == 0;
            (is_bad, place.create(namespace, &if is_bad { bad() } else { good() }).await)
        }
    });
    let answers = requests.buffer_unordered(16).collect::<Vec<_>>();
    let ((), answers) = tokio::join!(changes, answers);
    for (is_bad, answer) in answers {
        let expected = if is_bad { Answer::Refused { rule: RuleName::FilesOnly } } else { allowed() };
        assert_eq!(answer, expected);
    }
}

/// `make bench` prints these figures. Requests are dry runs, so that no write to etcd hides the difference.
#[tokio::test]
#[ignore = "it measures, and so wants the machine for itself"]
async fn the_cost_of_policies_for_a_request() {
    let place = Place::new("cost").await;
    println!("median of up to 300 creations of a pod within 15 s (dry run), one after the other");
    for (count, what) in
        [(0, "no policy"), (1, "one policy with every rule"), (10, "10 policies"), (100, "100 policies")]
    {
        let namespace = place.namespace(&format!("with{count}")).await;
        for policy in policies(&place, &namespace, count) {
            place.enforce(&policy).await;
        }
        place.settled().await;
        print_cost(&place, &namespace, what).await;
    }
    for (count, what) in [
        (0, "a webhook without policies"),
        (1, "one policy in a webhook"),
        (10, "10 policies in a webhook"),
        (100, "100 policies in a webhook"),
    ] {
        let namespace = place.namespace(&format!("webhook{count}")).await;
        let judged = Policies::new(&policies(&place, &namespace, count), Vec::new(), Vec::new()).unwrap();
        let webhook = Webhook::start(&place, &namespace, judged).await;
        if count > 0 {
            let is_called = async || matches!(place.create(&namespace, &bad()).await, Answer::Other(_));
            until("the webhook refuses a pod", is_called).await;
        }
        print_cost(&place, &namespace, what).await;
        webhook.finish().await;
    }
}

fn policies(place: &Place, namespace: &str, count: usize) -> Vec<CredentialPolicy> {
    let name = |number| place.unique(&format!("{namespace}-{number}"));
    (0..count).map(|number| policy_of(&name(number), namespace, Mode::Enforce, &rules())).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are the result")]
async fn print_cost(place: &Place, namespace: &str, what: &str) {
    for (size, pod) in [("small", good()), ("large", large())] {
        let (mut times, first) = (Vec::new(), Instant::now());
        while times.len() < 300 && first.elapsed() < Duration::from_secs(15) {
            let began = Instant::now();
            assert_eq!(place.create(namespace, &pod).await, allowed());
            times.push(began.elapsed());
        }
        println!("{what:28} {size:6} {:>9.2?} of {}", median(&mut times), times.len());
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
