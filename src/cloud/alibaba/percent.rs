//! Percent-encoding as both signatures demand it: everything but the unreserved characters of RFC 3986.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const IN_PATH: &AsciiSet = &IN_QUERY.remove(b'/');

/// A path, whose slashes stay.
pub(super) fn path(text: &str) -> String {
    utf8_percent_encode(text, IN_PATH).to_string()
}

/// A query in the order of its encoded names. With `alone_if_empty`, a parameter without a value is its name alone, as
/// OSS signs it.
pub(super) fn query<'a>(
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    alone_if_empty: bool,
) -> String {
    let encode = |text| utf8_percent_encode(text, IN_QUERY).to_string();
    let mut encoded: Vec<_> =
        parameters.into_iter().map(|(name, value)| (encode(name), encode(value))).collect();
    encoded.sort();
    let mut query = String::new();
    for (name, value) in encoded {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(&name);
        if !value.is_empty() || !alone_if_empty {
            // Writing to a String does not fail.
            let _ = write!(query, "={value}");
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_characters_stay_and_all_others_are_encoded() {
        assert_eq!(query([("b", "a b*~/"), ("A", ""), ("ä", "+")], false), "%C3%A4=%2B&A=&b=a%20b%2A~%2F");
        assert_eq!(query([("uploads", ""), ("prefix", "x")], true), "prefix=x&uploads");
        assert_eq!(path("a b/c+"), "a%20b/c%2B");
    }
}
