//! A duration in configurations, parameters and annotations.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The syntax of [`Lifetime`], for JSON Schema.
pub(crate) const LIFETIME_PATTERN: &str = "^([0-9]+(w|d|h|m|s) ?)+$";

/// A duration with the units w, d (24 hours), h, m and s: `30d`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(Duration);

impl Lifetime {
    /// The default lifetime of a binding with a certificate: 90 days.
    pub const OF_CERTIFICATES: Self = Self(Duration::from_hours(90 * 24));

    /// The duration in whole seconds.
    #[must_use]
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || format!("{text:?} is no length of time; write it as 90m, 24h or 30d");
        let span: jiff::Span = text.parse().map_err(|_| malformed())?;
        let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| malformed())?;
        match u64::try_from(length.as_secs()) {
            // A hundred years at most: databases accept years up to about ten thousand.
            Ok(seconds @ 1..=3_155_760_000) => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(format!("{text:?} is not between 1s and 100 years; write it as 90m, 24h or 30d")),
        }
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{length:#}")
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("90m", 5_400, "1h 30m")]
    #[case("30d", 2_592_000, "720h")]
    #[case("1h30m", 5_400, "1h 30m")]
    #[case("1w", 604_800, "168h")]
    fn lifetimes_are_written_with_units(#[case] text: &str, #[case] seconds: u64, #[case] shown: &str) {
        let lifetime: Lifetime = text.parse().unwrap();
        assert_eq!((lifetime.duration().as_secs(), lifetime.to_string().as_str()), (seconds, shown));
        assert_eq!(shown.parse(), Ok(lifetime));
    }
}
