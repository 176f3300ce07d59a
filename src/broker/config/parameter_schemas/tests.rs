//! Which schemas are accepted, the messages about parameters, and that no message repeats a text from the request.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn of(schemas: Value) -> Result<Schemas, SchemaError> {
    let mut plan: Plan = serde_json::from_value(json!({"id": "p", "name": "p", "description": "d"})).unwrap();
    plan.schemas = Some(schemas);
    Schemas::of(&plan)
}

/// The schemas of a plan with this schema for new instances.
fn creating(mut schema: Value) -> Result<Schemas, SchemaError> {
    for (keyword, value) in [("$schema", DIALECT), ("type", "object")] {
        if schema.get(keyword).is_none() {
            schema[keyword] = value.into();
        }
    }
    of(json!({"service_instance": {"create": {"parameters": schema}}}))
}

fn object(value: &Value) -> Object {
    value.as_object().unwrap().clone()
}

fn said(schema: Value, parameters: &Value) -> String {
    creating(schema).unwrap().check_create(&object(parameters)).unwrap_err().to_string()
}

#[test]
fn without_a_schema_everything_passes() {
    let anything = object(&json!({"a": [1, {"b": null}]}));
    for schemas in [json!({}), json!({"service_instance": {"create": {}}}), json!({"service_binding": {}})] {
        let schemas = of(schemas).unwrap();
        assert!(schemas.check_create(&anything).is_ok());
        assert!(schemas.check_update(&anything).is_ok());
        assert!(schemas.check_bind(&anything).is_ok());
    }
    assert!(Schemas::default().check_create(&anything).is_ok());
}

#[test]
fn each_action_has_its_own_schema() {
    let only = |name: &str| json!({"$schema": DIALECT, "type": "object", "required": [name]});
    let schemas = of(json!({
        "service_instance": {"create": {"parameters": only("c")}, "update": {"parameters": only("u")}},
        "service_binding": {"create": {"parameters": only("b")}},
    }))
    .unwrap();
    let having = |name: &str| object(&json!({name: 1}));
    assert!(schemas.check_create(&having("c")).is_ok() && schemas.check_create(&having("u")).is_err());
    assert!(schemas.check_update(&having("u")).is_ok() && schemas.check_update(&having("b")).is_err());
    assert!(schemas.check_bind(&having("b")).is_ok() && schemas.check_bind(&having("c")).is_err());
}

/// Platforms must support draft-04 and no other draft; Cloud Foundry rejects the catalog for any of these.
#[rstest::rstest]
#[case::draft_06(json!({"$schema": "http://json-schema.org/draft-06/schema#"}), "draft-06")]
#[case::draft_07(json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "write `$schema: http://json-schema.org/draft-04/schema#`")]
#[case::draft_2020(json!({"$schema": "https://json-schema.org/draft/2020-12/schema"}), "2020-12")]
#[case::no_object(json!({"type": "string"}), "write `type: object`")]
#[case::types(json!({"type": ["object", "null"]}), "write `type: object`")]
#[case::exclusive(json!({"properties": {"a": {"exclusiveMaximum": 5}}}), "write the number as `maximum`, and `exclusiveMaximum: true`")]
#[case::exclusive_alone(json!({"properties": {"a": {"exclusiveMinimum": true}}}), "minimum")]
#[case::all(json!({"properties": {"a": true}}), "a schema that allows everything is {}")]
#[case::none(json!({"properties": {"a": false}}), "a schema that allows nothing is {not: {}}")]
#[case::required(json!({"required": []}), "/required")]
#[case::repeated(json!({"properties": {"a": {"enum": [1, 1]}}}), "/properties/a/enum")]
#[case::nothing(json!({"properties": {"a": {"enum": []}}}), "/properties/a/enum")]
#[case::constant(json!({"properties": {"a": {"const": 1}}}), "draft-04 ignores `const`; write `enum`")]
#[case::names(json!({"propertyNames": {"maxLength": 3}}), "\"/propertyNames\"")]
#[case::within_a_list(json!({"allOf": [{}, {"contains": {}}]}), "\"/allOf/1/contains\"")]
#[case::within_items(json!({"properties": {"a": {"items": [{"if": {}}]}}}), "\"/properties/a/items/0/if\"")]
#[case::within_definitions(json!({"definitions": {"d": {"not": {"$defs": {}}}}}), "\"/definitions/d/not/$defs\"")]
#[case::within_dependencies(json!({"dependencies": {"a": ["b"], "c": {"prefixItems": []}}}), "\"/dependencies/c/prefixItems\"")]
fn what_is_not_of_draft_04_is_refused_with_what_draft_04_has(#[case] schema: Value, #[case] named: &str) {
    let error = creating(schema).unwrap_err();
    assert_eq!(error.path, "schemas.service_instance.create.parameters");
    assert!(error.problem.contains(named), "{error}");
}

/// A parameter may have the name of a keyword, and a value may contain anything.
#[test]
fn only_keywords_are_keywords() {
    let schema = json!({"properties": {"const": {"type": "string", "default": {"if": 1}}, "if": {"enum": [{"const": 1}]}},
        "definitions": {"contains": {}}, "required": ["const"]});
    creating(schema).unwrap();
}

#[test]
fn a_limit_may_exclude_itself() {
    let schema = json!({"properties": {"size": {"maximum": 5, "exclusiveMaximum": true}}});
    assert_eq!(said(schema, &json!({"size": 5})), "parameters/size: 5 is not less than 5");
}

#[rstest::rstest]
#[case::no_object(json!([]), "schemas", "is no object")]
#[case::unknown_part(json!({"service_instances": {}}), "schemas.service_instances", "`service_instance`")]
#[case::unknown_action(json!({"service_binding": {"update": {}}}), "schemas.service_binding.update", "`create`")]
#[case::no_parameters(json!({"service_instance": {"create": {"type": "object"}}}), "schemas.service_instance.create.type", "`parameters`")]
#[case::boolean(json!({"service_instance": {"update": {"parameters": true}}}), "schemas.service_instance.update.parameters", "JSON Schema")]
#[case::no_dialect(json!({"service_instance": {"create": {"parameters": {}}}}), "schemas.service_instance.create.parameters", "$schema")]
#[case::other_dialect(json!({"service_binding": {"create": {"parameters": {"$schema": "http://example.com/s"}}}}),
    "schemas.service_binding.create.parameters", "draft-04")]
fn the_shape_is_the_specifications(#[case] schemas: Value, #[case] path: &str, #[case] named: &str) {
    let error = of(schemas).unwrap_err();
    assert_eq!(error.path, path);
    assert!(error.problem.contains(named), "{error}");
}

#[rstest::rstest]
#[case::wrong_type(json!({"properties": {"a": {"type": "objekt"}}}), "/properties/a/type")]
#[case::wrong_keyword(json!({"properties": {"a": {"minLength": "1"}}}), "/properties/a/minLength")]
#[case::http(json!({"properties": {"a": {"$ref": "http://example.com/schema.json"}}}), "refer to this schema only")]
#[case::file(json!({"$ref": "file:///etc/passwd"}), "refer to this schema only")]
#[case::relative(json!({"$ref": "other.json"}), "refer to this schema only")]
#[case::dangling(json!({"$ref": "#/definitions/none"}), "refer to this schema only")]
#[case::backtracking(json!({"properties": {"a": {"pattern": "(?=a)b"}}}), "/properties/a/pattern")]
#[case::large(json!({"title": "x".repeat(LARGEST)}), "65536")]
fn schemas_that_cannot_be_used_are_refused(#[case] schema: Value, #[case] named: &str) {
    let error = creating(schema).unwrap_err();
    assert_eq!(error.path, "schemas.service_instance.create.parameters");
    assert!(error.problem.contains(named), "{error}");
}

#[rstest::rstest]
#[case::maximum(json!({"maximum": 5}), json!(7), "parameters/a: 7 is greater than the maximum of 5")]
#[case::minimum(json!({"minimum": 5}), json!(-1), "parameters/a: -1 is less than the minimum of 5")]
#[case::kind(json!({"type": "integer"}), json!("s3cret"), "parameters/a: the text is not of type integer")]
#[case::never(json!({"not": {}}), json!("s3cret"), "parameters/a: has a form that is not allowed")]
#[case::kinds(json!({"type": ["boolean", "null"]}), json!(1), "parameters/a: 1 is not of type null or boolean")]
#[case::choice(json!({"enum": ["small", "big"]}), json!("s3cret"), "parameters/a: the text is not one of [\"small\",\"big\"]")]
#[case::pattern(json!({"pattern": "^[a-z]+$"}), json!("s3cret"), "parameters/a: does not match the pattern \"^[a-z]+$\"")]
#[case::format(json!({"format": "ipv4"}), json!("s3cret"), "parameters/a: is not of the format \"ipv4\"")]
#[case::short(json!({"minLength": 9}), json!("s3cret"), "parameters/a: is shorter than 9 characters")]
#[case::item(json!({"items": {"type": "string"}}), json!(["s3cret", 5]), "parameters/a/1: 5 is not of type string")]
#[case::same(json!({"uniqueItems": true}), json!(["s3cret", "s3cret"]), "parameters/a: has the same item twice")]
#[case::forms(json!({"anyOf": [{"type": "null"}, {"type": "integer"}]}), json!("s3cret"), "parameters/a: matches none of the allowed forms")]
#[case::excluded(json!({"not": {"type": "string"}}), json!("s3cret"), "parameters/a: has a form that is not allowed")]
#[case::nested(json!({"required": ["b"]}), json!({"c": "s3cret"}), "parameters/a: \"b\" is required")]
#[case::unknown_beside(json!({"additionalProperties": false, "properties": {"b": {}}}), json!({"b": 1, "c": "s3cret"}), "parameters/a: \"c\" is not allowed here")]
#[case::unknown(json!({"additionalProperties": false}), json!({"c": "s3cret"}), "parameters/a: has a member, and none is allowed here")]
fn place_and_rule_are_named_and_no_text_is_repeated(
    #[case] rule: Value,
    #[case] given: Value,
    #[case] expected: &str,
) {
    assert_eq!(said(json!({"properties": {"a": rule}}), &json!({"a": given})), expected);
}

#[test]
fn five_violations_are_listed() {
    let schema = json!({"additionalProperties": {"type": "integer"}});
    let many = said(schema, &json!({"a": "", "b": "", "c": "", "d": "", "e": "", "f": "", "g": ""}));
    assert_eq!(many.matches("is not of type integer").count(), VIOLATIONS_LISTED, "{many}");
}

#[test]
fn long_names_are_cut() {
    let long = "n".repeat(10_000);
    let message = said(json!({"additionalProperties": {"type": "null"}}), &json!({long: 1}));
    assert!(message.len() < 300, "{message}");
}

/// A reference may be recursive.
#[rstest::rstest]
#[case(json!({"$ref": "#"}))]
#[case(json!({"allOf": [{"$ref": "#"}]}))]
#[case(json!({"definitions": {"a": {"anyOf": [{"$ref": "#/definitions/b"}]}, "b": {"$ref": "#/definitions/a"}},
    "properties": {"x": {"$ref": "#/definitions/a"}}}))]
fn references_in_a_circle_come_to_an_end(#[case] schema: Value) {
    if let Ok(schemas) = creating(schema) {
        let _ = schemas.check_create(&object(&json!({"x": {"x": 1}})));
    }
}

#[test]
fn a_nested_kind_may_refer_to_itself() {
    let schema = json!({"properties": {"child": {"$ref": "#"}, "size": {"type": "integer"}}});
    let message = said(schema, &json!({"child": {"child": {"size": "s3cret"}}}));
    assert_eq!(message, "parameters/child/child/size: the text is not of type integer");
}

/// A classic case of catastrophic backtracking.
#[test]
fn no_pattern_takes_long() {
    let schemas = creating(json!({"properties": {"a": {"pattern": "^(a+)+$"}}})).unwrap();
    let began = std::time::Instant::now();
    let text = format!("{}!", "a".repeat(100_000));
    assert!(schemas.check_create(&object(&json!({"a": text}))).is_err());
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}

const KEYWORDS: [&str; 24] = [
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "const",
    "minimum",
    "maximum",
    "pattern",
    "format",
    "additionalProperties",
    "patternProperties",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "$ref",
    "minLength",
    "uniqueItems",
    "contains",
    "propertyNames",
    "definitions",
];

/// Generates JSON whose objects have these members; `text` generates the strings.
fn json_of(
    names: impl Strategy<Value = String> + Clone + 'static,
    text: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn keyword() -> impl Strategy<Value = String> + Clone {
    prop::sample::select(KEYWORDS.as_slice()).prop_map(str::to_owned)
}

/// Values of keywords: types, references, patterns.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("string".to_owned()),
        Just("object".to_owned()),
        Just("#".to_owned()),
        Just("#/definitions/type".to_owned()),
        "[a-z(*+?\\\\]{0,6}",
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_no_text_comes_back(
        members in prop::collection::btree_map(keyword(), json_of(keyword(), word()), 0..6),
        parameters in prop::collection::btree_map(keyword(), json_of(keyword(), Just("s3cret".to_owned())), 0..5),
    ) {
        let schema = Value::Object(members.into_iter().collect());
        if let Ok(schemas) = creating(schema) {
            let parameters: Object = parameters.into_iter().collect();
            if let Err(violations) = schemas.check_create(&parameters) {
                prop_assert!(!violations.to_string().contains("s3cret"), "{violations}");
            }
        }
    }

    #[test]
    fn any_json_is_a_plan_or_an_error(schemas in json_of(keyword(), word())) {
        let _ = of(schemas);
    }
}
