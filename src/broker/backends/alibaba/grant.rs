//! What a binding may ask for, and what it gets: an account of a database, the key of a user, or a session.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    catalog::{BucketDefinition, CredentialKind, Engine},
    read::{invalid, read},
};
use crate::{
    broker::{
        backends::{
            Unacceptable,
            access::Access,
            choice::Choice,
            service_account::{self, ServiceAccount},
        },
        config::Lifetime,
    },
    cloud::alibaba::sessions::LONGEST_BY_DEFAULT,
    osb::Object,
};

/// How long sessions last in STS, for roles as they are created.
const SESSIONS: (Duration, Duration) = (Duration::from_mins(15), LONGEST_BY_DEFAULT);
const USERNAME: &str = "^[a-z][a-z0-9_]{0,14}[a-z0-9]$";
const SPECIAL: &str = "!@#$%^&*()_+-=";

/// The account of a database that a binding gets.
#[derive(Clone, Debug)]
pub(super) struct AccountGrant {
    /// The privilege, as the API calls it.
    pub(super) privilege: &'static str,
    /// The name and the password that the user chose.
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
}

/// The access to a bucket that a binding gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BucketGrant {
    pub(super) access: Access,
    pub(super) holder: Holder,
}

/// Who has the access to a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// A user with an access key.
    User,
    /// A role with a session of this length.
    Session(Duration),
    /// A role for the pods of a service account.
    Pods(ServiceAccount),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AccountParameters {
    access: Option<Access>,
    #[serde(rename = "Username")]
    username: Option<String>,
    #[serde(rename = "Password")]
    password: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct BucketParameters {
    access: Option<Access>,
    credentials: Option<CredentialKind>,
    valid_for: Option<Lifetime>,
    service_account: Option<String>,
}

/// The account that a binding with these parameters gets. Empty names and passwords count as absent: manifests leave
/// placeholders empty.
///
/// # Errors
/// Names the parameter that is unknown or not allowed.
pub(super) fn account(
    engine: Engine,
    access: &Choice<Access>,
    given: &Object,
) -> Result<AccountGrant, Unacceptable> {
    let asked: AccountParameters = read(given)?;
    let access = access.take(asked.access).map_err(|problem| invalid("access", &problem))?;
    let username = asked.username.filter(|name| !name.is_empty());
    if username.as_deref().is_some_and(|name| !is_username(name)) {
        let problem = "must have 2 to 16 lower-case letters, digits or underscores, begin with a letter, and end with a letter or digit";
        return Err(invalid("Username", problem));
    }
    let password = asked.password.filter(|password| !password.is_empty());
    if password.as_deref().is_some_and(|password| !is_password(password)) {
        let problem = format!(
            "must have 8 to 32 characters, of at least three kinds: upper-case letters, lower-case letters, digits, and {SPECIAL}"
        );
        return Err(invalid("Password", &problem));
    }
    Ok(AccountGrant { privilege: privilege(engine, access), username, password: password.map(Into::into) })
}

/// The privilege, as the API calls it.
fn privilege(engine: Engine, access: Access) -> &'static str {
    match (engine, access) {
        (Engine::PostgreSQL, _) => "DBOwner",
        (Engine::MySQL, Access::Read) => "ReadOnly",
        (Engine::MySQL, Access::ReadWrite) => "DMLOnly",
        // Also creates and changes tables.
        (Engine::MySQL, Access::Owner) => "ReadWrite",
    }
}

fn is_username(name: &str) -> bool {
    let is_letter_or_digit = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    (2..=16).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.ends_with(is_letter_or_digit)
        && name.chars().all(|letter| is_letter_or_digit(letter) || letter == '_')
}

fn is_password(password: &str) -> bool {
    let kinds: [fn(char) -> bool; 4] = [
        |letter| letter.is_ascii_uppercase(),
        |letter| letter.is_ascii_lowercase(),
        |letter| letter.is_ascii_digit(),
        |letter| SPECIAL.contains(letter),
    ];
    let fits = |letter: char| kinds.iter().any(|is_kind| is_kind(letter));
    (8..=32).contains(&password.len())
        && password.chars().all(fits)
        && kinds.iter().filter(|is_kind| password.contains(**is_kind)).count() >= 3
}

/// The JSON Schema of the properties of a database's binding.
pub(super) fn account_properties(access: &Choice<Access>) -> Map<String, Value> {
    let mut properties = Map::new();
    properties.insert("access".to_owned(), access.schema("What the account may do in the database."));
    properties.insert(
        "Username".to_owned(),
        json!({"anyOf": [{"type": "string", "pattern": USERNAME}, {"enum": [null, ""]}],
            "description": "The name of the account, 2 to 16 characters; made up if left out."}),
    );
    properties.insert(
        "Password".to_owned(),
        json!({"anyOf": [{"type": "string", "minLength": 8, "maxLength": 32}, {"enum": [null, ""]}],
            "description": "The password of the account, 8 to 32 characters of at least three kinds; made up if left out, which is safer."}),
    );
    properties
}

/// The access to a bucket that a binding with these parameters gets. The platform's context says in which namespace it is.
///
/// # Errors
/// Names the parameter that is unknown or not allowed.
pub(super) fn bucket(
    definition: &BucketDefinition,
    access: &Choice<Access>,
    given: &Object,
    context: &Object,
) -> Result<BucketGrant, Unacceptable> {
    let asked: BucketParameters = read(given)?;
    let access = access.take(asked.access).map_err(|problem| invalid("access", &problem))?;
    let kind = definition.credentials.take(asked.credentials);
    let kind = kind.map_err(|problem| invalid("credentials", &problem))?;
    if kind != CredentialKind::Session && asked.valid_for.is_some() {
        let problem = "only a session has an end; ask for credentials: session, or leave it out";
        return Err(invalid("validFor", problem));
    }
    if kind != CredentialKind::Rrsa && asked.service_account.is_some() {
        return Err(invalid("serviceAccount", "belongs to credentials: rrsa; leave it out"));
    }
    match kind {
        CredentialKind::User => Ok(BucketGrant { access, holder: Holder::User }),
        CredentialKind::Rrsa => {
            let account = ServiceAccount::read(asked.service_account.as_deref(), context);
            let account = account.map_err(|(name, problem)| invalid(name, problem))?;
            Ok(BucketGrant { access, holder: Holder::Pods(account) })
        }
        CredentialKind::Session => {
            let lifetime = definition.valid_for.take(asked.valid_for);
            let lifetime = lifetime.map_err(|problem| invalid("validFor", &problem))?;
            let duration = lifetime.map_or(LONGEST_BY_DEFAULT, Lifetime::duration);
            if !(SESSIONS.0..=SESSIONS.1).contains(&duration) {
                return Err(invalid("validFor", "sessions last 15m to 1h; ask for such a time"));
            }
            Ok(BucketGrant { access, holder: Holder::Session(duration) })
        }
    }
}

/// The JSON Schema of the properties of a bucket's binding.
pub(super) fn bucket_properties(
    definition: &BucketDefinition,
    access: &Choice<Access>,
) -> Map<String, Value> {
    let kinds = "An access key that lasts until the binding ends (user), temporary credentials (session), or a role for a \
                 service account (rrsa).";
    let mut properties = Map::from_iter([
        ("access".to_owned(), access.schema("What the binding may do with the bucket.")),
        ("credentials".to_owned(), definition.credentials.schema(kinds)),
        ("validFor".to_owned(), definition.valid_for.schema()),
    ]);
    if definition.offers_roles() {
        let account = json!({"type": "string", "maxLength": 253, "default": service_account::DEFAULT,
            "description": "The service account whose pods get the role, with credentials: rrsa."});
        properties.insert("serviceAccount".to_owned(), account);
    }
    properties
}
