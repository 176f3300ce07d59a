//! The rules of `spec.catalogRestrictions`: a property, an operator and a value, such as
//! `spec.externalName in (small, large)`. Commas join rules. All rules must hold. Pure.

use std::fmt;

use crate::apis::servicecatalog::broker::CatalogRestrictions;

/// The properties of classes.
const OF_CLASSES: &[&str] = &["name", "spec.externalName", "spec.externalID"];
/// The properties of plans, without the name of the class, which differs between the scopes.
const OF_PLANS: &[&str] = &["name", "spec.externalName", "spec.externalID", "spec.free"];

/// A rule that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.catalogRestrictions.{list}[{index}] {rule:?}: {problem}")]
pub(super) struct InvalidRule {
    list: &'static str,
    index: usize,
    rule: String,
    problem: String,
}

/// The parsed rules of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Restrictions {
    classes: Vec<Rule>,
    plans: Vec<Rule>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    property: String,
    is_excluding: bool,
    values: Vec<String>,
}

/// The value of a property of a class or plan, by the property's name.
pub(super) trait Properties {
    fn property(&self, name: &str) -> String;
}

impl<F: Fn(&str) -> String> Properties for F {
    fn property(&self, name: &str) -> String {
        self(name)
    }
}

impl Restrictions {
    /// Parses the rules of a broker. `class_property` is the name of a plan's property that holds the name of its
    /// class.
    pub(super) fn parse(
        restrictions: Option<&CatalogRestrictions>,
        class_property: &'static str,
    ) -> Result<Self, InvalidRule> {
        let Some(restrictions) = restrictions else { return Ok(Self::default()) };
        let of_plans: Vec<_> = OF_PLANS.iter().copied().chain([class_property]).collect();
        Ok(Self {
            classes: parse_all("serviceClass", &restrictions.service_class, OF_CLASSES)?,
            plans: parse_all("servicePlan", &restrictions.service_plan, &of_plans)?,
        })
    }

    pub(super) fn admit_class(&self, class: &impl Properties) -> bool {
        self.classes.iter().all(|rule| rule.holds(class))
    }

    pub(super) fn admit_plan(&self, plan: &impl Properties) -> bool {
        self.plans.iter().all(|rule| rule.holds(plan))
    }
}

impl Rule {
    fn holds(&self, object: &impl Properties) -> bool {
        self.values.contains(&object.property(&self.property)) != self.is_excluding
    }
}

fn parse_all(list: &'static str, rules: &[String], properties: &[&str]) -> Result<Vec<Rule>, InvalidRule> {
    let mut parsed = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let invalid = |problem| InvalidRule { list, index, rule: rule.clone(), problem };
        for part in split(rule).map_err(invalid)? {
            parsed.push(parse(part.trim(), properties).map_err(invalid)?);
        }
    }
    Ok(parsed)
}

/// The parts between the commas outside of parentheses.
fn split(rule: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut is_inside) = (Vec::new(), 0, false);
    for (at, char) in rule.char_indices() {
        match char {
            '(' if !is_inside => is_inside = true,
            ')' if is_inside => is_inside = false,
            '(' | ')' => return Err("the parentheses do not match; write, for example, in (a, b)".to_owned()),
            ',' if !is_inside => {
                parts.push(&rule[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if is_inside {
        return Err("a closing parenthesis is missing; write, for example, in (a, b)".to_owned());
    }
    parts.push(&rule[start..]);
    Ok(parts)
}

fn parse(rule: &str, properties: &[&str]) -> Result<Rule, String> {
    let is_of_name = |char: char| char.is_ascii_alphanumeric() || char == '.';
    let (property, rest) = rule.split_at(rule.find(|char| !is_of_name(char)).unwrap_or(rule.len()));
    if !properties.contains(&property) {
        return Err(format!("unknown property {property:?}; use {}", OneOf(properties)));
    }
    let rest = rest.trim_start();
    // The longer operator first: `==` also begins with `=`.
    for (operator, is_excluding) in [("==", false), ("!=", true), ("=", false)] {
        if let Some(value) = rest.strip_prefix(operator) {
            let values = vec![value_of(property, value)?];
            return Ok(Rule { property: property.to_owned(), is_excluding, values });
        }
    }
    for (operator, is_excluding) in [("in", false), ("notin", true)] {
        let Some(set) = rest.strip_prefix(operator).map(str::trim_start) else { continue };
        let Some(set) = set.strip_prefix('(').and_then(|set| set.strip_suffix(')')) else { continue };
        let values: Result<_, _> = set.split(',').map(|value| value_of(property, value)).collect();
        return Ok(Rule { property: property.to_owned(), is_excluding, values: values? });
    }
    Err(format!("{property} needs a condition; write ==, =, !=, in (…) or notin (…) after the property"))
}

fn value_of(property: &str, value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.is_empty() {
        return Err(format!("a value for {property} is missing; name one, such as {property}==value"));
    }
    if value.contains(['(', ')', '=', '!', ' ']) {
        return Err(format!(
            "the value {value:?} for {property} is malformed; write one word for each value"
        ));
    }
    if property == "spec.free" && !matches!(value, "true" | "false") {
        return Err(format!("spec.free is true or false, never {value:?}; write spec.free==true"));
    }
    Ok(value.to_owned())
}

/// `a, b or c`.
struct OneOf<'a>(&'a [&'a str]);

impl fmt::Display for OneOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_last() {
            Some((last, rest)) => write!(f, "{} or {last}", rest.join(", ")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: &str = "spec.clusterServiceClass.name";

    fn parsed(class: &[&str], plan: &[&str]) -> Result<Restrictions, String> {
        let owned = |rules: &[&str]| rules.iter().map(|&rule| rule.to_owned()).collect();
        let restrictions = CatalogRestrictions { service_class: owned(class), service_plan: owned(plan) };
        Restrictions::parse(Some(&restrictions), CLASS).map_err(|error| error.to_string())
    }

    fn plan(name: &str) -> String {
        match name {
            "name" => "p-id",
            "spec.externalName" => "Demo",
            "spec.free" => "true",
            CLASS => "c-id",
            _ => "P-ID",
        }
        .to_owned()
    }

    #[test]
    fn a_plan_is_admitted_if_all_rules_hold() {
        for (rule, is_admitted) in [
            ("spec.externalName==Demo", true),
            ("spec.externalName = Demo", true),
            ("spec.externalName==demo", false),
            ("spec.externalName!=Demo", false),
            ("name!=other", true),
            ("spec.externalName in (Demo,Trial)", true),
            ("spec.externalName in( Trial , Demo )", true),
            ("spec.externalName notin (Demo, Trial)", false),
            ("spec.externalName notin(Trial)", true),
            ("spec.free=true", true),
            ("spec.free==false", false),
            ("spec.clusterServiceClass.name in (c-id)", true),
            ("spec.externalName in (Demo), spec.free=true,name==p-id", true),
            ("spec.externalName in (Demo), spec.free=false", false),
        ] {
            assert_eq!(parsed(&[], &[rule]).unwrap().admit_plan(&plan), is_admitted, "{rule}");
        }
        let several = parsed(&[], &["spec.free=true", "name==other"]).unwrap();
        assert!(!several.admit_plan(&plan));
        assert!(several.admit_class(&plan), "rules for plans do not concern classes");
        assert!(Restrictions::parse(None, CLASS).unwrap().admit_plan(&plan));
    }

    #[test]
    fn an_unusable_rule_is_named_with_the_problem_and_the_remedy() {
        for (rule, said) in [
            ("spec.name==x", "unknown property \"spec.name\"; use name, spec.externalName"),
            ("", "unknown property \"\""),
            ("name", "name needs a condition; write ==, =, !="),
            ("name in x", "needs a condition"),
            ("name like x", "needs a condition"),
            ("name in (a", "a closing parenthesis is missing"),
            ("name in (a))", "the parentheses do not match"),
            ("name==", "a value for name is missing"),
            ("name in ()", "a value for name is missing"),
            ("name===x", "malformed"),
            ("name==a b", "malformed"),
            ("spec.free=yes", "spec.free is true or false"),
            ("name==a,", "unknown property \"\""),
        ] {
            let error = parsed(&[], &["name!=ok", rule]).unwrap_err();
            assert!(error.starts_with("spec.catalogRestrictions.servicePlan[1]"), "{error}");
            assert!(error.contains(said), "{rule}: {error}");
        }
        let error = parsed(&["spec.free=true"], &[]).unwrap_err();
        assert!(error.contains("serviceClass[0]") && error.contains("or spec.externalID"), "{error}");
    }
}
