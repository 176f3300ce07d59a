//! Faults at chosen statements of the administrator. The statements are counted, so a fault always happens at the same
//! place.

use std::collections::BTreeSet;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The statement is not run, and this SQLSTATE is returned.
    Refused(&'static str),
    /// The connection drops before the statement takes effect.
    LostBefore,
    /// The connection drops after the statement took effect.
    LostAfter,
}

/// The planned faults of a stand-in, and the statements that it received.
#[derive(Default)]
pub struct Faults {
    seen: Vec<&'static str>,
    at: Option<(usize, Fault)>,
    each: Option<(Fault, BTreeSet<&'static str>)>,
}

impl Faults {
    /// Restarts the count, and plans this fault for the statement with this number, from 0 on.
    pub fn at(&mut self, number: usize, fault: Fault) {
        *self = Self { at: Some((number, fault)), ..Self::default() };
    }

    /// Plans this fault for the first statement of each form from now on.
    pub fn at_each_form(&mut self, fault: Fault) {
        *self = Self { each: Some((fault, BTreeSet::new())), ..Self::default() };
    }

    /// The forms of the statements since the last plan, in order.
    pub fn seen(&self) -> &[&'static str] {
        &self.seen
    }

    /// Records a statement and returns the fault that is planned for it.
    pub(super) fn next(&mut self, form: &'static str) -> Option<Fault> {
        let number = self.seen.len();
        self.seen.push(form);
        match (&self.at, &mut self.each) {
            (Some((at, fault)), _) if *at == number => Some(*fault),
            (_, Some((fault, forms))) => forms.insert(form).then_some(*fault),
            _ => None,
        }
    }
}
