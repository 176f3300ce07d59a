//! The settings of a backend, and the parameters of instances and bindings. What AWS does with them is tested in
//! `tests/aws`.

use serde_json::{Value, json};

use super::{
    grant::Granted,
    overrides::Place,
    plan::{Plan, plans},
    settings::Settings,
    templates::Definitions,
};
use crate::{
    broker::{
        backends::{Registry, Unacceptable, access::Access},
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
    plan_in(settings, &[], service, plan).unwrap()
}

/// The same in an environment with these variables.
fn plan_in(
    settings: &str,
    environment: &[(&str, &str)],
    service: &str,
    plan: &str,
) -> Result<Plan, ConfigError> {
    let text = format!("backends:\n  cloud: {{type: aws, {settings}}}\nservices: []");
    let services = LoadedConfig::from_yaml(&text).unwrap().services;
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = Settings::read(&services.backends[0], environment)?;
    let offered = settings.services(&Definitions::built_in())?;
    Ok(plans(&offered, &settings.rules).remove(&plan_id(service, plan)).unwrap())
}

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

#[rstest::rstest]
#[case("regoin: a", "regoin")]
#[case("accessKeyId: AKIA", "backends.cloud.accessKeyId and secretAccessKeyFile belong together")]
#[case("templates: {}", "backends.cloud.templates names no place; set one of `directory` and `bucket`")]
#[case("templates: {directory: /d, prefix: p}", "which belong to `bucket`")]
#[case("templates: {directory: /nonexistent}", "backends.cloud.templates.directory cannot be read")]
#[case("accessKeyIdFile: /key/id", "backends.cloud.accessKeyId and secretAccessKeyFile belong together")]
#[case(
    "accessKeyId: AKIA, accessKeyIdFile: /key/id, secretAccessKeyFile: /key/secret",
    "backends.cloud.accessKeyId and accessKeyIdFile are the same"
)]
#[case(
    "cloudformationRoleArn: deploy",
    "backends.cloud.cloudformationRoleArn is wrong: \"deploy\" is no ARN"
)]
#[case("role: {arn: '*'}", "backends.cloud.role.arn")]
#[case("tags: {team: 'ä'}", "backends.cloud.tags")]
#[case(
    "services: {rds: {}}",
    "backends.cloud.services.rds.type is \"rds\", which is not offered: bindery has no template for it; take one of athena"
)]
#[case("services: {rdsoracle: {}}", "bindery makes no users of Oracle")]
#[case("services: {rdspostgresql: {}}", "backends.cloud.services.rdspostgresql is a database of Amazon RDS")]
#[case(
    "services: {athena: {}}",
    "services.athena.values lacks parameters that only the operator sets; set them: S3Source"
)]
#[case("services: {s3: {credentials: {allowed: [user, irsa]}}}", "irsa, which needs eks.oidcProviderArn")]
#[case("eks: {oidcProviderArn: oidc}", "backends.cloud.eks.oidcProviderArn is wrong")]
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
    let values = plan
        .stack_parameters(&Place::default(), &object(json!({"DelaySeconds": 3, "UsedeadletterQueue": true})))
        .unwrap();
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
    let error =
        plan("", "dh-sqs", "standard").stack_parameters(&Place::default(), &object(parameters)).unwrap_err();
    assert!(error.to_string().contains(named), "{error}");
}

#[test]
fn a_parameter_without_a_default_must_be_given() {
    let error =
        plan("", "sns", "topicwithsub").stack_parameters(&Place::default(), &Object::new()).unwrap_err();
    assert!(error.to_string().contains("parameter Endpoint: is missing"), "{error}");
    let topic = plan("", "sns", "topic").stack_parameters(&Place::default(), &Object::new()).unwrap();
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
    plan.check_change(&Place::default(), &table(json!({})), &table(json!({"BillingMode": "PROVISIONED"})))
        .unwrap();
    let refused =
        plan.check_change(&Place::default(), &table(json!({})), &table(json!({"RangeAttributeType": "N"})));
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
    let grant = |parameters: Value| {
        plan.service.grant(&object(parameters), &Object::new()).map_err(|error| error.to_string())
    };
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

#[test]
fn an_override_is_more_than_the_user_and_less_than_what_is_prescribed() {
    let environment = [
        ("PARAM_OVERRIDE_awsservicebroker_all_all_sqs_DelaySeconds", "9"),
        ("PARAM_OVERRIDE_awsservicebroker_all_all_all_FifoQueue", "true"),
        ("PARAM_OVERRIDE_awsservicebroker_all_all_all_MaximumMessageSize", "4096"),
        ("PARAM_OVERRIDE_awsservicebroker_all_all_all_VpcId", "vpc-1"),
    ];
    let settings = "services: {sqs: {values: {MaximumMessageSize: 2048}}}";
    let plan_of = |settings: &str| plan_in(settings, &environment, "sqs", "standard").unwrap();
    let plan = plan_of(settings);
    let values = plan.stack_parameters(&Place::default(), &object(json!({"DelaySeconds": 3}))).unwrap();
    assert_eq!(values["DelaySeconds"], "9", "the override before the user");
    assert_eq!((values["FifoQueue"].as_str(), values["MaximumMessageSize"].as_str()), ("false", "2048"));

    let plan = plan_of(&format!("prescribeOverrides: true, {settings}"));
    let refused = plan.stack_parameters(&Place::default(), &object(json!({"DelaySeconds": 3}))).unwrap_err();
    assert!(refused.to_string().contains("DelaySeconds: is fixed"), "{refused}");
    let values = plan.stack_parameters(&Place::default(), &Object::new()).unwrap();
    assert_eq!(values["DelaySeconds"], "9");
}

#[test]
fn an_override_for_all_instances_sets_what_only_the_operator_may_set() {
    let environment = [("PARAM_OVERRIDE_awsservicebroker_all_all_athena_S3Source", "s3://sales/2026/")];
    let plan = plan_in("", &environment, "athena", "default").unwrap();
    let values = plan.stack_parameters(&Place::default(), &Object::new()).unwrap();
    assert_eq!(values["S3Source"], "s3://sales/2026/");
    let asked = object(json!({"S3Source": "s3://salaries/2026/"}));
    let refused = plan.stack_parameters(&Place::default(), &asked).unwrap_err().to_string();
    assert!(refused.contains("S3Source: is set by the operator"), "{refused}");
}

#[rstest::rstest]
#[case("DelaySeconds", "901", "PARAM_OVERRIDE_mine_all_shop_all_DelaySeconds is 901; take 0 to 900")]
#[case("region", "us-east-1", "a backend is in one region and one account; set its `region`")]
#[case("target_role_name", "r", "set its `role`, or add a backend")]
#[case("admin_tags", "team=shop", "is no list of tags")]
fn a_wrong_override_is_named_with_its_remedy(
    #[case] parameter: &str,
    #[case] value: &str,
    #[case] named: &str,
) {
    let variable = format!("PARAM_OVERRIDE_mine_all_shop_all_{parameter}");
    let environment = [(variable.as_str(), value)];
    let settings = "region: eu-west-1, brokerId: mine";
    let message = plan_in(settings, &environment, "sqs", "standard").unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
    plan_in("region: eu-west-1", &environment, "sqs", "standard").unwrap();
}

#[test]
fn tags_come_from_the_user_and_from_overrides() {
    let environment =
        [("PARAM_OVERRIDE_awsservicebroker_all_all_all_admin_tags", r#"[{"Key": "cost", "Value": "7"}]"#)];
    let plan = plan_in("userTags: [team]", &environment, "sqs", "standard").unwrap();
    let given = |team: &str| object(json!({"user_tags": [{"Key": "team", "Value": team}]}));
    let tags = plan.tags(&Place::default(), &given("shop")).unwrap();
    assert_eq!(tags, [("cost", "7"), ("team", "shop")].map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    assert!(plan.stack_parameters(&Place::default(), &given("shop")).is_ok());
    let changed = plan.check_change(&Place::default(), &given("shop"), &given("bank"));
    assert!(matches!(changed, Err(Unacceptable::Unsupported(_))), "{changed:?}");
    let foreign = object(json!({"user_tags": [{"Key": "cost", "Value": "8"}]}));
    let message = plan.stack_parameters(&Place::default(), &foreign).unwrap_err().to_string();
    assert!(message.contains("allows only team"), "{message}");
}
