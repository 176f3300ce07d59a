//! A broker on an account of Alibaba Cloud, and requests of the platform and of applications.

use std::{ops::Deref, path::Path};

pub(crate) use bindery_test_support::platform::member as text;
use bindery_test_support::{
    alibaba::{Alibaba, Key, REGION, Request},
    platform::{Plans, Platform},
};
use serde_json::Value;
use tempfile::NamedTempFile;

/// The rights that the documentation gives a broker.
pub(crate) const POLICY: &str = include_str!("../../charts/alibabacloud-servicebroker/ram-policy.json");
pub(crate) const MYSQL: (&str, &str) = ("alibaba-cloud-rds-mysqldb", "rds-mysql-t1-small");
pub(crate) const SELF_DEFINE: (&str, &str) = ("alibaba-cloud-rds-mysqldb", "rds-self-define");
pub(crate) const POSTGRESQL: (&str, &str) = ("alibaba-cloud-rds-postgresql", "postgresql-17-basic");
pub(crate) const BUCKET: (&str, &str) = ("alibaba-cloud-oss", "default");

/// An account and a broker with the documented rights on it.
pub(crate) struct Cloud {
    pub(crate) server: Alibaba,
    plans: Plans,
    _secret: NamedTempFile,
}

/// The settings of a backend whose every address is the stand-in.
pub(crate) fn endpoints(server: &Alibaba) -> String {
    let url = server.url();
    format!("endpoints: {{rds: '{url}', ram: '{url}', sts: '{url}', oss: '{url}', metadata: '{url}'}}")
}

/// The configuration of a backend on the account.
pub(crate) fn backend(server: &Alibaba, broker: &Key, secret: &Path, more: &str) -> String {
    format!(
        "backends:\n  cloud: {{type: alibaba, region: {REGION}, {}, accessKeyId: {}, accessKeySecretFile: {}, \
         apiCallsPerSecond: 1000, network: {{vpcId: vpc-1, vswitchId: vsw-1, zoneId: cn-hangzhou-h}}, \
         securityIps: [10.0.0.0/8], {more}}}\nservices: []",
        endpoints(server),
        broker.id,
        secret.display()
    )
}

impl Deref for Cloud {
    type Target = Plans;

    fn deref(&self) -> &Plans {
        &self.plans
    }
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// With more settings of the backend.
    pub(crate) async fn with(more: &str) -> Self {
        Self::on(Alibaba::start(), more).await
    }

    /// With a real database server behind each instance.
    pub(crate) async fn with_databases() -> Self {
        Self::on(Alibaba::start_with_databases("127.0.0.1"), "").await
    }

    async fn on(server: Alibaba, more: &str) -> Self {
        let broker = server.key("broker", POLICY);
        let secret = NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), &broker.secret).unwrap();
        let platform = Platform::open(&backend(&server, &broker, secret.path(), more)).await;
        Self { server, plans: Plans { platform }, _secret: secret }
    }

    /// The same broker after a restart with more settings of the backend, of which it had none.
    pub(crate) async fn again_with(mut self, more: &str) -> Self {
        const BEFORE: &str = "securityIps: [10.0.0.0/8], ";
        self.plans.platform.restart_with(BEFORE, &format!("{BEFORE}{more}")).await;
        self
    }

    /// The status of a request to OSS with the credentials of a binding.
    pub(crate) fn oss(&self, credentials: &Value, method: &'static str, object: &str, content: &str) -> u16 {
        let token = credentials["security_token"].as_str().filter(|token| !token.is_empty());
        let key = Key {
            id: text(credentials, "access_key_id"),
            secret: text(credentials, "secret_access_key"),
            token: token.map(ToOwned::to_owned),
        };
        let target = format!("/{}/{object}", text(credentials, "bucket"));
        self.server.ask(&key, Request::oss(method, &target, content)).0
    }
}
