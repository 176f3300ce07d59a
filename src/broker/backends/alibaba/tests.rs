//! The settings of a backend, and the parameters of instances and bindings. What Alibaba Cloud does with them is tested in
//! `tests/alibaba`.

use std::{io::Write as _, sync::Arc};

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::{
    catalog::{Engine, Product},
    grant::{AccountGrant, BucketGrant, Holder},
    plan::{Plan, catalog_entry, plans},
    server_parameters::WantedServer,
    settings::Settings,
};
use crate::{
    broker::{
        backends::{BindingSpec, InstanceSpec, Registry, Unacceptable, access::Access},
        config::{ConfigError, LoadedConfig, Schemas},
    },
    osb::Object,
};

const SELF_DEFINE: &str = "rds-self-define";

fn configured(settings: &str) -> Result<(), ConfigError> {
    let text = format!("backends:\n  cloud: {{type: alibaba, {settings}}}\nservices: []");
    Registry::builtin().configure(&LoadedConfig::from_yaml(&text)?.services).map(drop)
}

fn settings(text: &str) -> Arc<Settings> {
    let text = format!("backends:\n  cloud: {{type: alibaba, {text}}}\nservices: []");
    let services = LoadedConfig::from_yaml(&text).unwrap().services;
    Arc::new(Settings::read(&services.backends[0], []).unwrap())
}

/// A plan of the backend with these settings.
fn plan(of: &str, name: &str) -> Plan {
    let settings = settings(of);
    let offered = plans(&settings.services, &settings);
    offered.into_values().find(|plan| plan.definition.name == name).unwrap()
}

fn object(value: Value) -> Object {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

fn server(plan: &Plan, parameters: Value) -> Result<WantedServer, Unacceptable> {
    let Product::Rds(definition) = &plan.definition.product else { panic!("no server") };
    plan.server(definition, &object(parameters))
}

fn account(plan: &Plan, parameters: Value) -> Result<AccountGrant, Unacceptable> {
    let Product::Rds(definition) = &plan.definition.product else { panic!("no server") };
    plan.account(definition, &object(parameters))
}

fn bucket_grant(plan: &Plan, parameters: Value) -> Result<BucketGrant, Unacceptable> {
    bucket_grant_in(plan, parameters, json!({}))
}

fn bucket_grant_in(plan: &Plan, parameters: Value, context: Value) -> Result<BucketGrant, Unacceptable> {
    let Product::Oss(definition) = &plan.definition.product else { panic!("no bucket") };
    let (parameters, context) = (object(parameters), object(context));
    let binding = BindingSpec { id: "b".into(), parameters, context, bind_resource: Object::new() };
    plan.bucket_grant(definition, &binding)
}

fn instance(plan: &Plan, parameters: &Value) -> InstanceSpec {
    let value = json!({"id": "i", "service_id": "s", "plan_id": plan.definition.id, "organization_guid": "o",
        "space_guid": "s", "parameters": parameters, "context": {}, "maintenance_version": null});
    serde_json::from_value(value).unwrap()
}

#[rstest::rstest]
#[case("regoin: a", "regoin")]
#[case("region: Hangzhou", "backends.cloud.region is \"Hangzhou\"; write it as cn-hangzhou")]
#[case("region: oss-cn-hangzhou", "backends.cloud.region")]
#[case("accessKeyId: LTAI", "backends.cloud.accessKeyId and accessKeySecretFile belong together")]
#[case(
    "accessKeyId: LTAI, accessKeyIdFile: /key/id, accessKeySecretFile: /key/secret",
    "backends.cloud.accessKeyId and accessKeyIdFile are the same"
)]
#[case("role: {arn: 'arn:aws:iam::1:role/x'}", "backends.cloud.role.arn")]
#[case("endpoints: {rds: 'ftp://x'}", "backends.cloud.endpoints.rds")]
#[case("endpoints: {ecs: 'https://x'}", "backends.cloud.endpoints")]
#[case("securityIps: ['10.0.0.0/40']", "backends.cloud.securityIps has \"10.0.0.0/40\"")]
#[case("securityIps: [everybody]", "backends.cloud.securityIps")]
#[case("tags: {team: 'ä'}", "backends.cloud.tags")]
#[case("tags: {'bindery:instance': x}", "backends.cloud.tags")]
#[case(
    "release: {reclaimPolicy: {default: retain, allowed: [delete]}}",
    "backends.cloud.release.reclaimPolicy.default"
)]
#[case("release: {keepBackups: some}", "backends.cloud.release.keepBackups")]
#[case("catalogFile: /nonexistent", "backends.cloud.catalogFile cannot be read")]
#[case("services: [ots]", "backends.cloud.services has \"ots\", which the catalog does not have")]
fn a_wrong_setting_is_named_with_its_remedy(#[case] settings: &str, #[case] named: &str) {
    let message = configured(settings).unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
}

#[test]
fn every_setting_may_be_left_out() {
    configured("").unwrap();
    configured("securityIps: ['0.0.0.0/0']").unwrap();
}

#[test]
fn a_plan_of_the_configuration_cannot_be_on_the_backend() {
    let text = "backends: {cloud: {type: alibaba}}\nservices: [{id: s, name: s, type: oss, description: d, plans: [{name: p, description: d, backend: cloud}]}]";
    let loaded = LoadedConfig::from_yaml(text).unwrap();
    let message = Registry::builtin().configure(&loaded.services).err().unwrap().to_string();
    assert!(message.contains("set `catalogFile` of the backend"), "{message}");
}

#[rstest::rstest]
#[case("plans: [{id: p, name: p, description: d}]", "needs either `rds` or `oss`")]
#[case(
    "plans: [{id: p, name: p, description: d, oss: {acl: {default: public-read, allowed: [private]}}}]",
    "plan \"p\": acl.default"
)]
#[case(
    "plans: [{id: p, name: p, description: d, access: {default: read}, rds: {engine: PostgreSQL, engineVersion: '17.0', class: c, storage: 20}}]",
    "no lesser privilege for PostgreSQL"
)]
fn a_mistake_in_a_catalog_file_is_named(#[case] plans: &str, #[case] named: &str) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "services: [{{id: s, name: s, description: d, {plans}}}]").unwrap();
    let message = configured(&format!("catalogFile: {}", file.path().display())).unwrap_err().to_string();
    assert!(message.contains("catalogFile") && message.contains(named), "{message}");
}

#[test]
fn the_schemas_take_numbers_and_numbers_as_text() {
    let settings = settings("");
    let mysql = settings.services.iter().find(|service| service.name == "alibaba-cloud-rds-mysqldb").unwrap();
    let entry = catalog_entry(mysql, &settings);
    let plan = entry.plans.iter().find(|plan| plan.name == SELF_DEFINE).unwrap();
    let schemas = &plan.schemas.as_ref().unwrap()["service_instance"]["create"]["parameters"];
    assert!(schemas["properties"]["Storage"]["anyOf"].is_array());
    Schemas::of(plan).unwrap();
    let plan = super::tests::plan("", SELF_DEFINE);
    for (given, storage, version) in [
        (json!({"Storage": 100, "EngineVersion": 8.0}), 100, "8.0"),
        (json!({"Storage": "100", "EngineVersion": "8.0"}), 100, "8.0"),
        (json!({"Storage": 100.0, "EngineVersion": 8}), 100, "8.0"),
        (json!({"Storage": null, "EngineVersion": ""}), 20, "5.6"),
    ] {
        let wanted = server(&plan, given).unwrap();
        assert_eq!((wanted.storage, wanted.engine_version.as_str()), (storage, version));
    }
}

#[test]
fn the_examples_of_the_former_broker_are_understood() {
    let plan = plan("", SELF_DEFINE);
    let wanted =
        server(&plan, json!({"Type": "VPC", "Class": "rds.mysql.s2.large", "Storage": 100})).unwrap();
    assert_eq!(
        (wanted.engine, wanted.class.as_str(), wanted.storage),
        (Engine::MySQL, "rds.mysql.s2.large", 100)
    );
}

#[rstest::rstest]
#[case(json!({"NetworkType": "classic"}), "parameter NetworkType: is refused: Alibaba Cloud has only VPCs")]
#[case(json!({"Engine": "SQLServer"}), "parameter Engine")]
#[case(json!({"Storage": 21}), "parameter Storage: \"21\" is not a number of GB")]
#[case(json!({"Storage": "a lot"}), "parameter Storage")]
#[case(json!({"Storage": [20]}), "parameter Storage is not understood")]
#[case(json!({"EngineVersion": "eight"}), "parameter EngineVersion")]
#[case(json!({"Class": "a b"}), "parameter Class")]
#[case(json!({"ZoneId": "a&b=c"}), "parameter ZoneId: is no id")]
#[case(json!({"VpcID": "vpc-other"}), "parameter VpcID: is set by the operator")]
#[case(json!({"reclaimPolicy": "retain"}), "parameter reclaimPolicy")]
#[case(json!({"Colour": "red"}), "Colour")]
fn a_wrong_parameter_is_named(#[case] given: Value, #[case] named: &str) {
    let message = server(&plan("network: {vpcId: vpc-1}", SELF_DEFINE), given).unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
}

#[test]
fn what_the_plan_fixes_is_refused() {
    let fixed = plan("", "rds-mysql-t1-small");
    let message = server(&fixed, json!({"Class": "rds.mysql.s2.large"})).unwrap_err().to_string();
    assert!(message.contains("parameter Class: is fixed by the plan"), "{message}");
    server(&fixed, json!({"Class": "rds.mysql.t1.small"})).unwrap();
}

#[test]
fn class_and_storage_may_change_and_nothing_else() {
    let (from, to) = (plan("", SELF_DEFINE), plan("", SELF_DEFINE));
    let changed = |parameters: Value| {
        from.check_change(&instance(&from, &json!({"Storage": 50})), &to, &object(parameters))
    };
    changed(json!({"Storage": 100, "Class": "rds.mysql.m1.medium"})).unwrap();
    changed(json!({"Storage": 50, "DeletionProtection": true})).unwrap();
    for (parameters, named) in [
        (json!({"Storage": 20}), "storage only grows"),
        (json!({"Storage": 50, "EngineVersion": 8.0}), "EngineVersion cannot be changed"),
        (json!({"Storage": 50, "ZoneId": "cn-hangzhou-b"}), "ZoneId cannot be changed"),
    ] {
        let Err(Unacceptable::Unsupported(message)) = changed(parameters) else { panic!("{named}") };
        assert!(message.contains(named), "{message}");
    }
    let bucket = plan("", "default");
    assert!(from.check_change(&instance(&from, &json!({})), &bucket, &Object::new()).is_err());
    let larger = plan("", "rds-mysql-s2-large");
    let smaller = plan("", "rds-mysql-t1-small");
    smaller.check_change(&instance(&smaller, &json!({})), &larger, &Object::new()).unwrap();
}

#[test]
fn the_callers_key_is_refused_and_not_repeated() {
    let plan = plan("", "default");
    let message = plan.check(&object(json!({"AccessKeySecret": "s3cret"}))).unwrap_err().to_string();
    assert!(message.contains("keeps no key of yours") && !message.contains("s3cret"), "{message}");
    plan.check(&object(json!({"AccessKeyId": "", "AccessKeySecret": null}))).unwrap();
}

#[rstest::rstest]
#[case("default", json!({"Acl": "public-read"}), Some("parameter Acl"))]
#[case("oss-self-define", json!({"Acl": "Public Read", "StorageClass": "Archive Storage"}), None)]
#[case("oss-self-define", json!({"ACL": "private", "Region": "oss-cn-hangzhou"}), None)]
#[case("oss-self-define", json!({"Acl": "public-read-write"}), Some("is not allowed by the plan"))]
#[case("oss-self-define", json!({"Region": "cn-beijing"}), Some("parameter Region"))]
#[case("oss-self-define", json!({"StorageClass": "Cold"}), Some("parameter StorageClass"))]
fn a_bucket_has_the_parameters_of_its_plan(
    #[case] name: &str,
    #[case] given: Value,
    #[case] refused: Option<&str>,
) {
    let outcome = plan("region: cn-hangzhou", name).check(&object(given));
    match refused {
        None => outcome.unwrap(),
        Some(named) => {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}

#[test]
fn the_account_of_a_binding_is_the_users_or_made_up() {
    let plan = plan("", "mysql-8-basic");
    let granted = account(&plan, json!({"Username": "app_1", "Password": "Secret-1"})).unwrap();
    assert_eq!(granted.username.as_deref(), Some("app_1"));
    assert_eq!(granted.password.unwrap().expose_secret(), "Secret-1");
    let granted = account(&plan, json!({"Username": null, "Password": ""})).unwrap();
    assert!(granted.username.is_none() && granted.password.is_none());
    for (access, privilege) in [("read", "ReadOnly"), ("readwrite", "DMLOnly"), ("owner", "ReadWrite")] {
        assert_eq!(account(&plan, json!({"access": access})).unwrap().privilege, privilege);
    }
    assert_eq!(account(&plan, json!({})).unwrap().privilege, "ReadWrite");
}

#[rstest::rstest]
#[case(json!({"Username": "a"}), "parameter Username: must have 2 to 16")]
#[case(json!({"Username": "Root"}), "parameter Username")]
#[case(json!({"Username": "a_"}), "parameter Username")]
#[case(json!({"Username": "abcdefghijklmnopq"}), "parameter Username")]
#[case(json!({"Password": "alllower1"}), "parameter Password: must have 8 to 32")]
#[case(json!({"Password": "Sh0rt-a"}), "parameter Password")]
#[case(json!({"Password": "S3cret with spaces"}), "parameter Password")]
#[case(json!({"Password": {"S3cret-x": 1}}), "parameter Password is not understood: a text is expected")]
#[case(json!({"username": "app"}), "unknown field")]
fn a_wrong_name_or_password_is_refused_and_not_repeated(#[case] given: Value, #[case] named: &str) {
    let message = account(&plan("", "mysql-8-basic"), given).unwrap_err().to_string();
    assert!(message.contains(named) && !message.contains("S3cret"), "{message}");
}

#[test]
fn postgresql_has_owners_alone() {
    let plan = plan("", "postgresql-17-basic");
    assert_eq!(account(&plan, json!({})).unwrap().privilege, "DBOwner");
    let message = account(&plan, json!({"access": "read"})).unwrap_err().to_string();
    assert!(message.contains("ask for owner"), "{message}");
}

#[test]
fn a_session_lasts_up_to_an_hour() {
    let plan = plan("", "default");
    let user = BucketGrant { access: Access::ReadWrite, holder: Holder::User };
    assert_eq!(bucket_grant(&plan, json!({})), Ok(user));
    let session = bucket_grant(&plan, json!({"credentials": "session", "validFor": "30m", "access": "read"}));
    let half = Holder::Session(std::time::Duration::from_mins(30));
    assert_eq!(session, Ok(BucketGrant { access: Access::Read, holder: half }));
    assert!(bucket_grant(&plan, json!({"credentials": "session", "validFor": "2h"})).is_err());
    assert!(bucket_grant(&plan, json!({"validFor": "30m"})).is_err());
}

const RRSA: &str = "rrsa: {oidcProviderArn: 'acs:ram::1:oidc-provider/ack', issuer: 'https://oidc.example'}";

#[test]
fn a_role_is_for_a_service_account_of_the_bindings_namespace() {
    let plan = plan(RRSA, "default");
    let asked = |account: &str| json!({"credentials": "rrsa", "serviceAccount": account});
    let granted = bucket_grant_in(&plan, asked("web"), json!({"namespace": "shop"})).unwrap();
    let Holder::Pods(account) = granted.holder else { panic!("a role") };
    assert_eq!((account.namespace.as_str(), account.name.as_str()), ("shop", "web"));
    for (parameters, context, named) in [
        (asked("web"), json!({}), "parameter credentials: needs a namespace"),
        (asked("a*"), json!({"namespace": "shop"}), "parameter serviceAccount"),
        (json!({"serviceAccount": "web"}), json!({"namespace": "shop"}), "belongs to credentials: rrsa"),
        (json!({"credentials": "rrsa", "validFor": "30m"}), json!({"namespace": "shop"}), "only a session"),
    ] {
        let message = bucket_grant_in(&plan, parameters, context).unwrap_err().to_string();
        assert!(message.contains(named), "{message}");
    }
    let message =
        bucket_grant(&self::plan("", "default"), json!({"credentials": "rrsa"})).unwrap_err().to_string();
    assert!(message.contains("ask for user or session"), "{message}");
}

#[rstest::rstest]
#[case("rrsa: {oidcProviderArn: ack, issuer: 'https://oidc.example'}", "rrsa.oidcProviderArn")]
#[case("rrsa: {oidcProviderArn: 'acs:ram::1:oidc-provider/ack', issuer: oidc.example}", "rrsa.issuer")]
#[case("rrsa: {issuer: 'https://oidc.example'}", "oidcProviderArn")]
fn a_wrong_provider_of_tokens_is_named(#[case] settings: &str, #[case] named: &str) {
    let message = configured(settings).unwrap_err().to_string();
    assert!(message.contains(named), "{message}");
}
