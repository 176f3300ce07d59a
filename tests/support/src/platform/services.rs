//! Brokers with one service on a test's database server.

use std::sync::Arc;

use super::{PLAN, Platform, SERVICE};
use crate::{
    mariadb::{self, MariaDb},
    postgres::{self, Postgres},
};

/// A database server that a broker may have a service on.
pub trait Server {
    /// A service with nothing but defaults, as the configuration file has it.
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
    /// With a service that has nothing but defaults.
    pub async fn on(server: &impl Server) -> Self {
        Self::open(&server.service()).await
    }

    /// With the host of a PostgreSQL and its TLS settings as given.
    pub async fn with(server: &Postgres, host: &str, tls: &str) -> Self {
        Self::open(&cockroachdb(server, host, tls)).await
    }

    /// With a service of type postgresql, and what its plan says of its databases.
    pub async fn postgresql(server: &Postgres, database: &str) -> Self {
        Self::postgresql_with(server, "", database).await
    }

    /// The same, with more settings of the server.
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

    /// With a service of type mysql, and what its plan says of its databases.
    pub async fn mysql(server: &MariaDb, database: &str) -> Self {
        Self::mysql_with(server, &format!("caFile: {}", server.ca_file().display()), database).await
    }

    /// The same, with the server's TLS settings as given.
    pub async fn mysql_with(server: &MariaDb, tls: &str, database: &str) -> Self {
        Self::open(&mysql(server, tls, database)).await
    }
}

fn ca_file(server: &Postgres) -> String {
    format!("caFile: {}", server.ca_file().display())
}

/// A service of the type that takes CockroachDB and PostgreSQL.
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
