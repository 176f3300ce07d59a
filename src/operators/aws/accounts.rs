//! The accounts of the operator: its own, and those that a Namespace may ask for by the annotation of ACK
//! (`services.k8s.aws/owner-account-id`). Only accounts on the installation's list are used.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt;

use super::listing::Listing;
use crate::{cloud::aws::Account, k8s::namespaces::NamespaceMeta};

/// Annotation of a Namespace: the number of the account for its objects.
pub(super) const OWNER_ACCOUNT: &str = "services.k8s.aws/owner-account-id";

/// An account, and the list of its stacks.
#[derive(Clone)]
pub(super) struct ListedAccount {
    pub(super) account: Account,
    pub(super) listing: Arc<Listing>,
}

impl ListedAccount {
    fn new(account: Account) -> Self {
        Self { listing: Arc::new(Listing::new(account.clone())), account }
    }
}

/// All accounts.
pub(super) struct Accounts {
    own: ListedAccount,
    others: BTreeMap<String, ListedAccount>,
}

/// A Namespace asks for an account that is not on the list.
#[derive(Debug, thiserror::Error)]
#[error(
    "the Namespace asks for the account {0:?} ({OWNER_ACCOUNT}), which the installation does not list; ask the administrator to \
     add it with --account {0}=ROLE_ARN"
)]
pub(super) struct UnknownAccount(String);

impl Accounts {
    pub(super) fn new(own: Account, others: BTreeMap<String, Account>) -> Self {
        let others = others.into_iter().map(|(id, account)| (id, ListedAccount::new(account)));
        Self { own: ListedAccount::new(own), others: others.collect() }
    }

    /// The account for the objects of a Namespace.
    pub(super) fn of(&self, namespace: Option<&NamespaceMeta>) -> Result<&ListedAccount, UnknownAccount> {
        let asked = namespace.and_then(|namespace| namespace.annotations().get(OWNER_ACCOUNT));
        match asked.map(String::as_str).filter(|id| !id.is_empty()) {
            None => Ok(&self.own),
            Some(id) => self.others.get(id).ok_or_else(|| UnknownAccount(id.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::cloud::aws::AccountSettings;

    #[test]
    fn a_namespace_gets_only_accounts_of_the_list() {
        let account = || Account::new(AccountSettings::default());
        let accounts = Accounts::new(account(), BTreeMap::from([("111122223333".to_owned(), account())]));
        let namespace = |id: &str| -> NamespaceMeta {
            serde_json::from_value(json!({"metadata": {"name": "n", "annotations": {OWNER_ACCOUNT: id}}}))
                .unwrap()
        };
        assert!(accounts.of(None).is_ok() && accounts.of(Some(&namespace(""))).is_ok());
        assert!(accounts.of(Some(&namespace("111122223333"))).is_ok());
        let refused = accounts.of(Some(&namespace("444455556666"))).err().unwrap().to_string();
        assert!(refused.contains("--account 444455556666="), "{refused}");
    }
}
