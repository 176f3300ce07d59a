//! The accounts and roles of the operator: its own, and those that a Namespace may ask for by the annotations of ACK: another
//! account (`services.k8s.aws/owner-account-id`), or a role for a team (`services.k8s.aws/team-id`). Only those on the
//! installation's list are used.

use std::{
    collections::BTreeMap,
    iter,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::ResourceExt;

use super::listing::Listing;
use crate::{
    cloud::aws::{Account, AccountSettings, AssumedRole, stacks::Stack},
    k8s::namespaces::NamespaceMeta,
};

/// Annotation of a Namespace: the number of the account for its objects.
const OWNER_ACCOUNT: &str = "services.k8s.aws/owner-account-id";
/// Annotation of a Namespace: the team under whose role its objects are served. It counts before the account, as in ACK.
const TEAM: &str = "services.k8s.aws/team-id";

/// The accounts of an installation.
#[derive(Clone, Debug)]
pub struct AccountList {
    /// The account for objects of Namespaces that ask for no other.
    pub own: Account,
    /// The accounts that Namespaces may ask for, by number.
    pub by_number: BTreeMap<String, Account>,
    /// The accounts that Namespaces may ask for, by team.
    pub by_team: BTreeMap<String, Account>,
}

/// A role with the number of its account or the name of its team.
type Named = (String, AssumedRole);

impl AccountList {
    /// The accounts that are assumed by these roles with the same settings as the operator's own one.
    #[must_use]
    pub fn new(own: Account, settings: &AccountSettings, by_number: &[Named], by_team: &[Named]) -> Self {
        let accounts = |roles: &[Named]| -> BTreeMap<_, _> {
            let assumed =
                |role: &AssumedRole| AccountSettings { role: Some(role.clone()), ..settings.clone() };
            roles.iter().map(|(name, role)| (name.clone(), Account::new(assumed(role)))).collect()
        };
        Self { own, by_number: accounts(by_number), by_team: accounts(by_team) }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Account> {
        iter::once(&self.own).chain(self.by_number.values()).chain(self.by_team.values())
    }
}

/// The names of accounts in the ledger.
const OWN: &str = "aws";
const BY_NUMBER: &str = "aws-account/";
const BY_TEAM: &str = "aws-team/";

/// An account, and the list of its stacks.
pub(super) struct ListedAccount {
    /// The name in the ledger.
    pub(super) name: String,
    pub(super) account: Account,
    pub(super) listing: Listing,
    pub(super) channel: Channel,
}

/// The topic of an account while its events are received.
#[derive(Debug, Default)]
pub(super) struct Channel(Mutex<Option<Arc<str>>>);

impl Channel {
    pub(super) fn topic(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether bindery is told of the stack's events.
    pub(super) fn tells_of(&self, stack: Option<&Stack>) -> bool {
        let topic = self.topic();
        topic.zip(stack).is_some_and(|(topic, stack)| stack.topics.iter().any(|told| **told == *topic))
    }

    pub(super) fn set(&self, topic: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = topic.map(Arc::from);
    }
}

/// All accounts.
pub(super) struct Accounts {
    own: ListedAccount,
    by_number: BTreeMap<String, ListedAccount>,
    by_team: BTreeMap<String, ListedAccount>,
}

/// An account or a role is not on the list.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnknownAccount {
    #[error(
        "the Namespace asks for {asked:?} ({annotation}), which the installation does not list; ask the administrator to add it \
         with {option} {asked}=ROLE_ARN"
    )]
    Asked { asked: String, annotation: &'static str, option: &'static str },
    #[error(
        "the stack was made in {0:?}, which the installation does not list any more; ask the administrator to list it again until \
         the stack is deleted"
    )]
    Recorded(String),
}

impl Accounts {
    /// The accounts, each of which is listed at most once in `interval`.
    pub(super) fn new(list: AccountList, interval: Duration) -> Self {
        let listed = |name: String, account: Account| ListedAccount {
            name,
            listing: Listing::new(account.clone(), interval),
            channel: Channel::default(),
            account,
        };
        let all = |prefix: &str, accounts: BTreeMap<String, Account>| {
            let named = accounts.into_iter();
            named.map(|(name, account)| (name.clone(), listed(format!("{prefix}{name}"), account))).collect()
        };
        Self {
            own: listed(OWN.to_owned(), list.own),
            by_number: all(BY_NUMBER, list.by_number),
            by_team: all(BY_TEAM, list.by_team),
        }
    }

    /// The account for the objects of a Namespace.
    pub(super) fn of(&self, namespace: Option<&NamespaceMeta>) -> Result<&ListedAccount, UnknownAccount> {
        let asked = |annotation: &str| {
            let value = namespace.and_then(|namespace| namespace.annotations().get(annotation));
            value.filter(|value| !value.is_empty())
        };
        let known = [(TEAM, "--team", &self.by_team), (OWNER_ACCOUNT, "--account", &self.by_number)];
        for (annotation, option, accounts) in known {
            let Some(asked) = asked(annotation) else { continue };
            let unknown = || UnknownAccount::Asked { asked: asked.clone(), annotation, option };
            return accounts.get(asked).ok_or_else(unknown);
        }
        Ok(&self.own)
    }

    /// The account of the operator's own credentials.
    pub(super) fn own(&self) -> &Account {
        &self.own.account
    }

    /// The accounts that have a channel for events: all but the roles of teams, which may share an account.
    pub(super) fn with_channels(&self) -> impl Iterator<Item = &ListedAccount> {
        iter::once(&self.own).chain(self.by_number.values())
    }

    /// The account of this name in the ledger.
    pub(super) fn named(&self, name: &str) -> Result<&ListedAccount, UnknownAccount> {
        let mut all = iter::once(&self.own).chain(self.by_number.values()).chain(self.by_team.values());
        all.find(|account| account.name == name).ok_or_else(|| UnknownAccount::Recorded(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cloud::aws::AccountSettings;

    fn namespace(annotations: &Value) -> NamespaceMeta {
        serde_json::from_value(json!({"metadata": {"name": "n", "annotations": annotations}})).unwrap()
    }

    #[test]
    fn a_namespace_gets_only_what_the_list_has() {
        let account = || Account::new(AccountSettings::default());
        let named = |name: &str| BTreeMap::from([(name.to_owned(), account())]);
        let list =
            AccountList { own: account(), by_number: named("111122223333"), by_team: named("payments") };
        let accounts = Accounts::new(list, Duration::from_secs(5));
        let of = |annotations: Value| accounts.of(Some(&namespace(&annotations))).map(std::ptr::from_ref);
        assert!(accounts.of(None).is_ok());
        assert_eq!(of(json!({OWNER_ACCOUNT: ""})).unwrap(), std::ptr::from_ref(&accounts.own));
        let number = std::ptr::from_ref(&accounts.by_number["111122223333"]);
        assert_eq!(of(json!({OWNER_ACCOUNT: "111122223333"})).unwrap(), number);
        assert_eq!(accounts.named("aws-account/111122223333").map(std::ptr::from_ref).unwrap(), number);
        assert!(accounts.named("aws-team/sales").is_err());
        let both = json!({OWNER_ACCOUNT: "111122223333", TEAM: "payments"});
        assert_eq!(of(both).unwrap(), std::ptr::from_ref(&accounts.by_team["payments"]));
        let refused = of(json!({OWNER_ACCOUNT: "444455556666"})).unwrap_err().to_string();
        assert!(refused.contains("--account 444455556666="), "{refused}");
        let refused = of(json!({OWNER_ACCOUNT: "111122223333", TEAM: "sales"})).unwrap_err().to_string();
        assert!(refused.contains("--team sales="), "{refused}");
    }
}
