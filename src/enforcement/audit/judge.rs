//! The present policies, as the audit asks them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::{
    kinds::{CONFIG_MAP, Kind, SERVICE_BINDING, Sample},
    report::Held,
};
use crate::{
    apis::bindery::{
        credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
    },
    contract::{namespace::INJECT, pod},
    enforcement::notices::next_end,
    k8s::namespaces::NamespaceMeta,
    policy::{Author, Change, Namespace, Policies, Subject, Verdict},
};

/// What the policies say about an object.
#[derive(Default)]
pub(super) struct Judgement {
    /// What they say whatever else is there.
    pub(super) verdicts: Vec<Verdict>,
    /// What they say if there is no binding of this name.
    pub(super) if_missing: Vec<(String, Verdict)>,
}

impl Judgement {
    fn of(verdicts: Vec<Verdict>) -> Self {
        Self { verdicts, ..Self::default() }
    }
}

/// The valid policies and the exceptions.
pub(super) struct Judge {
    policies: Vec<CredentialPolicy>,
    exceptions: Vec<CredentialPolicyException>,
    all: Policies,
}

impl Judge {
    /// Leaves out invalid policies. Their status says so.
    pub(super) fn new(
        policies: &[Arc<CredentialPolicy>],
        exceptions: &[Arc<CredentialPolicyException>],
        excluded: &[String],
    ) -> Self {
        let is_valid = |policy: &CredentialPolicy| {
            policy.metadata.deletion_timestamp.is_none()
                && Policies::new(std::slice::from_ref(policy), Vec::new(), Vec::new()).is_ok()
        };
        let policies: Vec<_> =
            policies.iter().map(|policy| policy.as_ref().clone()).filter(is_valid).collect();
        let exceptions: Vec<_> = exceptions.iter().map(|exception| exception.as_ref().clone()).collect();
        // Each is valid by itself, so all together are.
        let all = Policies::new(&policies, exceptions.clone(), excluded.to_vec()).unwrap_or_default();
        Self { policies, exceptions, all }
    }

    pub(super) fn policies(&self) -> &[CredentialPolicy] {
        &self.policies
    }

    pub(super) fn policy_names(&self) -> BTreeSet<String> {
        self.policies.iter().map(ResourceExt::name_any).collect()
    }

    /// Whether there is nothing to judge by.
    pub(super) fn is_idle(&self) -> bool {
        self.policies.is_empty()
    }

    /// How long until the next exception ends.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Duration> {
        next_end(&self.exceptions, now)
    }

    /// Whether a policy says anything about objects of this kind.
    pub(super) fn judges(&self, kind: &Kind) -> bool {
        let mut rules = self.policies.iter().map(|policy| &policy.spec.rules);
        match kind.name {
            CONFIG_MAP => rules.any(|rules| {
                rules.no_plain_text.as_ref().is_some_and(|it| it.config_maps)
                    || rules.no_random_values.as_ref().is_some_and(|it| it.config_maps)
            }),
            SERVICE_BINDING => rules.any(|rules| rules.max_age.is_some() || rules.bindings_only.is_some()),
            _ => !self.is_idle(),
        }
    }

    /// Whether a policy needs the kind of bindings to be there.
    pub(super) fn needs_bindings(&self) -> bool {
        self.policies.iter().any(|policy| policy.spec.rules.max_age.is_some())
    }

    /// When the credentials of a binding become too old for a policy.
    pub(super) fn next_age(&self, sample: &Sample, now: Timestamp) -> Option<Timestamp> {
        self.all.next_age(sample.value(), now)
    }

    /// What the policies say about an object. Without its Namespace, nothing is known of labels and annotations.
    pub(super) fn judgement(
        &self,
        sample: &Sample,
        namespace: Option<&NamespaceMeta>,
        now: Timestamp,
    ) -> Judgement {
        let namespace = policy_namespace(&sample.namespace, namespace);
        match sample.object.kind.name {
            CONFIG_MAP => {
                let (after, author) = (Some(sample.value()), Author::default());
                let change = Change { namespace: Some(&namespace), before: None, after, author };
                return Judgement::of(self.all.judge_change(&change, now));
            }
            SERVICE_BINDING => return Judgement::of(self.all.judge_age(sample.value(), &namespace, now)),
            _ => {}
        }
        let Some(template) = sample.template() else { return Judgement::default() };
        let subject =
            Subject { name: &sample.object.name, namespace: &namespace, template, only_ephemeral: false };
        let if_missing = self.all.judge_names(&subject, now);
        Judgement { verdicts: self.all.judge(&subject, now), if_missing }
    }

    /// The rules that hold in a namespace.
    pub(super) fn held_in(&self, name: &str, namespace: Option<&NamespaceMeta>) -> Vec<Held<'_>> {
        self.all.rules_in(&policy_namespace(name, namespace))
    }
}

fn policy_namespace(name: &str, known: Option<&NamespaceMeta>) -> Namespace {
    let metadata = known.map(|namespace| &namespace.metadata);
    let labels = metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
    let annotations = metadata.and_then(|metadata| metadata.annotations.clone()).unwrap_or_default();
    Namespace::new(name, labels, annotations)
}

/// What a verdict can depend on in a Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespaceTraits {
    labels: BTreeMap<String, String>,
    default_bind: Option<String>,
}

impl NamespaceTraits {
    pub(super) fn of(namespace: &NamespaceMeta) -> Self {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        let (label, enabled) = INJECT;
        let is_enabled = labels.get(label).is_some_and(|value| value == enabled);
        let annotations = namespace.metadata.annotations.as_ref();
        let default_bind = annotations.and_then(|it| it.get(pod::BIND)).filter(|_| is_enabled).cloned();
        Self { labels, default_bind }
    }
}
