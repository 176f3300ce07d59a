//! Databases on a server that another backend has made, such as one of Amazon RDS: that backend knows the server's
//! address and its administrator, and makes databases and logins through the same code as a configured server.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use secrecy::SecretString;

use super::{
    mysql, parameters::Plans, plan::DatabasePlan, postgresql, service_kind::ServiceKind,
    settings::ServerSettings,
};
use crate::{
    broker::{
        backends::Provider,
        config::{BackendName, PasswordSource, SslMode},
    },
    osb::PlanId,
};

/// As few sessions as the engines work with; each is for one call.
const CONNECTIONS: usize = 3;

/// The engine of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker::backends) enum HostedEngine {
    PostgreSql,
    /// MySQL or MariaDB.
    MySql,
}

/// A server, and how its administrator logs in. The server's certificate must be of this CA and have its name.
pub(in crate::broker::backends) struct HostedServer {
    /// What the log calls the server.
    pub(in crate::broker::backends) name: String,
    pub(in crate::broker::backends) host: String,
    pub(in crate::broker::backends) port: u16,
    pub(in crate::broker::backends) user: String,
    pub(in crate::broker::backends) password: SecretString,
    pub(in crate::broker::backends) ca_file: PathBuf,
}

/// The databases of an installation on a server, for instances of one plan. Opens no connection.
pub(in crate::broker::backends) fn provider(
    engine: HostedEngine,
    server: HostedServer,
    plan: &PlanId,
    installation: &str,
) -> Arc<dyn Provider> {
    let settings = ServerSettings {
        name: BackendName::from(server.name),
        host: server.host,
        port: server.port,
        client_host: None,
        client_port: None,
        user: server.user,
        password: Some(PasswordSource::Given(server.password)),
        database: "postgres".to_owned(),
        sslmode: SslMode::VerifyFull,
        ca_file: Some(server.ca_file),
        cert_file: None,
        key_file: None,
        max_connections: CONNECTIONS,
        client_ca: None,
    };
    let kind = match engine {
        HostedEngine::PostgreSql => ServiceKind::PostgreSql,
        HostedEngine::MySql => ServiceKind::MySql,
    };
    let plans = Plans::new(BTreeMap::from([(plan.clone(), (kind, DatabasePlan::default()))]));
    match engine {
        HostedEngine::PostgreSql => Arc::new(postgresql::Databases::new(settings, plans, installation)),
        HostedEngine::MySql => Arc::new(mysql::Databases::new(settings, plans, installation)),
    }
}
