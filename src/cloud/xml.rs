//! Reads the few elements that bindery needs of answers in XML, which have neither attributes nor prefixes there.

/// The contents of the elements of this name.
pub(in crate::cloud) fn elements<'a>(xml: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (start, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&start)?;
        let (content, after) = after.split_once(&end)?;
        rest = after;
        Some(content)
    })
}

/// The text of an element without elements.
pub(in crate::cloud) fn text(xml: &str) -> String {
    let named =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    named.iter().fold(xml.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let xml = "<R><Contents><Key>a&amp;lt;b.yaml</Key><Size>7</Size></Contents><Contents><Key>c</Key><Size>0</Size></Contents></R>";
        let keys: Vec<_> =
            elements(xml, "Contents").map(|entry| text(elements(entry, "Key").next().unwrap())).collect();
        assert_eq!(keys, ["a&lt;b.yaml", "c"]);
        assert_eq!(elements(xml, "NextContinuationToken").next(), None);
    }
}
