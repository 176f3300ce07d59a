//! What users ask of a database service, and whether its plan allows it. Pure; how it is done is each engine's.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::super::{BindingSpec, InstanceSpec, Past, Unacceptable};
use super::{
    plan::{Access, CredentialKind, DatabasePlan},
    service_kind::ServiceKind,
};
use crate::{
    broker::config::{Kinds, Lifetime, ReclaimPolicy},
    osb::{Object, PlanId, null},
};

/// The parameter that says what becomes of the data.
const RECLAIM_POLICY: &str = "reclaimPolicy";

/// What the plans on one server allow.
#[derive(Clone)]
pub(crate) struct Plans {
    plans: BTreeMap<PlanId, (ServiceKind, DatabasePlan)>,
    /// For instances of a plan that is no longer offered.
    other: DatabasePlan,
}

/// The parameters of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct InstanceParameters {
    /// How the database encodes text: a name that the engine knows.
    pub(crate) encoding: Option<String>,
    /// The extensions to have in the database.
    #[serde(deserialize_with = "null::as_absent")]
    pub(crate) extensions: Vec<String>,
    /// What to start as a copy of, in the plan's words.
    pub(crate) template: Option<String>,
    /// What becomes of the data in the end.
    pub(crate) reclaim_policy: Option<ReclaimPolicy>,
}

/// The parameters of a binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BindingParameters {
    /// What it may do with the data.
    pub(crate) access: Option<Access>,
    /// How long it lasts.
    pub(crate) valid_for: Option<Lifetime>,
}

impl Plans {
    pub(crate) fn new(plans: BTreeMap<PlanId, (ServiceKind, DatabasePlan)>) -> Self {
        Self { plans, other: DatabasePlan::default() }
    }

    /// What a plan that is offered says.
    ///
    /// # Errors
    /// When it is not offered any more: nothing new is made by what it said.
    pub(crate) fn known(&self, id: &PlanId) -> Result<&DatabasePlan, Unacceptable> {
        self.plans.get(id).map(|(_, plan)| plan).ok_or_else(|| {
            Unacceptable::Invalid(format!(
                "plan {id} is not offered any more; update the instance to another plan"
            ))
        })
    }

    /// What becomes of an instance's data in the end: what was asked for, otherwise what the plan said when the instance was
    /// made. What the plan allows now does not matter, for it was allowed.
    pub(crate) fn reclaim_policy(&self, of: &InstanceSpec) -> ReclaimPolicy {
        stated(&of.parameters)
            .or_else(|| stated(&of.settled))
            .unwrap_or_else(|| self.default_policy(&of.plan_id))
    }

    /// Of a plan that is not offered any more nobody knows what it said, and nothing is lost.
    fn default_policy(&self, plan: &PlanId) -> ReclaimPolicy {
        if let Some((_, plan)) = self.plans.get(plan) {
            return plan.reclaim_policy.default;
        }
        tracing::warn!(%plan, "the instance's plan is not offered any more: its data is retained");
        ReclaimPolicy::Retain
    }

    /// See [`super::super::Provider::settled`]. Data that is kept stays kept, also on a plan that drops it by default.
    pub(crate) fn settled(&self, past: Past<'_>, wanted: &InstanceSpec) -> Object {
        let plan = self.of(&wanted.plan_id);
        let retains = plan.reclaim_policy.allowed.contains(&ReclaimPolicy::Retain);
        let policy = match past {
            Past::Known(was) if was.plan_id == wanted.plan_id => {
                stated(&was.settled).unwrap_or_else(|| self.default_policy(&was.plan_id))
            }
            Past::Known(was) if self.reclaim_policy(was) == ReclaimPolicy::Retain => ReclaimPolicy::Retain,
            Past::Unknown if retains => ReclaimPolicy::Retain,
            Past::None | Past::Known(_) | Past::Unknown => plan.reclaim_policy.default,
        };
        Object::from_iter([(RECLAIM_POLICY.to_owned(), policy.as_str().into())])
    }

    /// What a plan says.
    pub(crate) fn of(&self, id: &PlanId) -> &DatabasePlan {
        self.plans.get(id).map_or(&self.other, |(_, plan)| plan)
    }

    /// What kind of service it belongs to.
    pub(crate) fn kind(&self, id: &PlanId) -> ServiceKind {
        self.plans.get(id).map_or(ServiceKind::CockroachDb, |(kind, _)| *kind)
    }

    /// All plans.
    pub(crate) fn all(&self) -> impl Iterator<Item = &(ServiceKind, DatabasePlan)> {
        self.plans.values()
    }

    /// See [`super::super::Provider::schemas`].
    pub(crate) fn schemas(&self, id: &PlanId) -> Option<Value> {
        self.plans.get(id).map(|(_, plan)| plan.schemas())
    }

    /// See [`super::super::Provider::variables`].
    pub(crate) fn variables(&self, id: &PlanId) -> &'static [(&'static str, &'static str)] {
        self.plans.get(id).map_or(&[], |(kind, _)| kind.variables())
    }

    /// See [`super::super::Provider::check_instance`].
    pub(crate) fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        InstanceParameters::read(&wanted.parameters)?.check(self.of(&wanted.plan_id))
    }

    /// See [`super::super::Provider::check_update`]. What stays as it is was allowed once; a new plan must allow it, too, unless it
    /// cannot be changed any more.
    pub(crate) fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        let (had, wanted) =
            (InstanceParameters::read(&from.parameters)?, InstanceParameters::read(&to.parameters)?);
        had.check_change(&wanted)?;
        let plan = self.of(&to.plan_id);
        let started = wanted.clone().without_origin();
        if from.plan_id == to.plan_id {
            return started.without(&had).check(plan);
        }
        let policy = self.reclaim_policy(to);
        if wanted.reclaim_policy == had.reclaim_policy && !plan.reclaim_policy.allowed.contains(&policy) {
            let allowed: Vec<_> =
                plan.reclaim_policy.allowed.iter().map(|allowed| allowed.as_str()).collect();
            return Err(Unacceptable::Unsupported(format!(
                "parameter {RECLAIM_POLICY}: the instance has {:?}, which the other plan does not allow; send \
                 {RECLAIM_POLICY} as {} with the change of plan, or keep the plan",
                policy.as_str(),
                allowed.join(" or ")
            )));
        }
        started.check(plan)
    }

    /// See [`super::super::Provider::check_binding`].
    pub(crate) fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
        let (asked, plan) = (BindingParameters::read(&wanted.parameters)?, self.of(&on.plan_id));
        asked.access(plan)?;
        asked.lifetime(plan).map(drop)
    }
}

impl InstanceParameters {
    /// Reads what an instance was asked to be.
    ///
    /// # Errors
    /// Names the parameter that is unknown or malformed.
    pub(crate) fn read(parameters: &Object) -> Result<Self, Unacceptable> {
        read(parameters)
    }

    /// Whether the plan allows it.
    ///
    /// # Errors
    /// Names the parameter and what is allowed.
    pub(crate) fn check(&self, plan: &DatabasePlan) -> Result<(), Unacceptable> {
        if let Some(encoding) = &self.encoding {
            one_of("encoding", encoding, plan.encodings.iter())?;
        }
        for extension in &self.extensions {
            one_of("extensions", extension, plan.extensions.iter())?;
        }
        if let Some(template) = &self.template {
            one_of("template", template, plan.templates.keys())?;
        }
        if self.template.is_some() && self.encoding.is_some() {
            let problem =
                "parameter encoding: a copy of a template has the template's; leave one of them out";
            return Err(Unacceptable::Invalid(problem.to_owned()));
        }
        refusing("reclaimPolicy", plan.reclaim_policy.take(self.reclaim_policy)).map(drop)
    }

    /// These without what the instance started from, which no change can concern.
    fn without_origin(self) -> Self {
        Self { encoding: None, template: None, ..self }
    }

    /// These without what the instance has already.
    fn without(mut self, had: &Self) -> Self {
        self.extensions.retain(|extension| !had.extensions.contains(extension));
        self.reclaim_policy = self.reclaim_policy.filter(|policy| had.reclaim_policy != Some(*policy));
        self
    }

    /// Whether an instance that was made with these can come to have others: what it started from stays.
    ///
    /// # Errors
    /// Names the parameter that cannot change.
    pub(crate) fn check_change(&self, to: &Self) -> Result<(), Unacceptable> {
        let fixed = [("encoding", &self.encoding, &to.encoding), ("template", &self.template, &to.template)];
        match fixed.into_iter().find(|(_, from, to)| to.is_some() && from != to) {
            None => Ok(()),
            Some((name, ..)) => Err(Unacceptable::Unsupported(format!(
                "parameter {name} cannot be changed once an instance is made; leave it out, or provision another instance"
            ))),
        }
    }

    /// The encoding, if it is not the engine's own.
    pub(crate) fn encoding<'a>(&'a self, plan: &'a DatabasePlan) -> Option<&'a str> {
        self.encoding.as_ref().or_else(|| plan.encodings.first()).map(String::as_str)
    }
}

/// When a binding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    /// The binding is made then, by the clock of the server that ends it.
    pub(crate) begins_at: Timestamp,
    /// The credentials end then.
    pub(crate) ends_at: Timestamp,
    /// They are best renewed by then: a third of their time is left for it.
    pub(crate) renew_before: Timestamp,
}

impl Expiry {
    /// That of a binding that is made now: by the server's clock, which is the one that counts.
    pub(crate) fn of(lifetime: Lifetime, now: Timestamp) -> Self {
        let after = |length: Duration| {
            // Lifetimes are a hundred years at most, and timestamps reach to the year 9999.
            let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::ZERO);
            now.checked_add(length).unwrap_or(Timestamp::MAX).round(Unit::Second).unwrap_or(Timestamp::MAX)
        };
        let length = lifetime.duration();
        Self { begins_at: now, ends_at: after(length), renew_before: after(length * 2 / 3) }
    }
}

impl BindingParameters {
    /// Reads what a binding was asked to be.
    ///
    /// # Errors
    /// Names the parameter that is unknown or malformed.
    pub(crate) fn read(parameters: &Object) -> Result<Self, Unacceptable> {
        read(parameters)
    }

    /// What the binding may do with the data.
    ///
    /// # Errors
    /// Names what the plan allows.
    pub(crate) fn access(self, plan: &DatabasePlan) -> Result<Access, Unacceptable> {
        refusing("access", plan.access.take(self.access))
    }

    /// How long it lasts; `None` is for good, which a certificate cannot be.
    ///
    /// # Errors
    /// Names the most that the plan allows.
    pub(crate) fn lifetime(self, plan: &DatabasePlan) -> Result<Option<Lifetime>, Unacceptable> {
        let lifetime = refusing("validFor", plan.valid_for.take(self.valid_for))?;
        Ok(match plan.credentials {
            CredentialKind::Password => lifetime,
            CredentialKind::Certificate => Some(lifetime.unwrap_or(Lifetime::OF_CERTIFICATES)),
        })
    }
}

/// What parameters say of the data's end. What cannot be read is taken for the word that loses nothing.
fn stated(parameters: &Object) -> Option<ReclaimPolicy> {
    let stated = parameters.get(RECLAIM_POLICY).filter(|value| !value.is_null())?;
    Some(ReclaimPolicy::deserialize(stated).unwrap_or(ReclaimPolicy::Retain))
}

fn read<T: DeserializeOwned>(parameters: &Object) -> Result<T, Unacceptable> {
    serde_path_to_error::deserialize(Value::Object(parameters.clone())).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner());
        Unacceptable::Invalid(match path.as_str() {
            "." => format!("parameters are not understood: {problem}; leave it out"),
            _ => format!("parameter {path} is not understood: {problem}"),
        })
    })
}

fn refusing<T>(name: &str, taken: Result<T, String>) -> Result<T, Unacceptable> {
    taken.map_err(|problem| Unacceptable::Invalid(format!("parameter {name}: {problem}")))
}

fn one_of<'a>(
    name: &str,
    asked: &str,
    allowed: impl Iterator<Item = &'a String> + Clone,
) -> Result<(), Unacceptable> {
    if allowed.clone().any(|allowed| allowed == asked) {
        return Ok(());
    }
    let allowed: Vec<_> = allowed.map(String::as_str).collect();
    let remedy = match allowed.as_slice() {
        [] => "the plan allows none; leave it out".to_owned(),
        some => format!("the plan allows {}", some.join(", ")),
    };
    Err(Unacceptable::Invalid(format!("parameter {name}: {asked:?} is not allowed; {remedy}")))
}

#[cfg(test)]
mod tests;
