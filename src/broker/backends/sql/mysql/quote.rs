//! The only ways in which text becomes part of a statement.

use std::fmt::Write as _;

/// An identifier, quoted: <https://dev.mysql.com/doc/refman/8.4/en/identifiers.html>.
pub(super) fn identifier(name: &str) -> String {
    // NUL cannot stand in an identifier at all; the server would refuse it.
    format!("`{}`", name.replace('\0', "").replace('`', "``"))
}

/// A string, as hexadecimal digits: nothing in it can end it, whatever `sql_mode` says of quotes and backslashes
/// (<https://dev.mysql.com/doc/refman/8.4/en/hexadecimal-literals.html>).
pub(super) fn literal(text: &str) -> String {
    let mut hex = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    format!("_utf8mb4 X'{hex}'")
}

/// A string where the grammar takes no hexadecimal digits: names of accounts, passwords. Quotes are doubled, which holds in
/// every `sql_mode`; backslashes, which do not, are left out, as is NUL: no name or password of ours has any.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace(['\0', '\\'], "").replace('\'', "''"))
}

/// The account of a login. An account is a user and a host; those of bindery are for any host.
pub(super) fn account(login: &str) -> String {
    format!("{}@'%'", quoted(login))
}

/// A database's name as GRANT takes it: a pattern, in which `_` and `%` stand for other letters
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
