use super::*;

#[test]
fn every_metric_appears_with_its_labels() {
    let metrics = Metrics::new();
    metrics.osb_request("provision", "created");
    metrics.reconciled("ServiceInstance", Duration::from_millis(3), true);
    metrics.admission("pod", "injected", Duration::from_micros(40));
    metrics.injection("shop");
    metrics.refusal("shop", "not-bound");
    metrics.unanswered("late");
    metrics.shed();
    metrics.certificate_expires("admission", jiff::Timestamp::from_second(1_800_000_000).unwrap());
    metrics.pods_missed("shop", 2);
    metrics.pods_waiting("shop", 1);
    metrics.namespaces([("gone", [("ready", 1)])].into_iter());
    metrics.namespaces([("feature-branches", [("ready", 3)])].into_iter());
    metrics.exception_ends([("legacy", 1_800_000_000)].into_iter());
    metrics.exceptions_ending([("baseline", 1)].into_iter());
    metrics.policy_violations([("gone", "filesOnly", "Warn", 1)].into_iter());
    metrics.policy_violations([("baseline", "filesOnly", "Warn", 4)].into_iter());
    let text = metrics.encode().unwrap();
    assert!(!text.contains("gone"), "{text}");
    for line in [
        r#"bindery_osb_requests_total{verb="provision",result="created"} 1"#,
        r#"bindery_reconcile_duration_seconds_count{kind="ServiceInstance"} 1"#,
        r#"bindery_reconcile_errors_total{kind="ServiceInstance"} 1"#,
        r#"bindery_admissions_total{outcome="injected"} 1"#,
        r#"bindery_admissions_total{outcome="late"} 1"#,
        r#"bindery_admission_duration_seconds_bucket{le="0.00005",entry="pod"} 1"#,
        r#"bindery_injections_total{namespace="shop"} 1"#,
        r#"bindery_refusals_total{namespace="shop",reason="not-bound"} 1"#,
        "bindery_admissions_shed_total 1",
        r#"bindery_certificate_expiry_timestamp_seconds{name="admission"} 1800000000"#,
        r#"bindery_pods_missed{namespace="shop"} 2"#,
        r#"bindery_pods_waiting{namespace="shop"} 1"#,
        r#"bindery_namespaces{binding="feature-branches",state="ready"} 3"#,
        r#"bindery_policy_exception_end_seconds{exception="legacy"} 1800000000"#,
        r#"bindery_policy_exceptions_ending{policy="baseline"} 1"#,
        r#"bindery_policy_violations{policy="baseline",rule="filesOnly",mode="Warn"} 4"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_number_of_namespace_series_is_limited() {
    let metrics = Metrics::new();
    for number in 0..1500 {
        metrics.injection(&format!("branch-{number}"));
        metrics.refusal(&format!("branch-{number}"), "name");
    }
    metrics.injection("branch-0");
    let text = metrics.encode().unwrap();
    assert_eq!(text.matches("bindery_injections_total{").count(), 1001);
    assert!(text.contains(r#"bindery_injections_total{namespace="(others)"} 500"#));
    assert!(text.contains(r#"bindery_injections_total{namespace="branch-0"} 2"#));
}

#[test]
fn a_namespace_with_the_value_zero_is_not_listed() {
    let metrics = Metrics::new();
    metrics.pods_missed("shop", 2);
    metrics.pods_missed("shop", 0);
    metrics.pods_waiting("shop", 1);
    metrics.forget_pods();
    let text = metrics.encode().unwrap();
    assert!(!text.contains("shop"), "{text}");
}
