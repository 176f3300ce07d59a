//! What depends on a role and prevents its removal: each object by name, with the statement that removes the
//! dependency. The server itself names only objects in the session's database.

use std::fmt;

use tokio_postgres::Row;

use super::quote::identifier;

/// A dependency that prevents a role from being dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependent {
    pub(super) database: String,
    /// The object and its dependency, and the statement that removes it; `None` if the administrator may not look.
    pub(super) object: Option<(String, String)>,
}

impl Dependent {
    /// Reads a row of [`Dialect::dependents`].
    pub(super) fn read(row: &Row, role: &str, database: &str) -> Self {
        let (kind, identity, how): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        Self::new(&kind, &identity, &how, role, database)
    }

    fn new(kind: &str, identity: &str, how: &str, role: &str, database: &str) -> Self {
        let object = match how {
            "a" if kind == "default acl" => {
                (format!("default privileges {identity}"), format!("DROP OWNED BY {}", identifier(role)))
            }
            "a" => (format!("privileges on {kind} {identity}"), revoke("ALL", kind, identity, role)),
            "r" => (format!("{kind} {identity}"), format!("DROP OWNED BY {}", identifier(role))),
            _ => (
                format!("ownership of {kind} {identity}"),
                format!("REASSIGN OWNED BY {} TO …", identifier(role)),
            ),
        };
        Self { database: database.to_owned(), object: Some(object) }
    }
}

/// sql-revoke: the keyword for a kind of object, where it differs from the name in `pg_identify_object`.
pub(super) fn revoke(privileges: &str, kind: &str, identity: &str, role: &str) -> String {
    let kind = match kind {
        "view" | "materialized view" | "foreign table" => "TABLE".to_owned(),
        "function" | "procedure" | "aggregate" => "ROUTINE".to_owned(),
        "server" => "FOREIGN SERVER".to_owned(),
        kind => kind.to_ascii_uppercase(),
    };
    format!("REVOKE {privileges} ON {kind} {identity} FROM {}", identifier(role))
}

/// The dependencies of a role, with the remedies.
#[derive(Debug)]
pub(super) struct Dependents(Vec<Dependent>);

impl From<Vec<Dependent>> for Dependents {
    fn from(found: Vec<Dependent>) -> Self {
        Self(found)
    }
}

impl fmt::Display for Dependents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Dependent { database, object }) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            match object {
                Some((what, remedy)) => {
                    write!(
                        f,
                        "{separator}it has {what} in database {database}, where a superuser runs {remedy}"
                    )?;
                }
                None => write!(
                    f,
                    "{separator}something depends on it in database {database}, which the administrator may not enter: a \
                     superuser runs REASSIGN OWNED and DROP OWNED there"
                )?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("table", "a", "privileges on table s.x", r#"REVOKE ALL ON TABLE s.x FROM "r""#)]
    #[case("view", "a", "privileges on view s.x", r#"REVOKE ALL ON TABLE s.x FROM "r""#)]
    #[case("procedure", "a", "privileges on procedure s.x", r#"REVOKE ALL ON ROUTINE s.x FROM "r""#)]
    #[case("server", "a", "privileges on server s.x", r#"REVOKE ALL ON FOREIGN SERVER s.x FROM "r""#)]
    #[case("default acl", "a", "default privileges s.x", r#"DROP OWNED BY "r""#)]
    #[case("policy", "r", "policy s.x", r#"DROP OWNED BY "r""#)]
    #[case("table", "o", "ownership of table s.x", r#"REASSIGN OWNED BY "r" TO …"#)]
    fn each_dependency_has_its_remedy(
        #[case] kind: &str,
        #[case] how: &str,
        #[case] what: &str,
        #[case] remedy: &str,
    ) {
        let told = Dependents::from(vec![
            Dependent::new(kind, "s.x", how, "r", "app"),
            Dependent { database: "other".to_owned(), object: None },
        ]);
        let expected = format!("it has {what} in database app, where a superuser runs {remedy}; something");
        assert!(told.to_string().starts_with(&expected), "{told}");
    }
}
