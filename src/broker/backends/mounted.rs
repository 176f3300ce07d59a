//! Paths of a binding's files in URLs: applications find the files in the folder where the binding is mounted.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Every character outside of this set is percent-encoded in the path of a URL.
const IN_PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_');

/// The percent-encoded path of a file of the binding.
pub(super) fn file(folder: &str, name: &str) -> String {
    utf8_percent_encode(&format!("{folder}/{name}"), &IN_PATH).to_string()
}
