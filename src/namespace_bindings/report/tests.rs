use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The status of an object with this Ready condition.
fn ready(is: bool, reason: &str) -> Value {
    json!({"conditions": [{"type": "Ready", "status": if is { "True" } else { "False" }, "reason": reason,
        "message": format!("about {reason}"), "lastTransitionTime": at(1)}]})
}

fn instance(status: &Value) -> ServiceInstance {
    serde_json::from_value(json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
        "metadata": {"name": "db"}, "spec": {}, "status": status}))
    .unwrap()
}

fn binding(status: &Value) -> ServiceBinding {
    serde_json::from_value(json!({"apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceBinding",
        "metadata": {"name": "db"}, "spec": {"instanceRef": {"name": "db"}}, "status": status}))
    .unwrap()
}

fn case<'a>(
    namespace: &str,
    verdict: Verdict,
    instance: Option<&'a ServiceInstance>,
    binding: Option<&'a ServiceBinding>,
) -> NamespaceCase<'a> {
    NamespaceCase { namespace: namespace.to_owned(), verdict, finding: Finding::default(), instance, binding }
}

const GRANTED: Verdict = Verdict::Granted { stage: None };

fn condition<'a>(status: &'a NamespaceBindingStatus, type_: &str) -> &'a Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

#[test]
fn namespaces_are_counted_and_the_worst_is_named() {
    let (made, bound) = (instance(&ready(true, "Made")), binding(&ready(true, "Bound")));
    let waits = binding(&ready(false, "ErrorInstanceNotReady"));
    let expiring = Verdict::Granted { stage: Some(Stage::Expiring { at: at(9) }) };
    let mut broken = case("feature-d", GRANTED, Some(&made), None);
    broken.finding.problem =
        Some(Problem { reason: "NameTaken", message: "somebody else's".to_owned(), is_failure: true });
    let cases = vec![
        case("feature-a", GRANTED, Some(&made), Some(&bound)),
        case("feature-b", expiring, Some(&made), Some(&bound)),
        case("feature-c", GRANTED, Some(&made), Some(&waits)),
        broken,
        case("feature-e", GRANTED, None, None),
        case("feature-f", Verdict::Expired { since: at(1) }, None, None),
    ];
    let status = report(&NamespaceBindingStatus::default(), 7, cases, 2, at(5));
    let counts =
        [status.namespaces, status.ready, status.pending, status.failed, status.expiring, status.expired];
    assert_eq!(counts, [6, 2, 2, 1, 1, 1]);
    assert_eq!((status.leaving, status.observed_generation), (2, 7));
    let names: Vec<_> = status.waiting.iter().map(|waiting| waiting.namespace.as_str()).collect();
    assert_eq!(names, ["feature-d", "feature-c", "feature-e"], "failures first");
    assert_eq!(status.waiting[1].message, "ServiceBinding: about ErrorInstanceNotReady");
    let ready = condition(&status, "Ready");
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "SomeFailed"));
    assert_eq!(ready.message, "1 of 6 failed, such as feature-d: somebody else's");
    assert_eq!(condition(&status, "UpToDate").status, "True");
}

#[test]
fn instances_that_a_changed_spec_does_not_affect_are_reported() {
    let (made, bound) = (instance(&ready(true, "Made")), binding(&ready(true, "Bound")));
    let mut case = case("feature-a", GRANTED, Some(&made), Some(&bound));
    case.finding.is_outdated = true;
    let status = report(&NamespaceBindingStatus::default(), 1, vec![case], 0, at(5));
    let current = condition(&status, "UpToDate");
    assert_eq!((current.status.as_str(), current.reason.as_str()), ("False", "NewInstancesOnly"));
    assert!(current.message.contains("1 of 1 instances were created before"), "{}", current.message);
    assert_eq!(condition(&status, "Ready").message, "1 are ready");
}

#[test]
fn the_effects_of_a_changed_spec_are_reported() {
    let of = |generation, leaving| {
        let expired = case("feature-a", Verdict::Expired { since: at(1) }, None, None);
        report(&NamespaceBindingStatus::default(), generation, vec![expired], leaving, at(5))
    };
    let (new, known) = (NamespaceBindingStatus::default(), of(1, 0));
    assert_eq!(spec_change_summary(&new, &known, "1h"), None, "there was no other before");
    assert!(spec_change_summary(&new, &of(2, 3), "1h").is_some(), "it was changed before anybody looked");
    assert_eq!(spec_change_summary(&known, &of(1, 3), "1h"), None);
    let expected = "The spec has changed. Selected namespaces: 1; no longer selected, so that their services are \
        deleted with the data after 2h: 3; whose services the ttl has ended: 1";
    assert_eq!(spec_change_summary(&known, &of(2, 3), "2h").as_deref(), Some(expected));
    assert_eq!(
        spec_change_summary(&known, &invalid_spec_status(&known, 2, &InvalidRule::Warning, at(9)), "1h"),
        None
    );
}

#[test]
fn a_condition_keeps_its_time_and_a_report_is_the_same_twice() {
    let first = report(&NamespaceBindingStatus::default(), 1, Vec::new(), 0, at(5));
    assert_eq!(report(&first, 1, Vec::new(), 0, at(9)), first);
    let refused = invalid_spec_status(&first, 2, &InvalidRule::Warning, at(9));
    assert_eq!(condition(&refused, "Accepted").last_transition_time, Time(at(9)));
    assert_eq!(condition(&refused, "Accepted").observed_generation, Some(2));
    assert_eq!(condition(&refused, "UpToDate").last_transition_time, Time(at(5)));
}

#[test]
fn a_permanent_failure_is_distinguished_from_waiting() {
    let failed = json!({"conditions": [
        ready(false, "ProvisionCallFailed")["conditions"][0],
        {"type": "Failed", "status": "True", "reason": "F", "message": "", "lastTransitionTime": at(1)}]});
    let of = |status: &Value| progress(Some(&instance(status)), None);
    assert!(matches!(of(&failed), Progress::Failed { reason, .. } if reason == "ProvisionCallFailed"));
    assert!(
        matches!(of(&ready(false, "Provisioning")), Progress::Pending { reason, .. } if reason == "Provisioning")
    );
    assert!(matches!(of(&ready(true, "Made")), Progress::Pending { reason, .. } if reason == "Waiting"));
}
