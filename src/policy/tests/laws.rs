//! Properties of all pods.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// JSON of the shapes that pods have, with wrong types in between.
fn odd_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-zA-Z0-9:/@$() .=_-]{0,30}".prop_map(Value::from),
    ];
    let field = prop::sample::select(vec![
        "spec",
        "metadata",
        "annotations",
        "containers",
        "initContainers",
        "volumes",
        "env",
        "envFrom",
        "name",
        "value",
        "valueFrom",
        "secretKeyRef",
        "secretRef",
        "secret",
        "secretName",
        "projected",
        "sources",
        "serviceAccountToken",
        "args",
        "command",
        "livenessProbe",
        "exec",
        "csi",
        "driver",
        "image",
        "bindery.dev/bind",
        "bindery.dev/as",
    ]);
    leaf.prop_recursive(7, 96, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field.clone(), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    /// The API server validates pods only after some webhooks have seen them, and `bindery check` reads any file.
    #[test]
    fn no_pod_is_too_odd(pod in odd_json()) {
        let _ = judged(&strict(), &pod, &namespace(&[], &[]));
    }

    /// Findings go into logs of CI servers.
    #[test]
    fn findings_never_contain_the_credential(secret in "[a-z0-9]{12,24}") {
        let pod = json!({"metadata": {"annotations": {"x": format!("postgres://a:{secret}@b/c")}}, "spec": {"containers": [
            {"name": "c", "env": [{"name": "PASSWORD", "value": secret}], "args": [format!("--password={secret}")],
                "command": ["sh", "-c", format!("PASSWORD={secret} run")]},
        ]}});
        let verdicts = judged(&strict(), &pod, &namespace(&[], &[]));
        prop_assert_eq!(verdicts.iter().filter(|it| it.finding.rule == RuleName::NoPlainText).count(), 4);
        let shown = format!("{verdicts:?}");
        prop_assert!(!shown.contains(&secret));
    }

    /// Credentials cannot hide behind more containers, volumes or annotations.
    #[test]
    fn what_is_added_to_a_pod_hides_nothing(more in odd_json()) {
        let bad = json!({"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]});
        let mut pod = json!({"metadata": {}, "spec": {"containers": [more, bad], "volumes": [more], "more": more}});
        let has = |pod: &Value| {
            let verdicts = judged(&strict(), pod, &namespace(&[], &[]));
            [RuleName::BindingsOnly, RuleName::FilesOnly].iter().all(|rule| verdicts.iter().any(|it| it.finding.rule == *rule))
        };
        prop_assert!(has(&pod));
        pod["spec"]["initContainers"] = more;
        prop_assert!(has(&pod));
    }
}
