//! Databases of Amazon RDS and Aurora: ministack makes the stack and keeps the master user's secret, and a real server
//! stands in for the one that AWS would start.

use std::path::Path;

use bindery_test_support::{
    mariadb::{self, MariaDb},
    ministack::{BROKER_USER, Request},
    postgres::{self, Postgres},
};
use serde_json::{Value, json};

use crate::cloud::{Cloud, text};

/// A broker on an account whose databases of this engine are on a server of the tests.
async fn with_server(engine: &str, login: (&str, &str), port: u16, ca_file: &Path) -> Cloud {
    let cloud = Cloud::with(&format!("rdsCaFile: {}", ca_file.display())).await;
    let server = json!({"host": "127.0.0.1", "port": port, "user": login.0, "password": login.1});
    cloud.server.set(&json!({"databases": {engine: server}}));
    cloud
}

async fn on_postgres(engine: &str, server: &Postgres) -> Cloud {
    let login = (postgres::ADMIN, postgres::ADMIN_PASSWORD);
    with_server(engine, login, server.port(), &server.ca_file()).await
}

/// Every parameter of the template that users may set.
fn parameters() -> Value {
    json!({"AccessCidr": "10.0.0.0/16", "AllocatedStorageAndIops": "100 GB / 1,000 IOPS", "DBInstanceClass": "db.m7g.large",
        "DeletionProtection": false, "EngineVersion": "17.2", "MonitoringInterval": 0, "PortNumber": 13306,
        "PostgresServerTimezone": "Europe/Paris", "PreferredBackupWindow": "01:00-03:00", "PubliclyAccessible": false,
        "PreferredMaintenanceWindowDay": "Sun", "MultiAZ": true, "DBName": "Auto", "StorageEncrypted": true})
}

#[tokio::test]
async fn a_binding_of_postgresql_is_a_user_of_its_own_database() {
    let server = Postgres::shared();
    let cloud = on_postgres("postgres", &server).await;
    let plan = ("rdspostgresql", "custom");
    for instance in ["own", "sibling"] {
        cloud.provisioned(plan, instance, parameters()).await;
    }
    let uri = async |instance: &str, binding: &str, access: Value| {
        let bound = cloud.bound(plan, instance, binding, access).await;
        assert!(!bound.to_string().contains(postgres::ADMIN_PASSWORD), "the master's password is nobody's");
        assert_eq!(bound["credentials"]["ENDPOINT_ADDRESS"], "127.0.0.1", "{bound}");
        assert_eq!(bound["credentials"]["DB_NAME"], bound["credentials"]["database"]);
        assert_eq!(bound["credentials"]["MASTER_USERNAME"], bound["credentials"]["username"]);
        text(&bound["credentials"], "uri")
    };
    let owner = uri("own", "o", json!({})).await;
    let reader = uri("own", "r", json!({"access": "read"})).await;
    let sibling = uri("sibling", "s", json!({})).await;
    let owning = server.connect(&owner).await.unwrap();
    owning.batch_execute("CREATE TABLE orders (n int); INSERT INTO orders VALUES (7)").await.unwrap();
    let reading = server.connect(&reader).await.unwrap();
    assert_eq!(reading.query("SELECT n FROM orders", &[]).await.unwrap()[0].get::<_, i32>(0), 7);
    assert!(reading.batch_execute("INSERT INTO orders VALUES (8)").await.is_err());
    let database_of = |uri: &str| uri.rsplit_once('/').unwrap().1.split('?').next().unwrap().to_owned();
    let into_sibling = owner.replace(&database_of(&owner), &database_of(&sibling));
    assert!(server.connect(&into_sibling).await.is_err(), "not into the sibling's database");

    assert_eq!(cloud.unbind(plan, "own", "r").await.0, 200);
    assert!(server.connect(&reader).await.is_err(), "not after unbind");
    assert!(server.connect(&owner).await.is_ok());
    for parameters in
        [json!({"MasterUserPassword": "mine"}), json!({"VpcId": "vpc-1"}), json!({"DBName": "mine"})]
    {
        let mut all = self::parameters();
        all.as_object_mut().unwrap().extend(parameters.as_object().unwrap().clone());
        let (status, body) = cloud.provision(plan, "refused", all).await;
        assert_eq!(status, 400, "{body}");
    }
    for instance in ["own", "sibling"] {
        cloud.deprovisioned(plan, instance).await;
    }
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_right_that_the_broker_lacks_and_a_database_that_is_gone_are_told_or_forgotten() {
    let server = Postgres::shared();
    let cloud = on_postgres("aurora-postgresql", &server).await;
    let plan = ("aurorapostgresql", "dev");
    cloud.provisioned(plan, "aurora", json!({"AccessCidr": "10.0.0.0/16", "RDSTimeZone": "UTC"})).await;
    let bound = cloud.bound(plan, "aurora", "b", json!({})).await;
    assert_eq!(bound["credentials"]["READ_ENDPOINT_ADDRESS"], "127.0.0.1", "{bound}");

    let forbidden = json!([{"Effect": "Deny", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}]);
    cloud.server.allow(BROKER_USER, &forbidden);
    let (status, body) = cloud.bind(plan, "aurora", "denied", json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("not set up"), "{body}");
    let again = [("UserName", BROKER_USER), ("PolicyName", "rights")];
    cloud.server.administer(&Request::query("iam", "DeleteUserPolicy", &again));

    assert_eq!(cloud.unbind(plan, "aurora", "denied").await.0, 200);
    cloud.deprovisioned(plan, "aurora").await;
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn a_binding_of_mysql_and_mariadb_is_a_user_of_its_own_database() {
    let server = MariaDb::shared();
    let login = (mariadb::ADMIN, mariadb::ADMIN_PASSWORD);
    for (service, engine) in [("rdsmariadb", "mariadb"), ("auroramysql", "aurora-mysql")] {
        let cloud = with_server(engine, login, server.port(), &server.ca_file()).await;
        let plan = (service, "dev");
        for instance in ["own", "sibling"] {
            let instance = format!("{service}-{instance}");
            cloud.provisioned(plan, &instance, json!({"AccessCidr": "10.0.0.0/16"})).await;
        }
        let own = cloud.bound(plan, &format!("{service}-own"), "b", json!({})).await;
        let sibling = cloud.bound(plan, &format!("{service}-sibling"), "s", json!({})).await;
        let (own, sibling) = (&own["credentials"], &sibling["credentials"]);
        server.query(own, "CREATE TABLE orders (n int); INSERT INTO orders VALUES (7)").unwrap();
        let other = format!("CREATE TABLE {}.orders (n int)", text(sibling, "database"));
        assert!(server.query(own, &other).is_err(), "not in the sibling's database");
        assert_eq!(cloud.unbind(plan, &format!("{service}-own"), "b").await.0, 200);
        assert!(server.is_refused(own), "not after unbind");
        for instance in ["own", "sibling"] {
            cloud.deprovisioned(plan, &format!("{service}-{instance}")).await;
        }
        assert_eq!(cloud.leftovers(), Vec::<String>::new());
    }
}
