//! Names in policies: a name, or the beginning of names with a star at its end.

/// Whether the text is one of these names.
pub(super) fn is_among(text: &str, names: &[String]) -> bool {
    names.iter().any(|name| is(text, name))
}

fn is(text: &str, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => text.starts_with(beginning),
        None => text == name,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("db", "db", true)]
    #[case("db", "db*", true)]
    #[case("db-1", "db*", true)]
    #[case("db-1", "db", false)]
    #[case("a", "*", true)]
    #[case("a*b", "a*b", true)]
    #[case("axb", "a*b", false)]
    fn a_star_counts_at_the_end_only(#[case] text: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(is(text, name), expected);
    }
}
