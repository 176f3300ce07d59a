//! Instances, accounts and databases without a server behind them.

use super::{
    super::{Alibaba, Key},
    INSTANCE, code, done, instance, refused, state,
};

fn running(cloud: &Alibaba, key: &Key) -> String {
    let id = instance(cloud, key);
    while state(cloud, key, &id) != "Running" {}
    id
}

#[test]
fn an_instance_passes_its_states() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    cloud.set(|settings| settings.creating = 2);
    let id = instance(&cloud, &key);
    let named = ("DBInstanceId", id.as_str());
    assert_eq!(state(&cloud, &key, &id), "Creating");
    assert!(code("IncorrectDBInstanceState")(refused(&cloud, &key, "rds:DeleteDBInstance", &[named])));
    assert_eq!(state(&cloud, &key, &id), "Running");
    let larger = [named, ("DBInstanceStorage", "40")];
    done(&cloud, &key, "rds:ModifyDBInstanceSpec", &larger);
    assert_eq!(state(&cloud, &key, &id), "DBInstanceClassChanging");
    assert_eq!(state(&cloud, &key, &id), "Running");
    assert!(code("InvalidDBInstanceStorage.Reduced")(refused(
        &cloud,
        &key,
        "rds:ModifyDBInstanceSpec",
        &[named, ("DBInstanceStorage", "20")]
    )));
    done(&cloud, &key, "rds:DeleteDBInstance", &[named]);
    assert_eq!(state(&cloud, &key, &id), "Deleting");
    let gone = refused(&cloud, &key, "rds:DescribeDBInstanceAttribute", &[named]);
    assert_eq!(gone, (404, "InvalidDBInstanceId.NotFound".to_owned()));
    assert_eq!(cloud.left(), Vec::<String>::new());
}

#[test]
fn what_the_documentation_demands_is_demanded() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    for missing in 0..8 {
        let mut parameters = INSTANCE.to_vec();
        let (name, _) = parameters.remove(missing);
        let found = refused(&cloud, &key, "rds:CreateDBInstance", &parameters);
        assert_eq!(found, (400, "MissingParameter".to_owned()), "{name}");
    }
    for (name, value, wanted) in [
        ("Engine", "Oracle", "InvalidEngine.Malformed"),
        ("EngineVersion", "3.23", "InvalidEngineVersion.Malformed"),
        ("DBInstanceClass", "small", "InvalidDBInstanceClass.Malformed"),
        ("DBInstanceStorage", "21", "InvalidDBInstanceStorage.Format"),
        ("SecurityIPList", "everybody", "InvalidSecurityIPList.Format"),
        ("InstanceNetworkType", "Classic", "InvalidParam.InstanceNetworkType"),
        ("VSwitchId", "vsw-1", "MissingParameter"),
        ("Tag.1.Key", "acs:mine", "InvalidTagKey.Malformed"),
    ] {
        let mut parameters = INSTANCE.to_vec();
        parameters.retain(|(other, _)| *other != name);
        parameters.push((name, value));
        let found = refused(&cloud, &key, "rds:CreateDBInstance", &parameters);
        assert_eq!(found, (400, wanted.to_owned()), "{name}");
    }
    assert_eq!(cloud.left(), Vec::<String>::new());
}

#[test]
fn a_client_token_makes_one_instance() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    let with_token = [&INSTANCE[..], &[("ClientToken", "once")]].concat();
    let first = done(&cloud, &key, "rds:CreateDBInstance", &with_token);
    let again = done(&cloud, &key, "rds:CreateDBInstance", &with_token);
    assert_eq!(first["DBInstanceId"], again["DBInstanceId"]);
    assert_eq!(cloud.left().len(), 1);
    let other = [&with_token[..], &[("DBInstanceDescription", "another")]].concat();
    assert!(code("IdempotentParameterMismatch")(refused(&cloud, &key, "rds:CreateDBInstance", &other)));
}

#[test]
fn an_account_is_available_after_a_while_and_granted_on_databases_that_exist() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    let id = running(&cloud, &key);
    let (of, account) = (("DBInstanceId", id.as_str()), ("AccountName", "orders"));
    let create = [of, account, ("AccountPassword", "Secret-Words-1")];
    assert!(code("InvalidAccountPassword.Format")(refused(
        &cloud,
        &key,
        "rds:CreateAccount",
        &[of, account, ("AccountPassword", "secretsecret")]
    )));
    done(&cloud, &key, "rds:CreateAccount", &create);
    let status = || {
        let found = done(&cloud, &key, "rds:DescribeAccounts", &[of, account]);
        found["Accounts"]["DBInstanceAccount"][0]["AccountStatus"].as_str().map(ToOwned::to_owned)
    };
    assert_eq!(status().as_deref(), Some("Unavailable"));
    assert_eq!(status().as_deref(), Some("Available"));
    assert!(code("InvalidAccountName.Duplicate")(refused(&cloud, &key, "rds:CreateAccount", &create)));
    let grant = [of, account, ("DBName", "shop"), ("AccountPrivilege", "ReadWrite")];
    assert!(code("InvalidDBName.NotFound")(refused(&cloud, &key, "rds:GrantAccountPrivilege", &grant)));
    let database = [of, ("DBName", "shop"), ("CharacterSetName", "utf8mb4")];
    done(&cloud, &key, "rds:CreateDatabase", &database);
    done(&cloud, &key, "rds:GrantAccountPrivilege", &grant);
    assert_eq!(cloud.left().len(), 3);
    cloud.set(|settings| settings.account_deleting = 1);
    done(&cloud, &key, "rds:DeleteAccount", &[of, account]);
    assert!(code("InvalidAccountName.Duplicate")(refused(&cloud, &key, "rds:CreateAccount", &create)));
    done(&cloud, &key, "rds:CreateAccount", &create);
}

#[test]
fn instances_are_found_by_tag_and_listed_in_pages() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    for _ in 0..31 {
        instance(&cloud, &key);
    }
    let region = ("RegionId", "cn-hangzhou");
    let page = |number: &str, tags: &str| {
        done(&cloud, &key, "rds:DescribeDBInstances", &[region, ("PageNumber", number), ("Tags", tags)])
    };
    let mine = r#"{"bindery:installation": "tests"}"#;
    let (first, second) = (page("1", mine), page("2", mine));
    assert_eq!((&first["TotalRecordCount"], &first["PageRecordCount"]), (&31.into(), &30.into()));
    assert_eq!(second["Items"]["DBInstance"].as_array().unwrap().len(), 1);
    assert_eq!(page("1", r#"{"bindery:installation": "other"}"#)["TotalRecordCount"], 0);
    assert_eq!(
        done(&cloud, &key, "rds:DescribeDBInstances", &[("RegionId", "cn-beijing")])["TotalRecordCount"],
        0
    );
}

#[test]
fn addresses_are_kept_in_groups() {
    let (cloud, key) = (Alibaba::start(), Alibaba::root());
    let id = running(&cloud, &key);
    let (of, group) = (("DBInstanceId", id.as_str()), ("DBInstanceIPArrayName", "mine"));
    let modify = |mode, addresses| {
        let parameters = [of, group, ("ModifyMode", mode), ("SecurityIps", addresses)];
        cloud.call(&key, "rds", "ModifySecurityIps", &parameters)
    };
    modify("Append", "192.168.0.0/16").unwrap();
    assert!(code("InvalidSecurityIPList.Duplicate")(modify("Append", "192.168.0.0/16").unwrap_err()));
    modify("Append", "172.16.0.1").unwrap();
    let list = || {
        let found = done(&cloud, &key, "rds:DescribeDBInstanceIPArrayList", &[of]);
        let groups = found["Items"]["DBInstanceIPArray"].as_array().unwrap().clone();
        let text = |group: &serde_json::Value| group["SecurityIPList"].as_str().unwrap().to_owned();
        groups.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(list(), ["10.0.0.0/8", "192.168.0.0/16,172.16.0.1"]);
    modify("Delete", "192.168.0.0/16,172.16.0.1").unwrap();
    assert_eq!(list(), ["10.0.0.0/8"]);
}
