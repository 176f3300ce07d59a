//! The settings of a backend, and the parameters of instances and bindings. What AWS does with them is tested in
//! `tests/aws`.

use serde_json::{Value, json};

use super::{
    definition::Access,
    plan::{Granted, Plan, plans},
    settings::Settings,
};
use crate::{
    broker::{
        backends::{Registry, Unacceptable},
        config::{ConfigError, LoadedConfig, plan_id},
    },
    osb::Object,
};

fn configured(settings: &str) -> Result<(), ConfigError> {
    let text = format!("backends:\n  cloud: {{type: aws, {settings}}}\nservices: []");
    Registry::builtin().configure(&LoadedConfig::from_yaml(&text)?.services).map(drop)
}

/// A plan of the backend with these settings.
fn plan(settings: &str, service: &str, plan: &str) -> Plan {
    let text = format!("backends:\n  cloud: {{type: aws, {settings}}}\nservices: []");
    let services = LoadedConfig::from_yaml(&text).unwrap().services;
    let settings = Settings::read(&services.backends[0]).unwrap();
    plans(&settings.services).remove(&plan_id(service, plan)).unwrap()
}

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

#[rstest::rstest]
#[case("regoin: a", "regoin")]
#[case("accessKeyId: AKIA", "backends.cloud.accessKeyId and secretAccessKeyFile belong together")]
#[case(
    "cloudformationRoleArn: deploy",
    "backends.cloud.cloudformationRoleArn is wrong: \"deploy\" is no ARN"
)]
#[case("role: {arn: '*'}", "backends.cloud.role.arn")]
#[case("tags: {team: 'ä'}", "backends.cloud.tags")]
#[case(
    "services: {rds: {}}",
    "backends.cloud.services.rds.type is \"rds\", which bindery has no template for; take one of dh-sqs"
)]
#[case(
    "services: {s3: {credentials: {default: session, allowed: [user]}}}",
    "services.s3.credentials.default"
)]
#[case("services: {s3: {values: {Color: red}}}", "services.s3.values.Color is no parameter")]
#[case(
    "services: {sqs: {defaults: {DelaySeconds: 901}}}",
    "services.sqs.defaults.DelaySeconds is 901; take 0 to 900"
)]
#[case("services: {sqs: {validFor: {default: 2h, maximum: 1h}}}", "services.sqs.validFor.default")]
fn a_wrong_setting_is_named_with_its_remedy(#[case] settings: &str, #[case] named: &str) {
    let message = configured(settings).unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
}

#[test]
fn the_names_of_the_aws_service_broker_are_understood() {
    configured("region: eu-west-1, aws_cloudformation_role_arn: 'arn:aws:iam::123456789012:role/deploy'")
        .unwrap();
    configured("").unwrap();
}

#[test]
fn a_plan_of_the_configuration_cannot_be_on_the_backend() {
    let text = "backends: {cloud: {type: aws}}\nservices: [{id: s, name: s, type: sqs, description: d, plans: [{name: p, description: d, backend: cloud}]}]";
    let loaded = LoadedConfig::from_yaml(text).unwrap();
    let message = Registry::builtin().configure(&loaded.services).err().unwrap().to_string();
    assert!(message.contains("list them under `services` of the backend"), "{message}");
}

#[test]
fn the_last_value_of_a_parameter_counts() {
    let settings = "services: {queue: {type: dh-sqs, defaults: {DelaySeconds: 1, VisibilityTimeout: 2}, values: {MaximumMessageSize: 2048}}}";
    let plan = plan(settings, "queue", "standard");
    let values =
        plan.stack_parameters(&object(json!({"DelaySeconds": 3, "UsedeadletterQueue": true}))).unwrap();
    let value = |name: &str| values[name].as_str();
    assert_eq!(value("DelaySeconds"), "3", "the user before the backend's default");
    assert_eq!(value("VisibilityTimeout"), "2", "the backend's default before the template's");
    assert_eq!(value("MessageRetentionPeriod"), "345600", "the template's default");
    assert_eq!((value("MaximumMessageSize"), value("FifoQueue")), ("2048", "false"), "what is prescribed");
    assert_eq!(value("UsedeadletterQueue"), "true");
}

#[rstest::rstest]
#[case(json!({"Color": "red"}), "parameter Color: is unknown")]
#[case(json!({"FifoQueue": true}), "parameter FifoQueue: is fixed by the plan")]
#[case(json!({"DelaySeconds": "901"}), "parameter DelaySeconds: is 901; take 0 to 900")]
fn a_wrong_parameter_is_named(#[case] parameters: Value, #[case] named: &str) {
    let error = plan("", "dh-sqs", "standard").stack_parameters(&object(parameters)).unwrap_err();
    assert!(error.to_string().contains(named), "{error}");
}

#[test]
fn a_parameter_without_a_default_must_be_given() {
    let error = plan("", "sns", "topicwithsub").stack_parameters(&Object::new()).unwrap_err();
    assert!(error.to_string().contains("parameter Endpoint: is missing"), "{error}");
    let topic = plan("", "sns", "topic").stack_parameters(&Object::new()).unwrap();
    assert_eq!(topic["Endpoint"], "");
}

#[test]
fn a_change_that_replaces_the_resource_is_refused() {
    let plan = plan("", "dynamodb", "hashrange");
    let table = |more: Value| {
        let mut parameters = object(json!({"HashAttributeName": "user"}));
        parameters.extend(object(more));
        parameters
    };
    plan.check_change(&table(json!({})), &table(json!({"BillingMode": "PROVISIONED"}))).unwrap();
    let refused = plan.check_change(&table(json!({})), &table(json!({"RangeAttributeType": "N"})));
    let Err(Unacceptable::Unsupported(message)) = refused else { panic!("{refused:?}") };
    assert!(message.contains("RangeAttributeType"), "{message}");
}

#[test]
fn a_binding_gets_what_the_plan_allows() {
    let plan = plan(
        "services: {s3: {access: {default: read, allowed: [read]}, validFor: {maximum: 2h}}}",
        "s3",
        "custom",
    );
    let grant = |parameters: Value| plan.grant(&object(parameters)).map_err(|error| error.to_string());
    assert_eq!(grant(json!({})), Ok(Granted::User(Access::Read)));
    let session = grant(json!({"credentials": "session", "validFor": "90m"}));
    assert_eq!(session, Ok(Granted::Session(Access::Read, std::time::Duration::from_mins(90))));
    for (parameters, named) in [
        (json!({"access": "owner"}), "access"),
        (json!({"validFor": "1h"}), "credentials: session"),
        (json!({"credentials": "session", "validFor": "3h"}), "more than the plan allows"),
        (json!({"credentials": "session", "validFor": "5m"}), "15m to 12h"),
        (json!({"credentials": "role"}), "credentials"),
        (json!({"RoleName": "x"}), "RoleName"),
    ] {
        let message = grant(parameters).unwrap_err();
        assert!(message.contains(named), "{message}");
    }
}
