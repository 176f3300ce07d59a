//! The real server behind an instance: MariaDB behind MySQL and MariaDB, PostgreSQL behind PostgreSQL. Each instance has a
//! server of its own, as in RDS, so that names of accounts and databases never meet. Names and passwords have been checked
//! before, so that no statement needs to quote them further.

use std::sync::Arc;

use super::Engine;
use crate::{mariadb::MariaDb, postgres::Postgres};

/// A running server.
pub(in super::super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(in super::super) kind: Kind,
}

#[derive(Clone)]
pub(in super::super) enum Kind {
    MariaDb(Arc<MariaDb>),
    Postgres(Arc<Postgres>),
}

impl Server {
    /// Starts a server at an address of this machine.
    pub(super) fn start(engine: Engine, host: &str) -> Self {
        let (port, kind) = if engine == Engine::PostgreSql {
            let server = Postgres::start(host, &[host]);
            (server.port(), Kind::Postgres(Arc::new(server)))
        } else {
            let server = MariaDb::start_at(host);
            (server.port(), Kind::MariaDb(Arc::new(server)))
        };
        Self { host: host.to_owned(), port, kind }
    }

    /// Runs statements as the superuser, which RDS gives to nobody.
    fn run(&self, mysql: &str, postgresql: &str) {
        match &self.kind {
            Kind::MariaDb(server) => drop(server.root(mysql)),
            Kind::Postgres(server) => drop(server.psql(postgresql)),
        }
    }

    pub(super) fn create_account(&self, name: &str, password: &str, is_super: bool) {
        let (all, roles) = if is_super {
            (
                format!("; GRANT ALL PRIVILEGES ON *.* TO '{name}'@'%' WITH GRANT OPTION"),
                " CREATEDB CREATEROLE",
            )
        } else {
            (String::new(), "")
        };
        self.run(
            &format!("CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'{all}"),
            &format!("CREATE ROLE \"{name}\" LOGIN{roles} PASSWORD '{password}'"),
        );
    }

    pub(super) fn reset_password(&self, name: &str, password: &str) {
        self.run(
            &format!("ALTER USER '{name}'@'%' IDENTIFIED BY '{password}'"),
            &format!("ALTER ROLE \"{name}\" PASSWORD '{password}'"),
        );
    }

    /// What becomes of the objects of a role of PostgreSQL is not documented; here the superuser gets them.
    pub(super) fn drop_account(&self, name: &str) {
        if let Kind::Postgres(server) = &self.kind {
            let databases = server.psql("SELECT datname FROM pg_database WHERE datallowconn");
            for database in databases {
                let give = format!("REASSIGN OWNED BY \"{name}\" TO postgres; DROP OWNED BY \"{name}\"");
                server.psql_in(&database, &give);
            }
        }
        self.run(&format!("DROP USER '{name}'@'%'"), &format!("DROP ROLE \"{name}\""));
    }

    pub(super) fn create_database(&self, name: &str, charset: &str) {
        self.run(
            &format!("CREATE DATABASE `{name}` CHARACTER SET {charset}"),
            &format!("CREATE DATABASE \"{name}\""),
        );
    }

    pub(super) fn drop_database(&self, name: &str) {
        self.run(&format!("DROP DATABASE `{name}`"), &format!("DROP DATABASE \"{name}\" WITH (FORCE)"));
    }

    /// The privileges of RDS in those of the engine (RDS for MySQL, "Account permissions").
    pub(super) fn grant(&self, account: &str, database: &str, privilege: &str) {
        let privileges = match privilege {
            "ReadOnly" => "SELECT, LOCK TABLES, SHOW VIEW",
            "DDLOnly" => {
                "CREATE, DROP, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE"
            }
            "DMLOnly" => {
                "SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, SHOW VIEW, EVENT, TRIGGER"
            }
            _ => {
                "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, REFERENCES, INDEX, ALTER, CREATE TEMPORARY TABLES, LOCK TABLES, \
                 EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER"
            }
        };
        // `_` in the name of a granted database stands for any character unless it is escaped.
        let pattern = database.replace('_', "\\_");
        self.run(
            &format!("GRANT {privileges} ON `{pattern}`.* TO '{account}'@'%'"),
            &format!("GRANT ALL PRIVILEGES ON DATABASE \"{database}\" TO \"{account}\""),
        );
        if let Kind::Postgres(server) = &self.kind {
            server.psql_in(database, &format!("GRANT ALL ON SCHEMA public TO \"{account}\""));
        }
    }

    pub(super) fn revoke(&self, account: &str, database: &str) {
        let pattern = database.replace('_', "\\_");
        match &self.kind {
            Kind::MariaDb(server) => {
                let granted =
                    format!("SELECT COUNT(*) FROM mysql.db WHERE User = '{account}' AND Db = '{pattern}'");
                let granted = granted.replace('\\', "\\\\");
                if server.root(&granted) != ["0"] {
                    server.root(&format!("REVOKE ALL PRIVILEGES ON `{pattern}`.* FROM '{account}'@'%'"));
                }
            }
            Kind::Postgres(server) => {
                server.psql(&format!("REVOKE ALL PRIVILEGES ON DATABASE \"{database}\" FROM \"{account}\""));
            }
        }
    }
}
