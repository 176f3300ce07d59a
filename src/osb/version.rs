//! The `X-Broker-API-Version` header.

use std::{fmt, str::FromStr};

/// A version of the Open Service Broker API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u16,
    minor: u16,
}

impl ApiVersion {
    /// The oldest supported version.
    pub const OLDEST: Self = Self { major: 2, minor: 13 };
    /// The version that this code implements.
    pub const LATEST: Self = Self { major: 2, minor: 17 };

    /// Whether a platform with this version knows fields that came with `2.minor`.
    #[must_use]
    pub fn has_minor(self, minor: u16) -> bool {
        self.minor >= minor
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The header is missing, is not `MAJOR.MINOR`, or names an unsupported version; the answer is 412.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "header X-Broker-API-Version is {given}; send a version from {oldest} on within major version 2, such as {latest}",
    oldest = ApiVersion::OLDEST,
    latest = ApiVersion::LATEST
)]
pub struct UnsupportedVersion {
    given: String,
}

impl UnsupportedVersion {
    /// The error for a request without the header.
    #[must_use]
    pub fn missing() -> Self {
        Self { given: "missing".to_owned() }
    }
}

impl FromStr for ApiVersion {
    type Err = UnsupportedVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(UnsupportedVersion::missing());
        }
        let unsupported = || UnsupportedVersion { given: format!("{text:?}") };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor) = text
            .split_once('.')
            .filter(|(major, minor)| digits(major) && digits(minor))
            .ok_or_else(unsupported)?;
        let version = Self {
            major: major.parse().map_err(|_| unsupported())?,
            minor: minor.parse().map_err(|_| unsupported())?,
        };
        if version.major == Self::LATEST.major && version >= Self::OLDEST {
            Ok(version)
        } else {
            Err(unsupported())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_major_two_from_2_13_on_are_supported() {
        for text in ["2.13", "2.14", "2.17", "2.18"] {
            assert_eq!(text.parse::<ApiVersion>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_remedy() {
        for text in ["", "2", "2.", ".17", "2.12", "1.17", "3.0", "2.+17", "2.17.1", "two", "2.99999999"] {
            let message = text.parse::<ApiVersion>().unwrap_err().to_string();
            assert!(message.contains("2.13") && message.contains("2.17"), "{text:?}: {message}");
        }
    }
}
