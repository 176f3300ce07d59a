//! Quoting: the only ways in which text becomes part of a statement.

/// A quoted identifier: <https://dev.mysql.com/doc/refman/8.4/en/identifiers.html>.
pub(super) fn identifier(name: &str) -> String {
    // An identifier cannot contain NUL; the server would reject it.
    format!("`{}`", name.replace('\0', "").replace('`', "``"))
}

/// A string as hexadecimal digits, which is safe for every `sql_mode`: nothing in the text can end it
/// (<https://dev.mysql.com/doc/refman/8.4/en/hexadecimal-literals.html>).
pub(super) fn literal(text: &str) -> String {
    format!("_utf8mb4 X'{}'", hex::encode(text))
}

/// A quoted string where the grammar allows no hexadecimal digits: account names and passwords. Doubling quotes is
/// safe in every `sql_mode`; backslashes are not, so they and NUL are removed. No name or password of bindery contains
/// any.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace(['\0', '\\'], "").replace('\'', "''"))
}

/// The account of a login: a user and a host. Bindery's accounts are valid for any host.
pub(super) fn account(login: &str) -> String {
    format!("{}@'%'", quoted(login))
}

/// A database's name in GRANT, which is a pattern: `_` and `%` are wildcards
/// (<https://dev.mysql.com/doc/refman/8.4/en/grant.html>, "Database Privileges").
pub(super) fn pattern(database: &str) -> String {
    identifier(&database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_inside_its_quotes() {
        assert_eq!(identifier("a`; DROP USER b; --"), "`a``; DROP USER b; --`");
        assert_eq!(identifier("nul\0"), "`nul`");
        assert_eq!(literal("it's\\"), "_utf8mb4 X'697427735c'");
        assert_eq!(literal("\u{fc}"), "_utf8mb4 X'c3bc'");
        assert_eq!(quoted(r"\'; DROP USER b; --"), "'''; DROP USER b; --'");
        assert_eq!(account("b"), "'b'@'%'");
    }

    #[test]
    fn a_pattern_matches_one_database_only() {
        assert_eq!(pattern("cf_a%"), r"`cf\_a\%`");
    }
}
