//! The parameters that users may set for a database service, and whether a plan allows them. Pure; each engine applies
//! them.

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

/// The parameter for the reclaim policy.
const RECLAIM_POLICY: &str = "reclaimPolicy";

/// The plans of one server.
#[derive(Clone)]
pub(crate) struct Plans {
    plans: BTreeMap<PlanId, (ServiceKind, DatabasePlan)>,
    /// Stands in for a plan that is no longer offered.
    other: DatabasePlan,
}

/// The parameters of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct InstanceParameters {
    /// The text encoding of the database: a name that the engine knows.
    pub(crate) encoding: Option<String>,
    /// The extensions in the database.
    #[serde(deserialize_with = "null::as_absent")]
    pub(crate) extensions: Vec<String>,
    /// The template to copy, by its name in the plan.
    pub(crate) template: Option<String>,
    /// What happens to the data when the instance is deleted.
    pub(crate) reclaim_policy: Option<ReclaimPolicy>,
}

/// The parameters of a binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BindingParameters {
    /// The access to the data.
    pub(crate) access: Option<Access>,
    /// The lifetime of the binding.
    pub(crate) valid_for: Option<Lifetime>,
}

impl Plans {
    pub(crate) fn new(plans: BTreeMap<PlanId, (ServiceKind, DatabasePlan)>) -> Self {
        Self { plans, other: DatabasePlan::default() }
    }

    /// The settings of an offered plan.
    ///
    /// # Errors
    /// When the plan is no longer offered: nothing new may be created with it.
    pub(crate) fn known(&self, id: &PlanId) -> Result<&DatabasePlan, Unacceptable> {
        self.plans.get(id).map(|(_, plan)| plan).ok_or_else(|| {
            Unacceptable::Invalid(format!(
                "plan {id} is not offered any more; update the instance to another plan"
            ))
        })
    }

    /// The reclaim policy of an instance: the requested one, otherwise the plan's default when the instance was
    /// created. What the plan allows now does not matter.
    pub(crate) fn reclaim_policy(&self, of: &InstanceSpec) -> ReclaimPolicy {
        stated(&of.parameters)
            .or_else(|| stated(&of.settled))
            .unwrap_or_else(|| self.default_policy(&of.plan_id))
    }

    /// The default of a plan; for a plan that is no longer offered, the policy that loses no data.
    fn default_policy(&self, plan: &PlanId) -> ReclaimPolicy {
        if let Some((_, plan)) = self.plans.get(plan) {
            return plan.reclaim_policy.default;
        }
        tracing::warn!(%plan, "the instance's plan is not offered any more: its data is retained");
        ReclaimPolicy::Retain
    }

    /// See [`super::super::Provider::settled`]. Retained data stays retained, even on a plan that deletes by default.
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

    /// The settings of a plan.
    pub(crate) fn of(&self, id: &PlanId) -> &DatabasePlan {
        self.plans.get(id).map_or(&self.other, |(_, plan)| plan)
    }

    /// The kind of the plan's service.
    pub(crate) fn kind(&self, id: &PlanId) -> ServiceKind {
        self.plans.get(id).map_or(ServiceKind::CockroachDb, |(kind, _)| *kind)
    }

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

    /// See [`super::super::Provider::check_update`]. A parameter that does not change was allowed once; a new plan
    /// must allow it, too, unless the parameter cannot change any more.
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
    /// Parses the parameters of an instance.
    ///
    /// # Errors
    /// Names the parameter that is unknown or malformed.
    pub(crate) fn read(parameters: &Object) -> Result<Self, Unacceptable> {
        read(parameters)
    }

    /// Checks whether the plan allows the parameters.
    ///
    /// # Errors
    /// Names the parameter and the allowed values.
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

    /// Removes the parameters that only apply at creation.
    fn without_origin(self) -> Self {
        Self { encoding: None, template: None, ..self }
    }

    /// Removes the parameters that the instance already has.
    fn without(mut self, had: &Self) -> Self {
        self.extensions.retain(|extension| !had.extensions.contains(extension));
        self.reclaim_policy = self.reclaim_policy.filter(|policy| had.reclaim_policy != Some(*policy));
        self
    }

    /// Checks whether an instance with these parameters can change to `to`: parameters that only apply at creation
    /// cannot change.
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

    /// The encoding, unless it is the engine's default.
    pub(crate) fn encoding<'a>(&'a self, plan: &'a DatabasePlan) -> Option<&'a str> {
        self.encoding.as_ref().or_else(|| plan.encodings.first()).map(String::as_str)
    }
}

/// The validity of a binding's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    /// The creation time, by the clock of the server that enforces the expiry.
    pub(crate) begins_at: Timestamp,
    /// When the credentials expire.
    pub(crate) ends_at: Timestamp,
    /// When to renew the credentials: a third of their lifetime remains.
    pub(crate) renew_before: Timestamp,
}

impl Expiry {
    /// The validity of a binding that is created at `now`, by the server's clock.
    pub(crate) fn of(lifetime: Lifetime, now: Timestamp) -> Self {
        let after = |length: Duration| {
            // Lifetimes are at most a hundred years, and timestamps reach the year 9999.
            let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::ZERO);
            now.checked_add(length).unwrap_or(Timestamp::MAX).round(Unit::Second).unwrap_or(Timestamp::MAX)
        };
        let length = lifetime.duration();
        Self { begins_at: now, ends_at: after(length), renew_before: after(length * 2 / 3) }
    }
}

impl BindingParameters {
    /// Parses the parameters of a binding.
    ///
    /// # Errors
    /// Names the parameter that is unknown or malformed.
    pub(crate) fn read(parameters: &Object) -> Result<Self, Unacceptable> {
        read(parameters)
    }

    /// The binding's access to the data.
    ///
    /// # Errors
    /// Names what the plan allows.
    pub(crate) fn access(self, plan: &DatabasePlan) -> Result<Access, Unacceptable> {
        refusing("access", plan.access.take(self.access))
    }

    /// The binding's lifetime; `None` is unlimited, which certificates do not support.
    ///
    /// # Errors
    /// Names the maximum that the plan allows.
    pub(crate) fn lifetime(self, plan: &DatabasePlan) -> Result<Option<Lifetime>, Unacceptable> {
        let lifetime = refusing("validFor", plan.valid_for.take(self.valid_for))?;
        Ok(match plan.credentials {
            CredentialKind::Password => lifetime,
            CredentialKind::Certificate => Some(lifetime.unwrap_or(Lifetime::OF_CERTIFICATES)),
        })
    }
}

/// The reclaim policy in the parameters. An unreadable value counts as the policy that loses no data.
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
