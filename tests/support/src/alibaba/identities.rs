//! Who exists in RAM: users, access keys, policies, roles and the sessions of STS. A key, user or role that was just made
//! may be unknown for a number of calls (`Settings`), as in a service that is spread over the world.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    account::ACCOUNT,
    policy::{self, Access},
    random,
    refusal::{Refusal, refuse},
};

/// The access key of the account itself, to which everything is allowed.
pub(super) const ROOT: (&str, &str) = ("LTAIroot", "the-secret-of-the-account");

#[derive(Default)]
pub(super) struct Identities {
    pub(super) users: BTreeMap<String, User>,
    pub(super) keys: BTreeMap<String, AccessKey>,
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) sessions: BTreeMap<String, Session>,
    /// Providers of OIDC tokens, by the end of their ARN.
    pub(super) providers: BTreeMap<String, Provider>,
}

/// A user. `is_given` holds for all that the test made itself, which is no leftover.
#[derive(Default)]
pub(super) struct User {
    pub(super) display_name: String,
    pub(super) comments: String,
    pub(super) policies: BTreeSet<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) unknown_for: u32,
    pub(super) is_given: bool,
}

pub(super) struct AccessKey {
    pub(super) secret: String,
    pub(super) user: String,
    pub(super) is_active: bool,
    pub(super) unknown_for: u32,
}

pub(super) struct Policy {
    /// The documents of the versions; the first version is 1.
    pub(super) versions: BTreeMap<u32, String>,
    pub(super) default: u32,
    pub(super) description: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) is_given: bool,
}

impl Policy {
    pub(super) fn document(&self) -> Value {
        // CreatePolicy has checked the grammar.
        policy::parse(&self.versions[&self.default]).unwrap_or_default()
    }
}

pub(super) struct Role {
    pub(super) trust: Value,
    pub(super) policies: BTreeSet<String>,
    pub(super) longest_session: u32,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) unknown_for: u32,
    pub(super) is_given: bool,
}

pub(super) struct Session {
    secret: String,
    token: String,
    role: String,
    name: String,
    /// What the session may at most do.
    policy: Option<Value>,
    pub(super) expires: Timestamp,
}

pub(super) struct Provider {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) secret: String,
}

/// Who a caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Root,
    User(String),
    Role(String),
}

/// The caller of an action, with its rights.
pub(super) struct Caller {
    pub(super) kind: Kind,
    pub(super) arn: String,
    policies: Vec<Value>,
    limit: Option<Value>,
}

impl Caller {
    /// The rights of a session are those that both the role and the session's policy give (STS, AssumeRole).
    pub(super) fn is_allowed(&self, access: &Access) -> bool {
        self.kind == Kind::Root
            || policy::allows(&self.policies, access)
                && self.limit.as_ref().is_none_or(|limit| policy::allows([limit], access))
    }
}

/// The credentials of a session, as STS and the metadata service tell them.
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: String,
    pub(super) expires: Timestamp,
}

impl Identities {
    /// The owner of an access key, and the key's secret.
    pub(super) fn identify(&mut self, id: &str, token: Option<&str>) -> Result<(Caller, String), Refusal> {
        if id == ROOT.0 {
            let arn = format!("acs:ram::{ACCOUNT}:root");
            let caller = Caller { kind: Kind::Root, arn, policies: Vec::new(), limit: None };
            return Ok((caller, ROOT.1.to_owned()));
        }
        if id.starts_with("STS.") {
            return self.identify_session(id, token);
        }
        let unknown = || refuse(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.");
        let Some(key) = self.keys.get_mut(id) else { return unknown() };
        if key.unknown_for > 0 {
            key.unknown_for -= 1;
            return unknown();
        }
        if !key.is_active {
            return refuse(400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.");
        }
        let (name, secret) = (key.user.clone(), key.secret.clone());
        let policies = self.users.get(&name).map(|user| self.documents(&user.policies)).unwrap_or_default();
        let arn = format!("acs:ram::{ACCOUNT}:user/{name}");
        Ok((Caller { kind: Kind::User(name), arn, policies, limit: None }, secret))
    }

    fn identify_session(&self, id: &str, token: Option<&str>) -> Result<(Caller, String), Refusal> {
        let Some(session) = self.sessions.get(id) else {
            return refuse(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.");
        };
        match token {
            None => {
                return refuse(400, "MissingSecurityToken", "SecurityToken is mandatory for this action.");
            }
            Some(token) if token != session.token => {
                let message = "Specified SecurityToken mismatch with the AccessKey.";
                return refuse(400, "InvalidSecurityToken.MismatchWithAccessKey", message);
            }
            Some(_) => {}
        }
        if session.expires <= Timestamp::now() {
            return refuse(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.");
        }
        let Some(role) = self.roles.get(&session.role) else {
            return refuse(404, "EntityNotExist.Role", "The role of the session does not exist any more.");
        };
        let caller = Caller {
            arn: format!("acs:ram::{ACCOUNT}:assumed-role/{}/{}", session.role.to_lowercase(), session.name),
            kind: Kind::Role(session.role.clone()),
            policies: self.documents(&role.policies),
            limit: session.policy.clone(),
        };
        Ok((caller, session.secret.clone()))
    }

    fn documents(&self, names: &BTreeSet<String>) -> Vec<Value> {
        names.iter().filter_map(|name| self.policies.get(name)).map(Policy::document).collect()
    }

    /// Starts a session of a role.
    pub(super) fn start_session(
        &mut self,
        role: &str,
        name: &str,
        policy: Option<Value>,
        seconds: i64,
    ) -> Credentials {
        let expires = Timestamp::from_second(Timestamp::now().as_second() + seconds).expect("a near time");
        let id = format!("STS.{}", random_id(24));
        let (secret, token) = (random_id(44), random_id(200));
        let (role, name) = (role.to_owned(), name.to_owned());
        let session = Session { secret: secret.clone(), token: token.clone(), role, name, policy, expires };
        self.sessions.insert(id.clone(), session);
        Credentials { id, secret, token, expires }
    }

    /// Makes an access key of a user.
    pub(super) fn make_key(&mut self, user: &str, unknown_for: u32) -> (String, String) {
        let (id, secret) = (format!("LTAI{}", random_id(20)), random_id(30));
        let key = AccessKey { secret: secret.clone(), user: user.to_owned(), is_active: true, unknown_for };
        self.keys.insert(id.clone(), key);
        (id, secret)
    }

    /// What exists beside what the test made itself.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (name, user) in self.users.iter().filter(|(_, user)| !user.is_given) {
            left.push(format!("ram user {name}"));
            left.extend(user.policies.iter().map(|policy| format!("ram policy {policy} of user {name}")));
        }
        let is_given = |user: &str| self.users.get(user).is_some_and(|user| user.is_given);
        let keys = self.keys.values().filter(|key| !is_given(&key.user));
        left.extend(keys.map(|key| format!("ram access key of user {}", key.user)));
        let policies = self.policies.iter().filter(|(_, policy)| !policy.is_given);
        left.extend(policies.map(|(name, _)| format!("ram policy {name}")));
        for (name, role) in self.roles.iter().filter(|(_, role)| !role.is_given) {
            left.push(format!("ram role {name}"));
            left.extend(role.policies.iter().map(|policy| format!("ram policy {policy} of role {name}")));
        }
        left
    }
}

fn random_id(length: usize) -> String {
    random("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz123456789", length)
}
