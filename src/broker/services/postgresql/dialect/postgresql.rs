//! PostgreSQL 13 and later. Sources: the reference pages of PostgreSQL 15 named at each statement
//! (<https://www.postgresql.org/docs/15/>); each was run as an administrator with CREATEROLE and CREATEDB only.

use tokio_postgres::error::SqlState;

use super::{
    super::quote::{identifier, literal},
    Dialect, InstanceNames, Statement,
};

/// Two sessions that make the same role at once get either of these (`pg_authid`'s unique index).
const ROLE_EXISTS: &[SqlState] = &[SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION];

/// See the module.
pub(in super::super) struct PostgreSql;

impl Dialect for PostgreSql {
    fn marks_at_creation(&self) -> bool {
        true
    }

    /// sql-createrole: there is no IF NOT EXISTS.
    fn create_marker(&self, marker: &str) -> Statement {
        Statement::new("create the marker role", format!("CREATE ROLE {} NOLOGIN", identifier(marker)))
            .unless(ROLE_EXISTS)
    }

    /// sql-createrole (IN ROLE).
    fn create_owner(&self, names: InstanceNames<'_>) -> Vec<Statement> {
        let sql =
            format!("CREATE ROLE {} NOLOGIN IN ROLE {}", identifier(names.owner), identifier(names.marker));
        vec![Statement::new("create the owner role", sql).unless(ROLE_EXISTS)]
    }

    /// sql-createdatabase.
    fn create_database(&self, names: InstanceNames<'_>) -> Statement {
        let sql = format!("CREATE DATABASE {} OWNER {}", identifier(names.database), identifier(names.owner));
        Statement::new("create the database", sql).unless(&[SqlState::DUPLICATE_DATABASE])
    }

    /// sql-revoke, sql-grant, sql-comment; ddl-priv lists what PUBLIC may do with a new database.
    fn lock_down(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement> {
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        vec![
            Statement::new("close the database", format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")),
            Statement::new(
                "open the database to its owner",
                format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {owner}"),
            ),
            Statement::new(
                "mark the database",
                format!("COMMENT ON DATABASE {database} IS {}", literal(comment)),
            ),
        ]
    }

    /// sql-createrole; a SCRAM verifier as password is stored as it is.
    fn create_login(&self, login: &str, names: InstanceNames<'_>, verifier: &str) -> Statement {
        let (login, owner) = (identifier(login), identifier(names.owner));
        let sql = format!("CREATE ROLE {login} LOGIN PASSWORD {} IN ROLE {owner}", literal(verifier));
        Statement::new("create the login", sql)
    }

    /// sql-alterrole.
    fn set_password(&self, login: &str, verifier: &str) -> Statement {
        let sql = format!("ALTER ROLE {} LOGIN PASSWORD {}", identifier(login), literal(verifier));
        Statement::new("set the login's password", sql)
    }

    /// sql-alterrole (IN DATABASE … SET role): whatever any login makes belongs to the owner, hence to all logins.
    fn equip_login(&self, login: &str, names: InstanceNames<'_>) -> Vec<Statement> {
        let (login, owner) = (identifier(login), literal(names.owner));
        let sql = format!("ALTER ROLE {login} IN DATABASE {} SET role = {owner}", identifier(names.database));
        vec![Statement::new("make the login act as the owner", sql)]
    }

    fn share_objects(&self, _login: &str, _names: InstanceNames<'_>) -> Vec<Statement> {
        Vec::new()
    }

    /// sql-alterrole.
    fn disable_login(&self, role: &str) -> Statement {
        Statement::new("disable the login", format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", identifier(role)))
    }

    /// functions-admin (`pg_terminate_backend`).
    fn end_sessions(&self, role: &str) -> Statement {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {}",
            literal(role)
        );
        Statement::new("end the login's sessions", sql)
    }

    fn count_sessions(&self, role: &str) -> String {
        format!("SELECT count(*) FROM pg_stat_activity WHERE usename = {}", literal(role))
    }

    /// catalog-pg-shdepend: what depends on the role, by database.
    fn databases_of(&self, role: &str) -> String {
        format!(
            "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
             JOIN pg_roles r ON r.oid = s.refobjid WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = {}",
            literal(role)
        )
    }

    /// sql-drop-owned takes default privileges along.
    fn default_privileges(&self, _role: &str, _schema: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    fn schemas(&self) -> Option<&'static str> {
        None
    }

    /// sql-reassign-owned.
    fn reassign(&self, role: &str, to: &str) -> Statement {
        let sql = format!("REASSIGN OWNED BY {} TO {}", identifier(role), identifier(to));
        Statement::new("hand the login's objects to the owner", sql)
    }

    /// sql-drop-owned.
    fn drop_owned(&self, role: &str) -> Statement {
        Statement::new(
            "take back what was granted to the login",
            format!("DROP OWNED BY {}", identifier(role)),
        )
    }

    /// sql-droprole.
    fn drop_role(&self, role: &str) -> Statement {
        Statement::new("drop the role", format!("DROP ROLE IF EXISTS {}", identifier(role)))
    }

    /// sql-dropdatabase (FORCE since 13).
    fn drop_database(&self, database: &str) -> Statement {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(database));
        Statement::new("drop the database", sql)
    }

    /// view-pg-roles.
    fn missing_rights(&self) -> String {
        "SELECT right_name FROM pg_roles, (VALUES ('CREATEROLE', 1), ('CREATEDB', 2)) AS rights (right_name, n) \
         WHERE rolname = current_user AND NOT rolsuper AND NOT CASE n WHEN 1 THEN rolcreaterole ELSE rolcreatedb END"
            .to_owned()
    }
}
