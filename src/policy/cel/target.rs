//! The kinds of objects that rules are about. Each kind has ValidatingAdmissionPolicies of its own.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, NamedRuleWithOperations, ParamKind, ParamRef, Validation, Variable,
};

use super::{
    ages, binders, condition, config_maps, one_line, pod_rules, pods, protected, rule, rule_message, scope,
    services, text::literal, validation, variable,
};
use crate::{
    apis::bindery::credential_policy::{ConditionCheck, CredentialPolicySpec, RuleName, Scope},
    policy::judge::TOKEN_SECRET,
};

/// What a ValidatingAdmissionPolicy is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Pods and the kinds that have a pod template.
    Pods,
    /// Secrets with a token of a service account.
    TokenSecrets,
    /// What only bindery and administrators change.
    ProtectedObjects,
    /// Pods again: the rights of their service accounts, which cost so much that they need a budget of their own.
    Bindings,
    /// ServiceInstances and ServiceBindings.
    Services,
    /// ConfigMaps.
    ConfigMaps,
    /// Pods again, each with every binding of its namespace.
    Ages,
    /// Pods again: conditions of an administrator, which the API server may refuse.
    Conditions,
}

impl Target {
    pub(super) const ALL: [Self; 8] = [
        Self::Pods,
        Self::TokenSecrets,
        Self::ProtectedObjects,
        Self::Bindings,
        Self::Services,
        Self::ConfigMaps,
        Self::Ages,
        Self::Conditions,
    ];

    /// The end of the names of the objects.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Pods => "",
            Self::TokenSecrets => "-token-secrets",
            Self::ProtectedObjects => "-protected-objects",
            Self::Bindings => "-bindings",
            Self::Services => "-services",
            Self::ConfigMaps => "-config-maps",
            Self::Ages => "-ages",
            Self::Conditions => "-conditions",
        }
    }

    /// Whether the rule says anything about these objects.
    pub(super) fn has(self, rule: RuleName, spec: &CredentialPolicySpec) -> bool {
        match self {
            Self::Pods => matches!(
                rule,
                RuleName::BindingsOnly
                    | RuleName::NoPlainText
                    | RuleName::FilesOnly
                    | RuleName::NoServiceAccountTokens
            ),
            Self::TokenSecrets => rule == RuleName::NoServiceAccountTokens,
            Self::ProtectedObjects => rule == RuleName::ProtectedObjects,
            Self::Bindings => rule == RuleName::WhoMayBind,
            Self::Services => rule == RuleName::AllowedServices,
            Self::ConfigMaps => {
                rule == RuleName::NoPlainText
                    && spec.rules.no_plain_text.as_ref().is_some_and(|rule| rule.config_maps)
                    && spec.scope.as_ref().is_none_or(Scope::is_for_all_pods)
            }
            Self::Ages => rule == RuleName::MaxAge,
            Self::Conditions => rule == RuleName::Conditions,
        }
    }

    pub(super) fn resources(self) -> Vec<NamedRuleWithOperations> {
        match self {
            Self::Pods | Self::Bindings | Self::Ages | Self::Conditions => pods::resources(),
            Self::ConfigMaps => config_maps::resources(),
            Self::Services => services::resources(),
            Self::TokenSecrets => vec![rule(&["CREATE"], "", "v1", &["secrets"])],
            Self::ProtectedObjects => protected::resources(),
        }
    }

    pub(super) fn conditions(self, spec: &CredentialPolicySpec, excluded: &[String]) -> Vec<MatchCondition> {
        match self {
            Self::Pods | Self::Bindings | Self::Ages | Self::Conditions => pods::conditions(),
            Self::ConfigMaps => config_maps::conditions(),
            Self::Services => services::conditions(),
            Self::TokenSecrets => {
                vec![condition("is-a-token", format!("object.type == {}", literal(TOKEN_SECRET)))]
            }
            Self::ProtectedObjects => {
                let settings = spec.rules.protected_objects.clone().unwrap_or_default();
                protected::conditions(&settings, excluded)
            }
        }
    }

    /// The validations of a rule, and the variables that they need beside those of the target. `is_off` says whether the rule
    /// has another mode for the object.
    pub(super) fn validations(
        self,
        rule: RuleName,
        spec: &CredentialPolicySpec,
        is_off: &str,
        message: &str,
    ) -> (Vec<Variable>, Vec<Validation>) {
        let only = |validations| (Vec::new(), validations);
        match self {
            Self::Pods => pod_rules::validations(rule, spec, is_off, message),
            Self::TokenSecrets => only(vec![validation(message.to_owned(), is_off.to_owned(), None)]),
            Self::ProtectedObjects => {
                let text = format!("{} + variables.what", literal(&format!("{message}: ")));
                let expression = format!("{is_off} || !variables.touched");
                only(vec![validation(message.to_owned(), expression, Some(text))])
            }
            Self::Bindings => only(binders::validations(is_off, message)),
            Self::Services => only(services::validations(spec, is_off, message)),
            Self::ConfigMaps => pod_rules::in_config_maps(spec, is_off, message),
            Self::Ages => only(ages::validations(spec, is_off, message)),
            Self::Conditions => only(own_conditions(spec, is_off)),
        }
    }

    /// What to do if an evaluation fails, for example because it would cost too much.
    pub(super) const fn failure_policy(self) -> &'static str {
        match self {
            // The parameters need a custom resource definition, and its loss must not stop the cluster.
            Self::Ages => "Ignore",
            _ => "Fail",
        }
    }

    /// The kind and the selection of the parameters. The API server evaluates the policy once for each.
    pub(super) fn parameters(self) -> Option<(ParamKind, ParamRef)> {
        (self == Self::Ages).then(|| (ages::kind(), ages::all()))
    }

    /// The variables. Those that the modes of rules depend on are `namespaceName`, `namespaceLabels`, `name`, `times`, `account`,
    /// `images` and `inScope`.
    pub(super) fn variables(self, spec: &CredentialPolicySpec) -> Vec<Variable> {
        match self {
            Self::Pods | Self::Conditions => of_pods(spec),
            Self::Bindings => [of_pods(spec), binders::variables(spec)].concat(),
            Self::Services => [namespaced(), services::variables()].concat(),
            Self::ConfigMaps => [namespaced(), config_maps::variables()].concat(),
            Self::Ages => [of_pods(spec), ages::variables(spec)].concat(),
            Self::TokenSecrets => {
                let in_scope = variable("inScope", scope::has_account(spec));
                [namespaced(), token_secret(), vec![in_scope]].concat()
            }
            Self::ProtectedObjects => [protected::place(), protected::variables()].concat(),
        }
    }
}

fn of_pods(spec: &CredentialPolicySpec) -> Vec<Variable> {
    let in_scope = variable("inScope", scope::has_pod(spec));
    [namespaced(), pods::variables(), vec![in_scope]].concat()
}

/// Conditions of an administrator. Each stands alone on its lines, so that a comment at its end ends nothing else.
fn own_conditions(spec: &CredentialPolicySpec, is_off: &str) -> Vec<Validation> {
    let checks = spec.rules.conditions.as_ref().map_or(&[][..], |rule| &rule.checks);
    let of_check = |check: &ConditionCheck| {
        let text = one_line(&format!("{}: {}", check.name, check.message));
        let message = rule_message(RuleName::Conditions, &text);
        validation(message, format!("{is_off} || (\n{}\n)", check.expression), None)
    };
    checks.iter().map(of_check).collect()
}

/// Name, place and times of an object in a namespace.
fn namespaced() -> Vec<Variable> {
    vec![
        variable("namespaceName", "request.namespace"),
        variable("namespaceLabels", "namespaceObject.metadata.?labels.orValue({})"),
        variable(
            "name",
            "dyn(object).metadata.?name.orValue(dyn(object).metadata.?generateName.orValue(''))",
        ),
        // The times that the API server itself sets at each request.
        variable(
            "times",
            "request.operation == 'CREATE' ? [timestamp(dyn(object).metadata.creationTimestamp)] : \
             dyn(object).metadata.?managedFields.orValue([]).map(m, has(m.time), timestamp(m.time))",
        ),
    ]
}

fn token_secret() -> Vec<Variable> {
    vec![
        variable(
            "account",
            "object.metadata.?annotations[?'kubernetes.io/service-account.name'].orValue('')",
        ),
        // A Secret has none, so no exception for images is for it.
        variable("images", "[]"),
    ]
}
