//! Checks the administrator's rights, read from `SHOW GRANTS`. `docs/databases.md` documents what an operator grants:
//!
//! ```sql
//! GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO 'bindery'@'%';   -- MySQL: CONNECTION_ADMIN
//! GRANT SELECT (User, Host) ON mysql.user TO 'bindery'@'%';
//! GRANT ALL PRIVILEGES ON `cf\_%`.* TO 'bindery'@'%' WITH GRANT OPTION;
//! GRANT ALL PRIVILEGES ON `bindery\_%`.* TO 'bindery'@'%';
//! ```

use super::{connection::Session, error::SqlError};

/// The rights that `ALL PRIVILEGES` on a database includes on both engines. An account without some of an engine's
/// rights has the others listed one by one (<https://dev.mysql.com/doc/refman/8.4/en/privileges-provided.html>).
const ON_DATABASES: [&str; 18] = [
    "ALTER",
    "ALTER ROUTINE",
    "CREATE",
    "CREATE ROUTINE",
    "CREATE TEMPORARY TABLES",
    "CREATE VIEW",
    "DELETE",
    "DROP",
    "EVENT",
    "EXECUTE",
    "INDEX",
    "INSERT",
    "LOCK TABLES",
    "REFERENCES",
    "SELECT",
    "SHOW VIEW",
    "TRIGGER",
    "UPDATE",
];
const ON_MARKS: [&str; 5] = ["CREATE", "DELETE", "INSERT", "SELECT", "UPDATE"];
const OPTION: &str = "GRANT OPTION";

/// A row of `SHOW GRANTS`.
#[derive(Debug, PartialEq, Eq)]
struct Grant<'a> {
    rights: Vec<&'a str>,
    /// The parts before and after the dot, with their quotes.
    database: &'a str,
    object: &'a str,
    with_option: bool,
}

impl<'a> Grant<'a> {
    /// `None` for rows that grant roles or a proxy.
    fn parse(row: &'a str) -> Option<Self> {
        let (rights, rest) = row.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (place, rest) = rest.split_once(" TO ")?;
        let (database, object) = place.rsplit_once('.')?;
        let rights = split(rights).map(|right| right.split_once(" (").map_or(right, |(name, _)| name));
        Some(Self {
            rights: rights.collect(),
            database,
            object,
            with_option: rest.contains(" WITH GRANT OPTION"),
        })
    }

    fn has(&self, right: &str) -> bool {
        let is_in = self.rights.iter().any(|has| *has == right || *has == "ALL PRIVILEGES");
        if right == OPTION { self.with_option } else { is_in }
    }

    /// Whether the row applies to all tables of this database.
    fn covers(&self, database: &str) -> bool {
        self.object == "*"
            && (self.database == "*"
                || matches(self.database.trim_matches('`').as_bytes(), database.as_bytes()))
    }

    /// Whether the row allows reading accounts.
    fn shows_accounts(&self) -> bool {
        let place = (self.database.trim_matches('`'), self.object.trim_matches('`'));
        self.has("SELECT") && matches!(place, ("*" | "mysql", "*") | ("mysql", "user"))
    }
}

/// Splits at commas outside of the parentheses of a column list.
fn split(rights: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let parts = rights.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    parts.map(str::trim)
}

/// Matches like LIKE, as GRANT does for a database's name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'%', rest @ ..] => (0..=name.len()).any(|from| matches(rest, &name[from..])),
        [b'\\', escaped, rest @ ..] => name.first() == Some(escaped) && matches(rest, &name[1..]),
        [b'_', rest @ ..] => !name.is_empty() && matches(rest, &name[1..]),
        [plain, rest @ ..] => name.first() == Some(plain) && matches(rest, &name[1..]),
    }
}

/// Descriptions of the missing rights.
fn missing(rows: &[String], ending_right: &str, database: &str, marks: &str) -> Vec<String> {
    let grants: Vec<_> = rows.iter().filter_map(|row| Grant::parse(row)).collect();
    let everywhere = |right: &str| {
        grants.iter().any(|grant| grant.database == "*" && grant.object == "*" && grant.has(right))
    };
    let within =
        |database: &str, right: &str| grants.iter().any(|grant| grant.covers(database) && grant.has(right));
    let mut missing = Vec::new();
    missing
        .extend(["CREATE USER", "PROCESS"].into_iter().filter(|right| !everywhere(right)).map(String::from));
    if !everywhere(ending_right) && !everywhere("SUPER") {
        missing.push(ending_right.to_owned());
    }
    if !grants.iter().any(Grant::shows_accounts) {
        missing.push("SELECT (User, Host) on mysql.user".to_owned());
    }
    let lacks = |database: &str, rights: &[&'static str]| -> Vec<&'static str> {
        rights.iter().copied().filter(|right| !within(database, right)).collect()
    };
    let on_databases: Vec<_> = ON_DATABASES.into_iter().chain([OPTION]).collect();
    for (lacks, place) in
        [(lacks(database, &on_databases), r"`cf\_%`.*"), (lacks(marks, &ON_MARKS), r"`bindery\_%`.*")]
    {
        if !lacks.is_empty() {
            missing.push(format!("{} on {place}", lacks.join(", ")));
        }
    }
    missing
}

/// The rights that the administrator lacks for databases and marks of bindery's names.
pub(super) async fn missing_rights(
    session: &mut Session,
    database: &str,
    marks: &str,
) -> Result<Vec<String>, SqlError> {
    const DOES: &str = "read its own rights";
    let mut rows = session.column(DOES, "SHOW GRANTS").await?;
    // https://dev.mysql.com/doc/refman/8.4/en/show-grants.html: MySQL shows the rights of active roles only with
    // USING; MariaDB always shows them.
    let roles = session.column(DOES, "SELECT CURRENT_ROLE()").await?;
    if let Some(roles) = roles.first().filter(|roles| roles.contains('@')) {
        rows = session.column(DOES, &format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}")).await?;
    }
    Ok(missing(&rows, session.dialect().ending_right(), database, marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: &str = "cf_abc";
    const MARKS: &str = "bindery_0011";

    fn lacks(rows: &[&str]) -> Vec<String> {
        let rows: Vec<_> = rows.iter().map(|row| (*row).to_owned()).collect();
        missing(&rows, "CONNECTION ADMIN", DATABASE, MARKS)
    }

    const DOCUMENTED: [&str; 4] = [
        "GRANT PROCESS, CREATE USER, CONNECTION ADMIN ON *.* TO `b`@`%` IDENTIFIED BY PASSWORD '*7B'",
        r"GRANT ALL PRIVILEGES ON `cf\_%`.* TO `b`@`%` WITH GRANT OPTION",
        r"GRANT ALL PRIVILEGES ON `bindery\_%`.* TO `b`@`%`",
        "GRANT SELECT (`Host`, `User`) ON `mysql`.`user` TO `b`@`%`",
    ];

    #[test]
    fn what_is_documented_suffices() {
        assert_eq!(lacks(&DOCUMENTED), Vec::<String>::new());
        let all = "GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION";
        assert_eq!(lacks(&[all]), Vec::<String>::new());
    }

    #[test]
    fn each_missing_right_is_named() {
        let without = |index: usize| {
            let mut rows = DOCUMENTED.to_vec();
            rows.remove(index);
            lacks(&rows).join("; ")
        };
        assert_eq!(without(0), "CREATE USER; PROCESS; CONNECTION ADMIN");
        assert!(without(1).ends_with("UPDATE, GRANT OPTION on `cf\\_%`.*"), "{}", without(1));
        assert_eq!(without(2), "CREATE, DELETE, INSERT, SELECT, UPDATE on `bindery\\_%`.*");
        assert_eq!(without(3), "SELECT (User, Host) on mysql.user");
        let mut rows = DOCUMENTED.to_vec();
        rows[1] = r"GRANT ALL PRIVILEGES ON `cf\_%`.* TO `b`@`%`";
        assert_eq!(lacks(&rows), [r"GRANT OPTION on `cf\_%`.*"]);
    }

    #[test]
    fn names_are_patterns() {
        for (pattern, name, fits) in [
            (r"cf\_%", "cf_a", true),
            (r"cf\_%", "cfxa", false),
            ("cf_%", "cfxa", true),
            ("cf", "cf_a", false),
            ("%", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }
}
