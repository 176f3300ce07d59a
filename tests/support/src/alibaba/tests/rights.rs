//! `charts/alibabacloud-servicebroker/ram-policy.json`: what the broker may do, and what it may not.

use super::{
    super::{Alibaba, Key, Request, policy::parse},
    ALL, INSTANCE, code, done, instance, refused, state,
};
use crate::target_folder::repository;

fn policy() -> String {
    let file = repository().join("charts/alibabacloud-servicebroker/ram-policy.json");
    std::fs::read_to_string(file).unwrap()
}

fn broker(cloud: &Alibaba) -> Key {
    cloud.key("broker", &policy())
}

#[test]
fn the_policy_names_each_action_and_fits_into_ram() {
    let policy = policy();
    let compact = parse(&policy).unwrap().to_string();
    assert!(compact.len() <= 6144, "{}", compact.len());
    for statement in parse(&policy).unwrap()["Statement"].as_array().unwrap() {
        let action = statement["Action"].to_string();
        assert!(!action.contains('*') && !action.contains('?'), "{action}");
        assert_eq!(statement["Effect"], "Allow");
    }
}

#[test]
fn the_broker_manages_its_instances_and_no_others() {
    let cloud = Alibaba::start();
    let (broker, root) = (broker(&cloud), Alibaba::root());
    let (own, other) =
        (instance(&cloud, &broker), done(&cloud, &root, "rds:CreateDBInstance", &INSTANCE[..8]));
    let other = other["DBInstanceId"].as_str().unwrap();
    for id in [&own, other] {
        while state(&cloud, &broker, id) != "Running" {}
    }
    let account = [("AccountName", "orders"), ("AccountPassword", "Secret-Words-1")];
    let on = |id| [("DBInstanceId", id), account[0], account[1]];
    done(&cloud, &broker, "rds:CreateAccount", &on(&own));
    for (action, parameters) in [
        ("rds:CreateAccount", on(other).to_vec()),
        ("rds:DeleteDBInstance", vec![("DBInstanceId", other)]),
        ("rds:DescribeAccounts", vec![("DBInstanceId", other)]),
        ("rds:ModifyDBInstanceSpec", vec![("DBInstanceId", other), ("DBInstanceStorage", "40")]),
        ("rds:CreateDBInstance", INSTANCE[..8].to_vec()),
        (
            "rds:TagResources",
            vec![
                ("RegionId", "cn-hangzhou"),
                ("ResourceType", "INSTANCE"),
                ("ResourceId.1", other),
                ("Tag.1.Key", "bindery:installation"),
            ],
        ),
    ] {
        assert!(code("Forbidden.RAM")(refused(&cloud, &broker, action, &parameters)), "{action}");
    }
    done(&cloud, &broker, "rds:DeleteDBInstance", &[("DBInstanceId", &own)]);
}

#[test]
fn the_broker_manages_its_users_and_no_others() {
    let cloud = Alibaba::start();
    let broker = broker(&cloud);
    cloud.key("somebody", ALL);
    let (own, other) = (("UserName", "bindery-1"), ("UserName", "somebody"));
    let policy = [("PolicyName", "bindery-1"), ("PolicyType", "Custom")];
    done(&cloud, &broker, "ram:CreateUser", &[own]);
    done(&cloud, &broker, "ram:CreatePolicy", &[policy[0], ("PolicyDocument", ALL)]);
    done(&cloud, &broker, "ram:AttachPolicyToUser", &[own, policy[0], policy[1]]);
    for (action, parameters) in [
        ("ram:CreateAccessKey", vec![other]),
        ("ram:DeleteUser", vec![other]),
        ("ram:CreateUser", vec![("UserName", "admin")]),
        ("ram:AttachPolicyToUser", vec![other, policy[0], policy[1]]),
        ("ram:AttachPolicyToUser", vec![own, ("PolicyName", "given-somebody"), policy[1]]),
        ("ram:CreatePolicyVersion", vec![policy[0], ("PolicyDocument", ALL)]),
        ("ram:CreateRole", vec![("RoleName", "admin"), ("AssumeRolePolicyDocument", ALL)]),
    ] {
        assert!(code("NoPermission")(refused(&cloud, &broker, action, &parameters)), "{action}");
    }
}

#[test]
fn the_broker_manages_its_buckets_and_reads_no_object() {
    let cloud = Alibaba::start();
    let (broker, root) = (broker(&cloud), Alibaba::root());
    let ask = |key: &Key, method, target: &str| cloud.ask(key, Request::oss(method, target, "")).0;
    assert_eq!(ask(&broker, "PUT", "/bindery-1"), 200);
    assert_eq!(ask(&broker, "PUT", "/another"), 403);
    assert_eq!(ask(&root, "PUT", "/another"), 200);
    assert_eq!(ask(&root, "PUT", "/bindery-1/a"), 200);
    assert_eq!(ask(&broker, "GET", "/bindery-1/a"), 403);
    assert_eq!(ask(&broker, "GET", "/another?list-type=2"), 403);
    assert_eq!(ask(&broker, "DELETE", "/another"), 403);
    assert_eq!(ask(&broker, "DELETE", "/bindery-1/a"), 204);
    assert_eq!(ask(&broker, "DELETE", "/bindery-1"), 204);
}
