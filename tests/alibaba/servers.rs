//! Instances that are database servers: what is asked for, states, changes, and what a deletion leaves.

use bindery_test_support::alibaba::Alibaba;
use serde_json::json;

use crate::cloud::{Cloud, MYSQL, SELF_DEFINE, text};

#[tokio::test]
async fn a_server_is_asked_for_with_tags_its_network_and_the_cluster_s_addresses() {
    let cloud = Cloud::with("tags: {team: shop}, resourceGroupId: rg-1").await;
    let parameters =
        json!({"Class": "rds.mysql.s2.large", "Storage": "100", "EngineVersion": 8.0, "Type": "VPC"});
    cloud.provisioned(SELF_DEFINE, "i", parameters).await;
    let asked = cloud.server.parameters("CreateDBInstance").remove(0);
    for (name, value) in [
        ("Engine", "MySQL"),
        ("EngineVersion", "8.0"),
        ("DBInstanceClass", "rds.mysql.s2.large"),
        ("DBInstanceStorage", "100"),
        ("SecurityIPList", "10.0.0.0/8"),
        ("VPCId", "vpc-1"),
        ("VSwitchId", "vsw-1"),
        ("ZoneId", "cn-hangzhou-h"),
        ("InstanceNetworkType", "VPC"),
        ("PayType", "Postpaid"),
        ("ResourceGroupId", "rg-1"),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    let tags: Vec<_> =
        asked.iter().filter(|(name, _)| name.starts_with("Tag.")).map(|(_, value)| value).collect();
    for value in ["team", "shop", "bindery:installation", "bindery:namespace"] {
        assert!(tags.iter().any(|tag| *tag == value), "{value}: {tags:?}");
    }
    cloud.deprovisioned(SELF_DEFINE, "i").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn states_are_told_and_waited_for() {
    let cloud = Cloud::start().await;
    cloud.server.set(|settings| {
        settings.creating = 4;
        settings.database_creating = 2;
        settings.account_creating = 4;
        settings.account_deleting = 2;
        settings.deleting = 3;
    });
    assert_eq!(cloud.provision(MYSQL, "i", json!({})).await.0, 202);
    let mut told = Vec::new();
    loop {
        let (state, description) = cloud.last_operation("i").await;
        if state != "in progress" {
            assert_eq!(state, "succeeded", "{description}");
            break;
        }
        told.push(description);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    told.dedup();
    assert!(told.iter().any(|text| text == "the database server is Creating"), "{told:?}");
    cloud.bound(MYSQL, "i", "b", json!({})).await;
    cloud.unbound(MYSQL, "i", "b").await;
    let accounts = cloud.server.left().into_iter().filter(|left| left.starts_with("rds account")).count();
    assert_eq!(accounts, 0, "an account that is still being deleted is waited for");
    cloud.deprovisioned(MYSQL, "i").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn class_and_storage_change_and_less_storage_is_refused() {
    let cloud = Cloud::start().await;
    cloud.server.set(|settings| settings.changing = 3);
    cloud.provisioned(SELF_DEFINE, "i", json!({"Storage": 50})).await;
    let answer =
        cloud.update(SELF_DEFINE, "i", json!({"Storage": 100, "Class": "rds.mysql.m1.medium"})).await;
    assert_eq!(answer.0, 202, "{answer:?}");
    assert_eq!(cloud.ended("i").await.0, "succeeded");
    let asked = cloud.server.parameters("ModifyDBInstanceSpec");
    assert_eq!(asked.len(), 1, "the change is asked for once");
    assert_eq!(
        (asked[0]["DBInstanceStorage"].as_str(), asked[0]["DBInstanceClass"].as_str()),
        ("100", "rds.mysql.m1.medium")
    );
    let (status, body) = cloud.update(SELF_DEFINE, "i", json!({"Storage": 50})).await;
    assert_eq!(status, 422, "{body}");
    assert!(text(&body, "description").contains("storage only grows"), "{body}");
    cloud.deprovisioned(SELF_DEFINE, "i").await;
}

#[tokio::test]
async fn a_protected_server_is_deleted_only_without_its_protection() {
    let cloud = Cloud::start().await;
    cloud.provisioned(MYSQL, "i", json!({"DeletionProtection": true})).await;
    assert_eq!(cloud.deprovision(MYSQL, "i").await.0, 202);
    let (state, description) = cloud.ended("i").await;
    assert_eq!(state, "failed");
    assert!(description.contains("switched off in the console"), "{description}");
    let server = cloud.server.left().remove(0).rsplit(' ').next().unwrap().to_owned();
    let off = [("DBInstanceId", server.as_str()), ("DeletionProtection", "false")];
    cloud.server.call(&Alibaba::root(), "rds", "ModifyDBInstanceDeletionProtection", &off).unwrap();
    let answer = cloud.deprovision(MYSQL, "i").await;
    assert!([200, 202, 410].contains(&answer.0), "{answer:?}");
    assert_eq!(cloud.ended("i").await.0, "succeeded");
    assert_eq!(cloud.server.left(), Vec::<String>::new());

    cloud.provisioned(MYSQL, "j", json!({"DeletionProtection": true})).await;
    let answer = cloud.update(MYSQL, "j", json!({"DeletionProtection": "false"})).await;
    cloud.succeeded(answer, "j").await;
    cloud.deprovisioned(MYSQL, "j").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}

#[tokio::test]
async fn a_kept_server_has_no_accounts_of_bindings_and_is_nobodys() {
    let cloud = Cloud::with("release: {reclaimPolicy: {default: retain, allowed: [retain, delete]}}").await;
    cloud.provisioned(MYSQL, "i", json!({})).await;
    cloud.bound(MYSQL, "i", "b", json!({})).await;
    cloud.unbound(MYSQL, "i", "b").await;
    cloud.deprovisioned(MYSQL, "i").await;
    let left = cloud.server.left();
    assert_eq!(left.iter().filter(|left| left.starts_with("rds instance")).count(), 1, "{left:?}");
    assert_eq!(left.iter().filter(|left| left.starts_with("rds account")).count(), 0, "{left:?}");
    let listed =
        cloud.server.call(&Alibaba::root(), "rds", "DescribeDBInstances", &[("RegionId", "cn-hangzhou")]);
    let id = text(&listed.unwrap()["Items"]["DBInstance"][0], "DBInstanceId");
    let of = [("RegionId", "cn-hangzhou"), ("ResourceType", "INSTANCE"), ("ResourceId.1", id.as_str())];
    let tags = cloud.server.call(&Alibaba::root(), "rds", "ListTagResources", &of).unwrap().to_string();
    assert!(tags.contains("bindery:retained") && !tags.contains("bindery:installation"), "{tags}");
}

#[tokio::test]
async fn what_alibaba_cloud_does_not_have_is_refused_before_anything_is_made() {
    let cloud = Cloud::start().await;
    for (parameters, named) in [
        (json!({"NetworkType": "classic"}), "has only VPCs"),
        (json!({"Storage": 7}), "Storage"),
        (json!({"Engine": "SQLServer"}), "Engine"),
        (json!({"VpcID": "vpc-other"}), "is set by the operator"),
    ] {
        let (status, body) = cloud.provision(SELF_DEFINE, "i", parameters).await;
        assert_eq!(status, 400, "{body}");
        assert!(text(&body, "description").contains(named), "{body}");
    }
    assert!(!cloud.server.calls().iter().any(|call| call == "rds:CreateDBInstance"));
}
