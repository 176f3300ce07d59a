//! Finds the places in a pod that violate a rule, by the rows of `ways`, and says what is wrong there.

use serde_json::{Map, Value};

use super::{
    allowed::is_among,
    credential_patterns::{by_name, in_text},
    judge::Finding,
    path::walk,
    randomness::{looks_random, named_values_of_arguments, sounds_like_credential},
    subject::{Subject, is_bind},
    ways::{API_AUDIENCES, NOT_SEARCHED, SECRETS_DRIVERS, Test, WAYS, Way},
};
use crate::{
    apis::bindery::credential_policy::{CredentialPolicySpec, NoPlainText, NoRandomValues, RuleName},
    contract::pod,
};

impl CredentialPolicySpec {
    /// The places in a pod that violate a rule of this policy.
    pub(super) fn findings(&self, rule: RuleName, subject: &Subject<'_>) -> Vec<Finding> {
        let account = subject.service_account();
        let tokens = self.rules.no_service_account_tokens.as_ref();
        let may_have_token = tokens.is_some_and(|tokens| is_among(account, &tokens.allow_service_accounts));
        if rule == RuleName::NoServiceAccountTokens && may_have_token {
            return Vec::new();
        }
        let mut findings = Vec::new();
        for way in WAYS.iter().filter(|way| way.rule == rule) {
            for (place, root) in subject.roots(way.root) {
                walk(root, &place, way.path, &mut |place, value| {
                    if let Some(what) = self.offence(way, value, subject) {
                        findings.push(Finding { rule, place, what });
                    }
                });
            }
        }
        findings
    }

    /// What is wrong with the value at the end of a way.
    fn offence(&self, way: &Way, value: &Value, subject: &Subject<'_>) -> Option<String> {
        let what = way.what;
        let text = value.as_str().unwrap_or_default();
        match way.test {
            Test::Exists => Some(what.to_owned()),
            Test::UnboundSecret => {
                let settings = self.rules.bindings_only.as_ref()?;
                let is_fine =
                    text.is_empty() || is_among(text, &settings.allow_secrets) || subject.is_of_binding(text);
                (!is_fine).then(|| format!("{what}: {text:?} belongs to no binding of the pod"))
            }
            Test::SecretsDriver => SECRETS_DRIVERS.contains(&text).then(|| format!("{what}: {text}")),
            Test::Text => contains(what, &kinds(text)),
            Test::Annotations => {
                let searched = |name: &str| !NOT_SEARCHED.contains(&name);
                let mut annotations = value.as_object()?.iter().filter(|(name, _)| searched(name));
                annotations.find_map(|(name, value)| {
                    contains(&format!("{what}, {name},"), &kinds(value.as_str().unwrap_or_default()))
                })
            }
            Test::Variable => in_variable(self.rules.no_plain_text.as_ref()?, value, what),
            Test::RandomVariable => in_random_variable(self.rules.no_random_values.as_ref()?, value, what),
            Test::RandomArguments => {
                // A script in an argument has arguments of its own.
                let texts = value.as_array()?.iter().filter_map(Value::as_str);
                let arguments: Vec<_> = texts.flat_map(words).collect();
                // What looks like an option can be a password: `mysql -pSECRET`.
                random(self.rules.no_random_values.as_ref()?, named_values_of_arguments(&arguments))?;
                Some(format!("{what} has a random value under a credential's name"))
            }
            Test::RandomAnnotations => {
                let annotations = value.as_object()?.iter();
                let named =
                    annotations.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
                let searched = named.filter(|(name, _)| !NOT_SEARCHED.contains(name));
                let name = random(self.rules.no_random_values.as_ref()?, searched)?;
                Some(format!("{what}, {name}, has a random value"))
            }
            Test::AsksForVariables => asks_for_variables(value.as_object()?).then(|| what.to_owned()),
            Test::TokenNotOff => (value.get("automountServiceAccountToken") != Some(&Value::Bool(false)))
                .then(|| what.to_owned()),
            Test::ApiToken => {
                let audience = value.get("audience").and_then(Value::as_str).unwrap_or_default();
                API_AUDIENCES.contains(&audience).then(|| what.to_owned())
            }
        }
    }
}

/// The words of a script, without the quotes around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| it.is_whitespace() || it == ';').map(|word| word.trim_matches(['"', '\'']))
}

/// The name and the value of a variable.
fn parts(variable: &Value) -> (&str, &str) {
    let field = |name| variable.get(name).and_then(Value::as_str).unwrap_or_default();
    (field("name"), field("value"))
}

/// What is random about a variable: an object with `name` and `value`.
pub(super) fn in_random_variable(settings: &NoRandomValues, variable: &Value, what: &str) -> Option<String> {
    let name = random(settings, [parts(variable)])?;
    Some(format!("{what}, {name}, has a random value"))
}

/// The first of these names that sounds like a credential and has a random value.
fn random<'a>(
    settings: &NoRandomValues,
    named: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<&'a str> {
    let is_random = |(name, value): &(&str, &str)| {
        sounds_like_credential(name) && !is_among(name, &settings.allow_names) && looks_random(value)
    };
    named.into_iter().find(is_random).map(|(name, _)| name)
}

/// What is wrong with a variable: an object with `name` and `value`.
pub(super) fn in_variable(settings: &NoPlainText, variable: &Value, what: &str) -> Option<String> {
    let (name, value) = parts(variable);
    if is_among(name, &settings.allow_variables) {
        return None;
    }
    let by_name = by_name(name, value).map(|detector| detector.what);
    contains(what, &kinds(value).into_iter().chain(by_name).collect::<Vec<_>>())
}

/// The kinds of credentials in a text.
fn kinds(text: &str) -> Vec<&'static str> {
    in_text(text).map(|detector| detector.what).collect()
}

fn contains(what: &str, kinds: &[&str]) -> Option<String> {
    (!kinds.is_empty()).then(|| format!("{what} contains {}", kinds.join(" and ")))
}

/// Whether these annotations of a pod make bindery add variables from Secrets.
fn asks_for_variables(annotations: &Map<String, Value>) -> bool {
    let text = |name: &str| annotations.get(name).and_then(Value::as_str).unwrap_or_default().trim();
    let bound: Vec<&str> = annotations
        .iter()
        .filter(|(name, _)| is_bind(name))
        .flat_map(|(_, value)| value.as_str().unwrap_or_default().split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty() && !name.starts_with("configmap/"))
        .collect();
    let by_default = text(pod::AS).is_empty() || text(pod::AS).split(',').any(|way| way.trim() == "env");
    let names_some = !text(pod::ENV).is_empty();
    !bound.is_empty() && names_some || by_default && bound.iter().any(|name| !name.contains('/'))
}
