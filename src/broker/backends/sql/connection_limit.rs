//! The limit on open connections of a binding's login.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, de::Error as _};

/// The value for no limit.
const UNLIMITED: &str = "unlimited";

/// The largest limit that every engine accepts (PostgreSQL: `rolconnlimit` is an int4).
const LARGEST: u32 = i32::MAX.cast_unsigned();

/// The limit of a plan: a number, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionLimit {
    /// At most this many connections at the same time.
    AtMost(NonZeroU32),
    /// No limit but the server's.
    Unlimited,
}

impl ConnectionLimit {
    /// The limit of plans that set none: enough for the connection pools of several replicas, and less than half of a
    /// server's default limit (PostgreSQL: 100, MySQL and MariaDB: 151).
    pub(crate) const DEFAULT: Self = Self::AtMost(NonZeroU32::MIN.saturating_add(39));

    /// The number, if there is a limit.
    pub(crate) fn at_most(self) -> Option<u32> {
        match self {
            Self::AtMost(limit) => Some(limit.get()),
            Self::Unlimited => None,
        }
    }
}

/// The limit as written in the configuration.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a number of connections, or `unlimited`")]
enum Stated {
    Number(i64),
    Word(String),
}

impl<'de> Deserialize<'de> for ConnectionLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Stated::deserialize(deserializer)? {
            Stated::Number(number) => u32::try_from(number)
                .ok()
                .filter(|limit| *limit <= LARGEST)
                .and_then(NonZeroU32::new)
                .map(Self::AtMost)
                .ok_or_else(|| {
                    D::Error::custom(format!("{number} is not between 1 and {LARGEST}; or write {UNLIMITED}"))
                }),
            Stated::Word(word) if word == UNLIMITED => Ok(Self::Unlimited),
            Stated::Word(word) => {
                Err(D::Error::custom(format!("{word:?} is no number; take 1 or more, or {UNLIMITED}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: &Value) -> Result<ConnectionLimit, String> {
        ConnectionLimit::deserialize(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_limit_is_a_number_or_the_word_for_none() {
        assert_eq!(read(&json!(5)).unwrap().at_most(), Some(5));
        assert_eq!(read(&json!("unlimited")).unwrap().at_most(), None);
        assert_eq!(ConnectionLimit::DEFAULT.at_most(), Some(40));
    }

    /// 0 means no limit in MySQL and no connection at all in PostgreSQL.
    #[rstest::rstest]
    #[case(json!(0), &["0 is not between 1 and 2147483647", "unlimited"])]
    #[case(json!(-1), &["-1", "unlimited"])]
    #[case(json!(4_294_967_296_u64), &["4294967296"])]
    #[case(json!("many"), &["\"many\"", "unlimited"])]
    #[case(json!(true), &["number of connections", "unlimited"])]
    fn what_is_no_limit_is_refused_with_the_remedy(#[case] value: Value, #[case] told: &[&str]) {
        let message = read(&value).unwrap_err();
        assert!(told.iter().all(|word| message.contains(word)), "{message}");
    }
}
