//! The originating identity header (spec.md, "Originating Identity"): a platform's name and base64 JSON, from which
//! the log gets the user.

use axum::http::{HeaderMap, StatusCode};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{super::engine::Caller, answer::Answer};
use crate::osb::{Object, header::ORIGINATING_IDENTITY};

/// Platforms may omit the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn caller(headers: &HeaderMap) -> Result<Caller, Answer> {
    let Some(value) = headers.get(ORIGINATING_IDENTITY) else { return Ok(Caller::default()) };
    let parsed = value.to_str().ok().and_then(|value| {
        let (platform, encoded) = value.trim().split_once(' ')?;
        let identity: Object = serde_json::from_slice(&BASE64.decode(encoded.trim()).ok()?).ok()?;
        // Kubernetes has `username`, Cloud Foundry `user_id` (profile.md); other platforms may have any member.
        let user = ["username", "user_id"].into_iter().find_map(|key| identity.get(key)?.as_str());
        Some(format!("{platform} {}", user.unwrap_or("(unnamed)")))
    });
    parsed.map(|caller| Caller(Some(caller))).ok_or_else(|| {
        Answer::described(
            StatusCode::BAD_REQUEST,
            "header X-Broker-API-Originating-Identity is not a platform's name, a space and a JSON object in base64",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Caller, Answer> {
        caller(&[(ORIGINATING_IDENTITY.parse().unwrap(), value.parse().unwrap())].into_iter().collect())
    }

    #[test]
    fn the_user_is_found() {
        let encoded = BASE64.encode(r#"{"username": "duke", "uid": "c2dde242", "groups": ["admin"]}"#);
        assert_eq!(
            parse(&format!("kubernetes {encoded}")).unwrap(),
            Caller(Some("kubernetes duke".to_owned()))
        );
        let unpadded = encoded.trim_end_matches('=');
        assert_eq!(
            parse(&format!("kubernetes {unpadded}")).unwrap(),
            Caller(Some("kubernetes duke".to_owned()))
        );
        assert_eq!(caller(&HeaderMap::new()).unwrap(), Caller(None));
    }

    #[test]
    fn a_bad_header_is_refused() {
        for value in ["", "kubernetes", "kubernetes !!", "kubernetes Zm9v", "kubernetes W10="] {
            parse(value).unwrap_err();
        }
    }
}
