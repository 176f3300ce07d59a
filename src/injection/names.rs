//! Kubernetes' rules for the names in annotations, and the name of bindery's volumes.

use sha2::{Digest, Sha256};

use super::source::{Object, ObjectKind};

/// The maximum length of an object's name, and of a key.
pub(super) const LONGEST_NAME: usize = 253;

/// The prefix of the names of bindery's volumes.
pub(super) const VOLUME_PREFIX: &str = "bindery-";

/// The prefix of the names of volumes of Secrets. No hash starts like this.
pub(super) const SECRET_VOLUME_PREFIX: &str = "bindery-secret-";

/// The prefix of the names of volumes of ConfigMaps.
const CONFIG_MAP_VOLUME_PREFIX: &str = "bindery-configmap-";

/// The maximum number of names among which the most similar one is searched.
const MOST_COMPARED: usize = 500;

/// The maximum length of the name of a container or a volume.
const LONGEST_LABEL: usize = 63;

/// Whether this is a valid name of an object: a DNS-1123 subdomain
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>).
pub(super) fn is_object_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.split('.').all(is_dns_label)
}

/// A part of a subdomain; unlike a separate DNS-1123 label it may exceed 63 characters.
fn is_dns_label(label: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(|first| alphanumeric(*first))
        && bytes.last().is_some_and(|last| alphanumeric(*last))
        && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
}

/// Whether this is a valid name of an environment variable in every version of Kubernetes and every shell: a C
/// identifier.
pub(super) fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether this is a valid key of a Secret or a ConfigMap (`IsConfigMapKey` of `k8s.io/apimachinery`).
pub(super) fn is_secret_key(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= LONGEST_NAME
        && key != "."
        && !key.starts_with("..")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Whether this is a valid path of a file of a Secret: a relative path that does not leave its folder, by the rules of
/// the API server (`validateLocalNonReservedPath`), the kubelet (`AtomicWriter`) and Windows.
pub(super) fn is_file_path(path: &str) -> bool {
    const LONGEST_PATH: usize = 4096;
    const LONGEST_FILE_NAME: usize = 255;
    path.len() <= LONGEST_PATH
        && !path.starts_with("..")
        && !path.contains(|c: char| matches!(c, ':' | '\\') || c.is_control())
        && path.split('/').all(|name| !matches!(name, "" | "." | "..") && name.len() <= LONGEST_FILE_NAME)
}

/// The member of `existing` that is most similar to the misspelt name `given`. Texts that are too long for a
/// container's name match nothing: comparing takes time and memory proportional to the product of the lengths, and the
/// pod's names are not validated yet. Only the first [`MOST_COMPARED`] names are compared, because a user may have
/// created any number of them.
pub(crate) fn nearest<'a>(given: &str, existing: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(given, name);
    let is_short = |name: &str| name.len() <= LONGEST_LABEL;
    existing
        .iter()
        .copied()
        .filter(|name| is_short(given) && is_short(name))
        .take(MOST_COMPARED)
        .filter(|name| likeness(name) > 0.5)
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
}

/// The name of the volume for this object: short enough for a label, without dots, and the same in every pod and on
/// every call (P1). The kind is part of it, so that a Secret and a ConfigMap of the same name have different volumes. A
/// name that can be a part of a label is not hashed, because the API server's CEL, which binds pods as well, cannot
/// compute a hash.
pub(super) fn volume_name(object: Object<'_>) -> String {
    let prefix = match object.kind {
        ObjectKind::Secret => SECRET_VOLUME_PREFIX,
        ObjectKind::ConfigMap => CONFIG_MAP_VOLUME_PREFIX,
    };
    if prefix.len() + object.name.len() <= LONGEST_LABEL && !object.name.contains('.') {
        return format!("{prefix}{}", object.name);
    }
    hashed_volume_name(object)
}

/// The name of the volume for an object whose own name does not fit. Older versions used it for every object.
pub(super) fn hashed_volume_name(object: Object<'_>) -> String {
    let digest = match object.kind {
        ObjectKind::Secret => Sha256::digest(object.name),
        // The slash avoids a collision with a Secret, whose name cannot contain one.
        ObjectKind::ConfigMap => Sha256::digest(object.to_string()),
    };
    let mut name = String::from(VOLUME_PREFIX);
    for byte in &digest[..8] {
        for nibble in [byte >> 4, byte & 0xf] {
            name.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_names_are_dns_subdomains() {
        let longest = "a".repeat(253);
        for name in ["a", "0", "mydb01-binding", "a.b-c.d", &longest] {
            assert!(is_object_name(name), "{name}");
        }
        let too_long = "a".repeat(254);
        for name in
            ["", "A", "-a", "a-", ".a", "a.", "a..b", "a.-b", "a_b", "a b", "ä", "a/b", "../a", &too_long]
        {
            assert!(!is_object_name(name), "{name}");
        }
    }

    #[test]
    fn variable_names_are_c_identifiers() {
        for name in ["A", "_", "DB_HOST", "db2"] {
            assert!(is_variable_name(name), "{name}");
        }
        for name in ["", "2DB", "DB-HOST", "db.host", "DB HOST", "DÄ", "A=B"] {
            assert!(!is_variable_name(name), "{name}");
        }
    }

    #[test]
    fn secret_keys_are_those_that_kubernetes_allows() {
        for key in ["uri", "jdbcURL", "tls.crt", ".hidden", "a_b-c"] {
            assert!(is_secret_key(key), "{key}");
        }
        let too_long = "k".repeat(254);
        for key in ["", ".", "..", "..data", "a/b", "a b", "ä", &too_long] {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn file_paths_stay_in_their_folder() {
        let longest = format!("{}/b", "a".repeat(255));
        for path in ["tls.key", "a/b", ".hidden", "a..b", "a/..b", "with space", &longest] {
            assert!(is_file_path(path), "{path}");
        }
        let (long_name, long_path) = ("a".repeat(256), "a/".repeat(2048) + "a");
        for path in [
            "", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "..data/a", "./a", "a:b", "a\\b", "a\nb",
            &long_name, &long_path,
        ] {
            assert!(!is_file_path(path), "{path}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("wbe", &["migrate", "web", "webs"]), Some("web"));
        assert_eq!(nearest("web", &["migrate", "app"]), None);
        let (long, longer) = ("a".repeat(1 << 20), "a".repeat(1 << 20) + "b");
        assert_eq!(nearest(&long, &["web", &longer]), None);
        let mut many = vec!["other"; MOST_COMPARED];
        many.push("web");
        assert_eq!(nearest("wbe", &many), None);
        assert_eq!(nearest("wbe", &many[1..]), Some("web"));
    }

    #[test]
    fn a_volume_name_is_a_dns_label_however_long_the_binding_is() {
        let long = format!("{}.{}", "a".repeat(120), "b".repeat(120));
        for (name, kind) in ["mydb01-binding", "a.b.c", &long]
            .into_iter()
            .flat_map(|name| ObjectKind::ALL.map(|kind| (name, kind)))
        {
            let name = volume_name(Object { kind, name });
            assert!(name.len() <= 63 && is_dns_label(&name), "{name}");
        }
        // Manifests written by `bindery inject` contain the names, so they must not change between versions.
        let of = |name| ObjectKind::ALL.map(|kind| volume_name(Object { kind, name }));
        assert_eq!(
            of("mydb01-binding"),
            ["bindery-secret-mydb01-binding", "bindery-configmap-mydb01-binding"]
        );
        assert_eq!(of("mydb01.binding"), ["bindery-ef1d0dc088e7740b", "bindery-4c09785065954e09"]);
        let hashed = ObjectKind::ALL.map(|kind| hashed_volume_name(Object { kind, name: "mydb01-binding" }));
        assert_eq!(hashed, ["bindery-ad3894d3d5b3d5cb", "bindery-ba6ab7376af3b5a0"]);
    }

    #[test]
    fn a_name_that_does_not_fit_is_hashed() {
        for (kind, longest) in [(ObjectKind::Secret, 48), (ObjectKind::ConfigMap, 45)] {
            let (fits, too_long) = ("a".repeat(longest), "a".repeat(longest + 1));
            assert_eq!(volume_name(Object { kind, name: &fits }).len(), LONGEST_LABEL);
            for name in [&too_long, "a.b"] {
                let object = Object { kind, name };
                assert_eq!(volume_name(object), hashed_volume_name(object));
            }
        }
    }
}
