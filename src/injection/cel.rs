//! Literals of CEL, for the expressions of native injection and of policies.

/// A string literal.
pub(crate) fn literal(text: &str) -> String {
    let mut literal = String::from("'");
    for letter in text.chars() {
        match letter {
            '\\' => literal.push_str("\\\\"),
            '\'' => literal.push_str("\\'"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            // CEL forbids no other character in a literal.
            _ => literal.push(letter),
        }
    }
    literal + "'"
}

/// A list of string literals.
pub(crate) fn list<T: AsRef<str>>(texts: &[T]) -> String {
    let literals: Vec<_> = texts.iter().map(|text| literal(text.as_ref())).collect();
    format!("[{}]", literals.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_escape_what_would_end_them() {
        assert_eq!(literal("it's a \\d\n"), r"'it\'s a \\d\n'");
        assert_eq!(list(&["a", "b'"]), r"['a', 'b\'']");
    }
}
