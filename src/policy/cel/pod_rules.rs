//! The rules that look at the pod alone, in CEL: `bindingsOnly`, `noPlainText`, `filesOnly` and `noServiceAccountTokens`. The
//! rows of `ways` become, for each rule and root, a variable with the names of the offending containers or volumes.
//! `noPlainText` for ConfigMaps has the same tests.

use k8s_openapi::api::admissionregistration::v1::{Validation, Variable};

use super::{
    super::{
        credential_patterns::{BY_NAME, Detector, IN_TEXT, NamedDetector},
        path::{Step, steps},
        ways::{API_AUDIENCES, NOT_SEARCHED, Root, SECRETS_DRIVERS, Test, WAYS, Way},
    },
    text::{all, all_texts, any, exists, is_among, list, literal, matches},
    validation, variable,
};
use crate::apis::bindery::credential_policy::{CredentialPolicySpec, RuleName};

/// The names of the variables with all text.
const TEXT_OF_CONTAINERS: &str = "textOfContainers";
const TEXT_OF_TEMPLATE: &str = "textOfTemplate";
const TEXT_OF_ENTRIES: &str = "textOfEntries";

/// A part of a rule that has a variable and a validation of its own.
struct Offence {
    /// The name of the variable that holds the names of the offenders.
    variable: String,
    /// The variable's expression: a list of strings.
    expression: String,
    /// What the offenders have, for messages.
    what: String,
}

/// The variables of a rule with the names of offenders, and a validation for each.
pub(super) fn validations(
    rule: RuleName,
    spec: &CredentialPolicySpec,
    is_off: &str,
    message: &str,
) -> (Vec<Variable>, Vec<Validation>) {
    let (variables, validations) = held(offences(rule, spec), is_off, message);
    let texts = if rule == RuleName::NoPlainText { texts() } else { Vec::new() };
    (texts.into_iter().chain(variables).collect(), validations)
}

/// The variables with all text of the containers and of the annotations: a hint that is not in them need not be sought in
/// each container.
fn texts() -> Vec<Variable> {
    let ways = WAYS.iter().filter(|way| way.rule == RuleName::NoPlainText && way.root == Root::Container);
    let of_way = |way: &Way| {
        let mut path = steps(way.path);
        if way.test == Test::Variable {
            path.push(Step::Field("value"));
        }
        all_texts("variables.containers", &path)
    };
    let of_containers = ways.map(of_way).collect::<Vec<_>>().join(" + ");
    vec![
        variable(TEXT_OF_CONTAINERS, format!("({of_containers}).join(' ')")),
        variable(TEXT_OF_TEMPLATE, "variables.annotations.map(k, variables.annotations[k]).join(' ')"),
    ]
}

/// Whether the text contains a hint of this kind of credential.
fn hints(detector: &Detector, text: &str) -> String {
    any(detector.hints.iter().map(|hint| format!("{text}.contains({})", literal(hint))))
}

/// The variables and validations of `noPlainText` for the entries of a ConfigMap.
pub(super) fn in_config_maps(
    spec: &CredentialPolicySpec,
    is_off: &str,
    message: &str,
) -> (Vec<Variable>, Vec<Validation>) {
    let of_entries = sought(RuleName::NoPlainText).into_iter().enumerate().map(|(index, sought)| {
        let offends = test(Test::Variable, "e", sought, spec);
        let found = format!("variables.searched.filter(e, {offends}).map(e, e.name)");
        Offence {
            variable: format!("entries_{index}"),
            expression: guarded(sought, TEXT_OF_ENTRIES, &found),
            what: what(sought, &[]),
        }
    });
    let text = variable(TEXT_OF_ENTRIES, "variables.searched.map(e, e.value).join(' ')");
    let (variables, validations) = held(of_entries.collect(), is_off, message);
    (std::iter::once(text).chain(variables).collect(), validations)
}

fn held(offences: Vec<Offence>, is_off: &str, message: &str) -> (Vec<Variable>, Vec<Validation>) {
    let both = offences.into_iter().map(|offence| {
        let found = format!("variables.{}", offence.variable);
        let start = literal(&format!("{message}: {} in ", offence.what));
        let expression = format!("{is_off} || {found}.size() == 0");
        let text = format!("{start} + {found}.join(', ')");
        let validation = validation(message.to_owned(), expression, Some(text));
        (variable(&offence.variable, offence.expression), validation)
    });
    both.unzip()
}

/// What a test on text looks for.
#[derive(Clone, Copy)]
enum Sought {
    /// The rule does not look at text.
    Nothing,
    InText(&'static Detector),
    ByName(&'static NamedDetector),
}

/// The parts of a rule.
fn offences(rule: RuleName, spec: &CredentialPolicySpec) -> Vec<Offence> {
    let mut offences = Vec::new();
    for root in [Root::Container, Root::Volume, Root::Template] {
        for (index, sought) in sought(rule).iter().enumerate() {
            let ways: Vec<_> = WAYS
                .iter()
                .filter(|way| way.rule == rule && way.root == root && is_for(way, *sought))
                .collect();
            if !ways.is_empty() {
                offences.push(offence(rule, root, index, *sought, &ways, spec));
            }
        }
    }
    offences
}

fn sought(rule: RuleName) -> Vec<Sought> {
    match rule {
        RuleName::NoPlainText => {
            IN_TEXT.iter().map(Sought::InText).chain(BY_NAME.iter().map(Sought::ByName)).collect()
        }
        _ => vec![Sought::Nothing],
    }
}

/// Only the value of a variable can be judged by a name.
fn is_for(way: &Way, sought: Sought) -> bool {
    !matches!(sought, Sought::ByName(_)) || way.test == Test::Variable
}

fn offence(
    rule: RuleName,
    root: Root,
    index: usize,
    sought: Sought,
    ways: &[&Way],
    spec: &CredentialPolicySpec,
) -> Offence {
    let of_way = |way: &&Way, value: &str| {
        let test = |value: &str| test(way.test, value, sought, spec);
        exists(value, &steps(way.path), &test, 0)
    };
    let (name, expression) = match root {
        Root::Container | Root::Volume => {
            let items = if root == Root::Container { "containers" } else { "volumes" };
            let offends = any(ways.iter().map(|way| of_way(way, "c")));
            let found = format!("variables.{items}.filter(c, {offends}).map(c, string(c.name))");
            (items, guarded(sought, TEXT_OF_CONTAINERS, &found))
        }
        Root::Template => {
            let offends = any(ways.iter().map(|way| of_way(way, "variables.template")));
            let found = format!("!variables.isDebug && {offends} ? ['the pod'] : []");
            ("template", guarded(sought, TEXT_OF_TEMPLATE, &found))
        }
    };
    Offence { variable: format!("{}_{name}_{index}", rule.name()), expression, what: what(sought, ways) }
}

/// The offenders, which are looked for only if the text of all contains a hint.
fn guarded(sought: Sought, text: &str, found: &str) -> String {
    match sought {
        Sought::InText(detector) => {
            format!("{} ? ({found}) : []", hints(detector, &format!("variables.{text}")))
        }
        Sought::ByName(_) | Sought::Nothing => found.to_owned(),
    }
}

/// What the offenders have, for messages.
fn what(sought: Sought, ways: &[&Way]) -> String {
    match sought {
        Sought::InText(Detector { what, .. }) | Sought::ByName(NamedDetector { what, .. }) => {
            (*what).to_owned()
        }
        Sought::Nothing => {
            let mut all: Vec<_> = ways.iter().map(|way| way.what).collect();
            all.dedup();
            all.join(", or ")
        }
    }
}

/// Whether the value at the end of a way violates the rule.
fn test(test: Test, value: &str, sought: Sought, spec: &CredentialPolicySpec) -> String {
    match test {
        Test::Exists => "true".to_owned(),
        Test::UnboundSecret => {
            let allowed = spec.rules.bindings_only.as_ref().map_or(&[][..], |rule| &rule.allow_secrets);
            let allowed = is_among(value, allowed);
            format!("{value} != '' && !({allowed} || {value} in variables.bindingSecrets)")
        }
        Test::SecretsDriver => format!("{value} in {}", list(&SECRETS_DRIVERS)),
        Test::Text => has(value, sought),
        Test::Annotations => {
            format!(
                "{value}.exists(k, !(k in {}) && {})",
                list(&NOT_SEARCHED),
                has(&format!("{value}[k]"), sought)
            )
        }
        Test::Variable => {
            let allowed = spec.rules.no_plain_text.as_ref().map_or(&[][..], |rule| &rule.allow_variables);
            let text = format!("{value}.?value.orValue('')");
            let found = match sought {
                Sought::ByName(detector) => {
                    let none = detector.none.iter().map(|pattern| format!("!{}", matches(&text, &[pattern])));
                    let every = detector.all.iter().map(|pattern| matches(&text, &[pattern]));
                    let name = matches(&format!("{value}.name"), &[detector.name]);
                    all([name].into_iter().chain(every).chain(none))
                }
                _ => has(&text, sought),
            };
            let name = is_among(&format!("{value}.name"), allowed);
            format!("!({name}) && {found}")
        }
        // The webhook judges these: CEL cannot tell how random a text is.
        Test::RandomVariable | Test::RandomArguments | Test::RandomAnnotations => "false".to_owned(),
        Test::AsksForVariables => "variables.asksForVariables".to_owned(),
        Test::TokenNotOff => format!("{value}.?automountServiceAccountToken.orValue(true)"),
        Test::ApiToken => format!("{value}.?audience.orValue('') in {}", list(&API_AUDIENCES)),
    }
}

fn has(text: &str, sought: Sought) -> String {
    match sought {
        Sought::InText(detector) => {
            format!("[{text}].exists(t, {} && {})", hints(detector, "t"), matches("t", detector.patterns))
        }
        Sought::ByName(_) | Sought::Nothing => "false".to_owned(),
    }
}
