//! Statements about databases, one for each instance.

use tokio_postgres::error::SqlState;

use super::{
    super::quote::{identifier, literal},
    CockroachDb, GrantStatements, InstanceNames, Object, Origin, PostgreSql, Statement,
    statement::altered_as,
};

pub(in crate::broker::backends::sql::postgresql) trait DatabaseStatements {
    /// Creates the database.
    fn create_database(&self, names: InstanceNames<'_>, origin: Origin<'_>) -> Statement;

    /// Revokes all access except the owner's, and writes the mark as a comment.
    fn restrict_access(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement>;

    /// Writes the mark as a comment.
    fn write_mark(&self, database: &str, comment: &str) -> Statement {
        let sql = format!("COMMENT ON DATABASE {} IS {}", identifier(database), literal(comment));
        Statement::new("mark the database", sql)
    }

    /// A query for the databases whose comment begins with `$1`, with the comment; both engines have these functions
    /// of `pg_catalog`.
    fn marked_databases(&self) -> &'static str {
        "SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database \
         WHERE starts_with(shobj_description(oid, 'pg_database'), $1)"
    }

    /// A query for the schemas of the session's database, except the engine's own.
    fn schemas(&self) -> &'static str;

    /// Creates an extension.
    fn create_extension(&self, extension: &str) -> Statement {
        // sql-createextension. The session's search path contains no schema for new objects.
        let sql = format!("CREATE EXTENSION IF NOT EXISTS {} SCHEMA public", identifier(extension));
        Statement::new("create the extension", sql)
    }

    /// Drops an extension that is not in use.
    fn drop_extension(&self, extension: &str) -> Statement {
        // sql-dropextension.
        Statement::new("drop the extension", format!("DROP EXTENSION IF EXISTS {}", identifier(extension)))
    }

    /// Changes the owner of an object.
    fn change_object_owner(&self, object: &Object, owner: &str) -> Statement {
        // The server itself returned kind and identity, already quoted.
        let Object { kind, identity } = object;
        let sql = format!("ALTER {} {identity} OWNER TO {}", altered_as(kind), identifier(owner));
        Statement::new("hand over what the template brought along", sql)
    }

    /// Undoes an owner's settings that prevent others from connecting to a database or dropping it.
    fn allow_connections(&self, _database: &str, _owner: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Prevents all connections to a database, and ends its sessions.
    fn forbid_connections(&self, _database: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Drops a database and ends its sessions.
    fn drop_database(&self, database: &str) -> Statement;
}

impl DatabaseStatements for PostgreSql {
    /// sql-createdatabase; manage-ag-templatedbs: only template0 can be copied with another encoding, and only the
    /// locale C works with every encoding.
    fn create_database(&self, names: InstanceNames<'_>, origin: Origin<'_>) -> Statement {
        let from = match origin {
            Origin { template: Some(template), .. } => identifier(template),
            Origin { encoding: Some(encoding), .. } => {
                format!("template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'", literal(encoding))
            }
            // Anybody may be connected to template1, which prevents copying it.
            Origin { .. } => "template0".to_owned(),
        };
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        // Allow no connections until the public has lost its rights.
        let sql = format!("CREATE DATABASE {database} OWNER {owner} TEMPLATE {from} ALLOW_CONNECTIONS false");
        Statement::new("create the database", sql).unless(&[SqlState::DUPLICATE_DATABASE])
    }

    /// sql-revoke, sql-grant, sql-comment; ddl-priv lists PUBLIC's rights on a new database.
    fn restrict_access(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement> {
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        vec![
            Statement::new("close the database", format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")),
            Statement::new(
                "open the database to its owner",
                format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {owner}"),
            ),
            self.write_mark(names.database, comment),
            Statement::new("let sessions in", format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")),
        ]
    }

    /// catalog-pg-namespace; names that begin with `pg_` are reserved (ddl-schemas).
    fn schemas(&self) -> &'static str {
        "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' \
           AND pg_catalog.pg_has_role(nspowner, 'USAGE')"
    }

    /// sql-alterdatabase, sql-grant: the owner may change all these settings, and may revoke its own right to connect,
    /// on which the administrator depends.
    fn allow_connections(&self, database: &str, owner: &str) -> Vec<Statement> {
        let properties = format!(
            "ALTER DATABASE {} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1 IS_TEMPLATE false",
            identifier(database)
        );
        vec![Statement::new("open the database", properties), self.grant_connect(database, owner)]
    }

    /// sql-alterdatabase: the limit applies to all except superusers; functions-admin.
    fn forbid_connections(&self, database: &str) -> Vec<Statement> {
        let limit = format!("ALTER DATABASE {} WITH CONNECTION LIMIT 0", identifier(database));
        let sessions = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {} \
             AND pid <> pg_catalog.pg_backend_pid() AND pg_catalog.pg_has_role(usesysid, 'MEMBER')",
            literal(database)
        );
        vec![
            Statement::new("keep everybody out of the database", limit),
            Statement::new("end the sessions in the database", sessions),
        ]
    }

    /// sql-dropdatabase (FORCE since 13).
    fn drop_database(&self, database: &str) -> Statement {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(database));
        Statement::new("drop the database", sql)
    }
}

impl DatabaseStatements for CockroachDb {
    /// create-database: OWNER together with IF NOT EXISTS since v23.1. UTF8 is the only encoding, and only a backup
    /// can be copied, so plans have neither setting.
    fn create_database(&self, names: InstanceNames<'_>, _origin: Origin<'_>) -> Statement {
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        let sql = format!("CREATE DATABASE IF NOT EXISTS {database} OWNER {owner}");
        Statement::new("create the database", sql)
    }

    /// revoke, grant, comment-on. Without CONNECT a database is only hidden (cockroachdb/cockroach#59875); the
    /// schema's privileges prevent access.
    fn restrict_access(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement> {
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        vec![
            Statement::new(
                "close the database",
                format!("REVOKE CONNECT ON DATABASE {database} FROM public"),
            ),
            Statement::new(
                "close the schema",
                format!("REVOKE CREATE, USAGE ON SCHEMA {database}.public FROM public"),
            ),
            Statement::new(
                "open the schema to its owner",
                format!("GRANT ALL ON SCHEMA {database}.public TO {owner}"),
            ),
            self.write_mark(names.database, comment),
        ]
    }

    /// show-schemas.
    fn schemas(&self) -> &'static str {
        "SELECT schema_name::text FROM [SHOW SCHEMAS] \
         WHERE schema_name NOT IN ('crdb_internal', 'information_schema', 'pg_catalog', 'pg_extension')"
    }

    /// drop-database: sessions in the database do not prevent the drop.
    fn drop_database(&self, database: &str) -> Statement {
        Statement::new(
            "drop the database",
            format!("DROP DATABASE IF EXISTS {} CASCADE", identifier(database)),
        )
    }
}
