//! The statements of PostgreSQL and CockroachDB, as data: every statement that changes something, and the queries that
//! differ between the engines. One file per subject has a trait with the statements that both engines accept, and the
//! statements of each engine. Comments such as `sql-grant` name the page of the engine's documentation. Nothing here does
//! IO, so that tests can compare statements.

mod access;
mod administrator;
mod cockroachdb;
mod databases;
mod defaults;
mod dependencies;
mod grants;
mod logins;
mod postgresql;
mod roles;
mod sessions;
mod statement;

pub(super) use self::{
    access::rights,
    administrator::AdministratorStatements,
    cockroachdb::CockroachDb,
    databases::DatabaseStatements,
    defaults::DefaultPrivilege,
    dependencies::DependencyStatements,
    grants::GrantStatements,
    logins::LoginStatements,
    postgresql::PostgreSql,
    roles::RoleStatements,
    sessions::SessionStatements,
    statement::{InWay, InstanceNames, Login, Object, Origin, Statement},
};

/// The description of the first statement of [`RoleStatements::mark_retained`].
pub(super) const MARK_RETAINED: &str = "mark what is retained";

/// The statements of one engine. `admin` is the role that bindery logs in as.
pub(super) trait Dialect:
    AdministratorStatements
    + RoleStatements
    + LoginStatements
    + DatabaseStatements
    + GrantStatements
    + DependencyStatements
    + SessionStatements
    + Send
    + Sync
{
}

impl Dialect for PostgreSql {}
impl Dialect for CockroachDb {}

#[cfg(test)]
mod tests;
