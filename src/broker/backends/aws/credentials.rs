//! The keys of a binding's credentials: the outputs of the stack, as the service's name has them, and the access key
//! under the names of AWS's own variables.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::definition::{Keys, Naming};
use crate::{cloud::aws::users::AccessKey, osb::Object};

const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
const REGION: &str = "AWS_REGION";
const ROLE_ARN: &str = "AWS_ROLE_ARN";

/// The kinds of credentials that bindings of a plan may have. A binding has the keys of all, so that the variables of the
/// plan are the same for every binding; those of other kinds are empty, which SDKs take for absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offers {
    /// Access keys, of a user or a session.
    pub(super) keys: bool,
    /// Roles for service accounts.
    pub(super) roles: bool,
}

/// The credentials of a binding with an access key, which has a session token or none.
pub(super) fn credentials(
    naming: &Naming,
    outputs: &BTreeMap<String, String>,
    region: &str,
    key: &AccessKey,
    token: Option<&SecretString>,
    offers: Offers,
) -> Object {
    let mut all = address(naming, outputs, region);
    let mut add = |key: String, value: &str| all.insert(key, value.into());
    add(ACCESS_KEY_ID.to_owned(), &key.id);
    add(SECRET_ACCESS_KEY.to_owned(), key.secret.expose_secret());
    add(SESSION_TOKEN.to_owned(), token.map_or("", ExposeSecret::expose_secret));
    if offers.roles {
        add(ROLE_ARN.to_owned(), "");
    }
    if let Some(prefix) = &naming.prefix {
        add(format!("{prefix}_{ACCESS_KEY_ID}"), &key.id);
        add(format!("{prefix}_{SECRET_ACCESS_KEY}"), key.secret.expose_secret());
    }
    all
}

/// What a binding has whose pods get a role: nothing secret.
pub(super) fn role(
    naming: &Naming,
    outputs: &BTreeMap<String, String>,
    region: &str,
    role_arn: &str,
    offers: Offers,
) -> Object {
    let mut all = address(naming, outputs, region);
    all.insert(ROLE_ARN.to_owned(), role_arn.into());
    if offers.keys {
        all.extend(
            [ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN].map(|name| (name.to_owned(), "".into())),
        );
    }
    all
}

/// What a binding without credentials of its own has.
pub(super) fn address(naming: &Naming, outputs: &BTreeMap<String, String>, region: &str) -> Object {
    let mut all: Object =
        outputs.iter().map(|(name, value)| (named(naming.keys, name), value.as_str().into())).collect();
    all.insert(REGION.to_owned(), region.into());
    all
}

/// The environment variables of bindings with these outputs, each with the key of its value.
pub(super) fn variables(naming: &Naming, outputs: &[String], offers: Offers) -> Vec<(String, String)> {
    let keys = naming.keys;
    let outputs = outputs.iter().map(|output| (upper_case(output), named(keys, output)));
    let of_keys: &[&str] = if offers.keys { &[ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN] } else { &[] };
    let of_roles: &[&str] = if offers.roles { &[ROLE_ARN] } else { &[] };
    let aws =
        of_keys.iter().chain(of_roles).chain(&[REGION]).map(|name| ((*name).to_owned(), (*name).to_owned()));
    outputs.chain(aws).collect()
}

fn named(keys: Keys, output: &str) -> String {
    match keys {
        Keys::AsOutputs => output.to_owned(),
        Keys::UpperCase => upper_case(output),
    }
}

/// `QueueURL` as `QUEUE_URL`, by the rule of the AWS Service Broker (pkg/broker/util.go): an underscore before each
/// upper-case letter that has a lower-case neighbour and is neither first nor last.
fn upper_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let is_inside = at > 0 && at + 1 < letters.len();
        let has_lower_neighbour =
            is_inside && (letters[at - 1].is_lowercase() || letters[at + 1].is_lowercase());
        if letter.is_uppercase() && has_lower_neighbour {
            text.push('_');
        }
        text.extend(letter.to_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("QueueURL", "QUEUE_URL")]
    #[case("TableArn", "TABLE_ARN")]
    #[case("S3Region", "S3_REGION")]
    #[case("DBName", "DB_NAME")]
    #[case("DeadLetterQueueARN", "DEAD_LETTER_QUEUE_ARN")]
    #[case("TopicARN", "TOPIC_ARN")]
    fn outputs_become_upper_case_as_in_the_aws_service_broker(#[case] output: &str, #[case] expected: &str) {
        assert_eq!(upper_case(output), expected);
    }
}
