//! Compiles a policy into ValidatingAdmissionPolicies, one for each mode, so that the API server holds it without bindery.
//! Every row of `ways` becomes a part of an expression. A variable of the ValidatingAdmissionPolicy tells in which mode
//! each rule holds for the pod, because overrides and exceptions depend on the pod and its Namespace.

mod offences;
mod scope;
mod text;

use k8s_openapi::{
    api::admissionregistration::v1::{
        MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
        ValidatingAdmissionPolicySpec, Validation, Variable,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};

use self::{
    offences::offences,
    scope::{exemptions, has_pod, namespace_selector, possible_modes},
    text::{binds, literal},
};
use super::{
    error::InvalidPolicy,
    judge::{TOKEN_SECRET, default_message},
    scope::Reach,
};
use crate::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, CredentialPolicySpec, Mode, RuleName},
        credential_policy_exception::CredentialPolicyException,
    },
    contract::{self, namespace, pod},
};

/// A ValidatingAdmissionPolicy and its binding, which have the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The rules that it contains.
    pub rules: Vec<RuleName>,
    /// The expressions.
    pub policy: ValidatingAdmissionPolicy,
    /// The namespaces and the mode.
    pub binding: ValidatingAdmissionPolicyBinding,
}

/// Compiles a policy with the exceptions that have not expired. `excluded` are namespaces for which no policy holds, in
/// addition to those of the system.
///
/// # Errors
/// When the policy is invalid although it matches its schema.
pub fn compile(
    policy: &CredentialPolicy,
    exceptions: &[CredentialPolicyException],
    excluded: &[String],
    now: Timestamp,
) -> Result<Vec<Compiled>, InvalidPolicy> {
    Reach::read(policy)?;
    let compiler = Compiler { policy, exceptions, excluded, now };
    let modes = [Mode::Enforce, Mode::Warn, Mode::Audit];
    let each =
        modes.into_iter().flat_map(|mode| [Target::Pods, Target::TokenSecrets].map(|target| (mode, target)));
    Ok(each.filter_map(|(mode, target)| compiler.of_mode(mode, target)).collect())
}

/// What a ValidatingAdmissionPolicy is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Pods and the kinds that have a pod template.
    Pods,
    /// Secrets with a token of a service account.
    TokenSecrets,
}

struct Compiler<'a> {
    policy: &'a CredentialPolicy,
    exceptions: &'a [CredentialPolicyException],
    excluded: &'a [String],
    now: Timestamp,
}

impl Compiler<'_> {
    fn spec(&self) -> &CredentialPolicySpec {
        &self.policy.spec
    }

    fn name(&self) -> &str {
        self.policy.metadata.name.as_deref().unwrap_or_default()
    }

    /// The objects for one mode; `None` if no rule can have this mode.
    fn of_mode(&self, mode: Mode, target: Target) -> Option<Compiled> {
        let can_have = |(rule, otherwise, _): &(RuleName, Mode, Option<&str>)| {
            let is_about = target == Target::Pods || *rule == RuleName::NoServiceAccountTokens;
            is_about && possible_modes(*rule, *otherwise, &self.spec().overrides).contains(&mode)
        };
        let rules: Vec<_> = self.spec().named_rules().filter(can_have).collect();
        if rules.is_empty() {
            return None;
        }
        let mut variables = vec![variable("namespaceLabels", "namespaceObject.metadata.?labels.orValue({})")];
        variables.extend(match target {
            Target::Pods => of_pods(),
            Target::TokenSecrets => of_token_secrets(),
        });
        variables.extend(self.of_all(target));
        let mut validations = Vec::new();
        for (rule, otherwise, message) in &rules {
            let exemptions = exemptions(self.name(), *rule, self.exceptions, self.now);
            let variable_name = format!("{}_mode", rule.name());
            let is_off = format!("variables.{variable_name} != {}", literal(mode.name()));
            variables.push(variable(&variable_name, scope::mode(*rule, *otherwise, self.spec(), exemptions)));
            let message = one_line(message.unwrap_or_else(|| default_message(*rule)));
            if target == Target::TokenSecrets {
                validations.push(validation(rule_message(*rule, &message), is_off, None));
                continue;
            }
            for offence in offences(*rule, self.spec()) {
                let found = format!("variables.{}", offence.variable);
                let start = literal(&format!("{}: {} in ", rule_message(*rule, &message), offence.what));
                let expression = format!("{is_off} || {found}.size() == 0");
                let text = format!("{start} + {found}.join(', ')");
                validations.push(validation(rule_message(*rule, &message), expression, Some(text)));
                variables.push(variable(&offence.variable, offence.expression));
            }
        }
        let name = object_name(self.name(), mode, target);
        let spec = ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(MatchResources {
                resource_rules: Some(resources(target)),
                match_policy: Some("Equivalent".to_owned()),
                ..MatchResources::default()
            }),
            match_conditions: Some(conditions(target)),
            variables: Some(variables),
            validations: Some(validations),
            ..ValidatingAdmissionPolicySpec::default()
        };
        Some(Compiled {
            rules: rules.iter().map(|(rule, ..)| *rule).collect(),
            policy: ValidatingAdmissionPolicy {
                metadata: self.metadata(&name),
                spec: Some(spec),
                status: None,
            },
            binding: ValidatingAdmissionPolicyBinding {
                metadata: self.metadata(&name),
                spec: self.binding(&name, mode),
            },
        })
    }

    fn binding(&self, name: &str, mode: Mode) -> ValidatingAdmissionPolicyBindingSpec {
        let action = if mode == Mode::Enforce { "Deny" } else { mode.name() };
        ValidatingAdmissionPolicyBindingSpec {
            policy_name: name.to_owned(),
            validation_actions: vec![action.to_owned()],
            match_resources: Some(MatchResources {
                namespace_selector: Some(namespace_selector(self.spec(), self.excluded)),
                ..MatchResources::default()
            }),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        }
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        let (label, value) = contract::binding::MANAGED_BY;
        let labels = [(label, value), (contract::policy::POLICY, self.name())];
        ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        }
    }

    /// The variables that all targets have, which refer to those of the target.
    fn of_all(&self, target: Target) -> Vec<Variable> {
        let in_scope = match target {
            Target::Pods => has_pod(self.spec()),
            Target::TokenSecrets => scope::has_account(self.spec()),
        };
        vec![
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
            variable("inScope", in_scope),
        ]
    }
}

/// The name of the objects for one mode.
fn object_name(policy: &str, mode: Mode, target: Target) -> String {
    let suffix = if target == Target::TokenSecrets { "-token-secrets" } else { "" };
    format!("bindery-policy-{policy}-{}{suffix}", mode.name().to_lowercase())
}

/// The message with the rule's name, by which audit logs and users tell rules apart.
fn rule_message(rule: RuleName, message: &str) -> String {
    format!("[{}] {message}", rule.name())
}

/// The API server ignores messages with several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn validation(message: String, expression: String, message_expression: Option<String>) -> Validation {
    Validation {
        expression,
        message: Some(message),
        message_expression,
        reason: Some("Forbidden".to_owned()),
    }
}

fn variable(name: &str, expression: impl Into<String>) -> Variable {
    Variable { name: name.to_owned(), expression: expression.into() }
}

fn resources(target: Target) -> Vec<NamedRuleWithOperations> {
    let rule = |operations: &[&str], group: &str, version: &str, resources: &[&str]| {
        let owned = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        NamedRuleWithOperations {
            operations: owned(operations),
            api_groups: owned(&[group]),
            api_versions: owned(&[version]),
            resources: owned(resources),
            scope: Some("Namespaced".to_owned()),
            ..NamedRuleWithOperations::default()
        }
    };
    if target == Target::TokenSecrets {
        return vec![rule(&["CREATE"], "", "v1", &["secrets"])];
    }
    let written = ["CREATE", "UPDATE"];
    vec![
        rule(&written, "", "v1", &["pods", "replicationcontrollers", "podtemplates"]),
        rule(&["UPDATE"], "", "v1", &["pods/ephemeralcontainers"]),
        rule(&written, "apps", "v1", &["deployments", "statefulsets", "daemonsets", "replicasets"]),
        rule(&written, "batch", "v1", &["jobs", "cronjobs"]),
    ]
}

fn conditions(target: Target) -> Vec<MatchCondition> {
    let condition = |name: &str, expression: String| MatchCondition { name: name.to_owned(), expression };
    if target == Target::TokenSecrets {
        return vec![condition("is-a-token", format!("object.type == {}", literal(TOKEN_SECRET)))];
    }
    let compared =
        ["spec.?containers", "spec.?initContainers", "spec.?template", "spec.?jobTemplate", "template"];
    let differ = compared.map(|field| format!("dyn(object).?{field} != dyn(oldObject).?{field}"));
    vec![
        // Mirror pods stand for static pods. Only the kubelet may create them, and they cannot refer to Secrets.
        condition(
            "is-not-by-a-kubelet",
            "!('system:nodes' in request.userInfo.?groups.orValue([]))".to_owned(),
        ),
        // An object that is older than the policy can still be scaled, labelled and deleted.
        condition(
            "changes-pods",
            format!(
                "oldObject == null || request.?subResource.orValue('') == 'ephemeralcontainers' \
                 || !has(object.metadata.deletionTimestamp) && ({})",
                differ.join(" || ")
            ),
        ),
    ]
}

fn of_pods() -> Vec<Variable> {
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    let lists = containers.map(|field| format!("variables.spec.?{field}.orValue([])"));
    let (binds, inject) = (binds("k"), namespace::INJECT);
    let default = format!(
        "variables.namespaceLabels[?{}].orValue('') == {} ? \
         [namespaceObject.metadata.?annotations[?{}].orValue('')] : []",
        literal(inject.0),
        literal(inject.1),
        literal(pod::BIND)
    );
    let annotation = |name| format!("variables.annotations[?{}].orValue('').trim()", literal(name));
    vec![
        variable(
            "template",
            "dyn(object).?spec.?jobTemplate.?spec.?template.orValue(dyn(object).?spec.?template.orValue(\
             dyn(object).?template.orValue(dyn(object))))",
        ),
        variable("spec", "variables.template.?spec.orValue({})"),
        // The rest of the pod was judged when it was created, and may be older than the policy.
        variable("isDebug", "request.?subResource.orValue('') == 'ephemeralcontainers'"),
        variable("allContainers", lists.join(" + ")),
        variable("containers", format!("variables.isDebug ? {} : variables.allContainers", lists[2])),
        variable("volumes", "variables.isDebug ? [] : variables.spec.?volumes.orValue([])"),
        variable("images", "variables.allContainers.map(c, has(c.image), c.image)"),
        variable("annotations", "variables.template.?metadata.?annotations.orValue({})"),
        variable(
            "account",
            "variables.spec.?serviceAccountName.orValue('') != '' ? variables.spec.serviceAccountName : \
             variables.spec.?serviceAccount.orValue('') != '' ? variables.spec.serviceAccount : 'default'",
        ),
        variable("ownBinds", format!("variables.annotations.map(k, {binds}, variables.annotations[k])")),
        variable("ownBound", "variables.ownBinds.join(',').split(',').map(n, n.trim()).filter(n, n != '')"),
        variable(
            "bound",
            format!(
                "variables.ownBinds.size() > 0 ? variables.ownBound : \
                 ({default}).join(',').split(',').map(n, n.trim()).filter(n, n != '')"
            ),
        ),
        variable("bindingSecrets", "variables.bound + variables.bound.map(n, n + '-env')"),
        variable(
            "asksForVariables",
            format!(
                "{} != '' && variables.ownBound.exists(n, !n.startsWith('configmap/')) \
                 || ({as_} == '' || {as_}.split(',').exists(w, w.trim() == 'env')) \
                 && variables.ownBound.exists(n, !n.contains('/'))",
                annotation(pod::ENV),
                as_ = annotation(pod::AS)
            ),
        ),
    ]
}

fn of_token_secrets() -> Vec<Variable> {
    vec![
        variable(
            "account",
            "object.metadata.?annotations[?'kubernetes.io/service-account.name'].orValue('')",
        ),
        // A Secret has none, so no exception for images is for it.
        variable("images", "[]"),
    ]
}

#[cfg(test)]
mod tests;
