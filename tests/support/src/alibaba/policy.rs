//! RAM policies (help page "Policy elements", "Policy structure and syntax"): the grammar as far as it is needed here, and
//! the decision: a Deny wins, then an Allow, else the call is refused. What is not understood is a mistake of grammar, so
//! that no statement counts for more or less than it says.

use std::collections::BTreeMap;

use serde_json::Value;

/// Values of the condition keys of a call, such as `rds:ResourceTag/team`.
pub(super) type Context = BTreeMap<String, String>;

/// What a call needs to be allowed: an action on each of these resources.
pub(super) struct Access {
    pub(super) action: String,
    pub(super) resources: Vec<String>,
    pub(super) context: Context,
}

const OPERATORS: [&str; 6] =
    ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringLike", "StringNotLike", "Bool"];
const ELEMENTS: [&str; 7] = ["Sid", "Effect", "Action", "NotAction", "Resource", "Condition", "Principal"];

/// Reads a policy, and checks its grammar.
pub(super) fn parse(document: &str) -> Result<Value, String> {
    let policy: Value = serde_json::from_str(document).map_err(|error| error.to_string())?;
    if policy["Version"] != "1" {
        return Err(r#"Version must be "1""#.to_owned());
    }
    let statements = policy["Statement"].as_array().ok_or("Statement must be a list")?;
    if statements.is_empty() {
        return Err("Statement is empty".to_owned());
    }
    statements.iter().try_for_each(check)?;
    Ok(policy)
}

fn check(statement: &Value) -> Result<(), String> {
    let elements = statement.as_object().ok_or("a statement must be an object")?;
    if let Some(name) = elements.keys().find(|name| !ELEMENTS.contains(&name.as_str())) {
        return Err(format!("unknown element {name}"));
    }
    if statement["Effect"] != "Allow" && statement["Effect"] != "Deny" {
        return Err("Effect must be Allow or Deny".to_owned());
    }
    let acts = texts(&statement["Action"]).len() + texts(&statement["NotAction"]).len();
    let is_trust = elements.contains_key("Principal");
    if acts == 0 || texts(&statement["Resource"]).is_empty() != is_trust {
        return Err("Action and Resource must name something".to_owned());
    }
    let Some(conditions) = elements.get("Condition") else { return Ok(()) };
    let conditions = conditions.as_object().ok_or("Condition must be an object")?;
    match conditions.keys().find(|name| !OPERATORS.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown operator {name}")),
        None => Ok(()),
    }
}

/// Whether these policies together allow the access.
pub(super) fn allows<'a>(policies: impl IntoIterator<Item = &'a Value>, access: &Access) -> bool {
    let statements: Vec<_> = policies
        .into_iter()
        .flat_map(|policy| policy["Statement"].as_array().into_iter().flatten())
        .collect();
    access.resources.iter().all(|resource| {
        let met: Vec<_> = statements.iter().filter(|it| applies(it, access, resource)).collect();
        met.iter().any(|it| it["Effect"] == "Allow") && !met.iter().any(|it| it["Effect"] == "Deny")
    })
}

fn applies(statement: &Value, access: &Access, resource: &str) -> bool {
    let names_action = |element: &Value| {
        let action = access.action.to_lowercase();
        texts(element).iter().any(|pattern| matches(&pattern.to_lowercase(), &action))
    };
    let acts = match statement.get("NotAction") {
        Some(others) => !names_action(others),
        None => names_action(&statement["Action"]),
    };
    acts && texts(&statement["Resource"]).iter().any(|pattern| matches(pattern, resource))
        && meets(&statement["Condition"], &access.context)
}

/// Whether a trust policy lets this principal assume the role. `kind` is `RAM`, `Service` or `Federated`.
pub(super) fn trusts(policy: &Value, kind: &str, principals: &[String], context: &Context) -> bool {
    policy["Statement"].as_array().into_iter().flatten().any(|statement| {
        statement["Effect"] == "Allow"
            && texts(&statement["Action"]).contains(&"sts:AssumeRole")
            && texts(&statement["Principal"][kind]).iter().any(|it| principals.iter().any(|one| one == it))
            && meets(&statement["Condition"], context)
    })
}

/// All operators and all of their keys must hold; one of a key's values suffices.
fn meets(conditions: &Value, context: &Context) -> bool {
    conditions.as_object().into_iter().flatten().all(|(operator, keys)| {
        keys.as_object()
            .into_iter()
            .flatten()
            .all(|(key, values)| holds(operator, context.get(key).map(String::as_str), &texts(values)))
    })
}

fn holds(operator: &str, found: Option<&str>, wanted: &[&str]) -> bool {
    let is = |compare: &dyn Fn(&str, &str) -> bool| {
        found.is_some_and(|found| wanted.iter().any(|wanted| compare(wanted, found)))
    };
    match operator {
        "StringEquals" | "Bool" => is(&|wanted, found| wanted == found),
        "StringNotEquals" => !is(&|wanted, found| wanted == found),
        "StringEqualsIgnoreCase" => is(&|wanted, found| wanted.eq_ignore_ascii_case(found)),
        "StringLike" => is(&matches),
        _ => !is(&matches),
    }
}

/// A text, or the texts of a list.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether a text matches a pattern, in which `*` stands for any characters and `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            rest.is_empty()
                || text.char_indices().any(|(at, _)| matches(rest, &text[at..]))
                || matches(rest, "")
        }
        Some(first) => {
            let mut rest = text.chars();
            let next = rest.next();
            next.is_some_and(|next| first == '?' || first == next)
                && matches(&pattern[first.len_utf8()..], rest.as_str())
        }
    }
}
