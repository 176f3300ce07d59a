//! Credentials in ConfigMaps.

use std::collections::BTreeSet;

use bindery::apis::bindery::credential_policy::{Mode, RuleName};
use serde_json::{Value, json};

use crate::{
    cluster::{Answer, Place, until},
    engines::{by_command_with, change_by_function},
    objects::policy_of,
};

const RULE: RuleName = RuleName::NoPlainText;

fn rules() -> Value {
    json!({"noPlainText": {"configMaps": true, "allowVariables": ["DEMO_*"]}})
}

pub(crate) fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data})
}

/// ConfigMaps, and whether they contain a credential.
fn cases() -> Vec<(&'static str, Value, bool)> {
    let key = concat!("-----BEGIN RSA ", "PRIVATE KEY-----\nMIIB");
    let case = |name, data: Value, is_violated| (name, config_map(&data), is_violated);
    let lines = "level = info\n".repeat(500);
    vec![
        case("nothing", json!({}), false),
        case("settings", json!({"LOG_LEVEL": "info", "DB_HOST": "db", "DB_PASSWORD": "$(PASSWORD)"}), false),
        case("a password by its name", json!({"LOG_LEVEL": "info", "DB_PASSWORD": "Tr0ub4dor&3"}), true),
        case("an allowed name", json!({"DEMO_PASSWORD": "Tr0ub4dor&3"}), false),
        case("a password in a URL", json!({"DATABASE_URL": "postgres://app:s3cret@db/app"}), true),
        case("a private key in a file", json!({"tls.conf": format!("{lines}{key}")}), true),
        case("a long file", json!({"app.conf": lines}), false),
    ]
}

fn by_function(before: Option<&Value>, after: &Value, scope: &Value) -> BTreeSet<RuleName> {
    change_by_function(json!({"rules": rules(), "scope": scope}), "shop", before, after)
}

fn expected(is_violated: bool) -> BTreeSet<RuleName> {
    is_violated.then_some(RULE).into_iter().collect()
}

#[test]
fn the_function_and_the_command_agree_on_every_config_map() {
    for (name, object, is_violated) in cases() {
        assert_eq!(by_function(None, &object, &json!({})), expected(is_violated), "{name}");
        assert_eq!(by_command_with(&rules(), &object), expected(is_violated), "{name}");
        assert_eq!(
            by_command_with(&json!({"noPlainText": {}}), &object),
            expected(false),
            "{name}, without the setting"
        );
        let older = by_function(Some(&object), &object, &json!({}));
        assert_eq!(older, expected(false), "{name}, which is older than the policy");
        let of_account = by_function(None, &object, &json!({"serviceAccounts": ["app"]}));
        assert_eq!(of_account, expected(false), "{name}, and a policy for some pods only");
    }
}

#[tokio::test]
async fn the_api_server_agrees_on_every_config_map() {
    let place = Place::new("config-maps").await;
    let shop = place.namespace("shop").await;
    let old = cases()[2].1.clone();
    let path = place.path(&shop, &old);
    let (allowed, refused) = (Answer::Allowed { warned: BTreeSet::new() }, Answer::Refused { rule: RULE });
    assert_eq!(place.send("POST", &path, &old).await, allowed);
    place.enforce(&policy_of(&shop, &shop, Mode::Enforce, &rules())).await;
    let warn = place.namespace("warn").await;
    place.enforce(&policy_of(&warn, &warn, Mode::Warn, &rules())).await;
    place.settled().await;
    for (name, mut object, is_violated) in cases() {
        object["metadata"]["name"] = json!("new");
        let answer = if is_violated { &refused } else { &allowed };
        assert_eq!(&place.create(&shop, &object).await, answer, "{name}");
        let warned = Answer::Allowed { warned: expected(is_violated) };
        assert_eq!(place.create(&warn, &object).await, warned, "{name}");
    }
    // A ConfigMap that is older than the policy can still be labelled.
    let one = format!("{path}/settings?fieldManager=tests&force=true");
    let mut labelled = old.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(place.apply_as_is(&one, &labelled).await, allowed);
    labelled["data"]["DB_PASSWORD"] = json!("An0ther1");
    assert_eq!(place.apply_as_is(&one, &labelled).await, refused);
}

/// The largest ConfigMaps are admitted: the API server judges as much text as its cost limit allows.
#[tokio::test]
async fn the_api_server_judges_no_more_text_than_it_can() {
    let place = Place::new("large-maps").await;
    let shop = place.namespace("shop").await;
    place.enforce(&policy_of(&shop, &shop, Mode::Enforce, &rules())).await;
    let (allowed, refused) = (Answer::Allowed { warned: BTreeSet::new() }, Answer::Refused { rule: RULE });
    let filled = |count: usize, length: usize| {
        let mut data = json!({"DB_PASSWORD": "Tr0ub4dor&3"});
        for index in 0..count {
            data[format!("file-{index}")] = json!("x".repeat(length));
        }
        config_map(&data)
    };
    until("the policy holds", async || place.create(&shop, &filled(0, 0)).await == refused).await;
    assert_eq!(place.create(&shop, &filled(1, 900_000)).await, refused, "beside a file that is too long");
    assert_eq!(place.create(&shop, &filled(7, 8192)).await, refused, "the most text that is judged");
    assert_eq!(place.create(&shop, &filled(100, 8192)).await, allowed, "more text than is judged");
}
