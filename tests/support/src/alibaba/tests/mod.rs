//! The stand-in keeps its own rules.

mod databases;
mod faults;
mod oss;
mod policies;
mod ram;
mod rds;
mod rights;
mod signatures;
mod sts;

use serde_json::Value;

use super::{Alibaba, Key};

/// Everything is allowed.
const ALL: &str = r#"{"Version": "1", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;

/// A call of an action as `product:Action`, which must succeed.
fn done(cloud: &Alibaba, key: &Key, action: &str, parameters: &[(&str, &str)]) -> Value {
    let (product, name) = action.split_once(':').unwrap();
    cloud.call(key, product, name, parameters).unwrap_or_else(|error| panic!("{action}: {error:?}"))
}

/// The same, which must be refused. Returns status and code.
fn refused(cloud: &Alibaba, key: &Key, action: &str, parameters: &[(&str, &str)]) -> (u16, String) {
    let (product, name) = action.split_once(':').unwrap();
    cloud.call(key, product, name, parameters).expect_err(action)
}

fn code(code: &str) -> impl Fn((u16, String)) -> bool {
    move |(_, found)| found == code
}

/// The parameters of a small instance of MySQL.
const INSTANCE: [(&str, &str); 10] = [
    ("RegionId", "cn-hangzhou"),
    ("Engine", "MySQL"),
    ("EngineVersion", "8.0"),
    ("DBInstanceClass", "mysql.n2.small.1"),
    ("DBInstanceStorage", "20"),
    ("DBInstanceNetType", "Intranet"),
    ("PayType", "Postpaid"),
    ("SecurityIPList", "10.0.0.0/8"),
    ("Tag.1.Key", "bindery:installation"),
    ("Tag.1.Value", "tests"),
];

/// Makes an instance, and returns its id.
fn instance(cloud: &Alibaba, key: &Key) -> String {
    let made = done(cloud, key, "rds:CreateDBInstance", &INSTANCE);
    made["DBInstanceId"].as_str().unwrap().to_owned()
}

/// Looks at an instance, and returns its state.
fn state(cloud: &Alibaba, key: &Key, id: &str) -> String {
    let found = done(cloud, key, "rds:DescribeDBInstanceAttribute", &[("DBInstanceId", id)]);
    found["Items"]["DBInstanceAttribute"][0]["DBInstanceStatus"].as_str().unwrap().to_owned()
}
