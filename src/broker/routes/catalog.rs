//! The catalog with its entity tag: a platform that has the current catalog gets 304 (spec.md, "Catalog Management";
//! RFC 9110, 13.1.2). The tag is a digest of the catalog for the platform's API version.

use axum::{
    Extension,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{compat, gatekeeper::Admitted};
use crate::{broker::engine::Engine, osb::Catalog};

pub(super) async fn fetch(
    State(engine): State<Engine>,
    Extension(admitted): Extension<Admitted>,
    headers: HeaderMap,
) -> Response {
    answer(&compat::catalog(engine.catalog(), admitted.version), &headers)
}

#[expect(clippy::expect_used, reason = "the catalog is structs with string keys, which are always JSON")]
fn answer(catalog: &Catalog, headers: &HeaderMap) -> Response {
    let body = serde_json::to_vec(catalog).expect("a catalog");
    let digest = hex::encode(&Sha256::digest(&body)[..16]);
    let tag = [(ETAG, format!("\"{digest}\""))];
    if is_known(headers, &digest) {
        return (StatusCode::NOT_MODIFIED, tag).into_response();
    }
    (tag, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Whether the request has this tag. An unreadable header counts as missing.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .any(|list| names(list, tag))
}

/// RFC 9110, 8.8.3: `*`, or a comma-separated list of quoted entity tags. The comparison is weak: `W/` is ignored.
fn names(list: &str, tag: &str) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((opaque, after)) =
            rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"').and_then(|text| text.split_once('"'))
        else {
            return false;
        };
        if opaque == tag {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::one("\"t\"", true)]
    #[case::weak("W/\"t\"", true)]
    #[case::any("*", true)]
    #[case::any_with_spaces(" * ", true)]
    #[case::second("\"a\", \"t\"", true)]
    #[case::after_empty_elements(" , ,\"a\",W/\"t\"", true)]
    #[case::comma_within("\"a,\",\"t\"", true)]
    #[case::other("\"a\"", false)]
    #[case::longer("\"t2\"", false)]
    #[case::within_another("\"a,t\"", false)]
    #[case::no_quotes("t", false)]
    #[case::open("\"t", false)]
    #[case::small_w("w/\"t\"", false)]
    #[case::nothing("", false)]
    fn a_tag_is_known_when_the_list_names_it(#[case] list: &str, #[case] expected: bool) {
        let headers = HeaderMap::from_iter([(IF_NONE_MATCH, list.parse().unwrap())]);
        assert_eq!(is_known(&headers, "t"), expected);
    }

    #[test]
    fn several_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        for tag in ["\"a\"", "\"t\""] {
            headers.append(IF_NONE_MATCH, tag.parse().unwrap());
        }
        assert!(is_known(&headers, "t") && !is_known(&headers, "b"));
    }
}
