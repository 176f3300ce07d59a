//! The statements for the access of login groups; both engines accept them.

use super::{super::quote::identifier, Statement};
use crate::broker::backends::sql::plan::Access;

/// The privileges of a group on tables and sequences that it does not own.
pub(in crate::broker::backends::sql::postgresql) fn rights(
    access: Access,
) -> [(&'static str, &'static str); 2] {
    match access {
        Access::Owner => [("TABLES", "ALL"), ("SEQUENCES", "ALL")],
        Access::ReadWrite => {
            [("TABLES", "SELECT, INSERT, UPDATE, DELETE"), ("SEQUENCES", "USAGE, SELECT, UPDATE")]
        }
        Access::ReadOnly => [("TABLES", "SELECT"), ("SEQUENCES", "SELECT")],
    }
}

/// See [`super::GrantStatements::grant_on_schema`].
pub(super) fn open_schema(schema: &str, group: &str, access: Access) -> Vec<Statement> {
    // sql-grant, or grant; the syntax is the same.
    let (schema, group) = (identifier(schema), identifier(group));
    let on_all = rights(access).map(|(objects, rights)| {
        let sql = format!("GRANT {rights} ON ALL {objects} IN SCHEMA {schema} TO {group}");
        Statement::new("open what is in the schema", sql)
    });
    let usage = format!("GRANT USAGE ON SCHEMA {schema} TO {group}");
    std::iter::once(Statement::new("open the schema", usage)).chain(on_all).collect()
}

/// See [`super::GrantStatements::share_future_objects`].
pub(super) fn share(maker: &str, group: &str, access: Access) -> Vec<Statement> {
    // sql-alterdefaultprivileges, or alter-default-privileges; the syntax is the same.
    let (maker, group) = (identifier(maker), identifier(group));
    let mut shared = rights(access).to_vec();
    match access {
        Access::Owner => shared.extend([("TYPES", "ALL"), ("SCHEMAS", "ALL"), ("FUNCTIONS", "ALL")]),
        Access::ReadWrite | Access::ReadOnly => shared.push(("SCHEMAS", "USAGE")),
    }
    let share = |(objects, rights)| {
        let sql = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {maker} GRANT {rights} ON {objects} TO {group}");
        Statement::new("share what is made", sql)
    };
    shared.into_iter().map(share).collect()
}

/// See [`super::GrantStatements::revoke_public_rights`].
pub(super) fn close_schema(schema: &str) -> Vec<Statement> {
    let schema = identifier(schema);
    let close = |what: String| {
        Statement::new("close what the template brought along", format!("REVOKE {what} FROM PUBLIC"))
    };
    vec![
        close(format!("CREATE ON SCHEMA {schema}")),
        close(format!("ALL ON ALL TABLES IN SCHEMA {schema}")),
        close(format!("ALL ON ALL SEQUENCES IN SCHEMA {schema}")),
    ]
}
