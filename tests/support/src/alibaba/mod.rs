//! A stand-in for Alibaba Cloud over HTTP: RDS, RAM, STS, OSS and the metadata service of ECS at one address. It is
//! written from the documentation alone; each rule names its page. It verifies both signatures in full, demands the
//! documented parameters, enforces the RAM policies of users, roles and sessions, keeps a log of the calls and a list of
//! what exists, and fails as a test plans. It proves what bindery sends, and how bindery handles the documented answers;
//! it does not prove that Alibaba Cloud answers so.
//!
//! ```no_run
//! # use bindery_test_support::alibaba::{Alibaba, Fault};
//! let cloud = Alibaba::start();
//! let key = cloud.key("broker", include_str!("../../../../charts/alibabacloud-servicebroker/ram-policy.json"));
//! cloud.set(|settings| settings.creating = 3);
//! cloud.fail_next("CreateAccount", Fault::THROTTLED);
//! // A broker with `key` works at `cloud.url()`, in region `REGION`.
//! assert_eq!(cloud.left(), Vec::<String>::new());
//! ```

#![allow(clippy::doc_markdown, reason = "names of actions and error codes are words here")]

mod account;
mod call;
mod client;
mod faults;
mod identities;
mod metadata;
mod oss;
mod policy;
mod ram;
mod rds;
mod refusal;
mod server;
mod signature;
mod sts;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    sync::Arc,
    thread::JoinHandle,
};

use rand::seq::IndexedRandom;
use tokio::sync::oneshot;

use self::{
    account::Account,
    identities::{Policy, Provider, ROOT, Role, User},
    rds::Rds,
    server::{Shared, accept},
};
pub use self::{
    account::{ACCOUNT, REGION},
    client::{Key, Request},
    faults::Fault,
};
use crate::{mariadb::MariaDb, postgres::Postgres};

/// How long passing states last, and how late news arrive. Each call that meets the thing is one look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The looks that find a new instance Creating.
    pub creating: u32,
    /// The looks that find an instance changing.
    pub changing: u32,
    /// The looks that find an instance unchanged, before they find it changing.
    pub changing_unseen: u32,
    /// The looks that find an instance Deleting.
    pub deleting: u32,
    /// The looks that find a new account Unavailable.
    pub account_creating: u32,
    /// The looks that still find a deleted account.
    pub account_deleting: u32,
    /// The looks that find a new database Creating.
    pub database_creating: u32,
    /// The calls with a new access key that answer InvalidAccessKeyId.
    pub key_lag: u32,
    /// The calls that name a new user or role and answer EntityNotExist.
    pub entity_lag: u32,
    /// The length of pages that have a marker or token, at most.
    pub longest_page: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            creating: 1,
            changing: 1,
            changing_unseen: 0,
            deleting: 1,
            account_creating: 1,
            account_deleting: 0,
            database_creating: 0,
            key_lag: 0,
            entity_lag: 0,
            longest_page: 1000,
        }
    }
}

/// A running stand-in. It ends when dropped.
pub struct Alibaba {
    host: String,
    port: u16,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Alibaba {
    /// Starts with nothing behind the instances of RDS.
    pub fn start() -> Self {
        Self::run("127.0.0.1", Rds::default())
    }

    /// Starts at an address of this machine, with a real MariaDB or PostgreSQL at the same address behind each instance.
    pub fn start_with_databases(host: &str) -> Self {
        Self::run(host, Rds::with_servers(host))
    }

    fn run(host: &str, rds: Rds) -> Self {
        let listener = TcpListener::bind((host, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::new(Account::new(rds)));
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        // Each test has its own runtime; the stand-in needs another one to outlive the first test.
        let thread = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! { never = accept(listener, serving) => match never {}, _ = stopped => {} }
            });
        });
        Self { host: host.to_owned(), port, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// The address of all services, of OSS by path, and of the metadata service.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// Makes a user with this policy (JSON). Returns an access key of the user. Nothing of this counts as left.
    pub fn key(&self, user: &str, policy: &str) -> Key {
        let policies = self.given_policy(&format!("given-{user}"), policy);
        let mut account = self.shared.account();
        let user_made = User { policies, is_given: true, ..User::default() };
        account.identities.users.insert(user.to_owned(), user_made);
        let (id, secret) = account.identities.make_key(user, 0);
        Key { id, secret, token: None }
    }

    /// The key of the account itself.
    pub fn root() -> Key {
        Key { id: ROOT.0.to_owned(), secret: ROOT.1.to_owned(), token: None }
    }

    /// Makes a role with this trust policy and this policy (JSON). Returns its ARN.
    pub fn role(&self, name: &str, trust: &str, policy: &str) -> String {
        let policies = self.given_policy(&format!("given-{name}"), policy);
        let role = Role {
            trust: self::policy::parse(trust).unwrap(),
            policies,
            longest_session: 3600,
            tags: BTreeMap::new(),
            unknown_for: 0,
            is_given: true,
        };
        self.shared.account().identities.roles.insert(name.to_owned(), role);
        format!("acs:ram::{ACCOUNT}:role/{name}")
    }

    fn given_policy(&self, name: &str, document: &str) -> BTreeSet<String> {
        self::policy::parse(document).unwrap();
        let policy = Policy {
            versions: [(1, document.to_owned())].into(),
            default: 1,
            description: String::new(),
            tags: BTreeMap::new(),
            is_given: true,
        };
        self.shared.account().identities.policies.insert(name.to_owned(), policy);
        BTreeSet::from([name.to_owned()])
    }

    /// Makes the metadata service give sessions of a role, which last for this many seconds.
    pub fn instance_role(&self, name: &str, seconds: i64) {
        self.shared.account().metadata.role = Some((name.to_owned(), seconds));
    }

    /// Makes a provider of OIDC tokens, as a cluster has one for its ServiceAccounts. Returns its ARN.
    pub fn oidc_provider(&self, name: &str, issuer: &str, audience: &str) -> String {
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        let provider = Provider { issuer, audience, secret: random("0123456789abcdef", 32) };
        self.shared.account().identities.providers.insert(name.to_owned(), provider);
        format!("acs:ram::{ACCOUNT}:oidc-provider/{name}")
    }

    /// A token of a provider for this subject and audience. It expires after this many seconds.
    pub fn oidc_token(&self, provider: &str, subject: &str, audience: &str, seconds: i64) -> String {
        self.shared.account().identities.providers[provider].token(subject, audience, seconds)
    }

    /// Ends all sessions.
    pub fn expire_sessions(&self) {
        for session in self.shared.account().identities.sessions.values_mut() {
            session.expires = jiff::Timestamp::UNIX_EPOCH;
        }
    }

    /// Makes another account own a bucket of this name.
    pub fn foreign_bucket(&self, name: &str) {
        self.shared.account().oss.foreign.insert(name.to_owned());
    }

    /// Changes the settings. They hold for what begins from now on.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.account().settings);
    }

    /// Ends all passing states with the next look.
    pub fn hurry(&self) {
        self.shared.account().rds.instances.values_mut().for_each(rds::Instance::hurry);
    }

    /// Makes every certificate of an instance end soon.
    pub fn end_certificates(&self) {
        self.shared.account().rds.instances.values_mut().for_each(|it| it.needs_certificate = true);
    }

    /// The server behind an instance of MySQL or MariaDB, once it runs.
    pub fn mariadb(&self, instance: &str) -> Option<Arc<MariaDb>> {
        match self.behind(instance)? {
            rds::Kind::MariaDb(server) => Some(server),
            rds::Kind::Postgres(_) => None,
        }
    }

    /// The server behind an instance of PostgreSQL, once it runs.
    pub fn postgres(&self, instance: &str) -> Option<Arc<Postgres>> {
        match self.behind(instance)? {
            rds::Kind::Postgres(server) => Some(server),
            rds::Kind::MariaDb(_) => None,
        }
    }

    fn behind(&self, instance: &str) -> Option<rds::Kind> {
        let account = self.shared.account();
        Some(account.rds.instances.get(instance)?.server()?.kind.clone())
    }

    /// The calls so far, such as `rds:CreateDBInstance`.
    pub fn calls(&self) -> Vec<String> {
        self.shared.faults().calls().iter().map(|(name, _)| name.clone()).collect()
    }

    /// The parameters of the calls of an action so far.
    pub fn parameters(&self, action: &str) -> Vec<BTreeMap<String, String>> {
        let faults = self.shared.faults();
        let of_action = faults.calls().iter().filter(|(name, _)| is_action(name, action));
        of_action.map(|(_, parameters)| parameters.clone()).collect()
    }

    /// Plans a fault for the next call of an action, such as `CreateAccount` or `rds:TagResources`. Several faults happen
    /// one after the other.
    pub fn fail_next(&self, action: &str, fault: Fault) {
        self.shared.faults().fail_next(action, fault);
    }

    /// Plans a fault for each call whose number can be divided by `every`.
    pub fn fail_every(&self, every: usize, fault: Fault) {
        self.shared.faults().fail_every(every, fault);
    }

    /// Makes the call with this number, counted from 1, hang before or after its effect, and all later ones before theirs:
    /// what a broker meets that is killed here. [`Self::release`] ends it.
    pub fn hang_from(&self, number: usize, fault: Fault) {
        self.shared.faults().hang_from(number, fault);
    }

    /// Ends the hanging; calls that hang get no answer.
    pub fn release(&self) {
        self.shared.release();
    }

    /// Ends all faults, and forgets the calls.
    pub fn reset(&self) {
        self.shared.release();
        self.shared.faults().reset();
    }

    /// What exists beside what the test made itself, such as `rds instance rm-…` and `ram user bindery-…`.
    pub fn left(&self) -> Vec<String> {
        let account = self.shared.account();
        [account.rds.left(), account.identities.left(), account.oss.left()].concat()
    }
}

impl Drop for Alibaba {
    fn drop(&mut self) {
        self.shared.release();
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.transpose().expect("the stand-in panicked");
        }
    }
}

fn is_action(name: &str, action: &str) -> bool {
    name == action || name.split_once(':').is_some_and(|(_, bare)| bare == action)
}

/// A text of random characters of an alphabet.
fn random(alphabet: &str, length: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let mut rng = rand::rng();
    (0..length).filter_map(|_| alphabet.choose(&mut rng)).collect()
}
