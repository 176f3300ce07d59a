//! Default privileges as CockroachDB lists them.

use super::{super::quote::identifier, Statement};

/// A row of `SHOW DEFAULT PRIVILEGES`: a privilege on the objects of this type that `role` creates (any role, if
/// `None`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::broker::backends::sql::postgresql) struct DefaultPrivilege {
    pub(in crate::broker::backends::sql::postgresql) role: Option<String>,
    pub(in crate::broker::backends::sql::postgresql) schema: Option<String>,
    pub(in crate::broker::backends::sql::postgresql) object_type: String,
    pub(in crate::broker::backends::sql::postgresql) grantee: String,
}

impl DefaultPrivilege {
    /// Whether the privilege is built in: a role has all rights on what it creates, and PUBLIC may use types and
    /// functions. CockroachDB lists these, too.
    pub(in crate::broker::backends::sql::postgresql) fn is_builtin(&self) -> bool {
        let for_everybody = self.grantee == "public"
            && ["types", "functions", "routines"].contains(&self.object_type.as_str());
        self.role.as_ref() == Some(&self.grantee) || for_everybody
    }

    /// Revokes the privilege; both engines have the same syntax (ALTER DEFAULT PRIVILEGES, in either documentation).
    pub(in crate::broker::backends::sql::postgresql) fn revoke(&self) -> Statement {
        let Self { role, schema, object_type, grantee } = self;
        let makers = role
            .as_deref()
            .map_or_else(|| "ALL ROLES".to_owned(), |role| format!("ROLE {}", identifier(role)));
        let within =
            schema.as_deref().map_or_else(String::new, |schema| format!(" IN SCHEMA {}", identifier(schema)));
        // The type is a keyword from the server's own list.
        let objects = object_type.to_ascii_uppercase();
        let grantee = identifier(grantee);
        let sql =
            format!("ALTER DEFAULT PRIVILEGES FOR {makers}{within} REVOKE ALL ON {objects} FROM {grantee}");
        Statement::new("take default privileges back", sql)
    }
}
