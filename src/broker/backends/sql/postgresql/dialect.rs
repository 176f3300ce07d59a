//! The statements that differ between the engines, as data: every statement that changes something. Nothing here does
//! IO, so that tests can compare statements.

mod access;
mod cockroachdb;
mod defaults;
mod postgresql;
mod statement;

use tokio_postgres::error::SqlState;

use super::{
    dependents::revoke,
    quote::{identifier, literal},
};
use crate::broker::backends::sql::{naming::RETAINED, plan::Access};

pub(super) use self::{
    access::rights,
    cockroachdb::CockroachDb,
    defaults::DefaultPrivilege,
    postgresql::PostgreSql,
    statement::{InWay, InstanceNames, Login, Object, Origin, Statement},
};

use self::statement::altered_as;

/// The description of the first statement of [`Dialect::retain`].
pub(super) const MARK_RETAINED: &str = "mark what is retained";

/// The statements of one engine. `admin` is the role that bindery logs in as.
pub(super) trait Dialect: Send + Sync {
    /// Whether one statement creates and marks a role. If not, a kill can leave a role of bindery's without any
    /// membership, so that a role without one must count as bindery's.
    fn marks_at_creation(&self) -> bool;

    /// Creates the installation's marker role, if it does not exist.
    fn create_marker(&self, marker: &str) -> Statement;

    /// Creates a marked role that cannot log in: the marker is its member.
    fn create_group(&self, role: &str, marker: &str) -> Vec<Statement>;

    /// Makes the administrator a member of a role, so that it can act as the role.
    fn act_for(&self, role: &str, admin: &str) -> Statement {
        // Both engines grant roles with this statement; repeating it has no effect.
        Statement::new("act for the role", format!("GRANT {} TO {}", identifier(role), identifier(admin)))
    }

    /// A query for those of an installation's roles, and of the named roles, that the administrator cannot change or
    /// act as, with whether it has ADMIN OPTION on each. The first name is the installation's marker.
    fn unheld_roles(&self, _roles: &[&str]) -> Option<String> {
        None
    }

    /// Whether the administrator can grant itself ADMIN OPTION on such roles.
    fn takes_unheld_roles(&self) -> bool {
        false
    }

    /// The statements with which a superuser allows an administrator to change the roles of an installation.
    fn hand_over_roles(&self, _marker: &str, _admin: &str) -> Option<String> {
        None
    }

    /// Creates the database.
    fn create_database(&self, names: InstanceNames<'_>, origin: Origin<'_>) -> Statement;

    /// Revokes all access except the owner's, and writes the mark as a comment.
    fn lock_down(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement>;

    /// Creates a login that does not exist yet.
    fn create_login(&self, login: Login<'_>) -> Statement;

    /// Gives an existing login a new password and allows it to log in.
    fn renew_login(&self, login: Login<'_>) -> Statement;

    /// Changes a login's connection limit; `None` where the engine has no such limit.
    fn limit_connections(&self, _login: &str, _connections: Option<u32>) -> Option<Statement> {
        None
    }

    /// Whether the engine limits the connections of a login.
    fn limits_connections(&self) -> bool {
        self.limit_connections("", None).is_some()
    }

    /// Gives a login the rights of its group. An owner's login acts as the owner in the instance's database.
    fn equip_login(&self, login: Login<'_>, names: InstanceNames<'_>) -> Vec<Statement>;

    /// Gives the members of a group access to a schema and everything in it; for a session in the instance's database.
    fn open_schema(&self, schema: &str, group: &str, access: Access) -> Vec<Statement> {
        access::open_schema(schema, group, access)
    }

    /// A query for the tables and sequences of a schema whose owner the administrator can act as, on engines where
    /// objects of others may be among them. Columns: name, whether it is a sequence.
    fn relations(&self, _schema: &str) -> Option<String> {
        None
    }

    /// Gives the members of a group access to a table or sequence.
    fn open_relation(
        &self,
        schema: &str,
        name: &str,
        is_sequence: bool,
        group: &str,
        access: Access,
    ) -> Statement {
        let [(_, on_table), (_, on_sequence)] = rights(access);
        let (kind, rights) = if is_sequence { ("SEQUENCE", on_sequence) } else { ("TABLE", on_table) };
        let (schema, name, group) = (identifier(schema), identifier(name), identifier(group));
        let sql = format!("GRANT {rights} ON {kind} {schema}.{name} TO {group}");
        Statement::new("open what is in the schema", sql)
    }

    /// Gives the members of a group access to what a role creates in future; for a session in the instance's database.
    fn share(&self, maker: &str, group: &str, access: Access) -> Vec<Statement> {
        access::share(maker, group, access)
    }

    /// Whether a login owns what it creates, so that each login must share its objects with each group. Otherwise the
    /// owner role owns the objects, unless the login leaves that role.
    fn logins_own(&self) -> bool;

    /// A query for those of the logins `$1` whose new objects in the session's database are not shared with a group;
    /// `None` where every login is set up when it is created.
    fn makers_that_keep(&self, _group: &str) -> Option<String> {
        None
    }

    /// Queries for objects of the logins `$1` in the session's database that a group may not use: schemas; and tables
    /// and sequences, with the columns of [`Dialect::relations`] after the schema.
    fn kept_from(&self, _group: &str) -> Option<(String, String)> {
        None
    }

    /// Gives the members of a group access to a schema that a login created under its own name.
    fn open_own_schema(&self, schema: &str, group: &str, access: Access) -> Statement {
        let rights = if access == Access::Owner { "ALL" } else { "USAGE" };
        let sql = format!("GRANT {rights} ON SCHEMA {} TO {}", identifier(schema), identifier(group));
        Statement::new("open the login's schema", sql)
    }

    /// Allows the members of a group to connect to the database. This is a group's last grant, so a group that has it
    /// is complete.
    fn admit(&self, database: &str, group: &str) -> Statement {
        let sql = format!("GRANT CONNECT ON DATABASE {} TO {}", identifier(database), identifier(group));
        Statement::new("open the database", sql)
    }

    /// A query for whether a group may connect; both engines have these functions of `pg_catalog`.
    fn is_admitted(&self, database: &str, group: &str) -> String {
        format!(
            "SELECT pg_catalog.has_database_privilege({}, {}, 'CONNECT')",
            literal(group),
            literal(database)
        )
    }

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

    /// Switches to another role; the session must not be reused.
    fn set_role(&self, role: &str) -> Statement {
        Statement::new("act as the role", format!("SET ROLE {}", identifier(role)))
    }

    /// Switches back to the administrator.
    fn reset_role(&self) -> Statement {
        Statement::new("act as the administrator again", "SET ROLE NONE".to_owned())
    }

    /// A query for the grants to a role in the session's database that were made by roles other than the object's
    /// owner, as far as the administrator can act as the grantor. Columns: the object's type as in
    /// `pg_identify_object`, its identity, the privileges, the grantor. `None` where the administrator can revoke for
    /// all grantors.
    fn grants_of_others(&self, _role: &str) -> Option<String> {
        None
    }

    /// Revokes privileges on an object, named as by the server, that the current role granted to another role. The
    /// privileges are listed, because for ALL the server would revoke as the owner if the current role is a member of
    /// the owner.
    fn take_back(&self, (kind, identity): (&str, &str), privileges: &str, role: &str) -> Statement {
        let sql = format!("{} CASCADE", revoke(privileges, kind, identity, role));
        Statement::new("take back what was granted to the role", sql)
    }

    /// A query for what depends on a role in the session's database. Columns: the object's type and identity, the kind
    /// of dependency (`pg_shdepend.deptype`), whether the object belongs to all databases.
    fn dependents(&self, _role: &str) -> Option<String> {
        None
    }

    /// A query for prepared transactions that block something. Columns: name, role, database.
    fn prepared(&self, _in_way: InWay<'_>) -> Option<String> {
        None
    }

    /// Rolls back a prepared transaction of the current role in the session's database.
    fn roll_back(&self, gid: &str) -> Statement {
        Statement::new("roll the prepared transaction back", format!("ROLLBACK PREPARED {}", literal(gid)))
    }

    /// Changes the owner of an object.
    fn change_owner(&self, object: &Object, owner: &str) -> Statement {
        // The server itself returned kind and identity, already quoted.
        let Object { kind, identity } = object;
        let sql = format!("ALTER {} {identity} OWNER TO {}", altered_as(kind), identifier(owner));
        Statement::new("hand over what the template brought along", sql)
    }

    /// Makes a role a member of another role.
    fn grant_role(&self, role: &str, to: &str) -> Statement {
        let sql = format!("GRANT {} TO {}", identifier(role), identifier(to));
        Statement::new("give the role its rights", sql)
    }

    /// Ends a membership.
    fn revoke_role(&self, role: &str, from: &str) -> Statement {
        Statement::new("end the membership", format!("REVOKE {} FROM {}", identifier(role), identifier(from)))
    }

    /// Reverses the mark of an earlier release, in which the role was a member of the marker. Statements that are sent
    /// together are one transaction, so the role is never unmarked. Neither engine allows circular memberships.
    fn turn_mark(&self, role: &str, marker: &str) -> Statement {
        let (end, mark) = (self.revoke_role(marker, role).sql, self.grant_role(role, marker).sql);
        Statement::new("turn the mark round", format!("{end}; {mark}"))
    }

    /// A query for the grantors of a membership.
    fn grantors(&self, role: &str, member: &str) -> String {
        format!(
            "SELECT pg_catalog.pg_get_userbyid(m.grantor)::text FROM pg_catalog.pg_auth_members m \
             JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member \
             WHERE r.rolname = {} AND u.rolname = {}",
            literal(role),
            literal(member)
        )
    }

    /// Replaces the installation's mark on a role with the mark for retained data.
    fn retain(&self, role: &str, marker: &str) -> Vec<Statement> {
        vec![
            self.create_marker(RETAINED),
            self.grant_role(role, RETAINED).called(MARK_RETAINED),
            self.revoke_role(role, marker),
        ]
    }

    /// Writes the mark as a comment.
    fn comment(&self, database: &str, comment: &str) -> Statement {
        let sql = format!("COMMENT ON DATABASE {} IS {}", identifier(database), literal(comment));
        Statement::new("mark the database", sql)
    }

    /// A query for the databases whose comment begins with `$1`, with the comment; both engines have these functions
    /// of `pg_catalog`.
    fn comments(&self) -> &'static str {
        "SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database \
         WHERE starts_with(shobj_description(oid, 'pg_database'), $1)"
    }

    /// A query for expired logins that can still log in or have sessions, among the members of groups with the mark
    /// `$1`.
    fn expired_logins(&self) -> &'static str;

    /// A query for whether a role has expired.
    fn is_expired(&self, role: &str) -> String {
        let role = literal(role);
        format!("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = {role} AND rolvaliduntil <= now()")
    }

    /// Revokes PUBLIC's rights that a copied template may contain, except the right to look objects up.
    fn close_schema(&self, schema: &str) -> Vec<Statement> {
        access::close_schema(schema)
    }

    /// Changes the password of the role that is logged in.
    fn change_own_password(&self, role: &str, verifier: &str) -> Statement {
        let sql = format!("ALTER ROLE {} PASSWORD {}", identifier(role), literal(verifier));
        Statement::new("change the administrator's password", sql)
    }

    /// Undoes an owner's settings that prevent others from connecting to a database or dropping it.
    fn open_up(&self, _database: &str, _owner: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Prevents all connections to a database, and ends its sessions.
    fn close_off(&self, _database: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Prevents a role from logging in permanently.
    fn disable_login(&self, role: &str) -> Statement;

    /// Prevents a role from logging in until [`Dialect::resume_login`].
    fn suspend_login(&self, role: &str) -> Statement {
        Statement::new("lock the login", format!("ALTER ROLE {} NOLOGIN", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }

    /// Allows a role to log in again.
    fn resume_login(&self, role: &str) -> Statement {
        Statement::new("unlock the login", format!("ALTER ROLE {} LOGIN", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }

    /// Ends sessions of bindings that lock a role, or the role's objects in the session's database.
    fn end_lockers(&self, _role: &str) -> Option<Statement> {
        None
    }

    /// Ends the sessions of a role.
    fn end_sessions(&self, role: &str) -> Statement;

    /// A query for the number of a role's sessions.
    fn count_sessions(&self, role: &str) -> String;

    /// A query for the databases that may contain objects of a role or grants to it.
    fn databases_of(&self, role: &str) -> String;

    /// Queries for the default privileges that prevent a role from being dropped; none where DROP OWNED removes them.
    /// Columns: role (empty for all roles), type, grantee.
    fn default_privileges(&self, role: &str, schema: Option<&str>) -> Vec<String>;

    /// A query for the schemas of the session's database, except the engine's own.
    fn schemas(&self) -> &'static str;

    /// Resets a role's default privileges in the session's database to the built-in ones: where a role has revoked
    /// built-in privileges, the entry would prevent it from being dropped.
    fn reset_defaults(&self, _role: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Reassigns what a role owns in the session's database to another role.
    fn reassign(&self, role: &str, to: &str) -> Statement {
        // sql-reassign-owned, or reassign-owned.
        let sql = format!("REASSIGN OWNED BY {} TO {}", identifier(role), identifier(to));
        Statement::new("hand the login's objects to the owner", sql)
    }

    /// Drops what a role owns in the session's database, and revokes what was granted to the role.
    fn drop_owned(&self, role: &str) -> Statement {
        // sql-drop-owned; drop-owned-by, which has no CASCADE (0A000): after REASSIGN it only revokes grants.
        Statement::new(
            "take back what was granted to the login",
            format!("DROP OWNED BY {}", identifier(role)),
        )
    }

    /// Drops a role.
    fn drop_role(&self, role: &str) -> Statement;

    /// Drops a database and ends its sessions.
    fn drop_database(&self, database: &str) -> Statement;

    /// A query for whether a role owns something in a database, where the server can tell.
    fn owns_in(&self, _role: &str, _database: &str) -> Option<String> {
        None
    }

    /// A query for sessions that prevent a database from being dropped although the drop ends sessions, if that can
    /// happen. Columns: process id, role.
    fn sessions_in(&self, _database: &str) -> Option<String> {
        None
    }

    /// A query for whether connections are reserved for the administrator; `None` where the engine has no such
    /// reserve.
    fn has_reserve(&self) -> Option<&'static str> {
        None
    }

    /// A query for the rights that the administrator lacks, one per row.
    fn missing_rights(&self) -> String;

    /// The statement with which a superuser gives the administrator its missing attributes.
    fn give_rights(&self, _admin: &str, _missing: &[String]) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests;
