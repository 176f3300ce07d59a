//! Real servers behind instances: an account connects when it may, and is refused afterwards.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{super::Alibaba, INSTANCE, done, instance, state};

/// Makes an instance of these parameters, and waits for its server.
fn running(cloud: &Alibaba, id: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while state(cloud, &Alibaba::root(), id) != "Running" {
        assert!(Instant::now() < deadline, "the instance does not run");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn mariadb_stands_behind_mysql() {
    let (cloud, key) = (Alibaba::start_with_databases("127.0.0.1"), Alibaba::root());
    cloud.set(|settings| settings.account_creating = 0);
    let id = instance(&cloud, &key);
    running(&cloud, &id);
    let (of, account, password) =
        (("DBInstanceId", id.as_str()), ("AccountName", "orders"), ("AccountPassword", "Secret-Words-1"));
    let database = ("DBName", "shop_1");
    done(&cloud, &key, "rds:CreateDatabase", &[of, database, ("CharacterSetName", "utf8mb4")]);
    done(&cloud, &key, "rds:CreateAccount", &[of, account, password]);
    let net = done(&cloud, &key, "rds:DescribeDBInstanceNetInfo", &[of]);
    let net = &net["DBInstanceNetInfos"]["DBInstanceNetInfo"][0];
    let credentials = json!({"host": net["ConnectionString"], "port": net["Port"], "username": "orders",
        "password": password.1, "database": "shop_1"});
    let server = cloud.mariadb(&id).unwrap();
    assert!(server.query(&credentials, "SELECT 1").unwrap_err().contains("ERROR 1044"));
    let grant = |privilege| {
        let parameters = [of, account, database, ("AccountPrivilege", privilege)];
        done(&cloud, &key, "rds:GrantAccountPrivilege", &parameters);
    };
    grant("ReadWrite");
    server.query(&credentials, "CREATE TABLE t (i INT)").unwrap();
    grant("ReadOnly");
    assert!(server.query(&credentials, "INSERT INTO t VALUES (1)").unwrap_err().contains("ERROR 1142"));
    done(&cloud, &key, "rds:DeleteAccount", &[of, account]);
    assert!(server.is_refused(&credentials));
}

#[test]
fn postgresql_stands_behind_postgresql() {
    let (cloud, key) = (Alibaba::start_with_databases("127.0.0.1"), Alibaba::root());
    cloud.set(|settings| settings.account_creating = 0);
    let mut parameters = INSTANCE;
    (parameters[1].1, parameters[2].1, parameters[3].1) = ("PostgreSQL", "15.0", "pg.n2.small.1");
    let made = done(&cloud, &key, "rds:CreateDBInstance", &parameters);
    let id = made["DBInstanceId"].as_str().unwrap();
    running(&cloud, id);
    let (of, account) = (("DBInstanceId", id), ("AccountName", "orders"));
    done(&cloud, &key, "rds:CreateDatabase", &[of, ("DBName", "shop"), ("CharacterSetName", "UTF8")]);
    done(&cloud, &key, "rds:CreateAccount", &[of, account, ("AccountPassword", "Secret-Words-1")]);
    done(
        &cloud,
        &key,
        "rds:GrantAccountPrivilege",
        &[of, account, ("DBName", "shop"), ("AccountPrivilege", "DBOwner")],
    );
    let server = cloud.postgres(id).unwrap();
    server.psql_in("shop", "SET SESSION AUTHORIZATION orders; CREATE TABLE t (i int)");
    done(&cloud, &key, "rds:DeleteAccount", &[of, account]);
    assert!(server.psql("SELECT FROM pg_roles WHERE rolname = 'orders'").is_empty());
}
