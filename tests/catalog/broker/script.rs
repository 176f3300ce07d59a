//! The answers that a test prescribes for each verb.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde_json::{Value, json};

use super::Verb;

/// What the broker answers to one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(super) reply: Reply,
    /// Whether the broker does what it is asked although it answers something else.
    pub(super) acts: bool,
    pub(super) wait: Wait,
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// Acts, and answers accordingly.
    Normal,
    Scripted {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Ends the connection without an answer.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    None,
    For(Duration),
    UntilReleased,
}

impl Answer {
    /// The broker acts and answers as without a script.
    pub(crate) fn normal() -> Self {
        Self { reply: Reply::Normal, acts: false, wait: Wait::None }
    }

    /// This status and body.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::raw(status, "application/json", body.to_string())
    }

    /// An error with this description.
    pub(crate) fn error(status: u16, description: &str) -> Self {
        Self::json(status, &json!({"description": description}))
    }

    /// An error with a code, such as `ConcurrencyError`.
    pub(crate) fn coded(status: u16, error: &str, description: &str) -> Self {
        Self::json(status, &json!({"error": error, "description": description}))
    }

    /// A body of any kind.
    pub(crate) fn raw(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self { reply: Reply::Scripted { status, headers, body: body.into() }, ..Self::normal() }
    }

    /// JSON that ends too early and contains a secret.
    pub(crate) fn malformed(status: u16) -> Self {
        Self::raw(status, "application/json", r#"{"credentials": {"password": "hunter2""#)
    }

    /// A web page.
    pub(crate) fn html(status: u16) -> Self {
        Self::raw(status, "text/html", "<html>It works!</html>")
    }

    /// A redirect to this address.
    pub(crate) fn redirect(location: &str) -> Self {
        Self::json(307, &json!({})).with_header("location", location)
    }

    /// The connection ends without an answer.
    pub(crate) fn dropped() -> Self {
        Self { reply: Reply::Dropped, ..Self::normal() }
    }

    /// Adds a header, such as `retry-after`.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        match &mut self.reply {
            Reply::Scripted { headers, .. } => headers.push((name, value.to_owned())),
            Reply::Normal | Reply::Dropped => panic!("only an answer with a status has headers"),
        }
        self
    }

    /// The broker first does what it is asked, as if this answer were the normal one.
    pub(crate) fn after_acting(self) -> Self {
        Self { acts: true, ..self }
    }

    /// The broker waits before it answers.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self { wait: Wait::For(wait), ..self }
    }

    /// The broker waits for `Broker::release`, or for the end of this script.
    pub(crate) fn until_released(self) -> Self {
        Self { wait: Wait::UntilReleased, ..self }
    }
}

/// The answers of all verbs.
#[derive(Debug, Default)]
pub(super) struct Script {
    once: BTreeMap<Verb, VecDeque<Answer>>,
    in_turn: BTreeMap<Verb, VecDeque<Answer>>,
}

impl Script {
    pub(super) fn once(&mut self, verb: Verb, answer: Answer) {
        self.once.entry(verb).or_default().push_back(answer);
    }

    pub(super) fn in_turn(&mut self, verb: Verb, answers: Vec<Answer>) {
        self.in_turn.insert(verb, answers.into());
    }

    pub(super) fn end(&mut self, verb: Verb) {
        self.once.remove(&verb);
        self.in_turn.remove(&verb);
    }

    /// The answer to the next request of this verb.
    pub(super) fn next(&mut self, verb: Verb) -> Answer {
        if let Some(answer) = self.once.get_mut(&verb).and_then(VecDeque::pop_front) {
            return answer;
        }
        let Some(answers) = self.in_turn.get_mut(&verb) else { return Answer::normal() };
        answers.rotate_left(1);
        answers.back().cloned().unwrap_or_else(Answer::normal)
    }
}
