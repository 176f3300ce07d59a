//! What a test makes go wrong, and the log of the calls. Calls are counted from 1, so that a test can stop a broker
//! between any two.

use std::collections::{BTreeMap, VecDeque};

/// What happens to a call instead of its usual answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call has no effect and gets this status and code.
    Refused(u16, &'static str),
    /// The call takes effect, and gets this status and code.
    RefusedAfter(u16, &'static str),
    /// The connection ends before the call takes effect.
    LostBefore,
    /// The call takes effect, and the connection ends without an answer.
    LostAfter,
    /// The call has no effect and gets no answer until [`super::Alibaba::release`].
    HangsBefore,
    /// The call takes effect, and gets no answer until [`super::Alibaba::release`].
    HangsAfter,
}

impl Fault {
    /// Too many calls (common error codes: `Throttling.User` is 400).
    pub const THROTTLED: Self = Self::Refused(400, "Throttling.User");
    /// The service is unavailable.
    pub const UNAVAILABLE: Self = Self::Refused(503, "ServiceUnavailable");
    /// The service fails before the effect.
    pub const FAILS: Self = Self::Refused(500, "InternalError");
    /// The service fails after the effect.
    pub const FAILS_AFTER: Self = Self::RefusedAfter(500, "InternalError");
}

/// The planned faults, and the calls so far.
#[derive(Default)]
pub(super) struct Faults {
    calls: Vec<(String, BTreeMap<String, String>)>,
    next: BTreeMap<String, VecDeque<Fault>>,
    every: Option<(usize, Fault)>,
    from: Option<(usize, Fault)>,
}

impl Faults {
    /// Notes a call, and returns the fault that is planned for it.
    pub(super) fn next(&mut self, name: &str, parameters: &BTreeMap<String, String>) -> Option<Fault> {
        self.calls.push((name.to_owned(), parameters.clone()));
        let number = self.calls.len();
        let action = name.split_once(':').map_or(name, |(_, action)| action);
        for named in [name, action] {
            if let Some(fault) = self.next.get_mut(named).and_then(VecDeque::pop_front) {
                return Some(fault);
            }
        }
        match (self.from, self.every) {
            // From the first call that hangs on, the client is gone: no later call may take effect.
            (Some((from, fault)), _) if number == from => Some(fault),
            (Some((from, _)), _) if number > from => Some(Fault::HangsBefore),
            (_, Some((every, fault))) if number.is_multiple_of(every) => Some(fault),
            _ => None,
        }
    }

    pub(super) fn fail_next(&mut self, action: &str, fault: Fault) {
        self.next.entry(action.to_owned()).or_default().push_back(fault);
    }

    pub(super) fn fail_every(&mut self, every: usize, fault: Fault) {
        self.every = Some((every, fault));
    }

    pub(super) fn hang_from(&mut self, number: usize, fault: Fault) {
        self.from = Some((number, fault));
    }

    pub(super) fn calls(&self) -> &[(String, BTreeMap<String, String>)] {
        &self.calls
    }

    /// Ends all faults, and forgets the calls.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Ends the hanging from a certain call on.
    pub(super) fn release(&mut self) {
        self.from = None;
    }
}
