//! A broker with the service on MariaDB.

use serde_json::{Value, json};

use crate::{
    mariadb::{ADMIN, ADMIN_PASSWORD, MariaDb},
    platform::{PLAN, Platform, SERVICE},
};

impl Platform {
    pub(crate) async fn on(server: &MariaDb) -> Self {
        Self::with_plan(server, "{}").await
    }

    /// With what the plan says about databases.
    pub(crate) async fn with_plan(server: &MariaDb, plan: &str) -> Self {
        Self::with(server, &format!("caFile: {}", server.ca_file().display()), plan).await
    }

    /// With the server's TLS settings, too.
    pub(crate) async fn with(server: &MariaDb, tls: &str, plan: &str) -> Self {
        Self::open(&format!(
            "servers: {{main: {{protocol: mysql, host: 127.0.0.1, port: {}, user: {ADMIN}, passwordFile: {}, \
                maxConnections: 4, {tls}}}}}\n\
             services: [{{id: {SERVICE}, name: mysql, type: mysql, description: d,\n\
                plans: [{{id: {PLAN}, name: default, description: d, server: main, database: {plan}}}]}}]",
            server.port(),
            server.password_file().display(),
        ))
        .await
    }
}

/// A credential.
pub(crate) fn text<'a>(credentials: &'a Value, key: &str) -> &'a str {
    credentials[key].as_str().unwrap()
}

/// What a broker's answer says.
pub(crate) fn description(body: &Value) -> &str {
    body["description"].as_str().unwrap()
}

impl MariaDb {
    /// The database, logins, rights and marks of credentials, as far as they are still there.
    pub(crate) fn left_of(&self, credentials: &[&Value]) -> Vec<String> {
        let names: Vec<_> = credentials.iter().map(|each| format!("'{}'", text(each, "username"))).collect();
        let (database, names) = (text(credentials[0], "database"), names.join(", "));
        let mut left = self.root(&format!(
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{database}' \
             UNION ALL SELECT User FROM mysql.user WHERE User IN ({names}) \
             UNION ALL SELECT User FROM mysql.db WHERE User IN ({names}) OR REPLACE(Db, '\\\\', '') = '{database}'"
        ));
        left.extend(self.marks("name", database));
        left
    }

    /// What the administrator logs in with.
    pub(crate) fn administrator(&self) -> Value {
        json!({"host": "127.0.0.1", "port": self.port().to_string(), "username": ADMIN, "password": ADMIN_PASSWORD,
            "database": "information_schema"})
    }

    /// A column of the marks, of all installations, of a database or a login.
    pub(crate) fn marks(&self, column: &str, of: &str) -> Vec<String> {
        let schemas = self.root(
            "SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = 'marks' AND TABLE_SCHEMA LIKE 'bindery%'",
        );
        let rows = |schema| {
            self.root(&format!("SELECT {column} FROM {schema}.marks WHERE '{of}' IN (name, database_name)"))
        };
        schemas.iter().flat_map(rows).collect()
    }
}
