//! Checks that `strict` finds mistakes.

use axum::http::{
    HeaderMap, HeaderName,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use rstest::rstest;
use serde_json::json;

use super::*;

const I: &str = "/v2/service_instances/i";
const B: &str = "/v2/service_instances/i/service_bindings/b";

fn answer(status: u16, body: Value) -> Answer {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, "application/json".parse().unwrap())]);
    Answer { status, headers, body }
}

fn with(header: HeaderName, text: &str, of: Answer) -> Answer {
    let mut of = of;
    of.headers.insert(header, text.parse().unwrap());
    of
}

#[rstest]
#[case::a_null("GET", I, answer(200, json!({"plan_id": null})))]
#[case::an_unknown_field("GET", I, answer(200, json!({"colour": "red"})))]
#[case::another_type("GET", I, answer(200, json!({"plan_id": 1})))]
#[case::a_missing_field("GET", "/v2/catalog", answer(200, json!({})))]
#[case::a_missing_field_within("GET", "/v2/catalog", answer(200, json!({"services": [{"id": "s"}]})))]
#[case::an_operation_of_what_is_done("PUT", I, answer(201, json!({"operation": "o"})))]
#[case::credentials_too_early("PUT", B, answer(202, json!({"credentials": {}})))]
#[case::parameters_of_a_bind("PUT", B, answer(201, json!({"parameters": {}})))]
#[case::another_time("PUT", B, answer(201, json!({"metadata": {"expires_at": "2026-01-01T00:00:00Z"}})))]
#[case::renewal_after_the_end("PUT", B, answer(201, json!({"metadata":
    {"expires_at": "2026-01-01T00:00:00.0Z", "renew_before": "2026-01-01T00:00:00.1Z"}})))]
#[case::two_words("PUT", I, answer(400, json!({"error": "Bad Request"})))]
#[case::a_small_word("PUT", I, answer(400, json!({"error": "bad"})))]
#[case::an_empty_text("PUT", I, answer(400, json!({"description": ""})))]
#[case::flags_elsewhere("PUT", I, answer(500, json!({"instance_usable": true})))]
#[case::flags_of_a_delete("DELETE", I, answer(500, json!({"update_repeatable": true})))]
#[case::flags_of_a_success("GET", &format!("{I}/last_operation"), answer(200, json!({"state": "succeeded", "instance_usable": true})))]
#[case::flags_of_a_binding("GET", &format!("{B}/last_operation"), answer(200, json!({"state": "failed", "instance_usable": true})))]
#[case::another_state("GET", &format!("{I}/last_operation"), answer(200, json!({"state": "done"})))]
#[case::another_status("PUT", I, answer(204, json!({})))]
#[case::gone_of_a_provision("PUT", I, answer(410, json!({})))]
#[case::another_content_type("GET", I, with(CONTENT_TYPE, "text/plain", answer(200, json!({}))))]
#[case::retry_after_the_end("GET", &format!("{I}/last_operation"), with(RETRY_AFTER, "1", answer(200, json!({"state": "failed"}))))]
#[case::a_long_operation("DELETE", I, answer(202, json!({"operation": "x".repeat(10_001)})))]
fn what_is_wrong_is_found(#[case] method: &str, #[case] path: &str, #[case] answer: Answer) {
    assert_ne!(examine(method, path, Some("2.17"), &answer), Vec::<String>::new());
}

#[rstest]
#[case("2.13", "2.14", "/v2/catalog", json!({"services": [{"name": "n", "id": "s", "description": "d", "bindable": true,
    "plans": [], "instances_retrievable": true, "bindings_retrievable": true}]}))]
#[case("2.14", "2.15", "/v2/catalog", json!({"services": [{"name": "n", "id": "s", "description": "d", "bindable": true,
    "plans": [], "allow_context_updates": true}]}))]
#[case("2.14", "2.15", B, json!({"endpoints": []}))]
#[case("2.15", "2.16", B, json!({"metadata": {"expires_at": "2026-01-01T00:00:00.0Z"}}))]
#[case("2.16", "2.17", B, json!({"metadata": {"renew_before": "2026-01-01T00:00:00.0Z"}}))]
#[case("2.16", "2.17", I, json!({"metadata": {}}))]
fn fields_come_with_their_version(
    #[case] before: &str,
    #[case] since: &str,
    #[case] path: &str,
    #[case] body: Value,
) {
    let of = |version| examine("GET", path, Some(version), &answer(200, body.clone()));
    assert_ne!(of(before), Vec::<String>::new());
    assert_eq!(of(since), Vec::<String>::new());
}
