//! Databases on a server that another backend has made, such as one of Amazon RDS. That backend knows the server's
//! address and its administrator. Databases and logins are made by the same code as on a configured server.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::json;

use super::{
    mysql, parameters::Plans, plan::DatabasePlan, postgresql, service_kind::ServiceKind,
    settings::ServerSettings,
};
use crate::{
    broker::{
        backends::{
            BindingSpec, Bound, Confirmed, InstanceSpec, Progress, Provider, ServiceError, access::Access,
            hosted::HostedServer,
        },
        config::{BackendName, PasswordSource, SslMode},
    },
    osb::{Object, PlanId},
};

/// As few sessions as the engines work with; each is for one call.
const CONNECTIONS: usize = 3;

/// The engine of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker::backends) enum Engine {
    PostgreSql,
    /// MySQL or MariaDB.
    MySql,
}

/// The address of a server, and how its administrator logs in. The server's certificate must be of this CA and have its
/// name.
pub(in crate::broker::backends) struct Login {
    /// What the log calls the server.
    pub(in crate::broker::backends) name: String,
    pub(in crate::broker::backends) host: String,
    pub(in crate::broker::backends) port: u16,
    pub(in crate::broker::backends) user: String,
    pub(in crate::broker::backends) password: SecretString,
    pub(in crate::broker::backends) ca_file: PathBuf,
}

/// The databases of an installation on a server, for instances of one plan.
pub(in crate::broker::backends) struct HostedDatabases(Arc<dyn Provider>);

impl HostedDatabases {
    /// Opens no connection.
    pub(in crate::broker::backends) fn new(
        engine: Engine,
        login: Login,
        plan: &PlanId,
        installation: &str,
    ) -> Self {
        let settings = ServerSettings {
            name: BackendName::from(login.name),
            host: login.host,
            port: login.port,
            client_host: None,
            client_port: None,
            user: login.user,
            password: Some(PasswordSource::Given(login.password)),
            database: "postgres".to_owned(),
            sslmode: SslMode::VerifyFull,
            ca_file: Some(login.ca_file),
            cert_file: None,
            key_file: None,
            max_connections: CONNECTIONS,
            client_ca: None,
        };
        let kind = match engine {
            Engine::PostgreSql => ServiceKind::PostgreSql,
            Engine::MySql => ServiceKind::MySql,
        };
        let plans = Plans::new(BTreeMap::from([(plan.clone(), (kind, DatabasePlan::default()))]));
        Self(match engine {
            Engine::PostgreSql => Arc::new(postgresql::Databases::new(settings, plans, installation)),
            Engine::MySql => Arc::new(mysql::Databases::new(settings, plans, installation)),
        })
    }
}

#[async_trait]
impl HostedServer for HostedDatabases {
    /// Creates the instance's database.
    async fn provision(&self, instance: &InstanceSpec) -> Result<Progress<()>, ServiceError> {
        self.0.provision(&of_sql(instance)).await
    }

    async fn bind(
        &self,
        on: &InstanceSpec,
        binding: &BindingSpec,
        access: Access,
    ) -> Result<Progress<Bound>, ServiceError> {
        self.0.bind(&of_sql(on), &with_access(binding, access)).await
    }

    async fn unbind(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Progress<()>, ServiceError> {
        self.0.unbind(&of_sql(on), &with_access(binding, Access::Read)).await
    }

    async fn confirm(&self, on: &InstanceSpec, binding: &BindingSpec) -> Result<Confirmed, ServiceError> {
        self.0.confirm(&of_sql(on), Some(&with_access(binding, Access::Read))).await
    }
}

/// The instance without the parameters of the cloud's backend, which the SQL backends do not know.
fn of_sql(instance: &InstanceSpec) -> InstanceSpec {
    InstanceSpec { parameters: Object::new(), ..instance.clone() }
}

/// The binding with the parameters of the SQL backends.
fn with_access(binding: &BindingSpec, access: Access) -> BindingSpec {
    let access = match access {
        Access::Read => "readonly",
        Access::ReadWrite => "readwrite",
        Access::Owner => "owner",
    };
    let parameters = Object::from_iter([("access".to_owned(), json!(access))]);
    BindingSpec { parameters, ..binding.clone() }
}
