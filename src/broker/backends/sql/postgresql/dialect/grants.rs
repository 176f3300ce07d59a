//! Statements about the access of groups to schemas, tables and sequences.

use super::{
    super::quote::{identifier, literal},
    CockroachDb, PostgreSql, Statement, access, rights,
};
use crate::broker::backends::sql::plan::Access;

pub(in crate::broker::backends::sql::postgresql) trait GrantStatements {
    /// Allows the members of a group to connect to the database. This is a group's last grant, so a group that has it
    /// is complete.
    fn grant_connect(&self, database: &str, group: &str) -> Statement {
        let sql = format!("GRANT CONNECT ON DATABASE {} TO {}", identifier(database), identifier(group));
        Statement::new("open the database", sql)
    }

    /// A query for whether a group may connect; both engines have these functions of `pg_catalog`.
    fn may_connect(&self, database: &str, group: &str) -> String {
        format!(
            "SELECT pg_catalog.has_database_privilege({}, {}, 'CONNECT')",
            literal(group),
            literal(database)
        )
    }

    /// Gives the members of a group access to a schema and everything in it; for a session in the instance's database.
    fn grant_on_schema(&self, schema: &str, group: &str, access: Access) -> Vec<Statement> {
        access::open_schema(schema, group, access)
    }

    /// A query for the tables and sequences of a schema whose owner the administrator can act as, on engines where
    /// objects of others may be among them. Columns: name, whether it is a sequence.
    fn grantable_relations(&self, _schema: &str) -> Option<String> {
        None
    }

    /// Gives the members of a group access to a table or sequence.
    fn grant_on_relation(
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

    /// Revokes PUBLIC's rights that a copied template may contain, except the right to look objects up.
    fn revoke_public_rights(&self, schema: &str) -> Vec<Statement> {
        access::close_schema(schema)
    }

    /// Gives the members of a group access to what a role creates in future; for a session in the instance's database.
    fn share_future_objects(&self, maker: &str, group: &str, access: Access) -> Vec<Statement> {
        access::share(maker, group, access)
    }

    /// Whether a login owns what it creates, so that each login must share its objects with each group. Otherwise the
    /// owner role owns the objects, unless the login leaves that role.
    fn logins_own_objects(&self) -> bool;

    /// A query for those of the logins `$1` whose new objects in the session's database are not shared with a group;
    /// `None` where every login is set up when it is created.
    fn logins_that_share_nothing(&self, _group: &str) -> Option<String> {
        None
    }

    /// Queries for objects of the logins `$1` in the session's database that a group may not use: schemas; and tables
    /// and sequences, with the columns of [`Self::grantable_relations`] after the schema.
    fn unshared_objects(&self, _group: &str) -> Option<(String, String)> {
        None
    }

    /// Gives the members of a group access to a schema that a login created under its own name.
    fn grant_on_login_schema(&self, schema: &str, group: &str, access: Access) -> Statement {
        let rights = if access == Access::Owner { "ALL" } else { "USAGE" };
        let sql = format!("GRANT {rights} ON SCHEMA {} TO {}", identifier(schema), identifier(group));
        Statement::new("open the login's schema", sql)
    }
}

impl GrantStatements for PostgreSql {
    /// catalog-pg-class.
    fn grantable_relations(&self, schema: &str) -> Option<String> {
        Some(format!(
            "SELECT c.relname::text, c.relkind = 'S' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND pg_catalog.pg_has_role(c.relowner, 'USAGE')",
            literal(schema)
        ))
    }

    fn logins_own_objects(&self) -> bool {
        false
    }

    /// catalog-pg-default-acl: the default privileges for schemas are the last ones that every group gets.
    fn logins_that_share_nothing(&self, group: &str) -> Option<String> {
        Some(format!(
            "SELECT r.rolname::text FROM pg_roles r WHERE r.rolname::text = ANY ($1) AND NOT EXISTS ( \
             SELECT 1 FROM pg_default_acl d CROSS JOIN LATERAL aclexplode(d.defaclacl) a JOIN pg_roles g ON g.oid = a.grantee \
             WHERE d.defaclrole = r.oid AND d.defaclnamespace = 0 AND d.defaclobjtype = 'n' AND g.rolname = {})",
            literal(group)
        ))
    }

    /// functions-info; schemas whose names begin with `pg_` are temporary.
    fn unshared_objects(&self, group: &str) -> Option<(String, String)> {
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
}

impl GrantStatements for CockroachDb {
    /// alter-default-privileges: they depend on the creator, so each login needs its own; FOR ROLE requires that the
    /// administrator is a member of the login.
    fn logins_own_objects(&self) -> bool {
        true
    }
}
