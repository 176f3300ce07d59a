//! The user who caused a request (spec.md, "Originating Identity"; profile.md, "Kubernetes Originating Identity
//! Header"). Pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::header::HeaderValue;

use crate::apis::servicecatalog::UserInfo;

/// The value of the header `X-Broker-API-Originating-Identity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(HeaderValue);

impl Identity {
    /// The identity of this user of Kubernetes.
    #[must_use]
    pub fn of(user: &UserInfo) -> Self {
        Self(header_value(user))
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn header_value(user: &UserInfo) -> HeaderValue {
    #[expect(clippy::expect_used, reason = "the user has string keys and no fallible members")]
    let json = serde_json::to_vec(user).expect("a user is JSON");
    #[expect(clippy::expect_used, reason = "base64 is visible ASCII")]
    let value = HeaderValue::try_from(format!("kubernetes {}", STANDARD.encode(json)))
        .expect("base64 is the value of a header");
    value
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn decoded(user: &UserInfo) -> Value {
        let header = Identity::of(user).header();
        let encoded = header.to_str().unwrap().strip_prefix("kubernetes ").unwrap().to_owned();
        serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn the_header_names_the_platform_and_the_user() {
        let extra = [("scopes.example.com/x".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into();
        let groups = vec!["system:authenticated".to_owned(), "größe\r\nX-Other: 1".to_owned()];
        let username = "jane \"j\" döe\r\n".to_owned();
        let user = UserInfo { username, uid: "7".to_owned(), groups: groups.clone(), extra };
        assert_eq!(
            decoded(&user),
            json!({"username": "jane \"j\" döe\r\n", "uid": "7", "groups": groups,
                "extra": {"scopes.example.com/x": ["a", "b"]}})
        );
    }

    #[test]
    fn empty_lists_are_left_out_as_in_the_original() {
        let user = UserInfo { username: "u".to_owned(), ..UserInfo::default() };
        assert_eq!(decoded(&user), json!({"username": "u", "uid": ""}));
    }
}
