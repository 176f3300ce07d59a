//! Statements about roles without login: owners, groups and the installation's marker.

use tokio_postgres::error::SqlState;

use super::{
    super::quote::{identifier, literal},
    CockroachDb, MARK_RETAINED, PostgreSql, Statement,
    postgresql::ROLE_EXISTS,
};
use crate::broker::backends::sql::naming::RETAINED;

pub(in crate::broker::backends::sql::postgresql) trait RoleStatements {
    /// Whether one statement creates and marks a role. If not, a kill can leave a role of bindery's without any
    /// membership, so that a role without one must count as bindery's.
    fn marks_at_creation(&self) -> bool;

    /// Creates the installation's marker role, if it does not exist.
    fn create_marker(&self, marker: &str) -> Statement;

    /// Creates a marked role that cannot log in: the marker is its member.
    fn create_group(&self, role: &str, marker: &str) -> Vec<Statement>;

    /// Makes a role a member of another role.
    fn grant_role(&self, role: &str, to: &str) -> Statement {
        let sql = format!("GRANT {} TO {}", identifier(role), identifier(to));
        Statement::new("give the role its rights", sql)
    }

    /// Ends a membership.
    fn revoke_role(&self, role: &str, from: &str) -> Statement {
        Statement::new("end the membership", format!("REVOKE {} FROM {}", identifier(role), identifier(from)))
    }

    /// A query for the grantors of a membership.
    fn grantors_of_membership(&self, role: &str, member: &str) -> String {
        format!(
            "SELECT pg_catalog.pg_get_userbyid(m.grantor)::text FROM pg_catalog.pg_auth_members m \
             JOIN pg_catalog.pg_roles r ON r.oid = m.roleid JOIN pg_catalog.pg_roles u ON u.oid = m.member \
             WHERE r.rolname = {} AND u.rolname = {}",
            literal(role),
            literal(member)
        )
    }

    /// Reverses the mark of an earlier release, in which the role was a member of the marker. Statements that are sent
    /// together are one transaction, so the role is never unmarked. Neither engine allows circular memberships.
    fn reverse_mark(&self, role: &str, marker: &str) -> Statement {
        let (end, mark) = (self.revoke_role(marker, role).sql, self.grant_role(role, marker).sql);
        Statement::new("turn the mark round", format!("{end}; {mark}"))
    }

    /// Replaces the installation's mark on a role with the mark for retained data.
    fn mark_retained(&self, role: &str, marker: &str) -> Vec<Statement> {
        vec![
            self.create_marker(RETAINED),
            self.grant_role(role, RETAINED).called(MARK_RETAINED),
            self.revoke_role(role, marker),
        ]
    }

    /// Drops a role.
    fn drop_role(&self, role: &str) -> Statement;
}

impl RoleStatements for PostgreSql {
    fn marks_at_creation(&self) -> bool {
        true
    }

    /// sql-createrole: there is no IF NOT EXISTS.
    fn create_marker(&self, marker: &str) -> Statement {
        let sql = format!("CREATE ROLE {} NOLOGIN{}", identifier(marker), self.administered());
        Statement::new("create the marker role", sql).unless(ROLE_EXISTS)
    }

    /// sql-createrole (ROLE).
    fn create_group(&self, role: &str, marker: &str) -> Vec<Statement> {
        let (role, marker) = (identifier(role), identifier(marker));
        let sql = format!("CREATE ROLE {role} NOLOGIN ROLE {marker}{}", self.administered());
        vec![Statement::new("create the role", sql).unless(ROLE_EXISTS)]
    }

    /// sql-droprole.
    fn drop_role(&self, role: &str) -> Statement {
        Statement::new("drop the role", format!("DROP ROLE IF EXISTS {}", identifier(role)))
    }
}

impl RoleStatements for CockroachDb {
    /// create-role: there is no IN ROLE.
    fn marks_at_creation(&self) -> bool {
        false
    }

    /// create-role: a role cannot log in by default.
    fn create_marker(&self, marker: &str) -> Statement {
        Statement::new("create the marker role", format!("CREATE ROLE IF NOT EXISTS {}", identifier(marker)))
    }

    /// create-role; grant ("Grant role membership"): CREATEROLE may grant roles since v23.2.
    fn create_group(&self, role: &str, marker: &str) -> Vec<Statement> {
        let sql = format!("CREATE ROLE IF NOT EXISTS {}", identifier(role));
        vec![Statement::new("create the role", sql), self.grant_role(role, marker).called("mark the role")]
    }

    /// drop-role. For a missing role, some versions report 42704 despite IF EXISTS (cockroachdb/cockroach#134538).
    fn drop_role(&self, role: &str) -> Statement {
        Statement::new("drop the role", format!("DROP ROLE IF EXISTS {}", identifier(role)))
            .unless(&[SqlState::UNDEFINED_OBJECT])
    }
}
