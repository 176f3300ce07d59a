//! Judges a pod by policies: walks the rows of `ways`, as the API server evaluates what `cel` makes of them.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{
    access::Access, ages::Ages, allowed::is_among, binders, error::InvalidPolicy, exception,
    namespace::Namespace, scope::Reach, subject::Subject,
};
use crate::apis::bindery::{
    credential_policy::{CredentialPolicy, CredentialPolicySpec, Engine, Mode, RuleName, WhoMayBind},
    credential_policy_exception::CredentialPolicyException,
};

/// The type of a Secret with a token of a service account, which does not expire.
pub(super) const TOKEN_SECRET: &str = "kubernetes.io/service-account-token";

/// A place in a pod that violates a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: RuleName,
    /// The fields from the pod template to the place.
    pub place: String,
    /// What stands there. Never a value that may be a credential.
    pub what: String,
}

/// What a policy says about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The policy's name.
    pub policy: String,
    /// What the policy does about the finding.
    pub mode: Mode,
    /// The finding.
    pub finding: Finding,
    /// The administrator's message, or else the rule's.
    pub message: String,
    /// The exception for the pod, if there is one. The finding then has no consequence.
    pub exception: Option<String>,
}

impl Verdict {
    /// Whether the finding has consequences in this mode or a stricter one.
    #[must_use]
    pub fn is_violated(&self, mildest: Mode) -> bool {
        self.exception.is_none() && self.mode >= mildest
    }
}

/// A valid policy.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) spec: CredentialPolicySpec,
    pub(super) reach: Reach,
}

/// Policies and the exceptions to them.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    pub(super) all: Vec<Policy>,
    exceptions: Vec<CredentialPolicyException>,
    /// Namespaces that the installation excludes from every policy.
    pub(super) excluded: Vec<String>,
    /// The rights to bind that are known.
    access: Access,
    /// The bindings whose credentials have a known age.
    pub(super) ages: Ages,
    /// The engine whose rules count. Default: all rules.
    engine: Option<Engine>,
}

impl Policies {
    /// Parses policies. `excluded` are namespaces for which no policy holds, in addition to those of the system.
    ///
    /// # Errors
    /// When a policy is invalid although it matches its schema.
    pub fn new(
        policies: &[CredentialPolicy],
        exceptions: Vec<CredentialPolicyException>,
        excluded: Vec<String>,
    ) -> Result<Self, InvalidPolicy> {
        let all = policies.iter().map(Policy::read).collect::<Result<_, _>>()?;
        Ok(Self { all, exceptions, excluded, ..Self::default() })
    }

    /// The same policies, of which only the rules count that this engine evaluates at admission.
    #[must_use]
    pub fn evaluated_by(self, engine: Engine) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// Whether no rule counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.iter().all(|policy| self.rules(policy).next().is_none())
    }

    /// Whether a rule of the webhook is about ConfigMaps.
    #[must_use]
    pub fn judge_config_maps(&self) -> bool {
        let judges = |policy: &Policy| {
            let settings = policy.spec.rules.no_random_values.as_ref();
            policy.reach.is_for_all_pods() && settings.is_some_and(|settings| settings.config_maps)
        };
        self.all.iter().any(judges)
    }

    /// The rules of a policy that count, with their modes and the administrator's messages.
    pub(super) fn rules<'a>(
        &self,
        policy: &'a Policy,
    ) -> impl Iterator<Item = (RuleName, Mode, Option<&'a str>)> + use<'a> {
        let engine = self.engine;
        let counts = move |rule: RuleName| engine.is_none_or(|engine| rule.engine() == engine);
        policy.spec.named_rules().filter(move |(rule, ..)| counts(*rule))
    }

    /// The same policies, with the rights to bind that are known.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The policies with conditions of the administrator's own, which only the API server evaluates.
    pub fn with_conditions(&self) -> impl Iterator<Item = &str> {
        let having = self.all.iter().filter(|policy| policy.spec.rules.conditions.is_some());
        having.map(|policy| policy.name.as_str())
    }

    /// The bindings that the pod's service account may or may not bind: the known rights do not tell.
    #[must_use]
    pub fn unknown_access(&self, subject: &Subject<'_>) -> Vec<String> {
        let holding = self.all.iter().filter(|policy| policy.holds(subject, &self.excluded));
        let settings = holding.filter_map(|policy| policy.spec.rules.who_may_bind.as_ref());
        let mut unknown: Vec<_> =
            settings.flat_map(|settings| binders::bindings(subject, &settings.allow_secrets)).collect();
        unknown.retain(|binding| self.may_bind(subject, binding).is_none());
        unknown.sort();
        unknown.dedup();
        unknown
    }

    fn may_bind(&self, subject: &Subject<'_>, binding: &str) -> Option<bool> {
        self.access.may_bind(subject.namespace.name(), subject.service_account(), binding)
    }

    /// Whether the labels of Namespaces matter to a policy.
    #[must_use]
    pub fn ask_for_labels(&self) -> bool {
        self.all.iter().any(|policy| policy.reach.asks_for_labels())
    }

    /// The exceptions whose policy is not among these.
    pub fn stray_exceptions(&self) -> impl Iterator<Item = &CredentialPolicyException> {
        let is_known = |name: &str| self.all.iter().any(|policy| policy.name == name);
        self.exceptions.iter().filter(move |it| !is_known(&it.spec.policy))
    }

    /// The rules that hold in a Namespace, each with its policy and its mode there.
    #[must_use]
    pub fn rules_in(&self, namespace: &Namespace) -> Vec<(&str, RuleName, Mode)> {
        let holds = |policy: &&Policy| policy.reach.holds_in(namespace, &self.excluded);
        let of = |policy: &'_ Policy| {
            let modes =
                self.rules(policy).map(|(rule, mode, _)| (rule, policy.reach.mode(rule, mode, namespace)));
            modes.collect::<Vec<_>>()
        };
        let named = |policy| of(policy).into_iter().map(|(rule, mode)| (policy.name.as_str(), rule, mode));
        self.all.iter().filter(holds).flat_map(named).collect()
    }

    /// What the policies say about a pod or pod template.
    #[must_use]
    pub fn judge(&self, subject: &Subject<'_>, now: Timestamp) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for policy in self.all.iter().filter(|policy| policy.holds(subject, &self.excluded)) {
            for named in self.rules(policy) {
                let rules = &policy.spec.rules;
                let findings = match (named.0, &rules.who_may_bind, &rules.max_age) {
                    (RuleName::WhoMayBind, Some(settings), _) => self.unbindable(settings, subject),
                    (RuleName::MaxAge, _, Some(settings)) => self.aged(settings, subject, now),
                    (rule, ..) => policy.spec.findings(rule, subject),
                };
                verdicts.extend(self.verdicts(policy, named, subject, findings, now));
            }
        }
        verdicts
    }

    /// What a policy does about findings of one of its rules: `named` is the rule with its mode and its message.
    pub(super) fn verdicts(
        &self,
        policy: &Policy,
        named: (RuleName, Mode, Option<&str>),
        subject: &Subject<'_>,
        findings: Vec<Finding>,
        now: Timestamp,
    ) -> Vec<Verdict> {
        let (rule, mode, message) = named;
        let mode = policy.reach.mode(rule, mode, subject.namespace);
        let exception = self.exception(&policy.name, rule, subject, now);
        let verdict = |finding| Verdict {
            policy: policy.name.clone(),
            mode,
            finding,
            message: message.unwrap_or_else(|| default_message(rule)).to_owned(),
            exception: exception.map(ToOwned::to_owned),
        };
        findings.into_iter().map(verdict).collect()
    }

    /// The bindings that the pod's service account may not bind.
    fn unbindable(&self, settings: &WhoMayBind, subject: &Subject<'_>) -> Vec<Finding> {
        let bindings = binders::bindings(subject, &settings.allow_secrets);
        let finding =
            |what| Finding { rule: RuleName::WhoMayBind, place: "spec.serviceAccountName".to_owned(), what };
        if bindings.len() > binders::MOST_BINDINGS {
            return vec![finding(binders::too_many())];
        }
        let refused = bindings.iter().filter(|binding| self.may_bind(subject, binding) == Some(false));
        refused.map(|binding| finding(binders::refusal(subject.service_account(), binding))).collect()
    }

    /// What the policies say about a Secret. Only the rule about tokens of service accounts is about Secrets.
    #[must_use]
    pub fn judge_secret(&self, secret: &Value, namespace: &Namespace, now: Timestamp) -> Vec<Verdict> {
        const RULE: RuleName = RuleName::NoServiceAccountTokens;
        if secret.get("type").and_then(Value::as_str) != Some(TOKEN_SECRET) {
            return Vec::new();
        }
        // The Secret takes the pod's place, so that the same names and exceptions count.
        let account = secret.pointer("/metadata/annotations/kubernetes.io~1service-account.name");
        let account = account.and_then(Value::as_str).unwrap_or_default();
        let template = serde_json::json!({"spec": {"serviceAccountName": account}});
        let name = secret.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let subject = Subject { name, namespace, template: &template, only_ephemeral: false };
        let mut verdicts = Vec::new();
        for policy in self.all.iter().filter(|policy| policy.reach.holds_in(namespace, &self.excluded)) {
            let named = policy.spec.named_rules().find(|(rule, ..)| *rule == RULE);
            let Some(named) = named.filter(|_| policy.reach.has_account(account)) else {
                continue;
            };
            let settings = policy.spec.rules.no_service_account_tokens.as_ref();
            if settings.is_some_and(|settings| is_among(account, &settings.allow_service_accounts)) {
                continue;
            }
            let finding = Finding {
                rule: RULE,
                place: "type".to_owned(),
                what: "a token of a service account that never expires".to_owned(),
            };
            verdicts.extend(self.verdicts(policy, named, &subject, vec![finding], now));
        }
        verdicts
    }

    /// The name of the exception that exempts the pod.
    fn exception(&self, policy: &str, rule: RuleName, subject: &Subject<'_>, now: Timestamp) -> Option<&str> {
        let exempts = |it: &&CredentialPolicyException| {
            exception::is_about(it, policy, rule) && it.is_active(now) && exception::is_for(it, subject)
        };
        self.exceptions.iter().find(exempts).map(|it| it.metadata.name.as_deref().unwrap_or_default())
    }
}

impl Policy {
    /// Whether the policy says anything about the pod.
    pub(super) fn holds(&self, subject: &Subject<'_>, excluded: &[String]) -> bool {
        self.reach.holds_in(subject.namespace, excluded) && self.reach.has_pod(subject)
    }

    fn read(policy: &CredentialPolicy) -> Result<Self, InvalidPolicy> {
        let name = policy.metadata.name.clone().unwrap_or_default();
        Ok(Self { name, reach: Reach::read(policy)?, spec: policy.spec.clone() })
    }
}

/// What users read when a pod violates a rule for which the administrator wrote no message.
#[must_use]
pub const fn default_message(rule: RuleName) -> &'static str {
    match rule {
        RuleName::BindingsOnly => {
            "Secrets may reach pods only through bindings; name the binding in the annotation bindery.dev/bind"
        }
        RuleName::NoPlainText => {
            "pods may not contain credentials in plain text; bind the pod, or refer to a Secret"
        }
        RuleName::NoRandomValues => {
            "what is named like a credential may not have a random value; bind the pod, or refer to a Secret"
        }
        RuleName::FilesOnly => {
            "credentials may reach containers only as files; set the annotation bindery.dev/as to files, or mount the Secret"
        }
        RuleName::NoServiceAccountTokens => {
            "pods may not get tokens for the API server; set automountServiceAccountToken to false"
        }
        RuleName::WhoMayBind => {
            "a pod may use only bindings that its service account may bind; grant the verb bind on servicebindings of servicecatalog.k8s.io"
        }
        RuleName::AllowedServices => "this namespace may not ask for this service; ask an administrator",
        RuleName::MaxAge => {
            "credentials may not become too old; annotate the ServiceBinding with bindery.dev/rotate"
        }
        RuleName::Conditions => "the pod does not fulfil a condition of the administrator's",
        RuleName::ProtectedObjects => {
            "only bindery and administrators may create, change and delete what bindery writes; change the binding instead"
        }
    }
}
