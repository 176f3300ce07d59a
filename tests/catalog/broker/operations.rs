//! Asynchronous operations of the broker: how long they take, and how they end.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Verb;

/// How an asynchronous operation proceeds.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    /// How many polls are answered "in progress" before the end.
    polls: u32,
    end: End,
    /// The header `Retry-After` of these answers.
    retry_after: Option<String>,
    /// Whether the answer 202 names the operation.
    is_named: bool,
}

#[derive(Clone, Debug)]
enum End {
    Succeeded,
    /// The body of the failure.
    Failed(Value),
    /// Another status than 200.
    Status(u16),
    Never,
}

impl Course {
    /// Succeeds after this many polls with the state "in progress".
    pub(crate) fn polls(polls: u32) -> Self {
        Self { polls, end: End::Succeeded, retry_after: None, is_named: true }
    }

    /// Stays in progress until `Broker::finish`.
    pub(crate) fn never() -> Self {
        Self { end: End::Never, ..Self::polls(0) }
    }

    /// Fails instead, with this description. What a creation made stays at the broker.
    pub(crate) fn failing(self, description: &str) -> Self {
        self.failing_with(json!({"description": description}))
    }

    /// Fails instead, with these members besides the state, such as `instance_usable`.
    pub(crate) fn failing_with(self, mut body: Value) -> Self {
        body["state"] = json!("failed");
        Self { end: End::Failed(body), ..self }
    }

    /// Answers polls with this status instead. A deletion has succeeded if it is 410.
    pub(crate) fn answering(self, status: u16) -> Self {
        Self { end: End::Status(status), ..self }
    }

    /// Asks for this wait between polls.
    pub(crate) fn retry_after(self, value: &str) -> Self {
        Self { retry_after: Some(value.to_owned()), ..self }
    }

    /// Answers 202 without the operation's name.
    pub(crate) fn unnamed(self) -> Self {
        Self { is_named: false, ..self }
    }
}

/// What an operation is about.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    pub(super) instance: String,
    /// Empty for an operation on an instance.
    pub(super) binding: String,
    /// The body of the request.
    pub(super) body: Value,
    course: Course,
    /// Whether it has ended; then it says the same from then on.
    is_over: bool,
}

/// All operations by name, and the courses of those to come.
#[derive(Debug, Default)]
pub(super) struct Operations {
    courses: BTreeMap<Verb, Course>,
    all: Vec<Operation>,
}

/// The answer to a poll.
pub(super) struct Polled {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) retry_after: Option<String>,
    /// The operation that has now succeeded.
    pub(super) succeeded: Option<Operation>,
}

impl Operations {
    pub(super) fn course(&mut self, verb: Verb, course: Course) {
        self.courses.insert(verb, course);
    }

    pub(super) fn end(&mut self, verb: Verb) {
        self.courses.remove(&verb);
    }

    pub(super) fn finish(&mut self) {
        for operation in self.all.iter_mut().filter(|operation| !operation.is_over) {
            operation.course = Course::polls(0);
        }
    }

    /// Whether operations of this verb are asynchronous.
    pub(super) fn is_asynchronous(&self, verb: Verb) -> bool {
        self.courses.contains_key(&verb)
    }

    /// Starts an operation, and returns the body of the answer 202.
    pub(super) fn start(&mut self, verb: Verb, instance: &str, binding: &str, body: Value) -> Value {
        let course = self.courses[&verb].clone();
        let (instance, binding) = (instance.to_owned(), binding.to_owned());
        self.all.push(Operation { verb, instance, binding, body, course, is_over: false });
        self.accepted(self.all.len() - 1)
    }

    /// The body of the answer 202 if such an operation is running.
    pub(super) fn running(&self, verb: Verb, instance: &str, binding: &str) -> Option<Value> {
        let found = self.all.iter().rposition(|operation| {
            operation.is_about(instance, binding) && operation.verb == verb && !operation.is_over
        })?;
        Some(self.accepted(found))
    }

    fn accepted(&self, index: usize) -> Value {
        if self.all[index].course.is_named { json!({"operation": format!("op-{index}")}) } else { json!({}) }
    }

    /// Ends the operations on something that is deleted.
    pub(super) fn forget(&mut self, instance: &str, binding: &str) {
        for operation in self.all.iter_mut().filter(|operation| operation.is_about(instance, binding)) {
            operation.course = Course::polls(0).answering(410);
            operation.is_over = true;
        }
    }

    /// Answers a poll. Without a name it is about the latest operation.
    pub(super) fn poll(&mut self, name: Option<&str>, instance: &str, binding: &str) -> Option<Polled> {
        let index = match name {
            Some(name) => name.strip_prefix("op-")?.parse().ok()?,
            None => self.all.iter().rposition(|operation| operation.is_about(instance, binding))?,
        };
        let operation = self.all.get_mut(index).filter(|operation| operation.is_about(instance, binding))?;
        Some(operation.polled())
    }
}

impl Operation {
    fn is_about(&self, instance: &str, binding: &str) -> bool {
        self.instance == instance && self.binding == binding
    }

    fn polled(&mut self) -> Polled {
        let mut polled = Polled {
            status: 200,
            body: json!({"state": "in progress", "description": "creating (10%)"}),
            retry_after: self.course.retry_after.clone(),
            succeeded: None,
        };
        if self.course.polls > 0 {
            self.course.polls -= 1;
            return polled;
        }
        let is_new = !self.is_over;
        let has_succeeded = match &self.course.end {
            End::Never => return polled,
            End::Succeeded => {
                polled.body = json!({"state": "succeeded"});
                true
            }
            End::Failed(body) => {
                polled.body = body.clone();
                false
            }
            End::Status(status) => {
                (polled.status, polled.body) = (*status, json!({"description": "nothing to poll"}));
                *status == 410 && matches!(self.verb, Verb::Deprovision | Verb::Unbind)
            }
        };
        self.is_over = true;
        polled.retry_after = None;
        polled.succeeded = (has_succeeded && is_new).then(|| self.clone());
        polled
    }
}
