//! How names and values become part of a statement. Identities that the server itself quoted are inserted as they are.

/// A quoted identifier: <https://www.postgresql.org/docs/15/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
pub(super) fn identifier(name: &str) -> String {
    // A statement cannot contain NUL; the server would reject it.
    format!("\"{}\"", name.replace('\0', "").replace('"', "\"\""))
}

/// A quoted string literal. A backslash makes it an escape string, which has the same meaning for every value of
/// `standard_conforming_strings`:
/// <https://www.postgresql.org/docs/15/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE>.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\0', "").replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_inside_its_quotes() {
        assert_eq!(identifier(r#"a"; DROP ROLE b; --"#), r#""a""; DROP ROLE b; --""#);
        assert_eq!(identifier("nul\0"), "\"nul\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"\'; DROP ROLE b; --"), r"E'\\''; DROP ROLE b; --'");
        assert_eq!(literal("plain"), "'plain'");
    }
}
