use proptest::prelude::*;
use serde_json::json;

use super::*;

fn credentials() -> Credentials {
    let object =
        json!({"host": "h", "port": 26257, "username": "u@x", "password": "p/w: d", "uri": "postgres://x"});
    object.as_object().unwrap().clone().into()
}

fn rendered(text: &str) -> Result<Vec<String>, String> {
    let variables = Variables::find(Some(text), None, None, "any").map_err(|error| error.to_string())?;
    let values = variables.render(&credentials()).map_err(|error| error.to_string())?;
    Ok(values.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

fn object(value: &Value) -> Object {
    value.as_object().unwrap().clone()
}

#[test]
fn keys_and_templates_become_values() {
    for (text, expected) in [
        ("DB_URL=uri", vec!["DB_URL=postgres://x"]),
        (" A = host , B = port ", vec!["A=h", "B=26257"]),
        ("A=host\n\nB=port\n", vec!["A=h", "B=26257"]),
        (
            "DSN=pg://{username}:{password}@{host}:{port}/x?a=1,2",
            vec!["DSN=pg://u%40x:p%2Fw%3A%20d@h:26257/x?a=1,2"],
        ),
        ("P={password|raw}", vec!["P=p/w: d"]),
        ("D=Driver={{PostgreSQL}};UID={username|raw}", vec!["D=Driver={PostgreSQL};UID=u@x"]),
        ("spring.datasource.url=uri", vec!["spring.datasource.url=postgres://x"]),
        ("", vec![]),
    ] {
        assert_eq!(rendered(text).unwrap(), expected, "{text:?}");
    }
}

#[test]
fn mistakes_name_the_entry_and_show_no_value() {
    for (text, word) in [
        ("DB_URL", "NAME=key"),
        ("1A=uri", "1A"),
        ("A=", "missing"),
        ("A=uri,A=host", "twice"),
        ("A={uri", "without }"),
        ("A=uri}", "without {"),
        ("A={}", "no key"),
        ("A={uri|base64}", "base64"),
        ("A=url", "no key \"url\"; they have host"),
    ] {
        let message = rendered(text).unwrap_err();
        assert!(
            message.starts_with("annotation bindery.dev/env, entry") && message.contains(word),
            "{message}"
        );
        assert!(!message.contains("p/w"), "{message}");
    }
}

#[test]
fn the_nearest_source_decides() {
    let plan = object(&json!({"bindery": {"env": {"P": "host"}}}));
    let class = object(&json!({"bindery": {"env": "C=host"}, "displayName": "x"}));
    let names = |annotation, plan, class| {
        let variables = Variables::find(annotation, plan, class, "cockroachdb").unwrap();
        variables.render(&credentials()).unwrap().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(Some("A=host"), Some(&plan), Some(&class)), ["A"]);
    assert_eq!(names(None, Some(&plan), Some(&class)), ["P"]);
    assert_eq!(names(None, None, Some(&class)), ["C"]);
    assert_eq!(names(None, None, None), ["COCKROACH_URL"]);
    assert!(names(Some(""), None, None).is_empty());
}

/// The checksum changes with the source that counts, and with no other.
#[test]
fn the_checksum_is_that_of_the_nearest_source() {
    let metadata = |env: Value| object(&json!({"bindery": {"env": env}}));
    let (plan, class) = (metadata(json!({"P": "host"})), metadata(json!("C=host")));
    let of = |annotation: Option<&str>, plan: Option<&Object>, class: Option<&Object>| {
        checksum(annotation, plan, class, "mysql")
    };
    let by_annotation = of(Some("A=host"), Some(&plan), Some(&class));
    assert_eq!(by_annotation, of(Some("A=host"), None, None));
    assert_ne!(by_annotation, of(Some("A=port"), Some(&plan), Some(&class)));
    let by_plan = of(None, Some(&plan), Some(&class));
    assert_eq!(by_plan, of(None, Some(&plan), None));
    let changed = metadata(json!({"P": "port"}));
    assert_ne!(by_plan, of(None, Some(&changed), Some(&class)));
    assert_ne!(by_plan, of(None, None, Some(&class)));
    let (other, nothing) = (object(&json!({"displayName": "x"})), of(None, None, None));
    assert_eq!(of(None, Some(&other), None), nothing, "other metadata does not matter");
    assert_ne!(of(Some(""), None, None), nothing, "an empty annotation asks for no variables");
}

#[test]
fn a_well_known_variable_without_its_key_is_left_out() {
    let variables = Variables::find(None, None, None, "dh-sqs").unwrap();
    let queue: Credentials = object(&json!({"QueueURL": "https://q"})).into();
    assert_eq!(variables.render(&queue).unwrap(), [("QUEUE_URL".to_owned(), "https://q".to_owned())].into());
    assert!(Variables::find(None, None, None, "mysql").unwrap().render(&queue).unwrap().is_empty());
}

#[test]
fn a_service_of_any_name_gives_the_variables_of_its_type() {
    let orders: Credentials = object(&json!({"type": "postgresql", "uri": "postgres://x"})).into();
    let names = |class: Option<&Object>, service, credentials| {
        variables(None, None, class, service, credentials).unwrap().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(None, "orders-db", &orders), ["DATABASE_URL"]);
    assert_eq!(names(None, "cockroachdb", &orders), ["COCKROACH_URL"], "the name is nearer");
    let none = object(&json!({"bindery": {"env": ""}}));
    assert!(names(Some(&none), "orders-db", &orders).is_empty(), "the catalog is nearer");
    let odd: Credentials = object(&json!({"type": ["mysql"], "uri": "u"})).into();
    assert!(names(None, "orders-db", &odd).is_empty());
}

#[test]
fn metadata_of_another_shape_is_an_error() {
    for env in [json!(["A=b"]), json!({"A": 1})] {
        let plan = object(&json!({"bindery": {"env": env}}));
        assert!(Variables::find(None, Some(&plan), None, "x").unwrap_err().to_string().contains("plan"));
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in ".{0,60}|[A-Z={}|,a-z\n]{0,60}") {
        let _ = rendered(&text);
    }

    #[test]
    fn an_encoded_value_decodes_to_itself(password in ".{0,20}") {
        let given: Credentials = object(&json!({"password": password})).into();
        let variables = Variables::find(Some("P={password}"), None, None, "x").unwrap();
        let value = variables.render(&given).unwrap().remove("P").unwrap();
        let decoded = percent_encoding::percent_decode_str(&value).decode_utf8().unwrap();
        prop_assert_eq!(decoded.into_owned(), password);
    }
}

/// Users write the templates: without a limit, a short one would use up the catalog's memory.
#[test]
fn values_cannot_exceed_the_size_of_a_secret() {
    let long =
        json!({"k": "v".repeat(1 << 16), "s": " ".repeat(1 << 16)}).as_object().unwrap().clone().into();
    let render = |text: &str| Variables::find(Some(text), None, None, "any").unwrap().render(&long);
    assert_eq!(render(&format!("A={}", "{k}".repeat(16))).unwrap()["A"].len(), MAX_SIZE);
    for text in [
        format!("A={}", "{k|raw}".repeat(30_000)),
        format!("A={}", "{s}".repeat(6)),
        format!("A={}\nB=k", "{k}".repeat(16)),
    ] {
        let error = render(&text).unwrap_err().to_string();
        assert!(error.contains("exceed 1048576 bytes"), "{error}");
    }
}

/// Comparing each name with all others would take minutes for the longest possible list.
#[test]
fn a_binding_has_a_limited_number_of_variables() {
    let list = |count: usize| (0..count).map(|number| format!("V{number}=k")).collect::<Vec<_>>().join("\n");
    assert!(check_variables(&list(MOST_VARIABLES)).is_ok());
    let error = check_variables(&list(MOST_VARIABLES + 1)).unwrap_err().to_string();
    assert!(error.contains("at most 1000 variables"), "{error}");
}
