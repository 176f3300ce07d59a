//! Compiles a policy into ValidatingAdmissionPolicies, one for each mode, so that the API server holds it without bindery.
//! `pod_rules` makes an expression of the rows of `ways`; `protected`, `binders`, `services` and `ages` have a rule each.
//! `target` lists which rules are about which objects. A variable of the ValidatingAdmissionPolicy tells in which mode each
//! rule holds for the pod, because overrides and exceptions depend on the pod and its Namespace.

mod ages;
mod binders;
mod config_maps;
mod pod_rules;
mod pods;
mod protected;
mod scope;
mod services;
mod target;
mod text;
mod webhook;

pub use self::webhook::{Requests, WebhookRules, webhook_rules};

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
    scope::{exemptions, namespace_selector, possible_modes},
    target::Target,
    text::literal,
};
use super::{error::InvalidPolicy, judge::default_message, scope::Reach};
use crate::{
    apis::bindery::{
        credential_policy::{CredentialPolicy, CredentialPolicySpec, Mode, RuleName},
        credential_policy_exception::CredentialPolicyException,
    },
    contract,
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
    // What an administrator wrote in CEL comes last: the API server may refuse it.
    let each = Target::ALL.into_iter().flat_map(|target| modes.map(|mode| (mode, target)));
    Ok(each.filter_map(|(mode, target)| compiler.of_mode(mode, target)).collect())
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
            target.has(*rule, self.spec())
                && possible_modes(*rule, *otherwise, &self.spec().overrides).contains(&mode)
        };
        let rules: Vec<_> = self.spec().named_rules().filter(can_have).collect();
        if rules.is_empty() {
            return None;
        }
        let mut variables = target.variables(self.spec());
        let mut validations = Vec::new();
        for (rule, otherwise, message) in &rules {
            let exemptions = exemptions(self.name(), *rule, self.exceptions, self.now);
            let variable_name = format!("{}_mode", rule.name());
            let is_off = format!("variables.{variable_name} != {}", literal(mode.name()));
            variables.push(variable(&variable_name, scope::mode(*rule, *otherwise, self.spec(), exemptions)));
            let message = one_line(message.unwrap_or_else(|| default_message(*rule)));
            let message = rule_message(*rule, &message);
            let (more, of_rule) = target.validations(*rule, self.spec(), &is_off, &message);
            variables.extend(more);
            validations.extend(of_rule);
        }
        let name = object_name(self.name(), mode, target);
        let spec = ValidatingAdmissionPolicySpec {
            failure_policy: Some(target.failure_policy().to_owned()),
            param_kind: target.parameters().map(|(kind, _)| kind),
            match_constraints: Some(MatchResources {
                resource_rules: Some(target.resources()),
                match_policy: Some("Equivalent".to_owned()),
                ..MatchResources::default()
            }),
            match_conditions: Some(target.conditions(self.spec(), self.excluded)),
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
                spec: self.binding(&name, mode, target),
            },
        })
    }

    fn binding(&self, name: &str, mode: Mode, target: Target) -> ValidatingAdmissionPolicyBindingSpec {
        let action = if mode == Mode::Enforce { "Deny" } else { mode.name() };
        ValidatingAdmissionPolicyBindingSpec {
            policy_name: name.to_owned(),
            param_ref: target.parameters().map(|(_, all)| all),
            validation_actions: vec![action.to_owned()],
            match_resources: Some(MatchResources {
                namespace_selector: Some(namespace_selector(self.spec(), self.excluded)),
                ..MatchResources::default()
            }),
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
}

/// The name of the objects for one mode.
fn object_name(policy: &str, mode: Mode, target: Target) -> String {
    format!("bindery-policy-{policy}-{}{}", mode.name().to_lowercase(), target.suffix())
}

/// The policy that was compiled into the object of this name; `None` if the object is not bindery's.
#[must_use]
pub fn policy_of_object(name: &str) -> Option<&str> {
    let name = name.strip_prefix("bindery-policy-")?;
    let suffixes = Target::ALL.into_iter().map(Target::suffix).filter(|suffix| !suffix.is_empty());
    let name = suffixes.into_iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let (policy, mode) = name.rsplit_once('-')?;
    [Mode::Audit, Mode::Warn, Mode::Enforce]
        .iter()
        .any(|it| it.name().eq_ignore_ascii_case(mode))
        .then_some(policy)
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

fn condition(name: &str, expression: String) -> MatchCondition {
    MatchCondition { name: name.to_owned(), expression }
}

/// A rule of the API server about which requests a policy is for.
fn rule(operations: &[&str], group: &str, version: &str, resources: &[&str]) -> NamedRuleWithOperations {
    let owned = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
    NamedRuleWithOperations {
        operations: owned(operations),
        api_groups: owned(&[group]),
        api_versions: owned(&[version]),
        resources: owned(resources),
        scope: Some("*".to_owned()),
        ..NamedRuleWithOperations::default()
    }
}

#[cfg(test)]
mod tests;
