//! PostgreSQL 15 and later. The documentation is at <https://www.postgresql.org/docs/18/>, the page is named at each
//! statement; all statements were run as an administrator with only CREATEROLE and CREATEDB. Since version 16, a role
//! with CREATEROLE can change only roles on which it has ADMIN OPTION, which it gets on the roles that it creates.
//! Before 16 the administrator grants itself this option, so that it still has the option after an upgrade.

mod dependencies;

use tokio_postgres::error::SqlState;

use super::{
    super::quote::{identifier, literal},
    Dialect, InWay, InstanceNames, Login, Origin, RETAINED, Statement,
};

/// Two sessions that create the same role at once get either of these errors (`pg_authid`'s unique index).
const ROLE_EXISTS: &[SqlState] = &[SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION];

/// Patterns of the names of groups and of logins.
const GROUPS: &str = "^cf_[a-p]{32}_(owner|readwrite|readonly|revoked)$";
const LOGINS: &str = "^[a-p]{32}$";

/// The dialect of PostgreSQL.
pub(in crate::broker::backends::sql::postgresql) struct PostgreSql {
    pub(in crate::broker::backends::sql::postgresql) before_16: bool,
}

impl PostgreSql {
    /// A clause of CREATE ROLE: gives the administrator ADMIN OPTION on the role, which is automatic since 16.
    fn administered(&self) -> &'static str {
        if self.before_16 { " ADMIN CURRENT_USER" } else { "" }
    }
}

impl Dialect for PostgreSql {
    fn marks_at_creation(&self) -> bool {
        true
    }

    /// sql-createrole: there is no IF NOT EXISTS.
    fn create_marker(&self, marker: &str) -> Statement {
        let sql = format!("CREATE ROLE {} NOLOGIN{}", identifier(marker), self.administered());
        Statement::new("create the marker role", sql).unless(ROLE_EXISTS)
    }

    /// sql-grant: since 16 a membership has its own options; without INHERIT, a NOINHERIT administrator could use none
    /// of the role's rights.
    fn act_for(&self, role: &str, _admin: &str) -> Statement {
        let options = if self.before_16 { "ADMIN OPTION" } else { "INHERIT TRUE, SET TRUE" };
        let sql = format!("GRANT {} TO CURRENT_USER WITH {options}", identifier(role));
        Statement::new("act for the role", sql)
    }

    /// functions-info (`pg_has_role`).
    fn unheld_roles(&self, roles: &[&str]) -> Option<String> {
        let roles: Vec<_> = roles.iter().map(|role| literal(role)).collect();
        let (named, marker) = (roles.join(", "), roles.first()?);
        let admin = "pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')";
        // Before 16 the INHERIT of a membership comes from the administrator's attribute.
        let uses = if self.before_16 { "true" } else { "pg_catalog.pg_has_role(r.oid, 'USAGE')" };
        Some(format!(
            "WITH groups AS ({}), \
             logins AS (SELECT m.member AS oid FROM groups g JOIN pg_catalog.pg_auth_members m ON m.roleid = g.oid) \
             SELECT r.rolname::text, {admin} FROM pg_catalog.pg_roles r \
             WHERE (r.rolname IN ({named}) OR r.oid IN (SELECT oid FROM groups) \
                 OR r.rolname ~ '{LOGINS}' AND r.oid IN (SELECT oid FROM logins)) \
               AND NOT ({admin} AND {uses}) ORDER BY r.rolname",
            groups(marker)
        ))
    }

    fn takes_unheld_roles(&self) -> bool {
        self.before_16
    }

    /// plpgsql: one statement for each role of [`Dialect::unheld_roles`].
    fn hand_over_roles(&self, marker: &str, admin: &str) -> Option<String> {
        let options = if self.before_16 { "ADMIN OPTION" } else { "ADMIN OPTION, INHERIT TRUE, SET TRUE" };
        let (marker, retained, admin) = (literal(marker), literal(RETAINED), literal(admin));
        Some(format!(
            "DO $$DECLARE r record; BEGIN FOR r IN WITH groups AS ({}) SELECT rolname FROM pg_roles \
             WHERE rolname IN ({marker}, {retained}) OR oid IN (SELECT oid FROM groups) OR rolname ~ '{LOGINS}' AND NOT rolsuper \
               AND oid IN (SELECT m.member FROM groups g JOIN pg_auth_members m ON m.roleid = g.oid) LOOP \
             EXECUTE format('GRANT %I TO %I WITH {options}', r.rolname, {admin}); END LOOP; END$$",
            groups(&marker)
        ))
    }

    /// sql-createrole (ROLE).
    fn create_group(&self, role: &str, marker: &str) -> Vec<Statement> {
        let (role, marker) = (identifier(role), identifier(marker));
        let sql = format!("CREATE ROLE {role} NOLOGIN ROLE {marker}{}", self.administered());
        vec![Statement::new("create the role", sql).unless(ROLE_EXISTS)]
    }

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
    fn lock_down(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement> {
        let (database, owner) = (identifier(names.database), identifier(names.owner));
        vec![
            Statement::new("close the database", format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")),
            Statement::new(
                "open the database to its owner",
                format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {owner}"),
            ),
            self.comment(names.database, comment),
            Statement::new("let sessions in", format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")),
        ]
    }

    /// sql-createrole; the server stores a SCRAM verifier as it is. VALID UNTIL applies only to passwords, so
    /// [`Dialect::expired_logins`] are locked out as well.
    fn create_login(&self, login: Login<'_>) -> Statement {
        let (attributes, group) = (attributes(login), identifier(login.group));
        let (login, administered) = (identifier(login.name), self.administered());
        let sql = format!("CREATE ROLE {login} LOGIN {attributes} IN ROLE {group}{administered}");
        Statement::new("create the login", sql)
    }

    /// sql-alterrole.
    fn renew_login(&self, login: Login<'_>) -> Statement {
        let sql = format!("ALTER ROLE {} LOGIN {}", identifier(login.name), attributes(login));
        Statement::new("renew the login", sql)
    }

    /// sql-alterrole (CONNECTION LIMIT): superusers are not limited.
    fn limit_connections(&self, login: &str, connections: Option<u32>) -> Option<Statement> {
        let sql = format!("ALTER ROLE {} CONNECTION LIMIT {}", identifier(login), limit(connections));
        Some(Statement::new("limit the login's connections", sql).unless(&[SqlState::UNDEFINED_OBJECT]))
    }

    /// sql-alterrole (IN DATABASE … SET role): the owner role owns what its logins create, so all of these logins can
    /// use it.
    fn equip_login(&self, login: Login<'_>, names: InstanceNames<'_>) -> Vec<Statement> {
        if login.group != names.owner {
            return Vec::new();
        }
        let (login, owner) = (identifier(login.name), literal(names.owner));
        let sql = format!("ALTER ROLE {login} IN DATABASE {} SET role = {owner}", identifier(names.database));
        vec![Statement::new("make the login act as the owner", sql)]
    }

    fn logins_own(&self) -> bool {
        false
    }

    /// sql-alterdatabase, sql-grant: the owner may change all these settings, and may revoke its own right to connect,
    /// on which the administrator depends.
    fn open_up(&self, database: &str, owner: &str) -> Vec<Statement> {
        let properties = format!(
            "ALTER DATABASE {} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT -1 IS_TEMPLATE false",
            identifier(database)
        );
        vec![Statement::new("open the database", properties), self.admit(database, owner)]
    }

    /// sql-alterdatabase: the limit applies to all except superusers; functions-admin.
    fn close_off(&self, database: &str) -> Vec<Statement> {
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

    /// view-pg-locks: a GRANT to a role prevents the role from being dropped until its transaction ends, and anybody
    /// with access to a table can lock it.
    fn end_lockers(&self, role: &str) -> Option<Statement> {
        let role = literal(role);
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE a.pid <> pg_catalog.pg_backend_pid() \
             AND a.usename ~ '^[a-p]{{32}}$' AND pg_catalog.pg_has_role(a.usesysid, 'MEMBER') AND a.pid IN ( \
               SELECT l.pid FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_roles r ON r.rolname = {role} WHERE l.granted AND ( \
                 l.locktype = 'object' AND l.classid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND l.objid = r.oid \
                 OR l.locktype = 'relation' AND l.relation IN (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relowner = r.oid) \
                 OR l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND a.state LIKE 'idle in transaction%' \
                   AND (a.datname = pg_catalog.current_database() OR a.usename = r.rolname)))"
        );
        Some(Statement::new("end the sessions that are in the way", sql))
    }

    /// catalog-pg-class.
    fn relations(&self, schema: &str) -> Option<String> {
        Some(format!(
            "SELECT c.relname::text, c.relkind = 'S' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND pg_catalog.pg_has_role(c.relowner, 'USAGE')",
            literal(schema)
        ))
    }

    /// catalog-pg-default-acl: the default privileges for schemas are the last ones that every group gets.
    fn makers_that_keep(&self, group: &str) -> Option<String> {
        Some(format!(
            "SELECT r.rolname::text FROM pg_roles r WHERE r.rolname::text = ANY ($1) AND NOT EXISTS ( \
             SELECT 1 FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles g ON g.oid = a.grantee \
             WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = 'n' AND g.rolname = {})",
            literal(group)
        ))
    }

    /// functions-info; schemas whose names begin with `pg_` are temporary.
    fn kept_from(&self, group: &str) -> Option<(String, String)> {
        let group = literal(group);
        let schemas = format!(
            "SELECT n.nspname::text FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner \
             WHERE o.rolname::text = ANY ($1) AND NOT has_schema_privilege({group}, n.oid, 'USAGE')"
        );
        let relations = format!(
            "SELECT n.nspname::text, c.relname::text, c.relkind = 'S' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_roles o ON o.oid = c.relowner WHERE o.rolname::text = ANY ($1) AND n.nspname NOT LIKE 'pg\\_%' \
             AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT has_table_privilege({group}, c.oid, 'SELECT')"
        );
        Some((schemas, relations))
    }

    fn expired_logins(&self) -> &'static str {
        "SELECT DISTINCT l.rolname::text FROM pg_roles k JOIN pg_auth_members gm ON k.oid IN (gm.member, gm.roleid) \
         JOIN pg_auth_members lm ON lm.roleid IN (gm.member, gm.roleid) AND lm.roleid <> k.oid \
         JOIN pg_roles l ON l.oid = lm.member \
         WHERE k.rolname::text = $1 AND l.rolvaliduntil <= now() \
           AND (l.rolcanlogin OR EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.usesysid = l.oid))"
    }

    /// catalog-pg-shdepend (`a` is a privilege; objects of all databases have none), functions-info (aclexplode,
    /// `pg_identify_object`).
    fn grants_of_others(&self, role: &str) -> Option<String> {
        Some(dependencies::grants_of_others(role))
    }

    /// See [`Self::grants_of_others`].
    fn dependents(&self, role: &str) -> Option<String> {
        Some(dependencies::dependents(role))
    }

    /// view-pg-prepared-xacts, view-pg-locks: a prepared transaction has no process and is identified by its number.
    /// Only transactions of bindings are included.
    fn prepared(&self, in_way: InWay<'_>) -> Option<String> {
        Some(dependencies::prepared(in_way))
    }

    /// sql-alterrole.
    fn disable_login(&self, role: &str) -> Statement {
        Statement::new("disable the login", format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", identifier(role)))
    }

    /// functions-admin (`pg_terminate_backend`).
    fn end_sessions(&self, role: &str) -> Statement {
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = {}",
            literal(role)
        );
        Statement::new("end the login's sessions", sql)
    }

    fn count_sessions(&self, role: &str) -> String {
        format!(
            "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE usename = {}",
            literal(role)
        )
    }

    /// catalog-pg-shdepend: what depends on the role, by database.
    fn databases_of(&self, role: &str) -> String {
        format!(
            "SELECT DISTINCT d.datname::text FROM pg_catalog.pg_shdepend s JOIN pg_catalog.pg_database d ON d.oid = s.dbid \
             JOIN pg_catalog.pg_roles r ON r.oid = s.refobjid WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND r.rolname = {}",
            literal(role)
        )
    }

    /// sql-drop-owned also removes default privileges.
    fn default_privileges(&self, _role: &str, _schema: Option<&str>) -> Vec<String> {
        Vec::new()
    }

    /// catalog-pg-namespace; names that begin with `pg_` are reserved (ddl-schemas).
    fn schemas(&self) -> &'static str {
        "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema' \
           AND pg_catalog.pg_has_role(nspowner, 'USAGE')"
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

    /// catalog-pg-shdepend: `o` is the owner.
    fn owns_in(&self, role: &str, database: &str) -> Option<String> {
        Some(format!(
            "SELECT EXISTS (SELECT 1 FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid \
             WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype = 'o' AND r.rolname = {} AND d.datname = {})",
            literal(role),
            literal(database)
        ))
    }

    /// sql-dropdatabase: FORCE cannot end sessions that its user may not end; monitoring-stats (`pg_stat_activity`).
    fn sessions_in(&self, database: &str) -> Option<String> {
        Some(format!(
            "SELECT pid, COALESCE(usename::text, 'of the server') FROM pg_catalog.pg_stat_activity WHERE datname = {} \
             AND pid <> pg_catalog.pg_backend_pid() ORDER BY pid LIMIT 5",
            literal(database)
        ))
    }

    /// runtime-config-connection (`reserved_connections`), predefined-roles: since 16.
    fn has_reserve(&self) -> Option<&'static str> {
        (!self.before_16).then_some(
            "SELECT pg_catalog.current_setting('reserved_connections')::int > 0 \
             AND pg_catalog.pg_has_role('pg_use_reserved_connections', 'USAGE')",
        )
    }

    /// view-pg-roles. Since 16 each membership has its own inherit option.
    fn missing_rights(&self) -> String {
        let inherits = if self.before_16 { "r.rolinherit" } else { "true" };
        format!(
            "SELECT x.name FROM pg_catalog.pg_roles r, LATERAL (VALUES ('CREATEROLE', r.rolcreaterole), \
             ('CREATEDB', r.rolcreatedb), ('INHERIT', {inherits})) AS x (name, has) \
             WHERE r.rolname = current_user AND NOT r.rolsuper AND NOT x.has"
        )
    }

    /// sql-alterrole.
    fn give_rights(&self, admin: &str, missing: &[String]) -> Option<String> {
        Some(format!("ALTER ROLE {} {}", identifier(admin), missing.join(" ")))
    }

    /// sql-alterrole.
    fn change_own_password(&self, _role: &str, verifier: &str) -> Statement {
        let sql = format!("ALTER ROLE CURRENT_USER PASSWORD {}", literal(verifier));
        Statement::new("change the administrator's password", sql)
    }
}

/// A query for the database roles with a mark, which must be quoted; includes marks of earlier releases, which are
/// reversed.
fn groups(marker: &str) -> String {
    format!(
        "SELECT g.oid FROM pg_catalog.pg_roles k JOIN pg_catalog.pg_auth_members m ON k.oid IN (m.member, m.roleid) \
         JOIN pg_catalog.pg_roles g ON g.oid IN (m.member, m.roleid) WHERE k.rolname = {marker} AND g.rolname ~ '{GROUPS}'"
    )
}

fn attributes(login: Login<'_>) -> String {
    let password = login.verifier.map_or_else(|| "NULL".to_owned(), literal);
    let ends_at = login.ends_at.map_or_else(|| "infinity".to_owned(), |time| time.to_string());
    let limit = limit(login.connections);
    format!("PASSWORD {password} VALID UNTIL {} CONNECTION LIMIT {limit}", literal(&ends_at))
}

/// sql-createrole: -1 means no limit.
fn limit(connections: Option<u32>) -> i64 {
    connections.map_or(-1, i64::from)
}
