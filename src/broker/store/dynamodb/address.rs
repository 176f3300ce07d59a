//! How the store is named: `dynamodb:TABLE?region=REGION&endpoint=URL`.

use std::str::FromStr;

use url::Url;

/// Which table, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(super) table: String,
    /// Else AWS' own chain decides: environment, profile, the machine.
    pub(super) region: Option<String>,
    /// A VPC endpoint, or a server for tests; else the region's public one.
    pub(super) endpoint: Option<String>,
    /// As it was written.
    text: String,
}

impl Address {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Address {
    type Err = String;

    /// The error completes a sentence about the setting that was parsed.
    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write it as `dynamodb:bindery?region=eu-central-1`";
        let refuse = |problem: String| format!("{problem}; {EXAMPLE}");
        let rest =
            text.strip_prefix("dynamodb:").ok_or_else(|| refuse("is no `dynamodb:` address".into()))?;
        let (table, query) = rest.split_once('?').unwrap_or((rest, ""));
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !(3..=255).contains(&table.len()) || !table.chars().all(allowed) {
            return Err(refuse(format!(
                "names the table {table:?}, and DynamoDB wants 3 to 255 of a-z, A-Z, 0-9, `_`, `-` and `.`"
            )));
        }
        let mut address =
            Self { table: table.to_owned(), region: None, endpoint: None, text: text.to_owned() };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let setting = match name.as_ref() {
                "region" if is_region(&value) => &mut address.region,
                "region" => return Err(refuse(format!("has no AWS region in `region`: {value:?}"))),
                "endpoint" if is_endpoint(&value) => &mut address.endpoint,
                "endpoint" => {
                    let problem = "has no `http:` or `https:` URL without user and password in `endpoint`";
                    return Err(refuse(problem.into()));
                }
                other => {
                    return Err(refuse(format!("has {other:?}, where `region` and `endpoint` are known")));
                }
            };
            if setting.replace(value.into_owned()).is_some() {
                return Err(refuse(format!("has `{name}` twice")));
            }
        }
        Ok(address)
    }
}

fn is_region(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The address is shown in messages, so it holds no password.
fn is_endpoint(value: &str) -> bool {
    Url::parse(value).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn region_and_endpoint_may_be_named() {
        let text = "dynamodb:bindery?region=eu-central-1&endpoint=http://127.0.0.1:8000";
        let address: Address = text.parse().unwrap();
        assert_eq!((address.table.as_str(), address.as_str()), ("bindery", text));
        assert_eq!(address.region.as_deref(), Some("eu-central-1"));
        assert_eq!(address.endpoint.as_deref(), Some("http://127.0.0.1:8000"));
        let address: Address = "dynamodb:a.b-c_d".parse().unwrap();
        assert_eq!((address.region, address.endpoint), (None, None));
    }

    #[rstest]
    #[case::scheme("dynamo:bindery", "is no `dynamodb:` address")]
    #[case::short("dynamodb:ab", "3 to 255")]
    #[case::characters("dynamodb:a/b/c", "3 to 255")]
    #[case::unknown("dynamodb:bindery?regio=x", "\"regio\"")]
    #[case::twice("dynamodb:bindery?region=a&region=b", "`region` twice")]
    #[case::region("dynamodb:bindery?region=", "no AWS region")]
    #[case::endpoint("dynamodb:bindery?endpoint=localhost:8000", "`http:` or `https:`")]
    fn others_are_refused_with_an_example(#[case] text: &str, #[case] problem: &str) {
        let error = text.parse::<Address>().unwrap_err();
        assert!(error.contains(problem) && error.contains("dynamodb:bindery?region=eu-central-1"), "{error}");
    }

    #[test]
    fn a_password_is_not_repeated() {
        let error = "dynamodb:bindery?endpoint=http://user:hunter2@host".parse::<Address>().unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
