//! Which names the keys of a Secret can have. Pure.

/// The maximum length of a key.
const MAX_KEY: usize = 253;
/// How many characters of an invalid key an error shows.
const SHOWN_KEY: usize = 100;

/// Whether the API server accepts this key in a Secret.
pub(super) fn is_key(key: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !key.is_empty()
        && key.len() <= MAX_KEY
        && key.bytes().all(is_allowed)
        && key != "."
        && !key.starts_with("..")
}

pub(super) fn shortened(key: &str) -> String {
    key.chars().take(SHOWN_KEY).collect()
}
