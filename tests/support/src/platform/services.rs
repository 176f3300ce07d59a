//! Brokers with one service on a test's database server.

use std::sync::Arc;

use super::{PLAN, Platform, SERVICE};
use crate::{
    mariadb::{self, MariaDb},
    postgres::{self, Postgres},
};

/// A database server for a service of a broker.
pub trait Server {
    /// A service with default settings, in the format of the configuration file.
    fn service(&self) -> String;
}

impl<S: Server> Server for Arc<S> {
    fn service(&self) -> String {
        (**self).service()
    }
}

impl Server for Postgres {
    fn service(&self) -> String {
        cockroachdb(self, "127.0.0.1", &ca_file(self))
    }
}

impl Server for MariaDb {
    fn service(&self) -> String {
        mysql(self, &format!("caFile: {}", self.ca_file().display()), "{}")
    }
}

impl Platform {
    /// Opens a broker with a service that has default settings.
    pub async fn on(server: &impl Server) -> Self {
        Self::open(&server.service()).await
    }

    /// Opens a broker with this host of a PostgreSQL server and these TLS settings.
    pub async fn with(server: &Postgres, host: &str, tls: &str) -> Self {
        Self::open(&cockroachdb(server, host, tls)).await
    }

    /// Opens a broker with a service of type postgresql and these database settings of its plan.
    pub async fn postgresql(server: &Postgres, database: &str) -> Self {
        Self::postgresql_with(server, "", database).await
    }

    /// Opens the same broker with more settings of the server.
    pub async fn postgresql_with(server: &Postgres, settings: &str, database: &str) -> Self {
        let (port, password_file, admin) =
            (server.port(), server.password_file().display().to_string(), postgres::ADMIN);
        Self::open(&format!(
            "backends: {{main: {{type: postgresql, host: 127.0.0.1, port: {port}, user: {admin}, passwordFile: {password_file}, {}, {settings}}}}}\n\
             services: [{{id: {SERVICE}, name: postgresql, type: postgresql, description: d, plan_updateable: true,\n\
                plans: [{{id: {PLAN}, name: default, description: d, backend: main, database: {{{database}}}}}]}}]",
            ca_file(server)
        ))
        .await
    }

    /// Opens a broker with a service of type mysql and these database settings of its plan.
    pub async fn mysql(server: &MariaDb, database: &str) -> Self {
        Self::mysql_with(server, &format!("caFile: {}", server.ca_file().display()), database).await
    }

    /// Opens the same broker with these TLS settings of the server.
    pub async fn mysql_with(server: &MariaDb, tls: &str, database: &str) -> Self {
        Self::open(&mysql(server, tls, database)).await
    }
}

fn ca_file(server: &Postgres) -> String {
    format!("caFile: {}", server.ca_file().display())
}

/// A service of the type for CockroachDB and PostgreSQL.
fn cockroachdb(server: &Postgres, host: &str, tls: &str) -> String {
    let (port, password_file, admin) =
        (server.port(), server.password_file().display().to_string(), postgres::ADMIN);
    format!(
        "backends: {{main: {{type: postgresql, host: {host}, port: {port}, user: {admin}, passwordFile: {password_file}, {tls}}}}}\n\
         services: [{{id: {SERVICE}, name: cockroachdb, type: cockroachdb, description: d,\n\
            plans: [{{name: default, description: d, backend: main}}]}}]"
    )
}

fn mysql(server: &MariaDb, tls: &str, database: &str) -> String {
    let (port, password_file, admin) =
        (server.port(), server.password_file().display().to_string(), mariadb::ADMIN);
    format!(
        "backends: {{main: {{type: mysql, host: 127.0.0.1, port: {port}, user: {admin}, passwordFile: {password_file}, \
            maxConnections: 4, {tls}}}}}\n\
         services: [{{id: {SERVICE}, name: mysql, type: mysql, description: d,\n\
            plans: [{{id: {PLAN}, name: default, description: d, backend: main, database: {database}}}]}}]"
    )
}
