//! A scripted Open Service Broker in this process. Without a script it does what it is asked, synchronously, and offers
//! one service with ids of its own. How to script it:
//!
//! ```ignore
//! let broker = &place.broker;
//! // The next answers of a verb, in this order; afterwards the broker behaves normally again.
//! broker.once(Verb::Provision, Answer::error(503, "try later"));
//! broker.once(Verb::Provision, Answer::malformed(201));
//! // Every answer of a verb, until `normal` or `reset`. Answers from `once` come first.
//! broker.always(Verb::Bind, Answer::coded(422, "ConcurrencyError", "busy"));
//! // A flapping broker: these answers in turn.
//! broker.in_turn(Verb::Update, [Answer::error(500, "no"), Answer::normal()]);
//! // A lost reply: the broker acts, and the connection ends without an answer.
//! broker.once(Verb::Provision, Answer::dropped().after_acting());
//! // Slow: a fixed time, or until `release`.
//! broker.once(Verb::Bind, Answer::normal().after(Duration::from_secs(2)));
//! broker.always(Verb::Unbind, Answer::normal().until_released());
//! // Asynchronous: 202, two polls "in progress", then the end. See `Course` for the other ends.
//! broker.asynchronous(Verb::Bind, Course::polls(2));
//! broker.asynchronous(Verb::Update, Course::polls(1).failing("no disk"));
//! broker.asynchronous(Verb::Deprovision, Course::polls(0).answering(410));
//! broker.asynchronous(Verb::Provision, Course::never()); // `finish` ends it
//! // The catalog changes. It is fetched at registration and at each relist.
//! broker.held().catalog["services"][0]["plan_updateable"] = json!(true);
//! // What was received, in order, with headers and bodies.
//! assert_eq!(broker.received(Verb::Update)[0].body["plan_id"], "large");
//! assert_eq!(broker.received(Verb::Update)[0].identity().unwrap()["username"], "jane");
//! ```
//!
//! `set` replaces the whole script with one of the frequent faults.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod acts;
mod operations;
mod record;
mod script;
mod serve;
#[cfg(test)]
mod tests;
mod tls;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum_server::Handle;
use serde_json::{Value, json};
use tokio::sync::watch;

use self::operations::Operations;
pub(crate) use self::{
    operations::Course,
    record::{Record, Verb},
    script::Answer,
    tls::{Authority, Tls},
};

/// Frequent faults of a broker: scripts with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing. Running operations succeed.
    None,
    /// Answers every request with a web page.
    Html,
    /// Answers every request except the catalog's with 500.
    Broken,
    /// Delays every answer except the catalog's until another fault is set.
    Hangs,
    /// Carries out creations and answers 500.
    LosesAnswers,
    /// Answers creations with 400.
    Refuses,
    /// Makes creations asynchronous and never finishes them.
    Slow,
    /// Makes creations asynchronous and lets them fail.
    FailsLater,
    /// Answers a repeated bind without credentials.
    TellsOnce,
}

/// The state of the broker and the requests that it received.
#[derive(Debug)]
pub(crate) struct Held {
    /// The required password of the user `user`; without password and token, no authentication.
    pub(crate) password: Option<String>,
    /// The required bearer token.
    pub(crate) token: Option<String>,
    /// The bodies of the provision requests, by instance, with what later updates changed.
    pub(crate) instances: BTreeMap<String, Value>,
    /// The instance of each binding, by binding.
    pub(crate) bindings: BTreeMap<String, String>,
    /// Every request except the catalog's, as `METHOD path`.
    pub(crate) requests: Vec<String>,
    /// Every request with all its parts.
    pub(crate) records: Vec<Record>,
    /// How many requests are not answered yet, and how many that were at most.
    pub(crate) waiting: usize,
    pub(crate) most_waiting: usize,
    /// The credentials of new bindings.
    pub(crate) credentials: Value,
    /// The predecessor of each binding that replaced another. Such a binding has a user of its own: `u2`, `u3`, …
    pub(crate) successors: Vec<(String, String)>,
    /// The expiry of new bindings.
    pub(crate) expires_at: Option<String>,
    /// When new bindings should be replaced.
    pub(crate) renew_before: Option<String>,
    /// Whether bindings can be fetched.
    pub(crate) is_retrievable: bool,
    /// Whether a repeated bind is answered without credentials.
    tells_once: bool,
    /// The catalog, apart from `services` and `is_retrievable`.
    pub(crate) catalog: Value,
    /// Additional services of the catalog.
    pub(crate) services: Vec<Value>,
    script: script::Script,
    operations: Operations,
}

/// A broker, running or stopped. It ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    /// A suffix that makes the broker's ids and names unique.
    pub(crate) suffix: String,
    held: Arc<Mutex<Held>>,
    /// Changes when answers that wait for their release may go.
    releases: watch::Sender<()>,
    server: Handle<SocketAddr>,
    /// The certificate of a broker that speaks TLS.
    tls: Option<Tls>,
}

impl Broker {
    /// Starts a broker on a free port.
    pub(crate) fn start() -> Self {
        let mut broker = Self::unstarted();
        broker.serve();
        broker
    }

    /// Starts a broker with this certificate.
    pub(crate) fn start_with(tls: Tls) -> Self {
        let mut broker = Self { tls: Some(tls), ..Self::unstarted() };
        broker.serve();
        broker
    }

    /// Starts a stopped broker with another certificate.
    pub(crate) fn renew(&mut self, tls: Tls) {
        self.tls = Some(tls);
        self.serve();
    }

    /// A broker with a port that does not serve yet.
    pub(crate) fn unstarted() -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let suffix = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let held = Arc::new(Mutex::new(Held::new(&suffix)));
        Self { address, suffix, held, releases: watch::Sender::new(()), server: Handle::new(), tls: None }
    }

    /// Starts to serve at its address.
    pub(crate) fn serve(&mut self) {
        self.server = Handle::new();
        tokio::spawn(serve::serve(self.clone(), self.server.clone()));
    }

    /// Stops serving, as if its pod were deleted.
    pub(crate) async fn stop(&self) {
        self.server.shutdown();
        while std::net::TcpStream::connect(self.address).is_ok() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn url(&self) -> String {
        if self.tls.is_some() {
            format!("https://localhost:{}", self.address.port())
        } else {
            format!("http://{}", self.address)
        }
    }

    /// The name of the service and of the ClusterServiceBroker.
    pub(crate) fn name(&self) -> String {
        name(&self.suffix)
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap()
    }

    /// Replaces the script with this fault.
    pub(crate) fn set(&self, fault: Fault) {
        self.reset();
        match fault {
            Fault::None => self.finish(),
            Fault::Html => {
                for verb in Verb::ALL {
                    self.always(verb, Answer::html(200));
                }
            }
            Fault::Broken => self.always_but_catalog(&Answer::error(500, "the disk is full")),
            Fault::Hangs => self.always_but_catalog(&Answer::normal().until_released()),
            Fault::LosesAnswers => {
                self.always(Verb::Provision, Answer::error(500, "it is done, or not").after_acting());
            }
            Fault::Refuses => self.always(Verb::Provision, Answer::error(400, "no such size")),
            Fault::Slow => self.asynchronous(Verb::Provision, Course::never()),
            Fault::FailsLater => {
                self.asynchronous(Verb::Provision, Course::polls(0).failing("creating (10%)"));
            }
            Fault::TellsOnce => self.held().tells_once = true,
        }
    }

    /// Adds an answer to the next ones of this verb.
    pub(crate) fn once(&self, verb: Verb, answer: Answer) {
        self.held().script.once(verb, answer);
    }

    /// Gives this answer to every request of this verb.
    pub(crate) fn always(&self, verb: Verb, answer: Answer) {
        self.held().script.in_turn(verb, vec![answer]);
    }

    /// Gives these answers in turn, again and again.
    pub(crate) fn in_turn(&self, verb: Verb, answers: impl IntoIterator<Item = Answer>) {
        self.held().script.in_turn(verb, answers.into_iter().collect());
    }

    /// Makes new operations of this verb asynchronous. An asynchronous bind makes bindings retrievable.
    pub(crate) fn asynchronous(&self, verb: Verb, course: Course) {
        let mut held = self.held();
        held.is_retrievable |= verb == Verb::Bind;
        held.operations.course(verb, course);
    }

    /// Ends the script of this verb. Running operations keep their course.
    pub(crate) fn normal(&self, verb: Verb) {
        let mut held = self.held();
        held.script.end(verb);
        held.operations.end(verb);
        drop(held);
        self.release();
    }

    /// Ends the scripts of all verbs.
    pub(crate) fn reset(&self) {
        self.held().tells_once = false;
        for verb in Verb::ALL {
            self.normal(verb);
        }
    }

    /// Lets all answers go that wait for their release.
    pub(crate) fn release(&self) {
        self.releases.send_replace(());
    }

    /// Lets all running operations succeed with the next poll.
    pub(crate) fn finish(&self) {
        self.held().operations.finish();
    }

    /// The requests of this verb, in order.
    pub(crate) fn received(&self, verb: Verb) -> Vec<Record> {
        self.held().records.iter().filter(|record| record.verb == Some(verb)).cloned().collect()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        let held = self.held();
        held.instances.is_empty() && held.bindings.is_empty()
    }

    fn always_but_catalog(&self, answer: &Answer) {
        for verb in Verb::ALL.into_iter().filter(|verb| *verb != Verb::Catalog) {
            self.always(verb, answer.clone());
        }
    }
}

fn name(suffix: &str) -> String {
    format!("cockroachdb-{suffix}")
}

impl Held {
    fn new(suffix: &str) -> Self {
        let credentials = json!({"host": "db", "port": 26257, "database": "cf_x", "username": "u1", "password": "p/1",
            "uri": "postgres://u1:p%2F1@db:26257/cf_x", "jdbcURL": "jdbc:x"});
        let catalog = json!({"services": [{
            "id": format!("service-{suffix}"), "name": name(suffix), "description": "SQL", "bindable": true,
            "metadata": {"bindery": {"env": {"COCKROACH_URL": "uri"}}},
            "plans": [{"id": format!("plan-{suffix}"), "name": "default", "description": "Default"},
                {"id": format!("unbindable-{suffix}"), "name": "unbindable", "description": "", "bindable": false}],
        }]});
        Self {
            password: None,
            token: None,
            instances: BTreeMap::new(),
            bindings: BTreeMap::new(),
            requests: Vec::new(),
            records: Vec::new(),
            waiting: 0,
            most_waiting: 0,
            credentials,
            successors: Vec::new(),
            expires_at: None,
            renew_before: None,
            is_retrievable: false,
            tells_once: false,
            catalog,
            services: Vec::new(),
            script: script::Script::default(),
            operations: Operations::default(),
        }
    }
}
