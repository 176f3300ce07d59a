//! A file for the records, and services of Alibaba Cloud, on its stand-in, instead of the service in memory. Their ids are
//! those of the service in memory.

use std::path::Path;

use bindery_test_support::alibaba::{Alibaba, REGION};

use super::{Place, sqlite};

const RIGHTS: &str = include_str!("../../../charts/alibabacloud-servicebroker/ram-policy.json");

/// What the backend offers. Buckets are made at once, servers take their time.
const CATALOG: &str = r#"
services:
  - id: s
    name: one
    description: The service of most tests
    tags: [sql]
    plans:
      - {id: p, name: prompt, description: A bucket, oss: {}}
      - {id: p2, name: prompt-too, description: A bucket, oss: {}}
      - {id: "odd/ü &=", name: odd, description: With an id that needs encoding, oss: {}}
      - id: lasting
        name: lasting
        description: A server
        rds: {engine: MySQL, engineVersion: "8.0", class: mysql.n2e.small.1, storage: 20}
      - id: lasting-too
        name: lasting-too
        description: A larger server
        rds: {engine: MySQL, engineVersion: "8.0", class: mysql.n2e.medium.1, storage: 40}
  - id: t
    name: two
    description: Another service
    plans: [{id: t1, name: only, description: A bucket, oss: {}}]
"#;

pub(crate) fn alibaba(folder: &Path) -> Place {
    let cloud = Alibaba::start();
    let key = cloud.key("broker", RIGHTS);
    let file = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (secret, catalog, url) = (file("secret", &key.secret), file("catalog.yaml", CATALOG), cloud.url());
    let configuration = format!(
        "backends:\n  main: {{type: alibaba, region: {REGION}, accessKeyId: {}, accessKeySecretFile: {secret}, \
         catalogFile: {catalog}, apiCallsPerSecond: 1000, securityIps: [10.0.0.0/8], \
         network: {{vpcId: vpc-1, vswitchId: vsw-1, zoneId: cn-hangzhou-h}}, \
         endpoints: {{rds: '{url}', ram: '{url}', sts: '{url}', oss: '{url}', metadata: '{url}'}}}}\nservices: []",
        key.id
    );
    Place { cloud: Some(Cloud { server: cloud, configuration }), ..sqlite(folder) }
}

/// The cloud behind a broker.
pub(crate) struct Cloud {
    server: Alibaba,
    /// Backends and services of the broker's configuration.
    pub(crate) configuration: String,
}

impl Cloud {
    /// How many bindings have a user or an account.
    pub(crate) fn bindings(&self) -> usize {
        let is_principal = |left: &&String| left.starts_with("ram user") || left.starts_with("rds account");
        self.server.left().iter().filter(is_principal).count()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.server.left().is_empty()
    }
}
