//! The findings of `bindery check`, and their text form.

use std::fmt::Write;

use super::object::Object;
use crate::{apis::bindery::credential_policy::Mode, policy::Verdict};

/// An object and what the policies say about it.
pub(super) struct Judged {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) verdicts: Vec<Verdict>,
}

impl Judged {
    pub(super) fn of(object: &Object, namespace: &str) -> Self {
        Self {
            file: object.file.clone(),
            line: object.line,
            kind: object.kind().to_owned(),
            name: object.name().to_owned(),
            namespace: namespace.to_owned(),
            verdicts: Vec::new(),
        }
    }

    /// Kind, name and namespace.
    pub(super) fn described(&self) -> String {
        format!("{} {} in namespace {}", self.kind, self.name, self.namespace)
    }
}

/// What is wrong, where, and the message.
pub(super) fn sentence(verdict: &Verdict) -> String {
    format!("{}: {}. {}", verdict.finding.place, verdict.finding.what, verdict.message)
}

/// The result of a run.
#[derive(Default)]
pub(super) struct Report {
    pub(super) judged: Vec<Judged>,
    /// Notes about the input, one line each.
    pub(super) notes: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, judged: Judged) {
        self.judged.push(judged);
    }

    /// Whether a rule is violated in this mode or a stricter one, without an exception.
    pub(super) fn is_violated(&self, mildest: Mode) -> bool {
        self.verdicts().any(|verdict| verdict.is_violated(mildest))
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.judged.iter().flat_map(|judged| &judged.verdicts)
    }

    /// A line for each finding, and a line with the counts.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for judged in &self.judged {
            for verdict in &judged.verdicts {
                let consequence = match &verdict.exception {
                    Some(exception) => format!("exempt by {exception}"),
                    None => verdict.mode.name().to_owned(),
                };
                let (rule, policy) = (verdict.finding.rule.name(), &verdict.policy);
                // Writing into a String cannot fail.
                let _ = writeln!(
                    text,
                    "{}:{}: {consequence}: {policy}/{rule}: {}: {}",
                    judged.file,
                    judged.line,
                    judged.described(),
                    sentence(verdict)
                );
            }
        }
        let count = |mode| self.verdicts().filter(|it| it.exception.is_none() && it.mode == mode).count();
        let exempt = self.verdicts().filter(|it| it.exception.is_some()).count();
        let _ = writeln!(
            text,
            "{} objects judged: {} findings refused (Enforce), {} warned of (Warn), {} recorded (Audit), {exempt} exempt",
            self.judged.len(),
            count(Mode::Enforce),
            count(Mode::Warn),
            count(Mode::Audit),
        );
        text
    }
}
