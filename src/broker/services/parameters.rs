//! What users ask of a database service, and whether its plan allows it. Pure; how it is done is each engine's.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp, Unit};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{BindingSpec, InstanceSpec, Unacceptable};
use crate::{
    config::{Access, CredentialKind, DatabasePlan, Lifetime, ReclaimPolicy, ServiceKind},
    osb::{Object, PlanId},
};

/// What the plans on one server allow.
pub(crate) struct Plans {
    plans: BTreeMap<PlanId, (ServiceKind, DatabasePlan)>,
    /// For instances of a plan that is no longer offered.
    other: DatabasePlan,
}

/// The parameters of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct InstanceParameters {
    /// How the database encodes text: a name that the engine knows.
    pub(super) encoding: Option<String>,
    /// The extensions to have in the database.
    pub(super) extensions: Vec<String>,
    /// What to start as a copy of, in the plan's words.
    pub(super) template: Option<String>,
    /// What becomes of the data in the end.
    pub(super) reclaim_policy: Option<ReclaimPolicy>,
}

/// The parameters of a binding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct BindingParameters {
    /// What it may do with the data.
    pub(super) access: Option<Access>,
    /// How long it lasts.
    pub(super) valid_for: Option<Lifetime>,
}

impl Plans {
    pub(crate) fn new(plans: BTreeMap<PlanId, (ServiceKind, DatabasePlan)>) -> Self {
        Self { plans, other: DatabasePlan::default() }
    }

    /// What a plan that is offered says.
    ///
    /// # Errors
    /// When it is not offered any more: nothing new is made by what it said.
    pub(super) fn known(&self, id: &PlanId) -> Result<&DatabasePlan, Unacceptable> {
        self.plans.get(id).map(|(_, plan)| plan).ok_or_else(|| {
            Unacceptable::Invalid(format!(
                "plan {id} is not offered any more; update the instance to another plan"
            ))
        })
    }

    /// What becomes of an instance's data in the end. What the plan allows now does not matter, for it was allowed; if it is
    /// not offered any more, nobody knows what it said, and nothing is lost.
    pub(super) fn reclaim_policy(&self, asked: &InstanceParameters, id: &PlanId) -> ReclaimPolicy {
        match (asked.reclaim_policy, self.plans.get(id)) {
            (Some(asked), _) => asked,
            (None, Some((_, plan))) => plan.reclaim_policy.default,
            (None, None) => {
                tracing::warn!(plan = %id, "the instance's plan is not offered any more: its data is retained");
                ReclaimPolicy::Retain
            }
        }
    }

    /// What a plan says.
    pub(super) fn of(&self, id: &PlanId) -> &DatabasePlan {
        self.plans.get(id).map_or(&self.other, |(_, plan)| plan)
    }

    /// What kind of service it belongs to.
    pub(super) fn kind(&self, id: &PlanId) -> ServiceKind {
        self.plans.get(id).map_or(ServiceKind::CockroachDb, |(kind, _)| *kind)
    }

    /// All plans.
    pub(super) fn all(&self) -> impl Iterator<Item = &(ServiceKind, DatabasePlan)> {
        self.plans.values()
    }

    /// See [`super::Provider::schemas`].
    pub(super) fn schemas(&self, id: &PlanId) -> Option<Value> {
        self.plans.get(id).map(|(_, plan)| plan.schemas())
    }

    /// See [`super::Provider::check_instance`].
    pub(super) fn check_instance(&self, wanted: &InstanceSpec) -> Result<(), Unacceptable> {
        InstanceParameters::read(&wanted.parameters)?.check(self.of(&wanted.plan_id))
    }

    /// See [`super::Provider::check_update`].
    pub(super) fn check_update(&self, from: &InstanceSpec, to: &InstanceSpec) -> Result<(), Unacceptable> {
        self.check_instance(to)?;
        let made = InstanceParameters::read(&from.parameters)?;
        made.check_change(&InstanceParameters::read(&to.parameters)?)
    }

    /// See [`super::Provider::check_binding`].
    pub(super) fn check_binding(&self, on: &InstanceSpec, wanted: &BindingSpec) -> Result<(), Unacceptable> {
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
    pub(super) fn read(parameters: &Object) -> Result<Self, Unacceptable> {
        read(parameters)
    }

    /// Whether the plan allows it.
    ///
    /// # Errors
    /// Names the parameter and what is allowed.
    pub(super) fn check(&self, plan: &DatabasePlan) -> Result<(), Unacceptable> {
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

    /// Whether an instance that was made with these can come to have others: what it started from stays.
    ///
    /// # Errors
    /// Names the parameter that cannot change.
    pub(super) fn check_change(&self, to: &Self) -> Result<(), Unacceptable> {
        let fixed = [("encoding", &self.encoding, &to.encoding), ("template", &self.template, &to.template)];
        match fixed.into_iter().find(|(_, from, to)| to.is_some() && from != to) {
            None => Ok(()),
            Some((name, ..)) => Err(Unacceptable::Unsupported(format!(
                "parameter {name} cannot be changed once an instance is made; leave it out, or provision another instance"
            ))),
        }
    }

    /// The encoding, if it is not the engine's own.
    pub(super) fn encoding<'a>(&'a self, plan: &'a DatabasePlan) -> Option<&'a str> {
        self.encoding.as_ref().or_else(|| plan.encodings.first()).map(String::as_str)
    }
}

/// When a binding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    /// The binding is made then, by the clock of the server that ends it.
    pub(super) begins_at: Timestamp,
    /// The credentials end then.
    pub(super) ends_at: Timestamp,
    /// They are best renewed by then: a third of their time is left for it.
    pub(super) renew_before: Timestamp,
}

impl Expiry {
    /// That of a binding that is made now: by the server's clock, which is the one that counts.
    pub(super) fn of(lifetime: Lifetime, now: Timestamp) -> Self {
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
    pub(super) fn read(parameters: &Object) -> Result<Self, Unacceptable> {
        read(parameters)
    }

    /// What the binding may do with the data.
    ///
    /// # Errors
    /// Names what the plan allows.
    pub(super) fn access(self, plan: &DatabasePlan) -> Result<Access, Unacceptable> {
        refusing("access", plan.access.take(self.access))
    }

    /// How long it lasts; `None` is for good, which a certificate cannot be.
    ///
    /// # Errors
    /// Names the most that the plan allows.
    pub(super) fn lifetime(self, plan: &DatabasePlan) -> Result<Option<Lifetime>, Unacceptable> {
        let lifetime = refusing("validFor", plan.valid_for.take(self.valid_for))?;
        Ok(match plan.credentials {
            CredentialKind::Password => lifetime,
            CredentialKind::Certificate => Some(lifetime.unwrap_or(Lifetime::OF_CERTIFICATES)),
        })
    }
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
mod tests {
    use serde_json::json;

    use super::*;

    fn plan() -> DatabasePlan {
        serde_json::from_value(json!({
            "access": {"default": "readonly", "allowed": ["readonly", "readwrite"]},
            "validFor": {"default": "1h", "maximum": "1d"},
            "extensions": ["hstore", "pgcrypto"], "encodings": ["UTF8", "LATIN1"], "templates": {"demo": "demo_data"},
            "reclaimPolicy": {"allowed": ["delete"]},
        }))
        .unwrap()
    }

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn check(parameters: Value) -> Result<(), Unacceptable> {
        InstanceParameters::read(&object(parameters))?.check(&plan())
    }

    #[test]
    fn an_instance_is_as_the_plan_allows() {
        let all = json!({"encoding": "LATIN1", "extensions": ["hstore"], "reclaimPolicy": "delete"});
        assert_eq!(check(all), Ok(()));
        assert_eq!(check(json!({})), Ok(()));
    }

    #[rstest::rstest]
    #[case(json!({"colour": "red"}), &["colour", "encoding", "extensions"])]
    #[case(json!({"extensions": "hstore"}), &["extensions", "sequence"])]
    #[case(json!({"extensions": ["hstore", "file_fdw"]}), &["extensions", "file_fdw", "hstore, pgcrypto"])]
    #[case(json!({"template": "demo_data"}), &["template", "demo_data", "allows demo"])]
    #[case(json!({"encoding": "EUC_JP"}), &["encoding", "EUC_JP", "UTF8, LATIN1"])]
    #[case(json!({"template": "demo", "encoding": "UTF8"}), &["encoding", "template"])]
    #[case(json!({"reclaimPolicy": "retain"}), &["reclaimPolicy", "retain", "delete"])]
    #[case(json!({"reclaimPolicy": "recycle"}), &["reclaimPolicy", "recycle", "delete"])]
    fn what_is_not_allowed_is_named(#[case] parameters: Value, #[case] told: &[&str]) {
        let message = check(parameters).unwrap_err().to_string();
        assert!(told.iter().all(|word| message.contains(word)), "{message}");
    }

    #[test]
    fn what_an_instance_started_from_stays() {
        let read = |value: Value| InstanceParameters::read(&object(value)).unwrap();
        let from = read(json!({"template": "demo"}));
        assert_eq!(from.check_change(&read(json!({"extensions": ["hstore"]}))), Ok(()));
        assert_eq!(from.check_change(&read(json!({"template": "demo", "reclaimPolicy": "delete"}))), Ok(()));
        let refused = from.check_change(&read(json!({"encoding": "LATIN1"}))).unwrap_err();
        assert!(
            matches!(&refused, Unacceptable::Unsupported(told) if told.contains("encoding")),
            "{refused}"
        );
    }

    #[test]
    fn bindings_have_the_plans_defaults_and_no_more_than_it_allows() {
        let read = |value: Value| BindingParameters::read(&object(value)).unwrap();
        let none = read(json!({}));
        assert_eq!(none.access(&plan()), Ok(Access::ReadOnly));
        assert_eq!(none.lifetime(&plan()).unwrap().unwrap().to_string(), "1h");
        let asked = read(json!({"access": "readwrite", "validFor": "1d"}));
        assert_eq!(asked.access(&plan()), Ok(Access::ReadWrite));
        assert_eq!(asked.lifetime(&plan()).unwrap().unwrap().duration().as_secs(), 86_400);
        let refused = read(json!({"access": "owner"})).access(&plan()).unwrap_err().to_string();
        assert!(refused.contains("access") && refused.contains("readonly or readwrite"), "{refused}");
        let refused = read(json!({"validFor": "25h"})).lifetime(&plan()).unwrap_err().to_string();
        assert!(refused.contains("validFor") && refused.contains("24h at most"), "{refused}");
    }

    #[test]
    fn a_binding_is_renewed_while_a_third_of_its_time_is_left() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let expiry = Expiry::of("3h".parse().unwrap(), now);
        assert_eq!(expiry.ends_at.to_string(), "2026-01-01T03:00:00Z");
        assert_eq!(expiry.renew_before.to_string(), "2026-01-01T02:00:00Z");
    }

    #[rstest::rstest]
    #[case(json!({"validFor": "soon"}), &["validFor", "soon", "24h"])]
    #[case(json!({"validFor": "0s"}), &["validFor", "1s"])]
    #[case(json!({"validFor": "-1h"}), &["validFor", "1s"])]
    #[case(json!({"validFor": "1mo"}), &["validFor", "30d"])]
    #[case(json!({"validFor": 60}), &["validFor", "string"])]
    #[case(json!({"access": "admin"}), &["access", "admin", "readonly"])]
    fn malformed_bindings_are_told_how(#[case] parameters: Value, #[case] told: &[&str]) {
        let message = BindingParameters::read(&object(parameters)).unwrap_err().to_string();
        assert!(told.iter().all(|word| message.contains(word)), "{message}");
    }
}
