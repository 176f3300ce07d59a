//! What differs between the engines: every statement that changes something, as data. Nothing here does IO, so a test
//! reads the statements that a server would get.

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

/// What [`Dialect::retain`] does first.
pub(super) const MARK_RETAINED: &str = "mark what is retained";

/// The statements of one engine. `admin` is the role that bindery is logged in as.
pub(super) trait Dialect: Send + Sync {
    /// Whether a role is made and marked in one statement. If not, a kill can leave a role of ours that is a member of
    /// nothing, and such a role has to be taken for ours.
    fn marks_at_creation(&self) -> bool;

    /// Makes the installation's marker role, if need be.
    fn create_marker(&self, marker: &str) -> Statement;

    /// Makes a role that cannot log in, marked: the marker is its member.
    fn create_group(&self, role: &str, marker: &str) -> Vec<Statement>;

    /// Makes the administrator a member of a role, so that it may act for it.
    fn act_for(&self, role: &str, admin: &str) -> Statement {
        // GRANT of a role is the same everywhere; one that is a member already stays one.
        Statement::new("act for the role", format!("GRANT {} TO {}", identifier(role), identifier(admin)))
    }

    /// A query for the roles among those of an installation, and of these names beside, that the administrator cannot
    /// change or act for, and whether it has ADMIN OPTION on each. The first name is the installation's marker.
    fn unheld_roles(&self, _roles: &[&str]) -> Option<String> {
        None
    }

    /// Whether the administrator can take ADMIN OPTION on such roles by itself.
    fn takes_unheld_roles(&self) -> bool {
        false
    }

    /// What a superuser runs so that an administrator can change the roles of an installation.
    fn hand_over_roles(&self, _marker: &str, _admin: &str) -> Option<String> {
        None
    }

    /// Makes the database.
    fn create_database(&self, names: InstanceNames<'_>, origin: Origin<'_>) -> Statement;

    /// Keeps everybody but the owner out, and writes the mark as a comment.
    fn lock_down(&self, names: InstanceNames<'_>, comment: &str) -> Vec<Statement>;

    /// Makes a login that does not exist yet.
    fn create_login(&self, login: Login<'_>) -> Statement;

    /// Gives an existing login a new password and lets it log in.
    fn renew_login(&self, login: Login<'_>) -> Statement;

    /// Changes how many connections a login may have open; `None` where the engine has no such limit.
    fn limit_connections(&self, _login: &str, _connections: Option<u32>) -> Option<Statement> {
        None
    }

    /// Whether the engine limits how many connections a login may have open.
    fn limits_connections(&self) -> bool {
        self.limit_connections("", None).is_some()
    }

    /// Gives a login the rights of its group, and makes an owner's login act as the owner in the instance's database.
    fn equip_login(&self, login: Login<'_>, names: InstanceNames<'_>) -> Vec<Statement>;

    /// Lets the members of a group find what is in the schema, and use all that is there: for a session in the instance's
    /// database.
    fn open_schema(&self, schema: &str, group: &str, access: Access) -> Vec<Statement> {
        access::open_schema(schema, group, access)
    }

    /// A query for the tables and sequences of a schema that the administrator may act for the owner of, where others' may be
    /// among them: name, and whether it is a sequence.
    fn relations(&self, _schema: &str) -> Option<String> {
        None
    }

    /// Lets the members of a group use one of them.
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

    /// Shares what one role makes from now on with the members of a group: for a session in the instance's database.
    fn share(&self, maker: &str, group: &str, access: Access) -> Vec<Statement> {
        access::share(maker, group, access)
    }

    /// Whether all that a login makes belongs to that login, so that it has to be shared with each group by itself. Otherwise
    /// it belongs to the owner, unless the login leaves the owner's role.
    fn logins_own(&self) -> bool;

    /// A query for those of the logins `$1` that do not share with a group what they make in the session's database; none
    /// where each login is told when it is made.
    fn makers_that_keep(&self, _group: &str) -> Option<String> {
        None
    }

    /// Queries for what logins `$1` own in the session's database and a group may not use: schemas; tables and sequences as
    /// [`Dialect::relations`] tells them, with the schema first.
    fn kept_from(&self, _group: &str) -> Option<(String, String)> {
        None
    }

    /// Lets the members of a group use a schema that a login made under its own name.
    fn open_own_schema(&self, schema: &str, group: &str, access: Access) -> Statement {
        let rights = if access == Access::Owner { "ALL" } else { "USAGE" };
        let sql = format!("GRANT {rights} ON SCHEMA {} TO {}", identifier(schema), identifier(group));
        Statement::new("open the login's schema", sql)
    }

    /// Lets the members of a group into the database. It comes last of what a group gets, so that one that has it has all.
    fn admit(&self, database: &str, group: &str) -> Statement {
        let sql = format!("GRANT CONNECT ON DATABASE {} TO {}", identifier(database), identifier(group));
        Statement::new("open the database", sql)
    }

    /// A query for whether a group was let in: the functions of `pg_catalog` are those of either engine.
    fn is_admitted(&self, database: &str, group: &str) -> String {
        format!(
            "SELECT pg_catalog.has_database_privilege({}, {}, 'CONNECT')",
            literal(group),
            literal(database)
        )
    }

    /// Makes an extension.
    fn create_extension(&self, extension: &str) -> Statement {
        // sql-createextension. The session's search path names no schema that could be made things in.
        let sql = format!("CREATE EXTENSION IF NOT EXISTS {} SCHEMA public", identifier(extension));
        Statement::new("create the extension", sql)
    }

    /// Drops an extension that nothing uses.
    fn drop_extension(&self, extension: &str) -> Statement {
        // sql-dropextension.
        Statement::new("drop the extension", format!("DROP EXTENSION IF EXISTS {}", identifier(extension)))
    }

    /// Acts as another role from here on, for a session that is not kept.
    fn set_role(&self, role: &str) -> Statement {
        Statement::new("act as the role", format!("SET ROLE {}", identifier(role)))
    }

    /// Acts as the administrator again.
    fn reset_role(&self) -> Statement {
        Statement::new("act as the administrator again", "SET ROLE NONE".to_owned())
    }

    /// A query for what was granted to a role in the session's database by roles that do not own the object, as far as the
    /// administrator may act for them: type of the object as `pg_identify_object` calls it, its identity, the privileges, the
    /// grantor.
    /// Nothing where the administrator revokes for all grantors.
    fn grants_of_others(&self, _role: &str) -> Option<String> {
        None
    }

    /// Takes back privileges that the current role granted to another one on an object, as the server named it. They are
    /// listed, since for ALL the server revokes as the owner if the current role is a member of the owner.
    fn take_back(&self, (kind, identity): (&str, &str), privileges: &str, role: &str) -> Statement {
        let sql = format!("{} CASCADE", revoke(privileges, kind, identity, role));
        Statement::new("take back what was granted to the role", sql)
    }

    /// A query for what depends on a role in the session's database: type and identity of the object, how it depends
    /// (`pg_shdepend.deptype`), whether the object belongs to all databases.
    fn dependents(&self, _role: &str) -> Option<String> {
        None
    }

    /// A query for prepared transactions that are in the way of something: what they are called, who prepared them,
    /// their database.
    fn prepared(&self, _in_way: InWay<'_>) -> Option<String> {
        None
    }

    /// Ends a prepared transaction of the current role in the session's database.
    fn roll_back(&self, gid: &str) -> Statement {
        Statement::new("roll the prepared transaction back", format!("ROLLBACK PREPARED {}", literal(gid)))
    }

    /// Hands an object over.
    fn change_owner(&self, object: &Object, owner: &str) -> Statement {
        // The server itself wrote kind and identity, quoted.
        let Object { kind, identity } = object;
        let sql = format!("ALTER {} {identity} OWNER TO {}", altered_as(kind), identifier(owner));
        Statement::new("hand over what the template brought along", sql)
    }

    /// Makes a role a member of another one.
    fn grant_role(&self, role: &str, to: &str) -> Statement {
        let sql = format!("GRANT {} TO {}", identifier(role), identifier(to));
        Statement::new("give the role its rights", sql)
    }

    /// Ends a membership.
    fn revoke_role(&self, role: &str, from: &str) -> Statement {
        Statement::new("end the membership", format!("REVOKE {} FROM {}", identifier(role), identifier(from)))
    }

    /// Turns the mark of an earlier release round, which made the role a member of the marker. Statements that are sent
    /// together are one transaction: the role is never without a mark. Neither engine has a circle of memberships.
    fn turn_mark(&self, role: &str, marker: &str) -> Statement {
        let (end, mark) = (self.revoke_role(marker, role).sql, self.grant_role(role, marker).sql);
        Statement::new("turn the mark round", format!("{end}; {mark}"))
    }

    /// A query for those who granted a membership.
    fn grantors(&self, role: &str, member: &str) -> String {
        format!(
            "SELECT pg_catalog.pg_get_userbyid(m.grantor)::text FROM pg_catalog.pg_auth_members m \
             JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member \
             WHERE r.rolname = {} AND u.rolname = {}",
            literal(role),
            literal(member)
        )
    }

    /// Takes the installation's mark from a role, and puts the one of what is retained in its place.
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

    /// A query for the databases whose comment begins with `$1`, with that comment: the functions of `pg_catalog` are those
    /// of either engine.
    fn comments(&self) -> &'static str {
        "SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database \
         WHERE starts_with(shobj_description(oid, 'pg_database'), $1)"
    }

    /// A query for the logins, members of a group that has `$1` as its mark, that are past their time, and can still log
    /// in or have sessions.
    fn expired_logins(&self) -> &'static str;

    /// A query for whether a role is past its time.
    fn is_expired(&self, role: &str) -> String {
        let role = literal(role);
        format!("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = {role} AND rolvaliduntil <= now()")
    }

    /// Takes from everybody what a copy of a template may have brought along, but for finding things.
    fn close_schema(&self, schema: &str) -> Vec<Statement> {
        access::close_schema(schema)
    }

    /// Changes the password of the role that is logged in.
    fn change_own_password(&self, role: &str, verifier: &str) -> Statement {
        let sql = format!("ALTER ROLE {} PASSWORD {}", identifier(role), literal(verifier));
        Statement::new("change the administrator's password", sql)
    }

    /// Undoes what the owner of a database may have set to keep others out of it, or from dropping it.
    fn open_up(&self, _database: &str, _owner: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Keeps everybody out of a database, and ends the sessions in it.
    fn close_off(&self, _database: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Keeps a role from logging in again, for good.
    fn disable_login(&self, role: &str) -> Statement;

    /// Keeps a role from logging in until [`Dialect::resume_login`].
    fn suspend_login(&self, role: &str) -> Statement {
        Statement::new("lock the login", format!("ALTER ROLE {} NOLOGIN", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }

    /// Lets a role log in again.
    fn resume_login(&self, role: &str) -> Statement {
        Statement::new("unlock the login", format!("ALTER ROLE {} LOGIN", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }

    /// Ends the sessions of bindings that keep a role, or what it owns in the session's database, locked.
    fn end_lockers(&self, _role: &str) -> Option<Statement> {
        None
    }

    /// Ends the sessions of a role.
    fn end_sessions(&self, role: &str) -> Statement;

    /// A query for the number of a role's sessions.
    fn count_sessions(&self, role: &str) -> String;

    /// A query for the databases that may hold something which belongs to a role or was granted to it.
    fn databases_of(&self, role: &str) -> String;

    /// Queries for the default privileges that keep a role from being dropped; none where dropping what it owns takes them
    /// along. Rows: role (empty for all roles), type, grantee.
    fn default_privileges(&self, role: &str, schema: Option<&str>) -> Vec<String>;

    /// A query for the schemas of the session's database, but for the engine's own.
    fn schemas(&self) -> &'static str;

    /// Leaves a role no default privileges of its own in the session's database but those that every role has: where what
    /// was taken away from these is written down, it keeps the role from being dropped.
    fn reset_defaults(&self, _role: &str) -> Vec<Statement> {
        Vec::new()
    }

    /// Hands what a role owns in the session's database to another role.
    fn reassign(&self, role: &str, to: &str) -> Statement {
        // sql-reassign-owned, or reassign-owned.
        let sql = format!("REASSIGN OWNED BY {} TO {}", identifier(role), identifier(to));
        Statement::new("hand the login's objects to the owner", sql)
    }

    /// Drops what a role owns in the session's database and takes back what was granted to it.
    fn drop_owned(&self, role: &str) -> Statement {
        // sql-drop-owned; drop-owned-by, which has no CASCADE (0A000): after REASSIGN it only takes grants back.
        Statement::new(
            "take back what was granted to the login",
            format!("DROP OWNED BY {}", identifier(role)),
        )
    }

    /// Drops a role.
    fn drop_role(&self, role: &str) -> Statement;

    /// Drops a database, with the sessions in it.
    fn drop_database(&self, database: &str) -> Statement;

    /// A query for whether a role owns something in a database, where the server can say so.
    fn owns_in(&self, _role: &str, _database: &str) -> Option<String> {
        None
    }

    /// A query for sessions that keep a database from being dropped with the sessions in it, if any can: process id and role.
    fn sessions_in(&self, _database: &str) -> Option<String> {
        None
    }

    /// A query for whether the administrator has connections that are reserved for it; `None` where there are none.
    fn has_reserve(&self) -> Option<&'static str> {
        None
    }

    /// A query for the rights that the administrator lacks, a row each.
    fn missing_rights(&self) -> String;

    /// What a superuser runs to give the administrator the attributes that it lacks.
    fn give_rights(&self, _admin: &str, _missing: &[String]) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests;
