//! Statements about sessions, and prepared transactions, which outlive their sessions.

use super::{super::quote::literal, CockroachDb, InWay, PostgreSql, Statement, postgresql::dependencies};

pub(in crate::broker::backends::sql::postgresql) trait SessionStatements {
    /// Ends the sessions of a role.
    fn end_sessions(&self, role: &str) -> Statement;

    /// A query for the number of a role's sessions.
    fn count_sessions(&self, role: &str) -> String;

    /// Ends sessions of bindings that lock a role, or the role's objects in the session's database.
    fn end_blocking_sessions(&self, _role: &str) -> Option<Statement> {
        None
    }

    /// A query for sessions that prevent a database from being dropped although the drop ends sessions, if that can
    /// happen. Columns: process id, role.
    fn sessions_in_database(&self, _database: &str) -> Option<String> {
        None
    }

    /// A query for prepared transactions that block something. Columns: name, role, database.
    fn prepared_transactions(&self, _in_way: InWay<'_>) -> Option<String> {
        None
    }

    /// Rolls back a prepared transaction of the current role in the session's database.
    fn roll_back_prepared(&self, gid: &str) -> Statement {
        Statement::new("roll the prepared transaction back", format!("ROLLBACK PREPARED {}", literal(gid)))
    }
}

impl SessionStatements for PostgreSql {
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

    /// view-pg-locks: a GRANT to a role prevents the role from being dropped until its transaction ends, and anybody
    /// with access to a table can lock it.
    fn end_blocking_sessions(&self, role: &str) -> Option<Statement> {
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

    /// sql-dropdatabase: FORCE cannot end sessions that its user may not end; monitoring-stats (`pg_stat_activity`).
    fn sessions_in_database(&self, database: &str) -> Option<String> {
        Some(format!(
            "SELECT pid, COALESCE(usename::text, 'of the server') FROM pg_catalog.pg_stat_activity WHERE datname = {} \
             AND pid <> pg_catalog.pg_backend_pid() ORDER BY pid LIMIT 5",
            literal(database)
        ))
    }

    /// view-pg-prepared-xacts, view-pg-locks: a prepared transaction has no process and is identified by its number.
    /// Only transactions of bindings are included.
    fn prepared_transactions(&self, in_way: InWay<'_>) -> Option<String> {
        Some(dependencies::prepared(in_way))
    }
}

impl SessionStatements for CockroachDb {
    /// cancel-session, with the result of show-sessions.
    fn end_sessions(&self, role: &str) -> Statement {
        let sql = format!(
            "CANCEL SESSIONS IF EXISTS (SELECT session_id FROM [SHOW CLUSTER SESSIONS] WHERE user_name = {})",
            literal(role)
        );
        Statement::new("end the login's sessions", sql)
    }

    fn count_sessions(&self, role: &str) -> String {
        format!("SELECT count(*) FROM [SHOW CLUSTER SESSIONS] WHERE user_name = {}", literal(role))
    }
}
