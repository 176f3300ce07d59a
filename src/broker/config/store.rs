//! The address of the broker's store: a file, a database in PostgreSQL or CockroachDB, or a table in `DynamoDB`. An
//! address may contain a password, so no address is ever printed whole.

use std::{fmt, path::PathBuf, str::FromStr};

use secrecy::{ExposeSecret, SecretString};

use super::ConfigError;

const FORMS: &str = "write it as `sqlite:/path/to/file`, `postgres://USER@HOST:PORT/DATABASE` \
                     or `dynamodb:TABLE?region=REGION`";

/// The source of the key that encrypts records: 32 bytes in base64.
#[derive(Clone, Debug)]
pub enum StoreKey {
    /// A file that must exist.
    File(PathBuf),
    /// A file that is created, readable only by its owner, if neither the file nor the store exists.
    FileOrNew(PathBuf),
    /// The key itself, from the caller.
    Given(SecretString),
}

/// The address of the broker's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:PATH`: an embedded database in a file.
    Sqlite(PathBuf),
    /// `postgres://…` or `postgresql://…`: a database in PostgreSQL or CockroachDB.
    Postgres(PostgresUrl),
    /// `dynamodb:TABLE?region=REGION&endpoint=URL`: a table in `DynamoDB`.
    DynamoDb(DynamoDbTable),
}

/// The address of a database, which may contain a password. `Debug` and `Display` show neither the password nor the
/// options.
#[derive(Clone)]
pub struct PostgresUrl(SecretString);

/// A table and its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamoDbTable {
    /// The table's name.
    pub table: String,
    /// The table's region; the default comes from the environment of the AWS SDK.
    pub region: Option<String>,
    /// The URL to call instead of AWS.
    pub endpoint: Option<String>,
}

impl StoreUrl {
    /// The place of an unconfigured key: beside a file; there is none for other stores.
    pub(super) fn key_beside(&self) -> Option<StoreKey> {
        let Self::Sqlite(path) = self else { return None };
        let mut key = path.clone().into_os_string();
        key.push(".key");
        Some(StoreKey::FileOrNew(key.into()))
    }
}

impl FromStr for StoreUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(("postgres" | "postgresql", rest)) => PostgresUrl::parse(text, rest).map(Self::Postgres),
            Some(("dynamodb", rest)) => DynamoDbTable::parse(rest).map(Self::DynamoDb),
            // The text is not shown because it may contain a password.
            _ => Err(ConfigError::invalid("store", format!("is not a known address of a store; {FORMS}"))),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
            Self::DynamoDb(table) => table.fmt(f),
        }
    }
}

impl PostgresUrl {
    fn parse(whole: &str, rest: &str) -> Result<Self, ConfigError> {
        let named = rest.strip_prefix("//").is_some_and(|place| {
            let after_user = place.rsplit_once('@').map_or(place, |(_, host)| host);
            !after_user.is_empty() && !after_user.starts_with(['/', '?'])
        });
        if !named {
            return Err(ConfigError::invalid("store", format!("names no host; {FORMS}")));
        }
        Ok(Self(whole.into()))
    }

    /// The whole address, with its password. Never log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the address contains a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        let (_, userinfo, rest) = self.parts();
        let in_options = rest.split_once('?').is_some_and(|(_, options)| {
            url::form_urlencoded::parse(options.as_bytes()).any(|(name, _)| name == "password")
        });
        in_options || userinfo.is_some_and(|userinfo| userinfo.contains(':'))
    }

    /// The scheme, the part before the last `@`, and the rest. Even a password that was not encoded correctly is
    /// before that `@`.
    fn parts(&self) -> (&str, Option<&str>, &str) {
        let (scheme, place) = self.expose().split_once("://").unwrap_or(("postgres", ""));
        match place.rsplit_once('@') {
            Some((userinfo, rest)) => (scheme, Some(userinfo), rest),
            None => (scheme, None, place),
        }
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, userinfo, rest) = self.parts();
        write!(f, "{scheme}://")?;
        if let Some(userinfo) = userinfo {
            write!(f, "{}@", userinfo.split(':').next().unwrap_or_default())?;
        }
        f.write_str(rest.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for PostgresUrl {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for PostgresUrl {}

impl fmt::Display for DynamoDbTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dynamodb:{}", self.table)?;
        let options = [("region", &self.region), ("endpoint", &self.endpoint)];
        let given = options.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.enumerate().try_for_each(|(at, (name, value))| {
            write!(f, "{}{name}={value}", if at == 0 { '?' } else { '&' })
        })
    }
}

impl DynamoDbTable {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let (table, options) = text.split_once('?').unwrap_or((text, ""));
        // DynamoDB's rule for table names.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !(3..=255).contains(&table.len()) || !table.chars().all(allowed) {
            return Err(ConfigError::invalid(
                "store",
                format!(
                    "names the DynamoDB table {table:?}; a name has 3 to 255 letters, digits, `_`, `.` and `-`"
                ),
            ));
        }
        let mut parsed = Self { table: table.to_owned(), region: None, endpoint: None };
        for (name, value) in url::form_urlencoded::parse(options.as_bytes()) {
            let option = match name.as_ref() {
                "region" => &mut parsed.region,
                "endpoint" => &mut parsed.endpoint,
                _ => {
                    let problem = format!("has the option {name:?}; it may have `region` and `endpoint`");
                    return Err(ConfigError::invalid("store", problem));
                }
            };
            if value.is_empty() || option.is_some() {
                let problem = format!("has the option {name:?} empty or twice; give it one value");
                return Err(ConfigError::invalid("store", problem));
            }
            *option = Some(value.into_owned());
        }
        if let Some(endpoint) = &parsed.endpoint
            && !url::Url::parse(endpoint).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.username().is_empty()
                    && url.password().is_none()
            })
        {
            // The text is not shown because it may contain a password.
            let problem = "has an endpoint that cannot be called; write it as `https://HOST:PORT`";
            return Err(ConfigError::invalid("store", problem));
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> StoreUrl {
        text.parse().unwrap()
    }

    #[test]
    fn every_kind_of_store_has_its_address() {
        assert_eq!(parse("sqlite:/data/b.db"), StoreUrl::Sqlite("/data/b.db".into()));
        for text in ["postgres://db", "postgresql://u:p@h1:5432,h2:5433/bindery?sslmode=require"] {
            let StoreUrl::Postgres(url) = parse(text) else { panic!("{text}") };
            assert_eq!(url.expose(), text);
        }
        let expected = DynamoDbTable {
            table: "bindery".to_owned(),
            region: Some("eu-west-1".to_owned()),
            endpoint: Some("http://localhost:5000".to_owned()),
        };
        assert_eq!(
            parse("dynamodb:bindery?region=eu-west-1&endpoint=http%3A%2F%2Flocalhost%3A5000"),
            StoreUrl::DynamoDb(expected.clone())
        );
        assert_eq!(
            parse("dynamodb:bindery"),
            StoreUrl::DynamoDb(DynamoDbTable { region: None, endpoint: None, ..expected })
        );
    }

    #[rstest::rstest]
    #[case("", "sqlite:/")]
    #[case("sqlite:", "sqlite:/")]
    #[case("mongodb://s3cret", "sqlite:/")]
    #[case("/path", "sqlite:/")]
    #[case("postgres:", "no host")]
    #[case("postgres://", "no host")]
    #[case("postgres://u:s3cret@/db", "no host")]
    #[case("dynamodb:", "3 to 255")]
    #[case("dynamodb:a b c", "3 to 255")]
    #[case("dynamodb:bindery?zone=a", "zone")]
    #[case("dynamodb:bindery?region=", "region")]
    #[case("dynamodb:bindery?region=a&region=b", "region")]
    #[case("dynamodb:bindery?endpoint=localhost", "https://")]
    #[case("dynamodb:bindery?endpoint=http://user:s3cret@host", "https://")]
    fn other_addresses_are_refused(#[case] text: &str, #[case] named: &str) {
        let message = text.parse::<StoreUrl>().unwrap_err().to_string();
        assert!(message.contains("store") && message.contains(named), "{text}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }

    #[rstest::rstest]
    #[case("postgres://u:s3cret@h:1/d", "postgres://u@h:1/d", true)]
    #[case("postgres://u:s3cret/@?@h/d", "postgres://u@h/d", true)]
    #[case("postgresql://h/d?user=u&password=s3cret", "postgresql://h/d", true)]
    #[case("postgres://u@h/d?sslmode=require", "postgres://u@h/d", false)]
    fn a_password_is_never_shown(#[case] text: &str, #[case] shown: &str, #[case] has_password: bool) {
        let store = parse(text);
        assert_eq!(store.to_string(), shown);
        assert!(!format!("{store:?}").contains("s3cret"), "{store:?}");
        let StoreUrl::Postgres(url) = store else { panic!("{text}") };
        assert_eq!(url.has_password(), has_password);
    }

    #[test]
    fn only_a_file_has_its_key_beside_it() {
        assert!(
            matches!(parse("sqlite:a.db").key_beside(), Some(StoreKey::FileOrNew(path)) if path.ends_with("a.db.key"))
        );
        assert!(parse("postgres://h/d").key_beside().is_none());
        assert!(parse("dynamodb:bindery").key_beside().is_none());
    }
}
