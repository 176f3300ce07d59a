//! What goes wrong, at which of the administrator's statements. They are counted, so a fault comes at the same place
//! every time.

use std::collections::BTreeSet;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and this SQLSTATE is the answer.
    Refused(&'static str),
    /// The connection drops before the statement takes effect.
    LostBefore,
    /// The connection drops after the statement took effect.
    LostAfter,
}

/// The plan of a stand-in, and what it saw.
#[derive(Default)]
pub struct Faults {
    seen: Vec<&'static str>,
    at: Option<(usize, Fault)>,
    each: Option<(Fault, BTreeSet<&'static str>)>,
}

impl Faults {
    /// Counts from now on, and lets this fault happen at the statement of that number, the first being 0.
    pub fn at(&mut self, number: usize, fault: Fault) {
        *self = Self { at: Some((number, fault)), ..Self::default() };
    }

    /// From now on, lets this fault happen at the first statement of each form.
    pub fn at_each_form(&mut self, fault: Fault) {
        *self = Self { each: Some((fault, BTreeSet::new())), ..Self::default() };
    }

    /// The forms of the statements since the last plan was made, in their order.
    pub fn seen(&self) -> &[&'static str] {
        &self.seen
    }

    /// A statement comes: what is to go wrong?
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
