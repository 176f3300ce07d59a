//! Names of class and plan objects, derived from catalog ids, and suggestions for unknown names. Pure.

use md5::{Digest, Md5};

/// The length limit of an escaped name (RFC 1123 label).
const LONGEST: usize = 63;

/// The object name of a catalog id, as service-catalog makes it (`pkg/controller/controller.go`,
/// `GenerateEscapedName`): each invalid character, and `z` itself, becomes `z<hex>z`. A name that is too long is cut
/// and the MD5 of the id is appended. A lower-case UUID stays unchanged.
#[must_use]
pub fn escaped(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    let mut previous = '\0';
    for (index, char) in id.char_indices() {
        let inside = index != 0 && index + char.len_utf8() != id.len();
        let kept = match char {
            'a'..='y' | '0'..='9' => true,
            '.' => inside && previous != '.' && previous != '-',
            '-' => inside && previous != '.',
            _ => false,
        };
        if kept {
            name.push(char);
            previous = char;
        } else {
            name.extend(format!("z{:x}z", u32::from(char)).chars());
            previous = 'z';
        }
    }
    if name.len() > LONGEST {
        name.truncate(30); // All characters of the result are ASCII.
        let hash = hex::encode(Md5::digest(id));
        name = format!("{}-{hash}", name.strip_suffix('.').unwrap_or(&name));
    }
    name
}

/// The name in `existing` that is most similar to `given`.
pub(super) fn nearest<'a>(given: &str, existing: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    existing
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.5)
        .max_by(|(a, left), (b, right)| a.total_cmp(b).then_with(|| right.cmp(left)))
        .map(|(_, name)| name)
}

/// `; did you mean "…"?`, or nothing.
pub(super) fn did_you_mean<'a>(given: &str, existing: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, existing).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_as_in_service_catalog() {
        for (id, name) in [
            ("e2e250b5-73f8-45fd-9a7f-93c8dddc5f00", "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00"),
            ("rds-997b8372", "rds-997b8372"),
            ("z", "z7az"),
            ("AbC", "z41zbz43z"),
            ("a.b", "a.b"),
            ("a..b", "a.z2ezb"),
            (".a-", "z2ezaz2dz"),
            ("a-.b", "a-z2ezb"),
            ("a.-b", "a.z2dzb"),
            ("a--b", "a--b"),
            ("ü", "zfcz"),
        ] {
            assert_eq!(escaped(id), name, "{id}");
        }
    }

    #[test]
    fn long_ids_are_shortened_to_a_hash() {
        let id = "a".repeat(64);
        assert_eq!(escaped(&id), format!("{}-014842d480b571495a4a0363793f7367", "a".repeat(30)));
        assert_eq!(escaped(&"a".repeat(63)), "a".repeat(63));
        let id = format!("{}.{}", "a".repeat(29), "b".repeat(60));
        assert!(escaped(&id).starts_with(&format!("{}-", "a".repeat(29))));
    }

    #[test]
    fn only_similar_names_are_suggested() {
        assert_eq!(nearest("cockroachd", ["mysql", "cockroachdb"]), Some("cockroachdb"));
        assert_eq!(nearest("cockroachd", ["mysql", "redis"]), None);
        assert_eq!(did_you_mean("defualt", ["default"]), "; did you mean \"default\"?");
        assert_eq!(did_you_mean("x", []), "");
    }
}
