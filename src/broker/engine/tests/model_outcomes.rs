//! What a platform may conclude from the answers it got: which instances and bindings may exist, and in which state.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::*,
    fixture::{Opened, password_of},
    model::{Ask, Call},
};
use crate::osb::OperationState;

/// The answer that a platform got.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Done, now or earlier, with a binding's password.
    Done(Option<String>),
    Accepted(String),
    /// 4xx: nothing was changed.
    Refused,
    /// 5xx
    Failed(String),
    /// The broker was killed.
    Lost,
    /// The platform did not wait; the operation may happen later.
    HungUp,
}

/// Plan and size.
type Shape = (String, u64);

#[derive(Clone, Debug)]
struct Instance {
    /// The possible states; `None` means absent or incomplete.
    may_be: BTreeSet<Option<Shape>>,
}

impl Default for Instance {
    fn default() -> Self {
        Self { may_be: [None].into() }
    }
}

#[derive(Clone, Debug)]
struct Login {
    may_be_gone: bool,
    may_be_there: bool,
    /// The password in the answer, unless another one may be valid by now.
    password: Option<String>,
}

impl Default for Login {
    fn default() -> Self {
        Self { may_be_gone: true, may_be_there: false, password: None }
    }
}

/// An accepted operation, and the number of requests for its instance so far.
struct Polled {
    on: &'static str,
    ask: Ask,
    operation: String,
    number: usize,
    before: BTreeSet<Option<Shape>>,
}

/// What the platform may conclude.
#[derive(Default)]
pub(super) struct Beliefs {
    instances: BTreeMap<&'static str, Instance>,
    logins: BTreeMap<(&'static str, &'static str), Login>,
    polled: Vec<Polled>,
    /// The number of requests that were not rejected, by instance.
    numbers: BTreeMap<&'static str, usize>,
    /// Requests for which nobody waited.
    later: Vec<Call>,
}

fn changed(from: &Shape, plan: Option<&str>, size: Option<u64>) -> Shape {
    (plan.map_or_else(|| from.0.clone(), ToOwned::to_owned), size.unwrap_or(from.1))
}

impl Beliefs {
    /// Takes into account the answers to concurrent requests.
    pub(super) fn learn(&mut self, answers: &[(Call, Answer)]) -> Result<(), String> {
        let answers: Vec<_> =
            answers.iter().filter(|(_, answer)| !matches!(answer, Answer::Refused)).collect();
        for (call, answer) in &answers {
            let number = self.numbers.entry(call.on).or_default();
            *number += 1;
            // Of several concurrent operations, the last one is unknown.
            if let Answer::Accepted(operation) = answer
                && answers.len() == 1
            {
                let before = self.instances.entry(call.on).or_default().may_be.clone();
                let (on, ask, operation, number) = (call.on, call.ask.clone(), operation.clone(), *number);
                self.polled.push(Polled { on, ask, operation, number, before });
            }
            if matches!(answer, Answer::HungUp) {
                self.later.push(call.clone());
            }
        }
        let is_alone = answers.len() == 1;
        if is_alone && let [(call, answer)] = answers.as_slice() {
            match answer {
                Answer::Done(password) => self.is_done(call, password.as_deref())?,
                // A failed update leaves no change.
                Answer::Failed(_) if matches!(call.ask, Ask::Update { .. }) => {}
                _ => self.may_be_done(call),
            }
        } else {
            self.same_passwords(&answers)?;
            for _ in 0..answers.len() {
                for (call, answer) in &answers {
                    if !matches!((&call.ask, answer), (Ask::Update { .. }, Answer::Failed(_))) {
                        self.may_be_done(call);
                    }
                }
            }
        }
        for call in self.later.clone() {
            self.may_be_done(&call);
        }
        Ok(())
    }

    /// Equal concurrent requests for a binding get equal answers, unless the binding is deleted between them.
    fn same_passwords(&self, answers: &[&(Call, Answer)]) -> Result<(), String> {
        let mut passwords: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (call, answer) in answers {
            match (&call.ask, answer) {
                (Ask::Unbind { .. } | Ask::Deprovision, _) => return Ok(()),
                (Ask::Bind { id } | Ask::Rotate { id, .. }, Answer::Done(password)) => {
                    passwords.entry((call.on, *id)).or_default().insert(password.clone());
                }
                _ => {}
            }
        }
        let is_later =
            self.later.iter().any(|call| matches!(call.ask, Ask::Unbind { .. } | Ask::Deprovision));
        match passwords.into_iter().find(|(_, passwords)| passwords.len() > 1) {
            Some((key, _)) if !is_later => Err(format!("{key:?} was answered with several passwords")),
            _ => Ok(()),
        }
    }

    fn is_done(&mut self, call: &Call, password: Option<&str>) -> Result<(), String> {
        let may_be = &mut self.instances.entry(call.on).or_default().may_be;
        match &call.ask {
            Ask::Provision { plan, size } => *may_be = [Some(((*plan).to_owned(), *size))].into(),
            Ask::Update { plan, size } => {
                *may_be = may_be.iter().flatten().map(|from| Some(changed(from, *plan, *size))).collect();
                if may_be.is_empty() {
                    return Err(format!("{} was updated, but cannot be there", call.on));
                }
            }
            Ask::Deprovision => {
                *may_be = [None].into();
                self.logins.retain(|(on, _), _| *on != call.on);
            }
            Ask::Unbind { id } => drop(self.logins.remove(&(call.on, id))),
            Ask::Bind { id } | Ask::Rotate { id, .. } => {
                let login = self.logins.entry((call.on, id)).or_default();
                let is_other = login.password.as_deref().is_some_and(|known| Some(known) != password);
                if is_other && !login.may_be_gone {
                    return Err(format!("{} of {} was answered with another password", id, call.on));
                }
                *login = Login {
                    may_be_gone: false,
                    may_be_there: true,
                    password: password.map(ToOwned::to_owned),
                };
            }
        }
        Ok(())
    }

    fn may_be_done(&mut self, call: &Call) {
        let may_be = &mut self.instances.entry(call.on).or_default().may_be;
        match &call.ask {
            Ask::Provision { plan, size } => {
                if may_be.contains(&None) {
                    may_be.insert(Some(((*plan).to_owned(), *size)));
                }
            }
            Ask::Update { plan, size } => {
                let changed: Vec<_> =
                    may_be.iter().flatten().map(|from| changed(from, *plan, *size)).collect();
                may_be.extend(changed.into_iter().map(Some));
            }
            Ask::Deprovision => {
                may_be.insert(None);
                for ((on, _), login) in &mut self.logins {
                    login.may_be_gone |= *on == call.on;
                }
            }
            Ask::Unbind { id } => {
                self.logins.entry((call.on, id)).or_default().may_be_gone = true;
            }
            Ask::Bind { id } | Ask::Rotate { id, .. } => {
                let login = self.logins.entry((call.on, id)).or_default();
                login.may_be_there = true;
                if login.may_be_gone {
                    login.password = None;
                }
            }
        }
    }

    /// Compares the expectations with the actual state after all operations have ended, then adopts the actual state.
    pub(super) async fn check(&mut self, broker: &Opened) -> Result<(), String> {
        for (on, instance) in &mut self.instances {
            let found = broker.instance(&(*on).into()).await.ok();
            let found = found.map(|found| {
                let size = found.parameters.as_ref().and_then(|parameters| parameters["size"].as_u64());
                (found.plan_id.as_str().to_owned(), size.unwrap_or_default())
            });
            if !instance.may_be.contains(&found) {
                return Err(format!("{on} is {found:?}, and may be {:?}", instance.may_be));
            }
            instance.may_be = [found].into();
        }
        for ((on, id), login) in &mut self.logins {
            let found = broker.engine.binding(Caller::default(), (*on).into(), (*id).into()).await.ok();
            let is_there = found.is_some();
            if !(if is_there { login.may_be_there } else { login.may_be_gone }) {
                return Err(format!("{id} of {on} is there: {is_there}; {login:?}"));
            }
            let password = found.and_then(|found| password_of(&found.bound));
            if is_there && !login.may_be_gone && login.password.is_some() && login.password != password {
                return Err(format!("{id} of {on} has another password than was answered"));
            }
            *login = Login { may_be_gone: !is_there, may_be_there: is_there, password };
        }
        for polled in std::mem::take(&mut self.polled) {
            if self.numbers.get(polled.on) == Some(&polled.number) && self.later.is_empty() {
                self.check_polled(broker, &polled).await?;
            }
        }
        self.later.clear();
        Ok(())
    }

    /// Checks the outcome that polling reports for an operation.
    async fn check_polled(&self, broker: &Opened, polled: &Polled) -> Result<(), String> {
        let Polled { on, ask, operation, before, .. } = polled;
        let (instance, named) = (InstanceId::from(*on), Some(operation.as_str()));
        let is_there = self.instances[on].may_be.iter().next().is_some_and(Option::is_some);
        let told = match ask {
            Ask::Bind { id } | Ask::Rotate { id, .. } | Ask::Unbind { id } => {
                broker.last_binding_operation(&instance, &(*id).into(), named).await
            }
            _ => broker.last_operation(&instance, named).await,
        };
        let now = &self.instances[on].may_be;
        let ended = |state, is_there| {
            state != OperationState::InProgress && (state == OperationState::Succeeded) == is_there
        };
        let is_right = match (ask, told.as_ref().map(|told| told.state)) {
            (Ask::Deprovision | Ask::Unbind { .. }, Err(Refusal::Gone(_))) => true,
            (Ask::Provision { .. }, Ok(state)) => ended(state, is_there),
            (Ask::Bind { id } | Ask::Rotate { id, .. }, Ok(state)) => {
                ended(state, self.logins[&(*on, *id)].may_be_there)
            }
            (Ask::Update { plan, size }, Ok(OperationState::Succeeded)) => {
                before.iter().flatten().any(|from| now.contains(&Some(changed(from, *plan, *size))))
            }
            (Ask::Update { .. }, Ok(OperationState::Failed)) => now.is_subset(before),
            _ => false,
        };
        if is_right {
            Ok(())
        } else {
            Err(format!("{ask:?} on {on} is told as {told:?}, and there: {is_there}"))
        }
    }
}
