//! Which requests the API server sends to the webhook that judges the rules of [`Engine::Webhook`]: those with a name that
//! sounds like a credential. Other pods do not wait for bindery.
//!
//! [`Engine::Webhook`]: crate::apis::bindery::credential_policy::Engine::Webhook

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, NamedRuleWithOperations};
use serde::Serialize;

use super::{
    super::{
        path::steps,
        randomness::NAMES,
        ways::{NOT_SEARCHED, Root, Test, WAYS, Way},
    },
    condition, config_maps, pods,
    text::{any, exists, list, matches},
};
use crate::apis::bindery::credential_policy::RuleName;

/// The longest text in which the API server looks for names, in characters, and the most texts in which it looks. Objects with
/// longer or more texts go to the webhook in any case: a condition that costs more than the API server grants is an error, and
/// an error admits the object.
const LONGEST_TEXT: usize = 128;
const MOST_TEXTS: usize = 500;

/// What the chart needs to register the webhook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookRules {
    /// For pods and the kinds that have a pod template.
    pub pods: Requests,
    /// For ConfigMaps.
    pub config_maps: Requests,
}

/// The requests of a webhook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// The resources.
    pub rules: Vec<NamedRuleWithOperations>,
    /// What must be true of a request.
    pub match_conditions: Vec<MatchCondition>,
}

/// Compiles the requests of the webhook.
#[must_use]
pub fn webhook_rules() -> WebhookRules {
    let names = |conditions: Vec<MatchCondition>, expression| {
        conditions.into_iter().chain([condition("names-a-credential", expression)]).collect()
    };
    let data = "dyn(object).?data.orValue({})";
    let entries =
        format!("{data}.size() > {MOST_TEXTS} || {data}.exists(k, {})", sounds_like_credential("k"));
    WebhookRules {
        pods: Requests { rules: pods::resources(), match_conditions: names(pods::conditions(), in_pods()) },
        config_maps: Requests {
            rules: config_maps::resources(),
            match_conditions: names(config_maps::conditions(), entries),
        },
    }
}

/// Whether the pod, or the pod template, has a name that sounds like a credential.
fn in_pods() -> String {
    let ways = |root| WAYS.iter().filter(move |way| way.rule == RuleName::NoRandomValues && way.root == root);
    let offends = |value: &str, root| {
        any(ways(root).map(|way| exists(value, &steps(way.path), &|it| test(way, it), 0)))
    };
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let lists = lists.map(|field| format!("t.?spec.?{field}.orValue([])")).join(" + ");
    let counts: Vec<_> = ways(Root::Container).map(|way| count("c", way.path)).collect();
    format!(
        "[{}].exists(t, {} > {MOST_TEXTS} || ({lists}).map(c, {}).sum() > {MOST_TEXTS} || {} || ({lists}).exists(c, {}))",
        pods::TEMPLATE,
        any(ways(Root::Template).map(|way| count("t", way.path))),
        counts.join(" + "),
        offends("t", Root::Template),
        offends("c", Root::Container)
    )
}

/// How many items or entries a list or map at the end of a path has.
fn count(value: &str, path: &str) -> String {
    let fields: String = path.trim_end_matches("[]").split('.').map(|field| format!(".?{field}")).collect();
    format!("{value}{fields}.orValue([]).size()")
}

fn test(way: &Way, value: &str) -> String {
    match way.test {
        Test::RandomVariable => {
            format!(
                "{value}.?value.orValue('') != '' && {}",
                sounds_like_credential(&format!("{value}.name"))
            )
        }
        Test::RandomArguments => format!("{value}.exists(a, {})", sounds_like_credential("a")),
        Test::RandomAnnotations => {
            let name = sounds_like_credential("k");
            format!("{value}.exists(k, !(k in {}) && {name})", list(&NOT_SEARCHED))
        }
        _ => "false".to_owned(),
    }
}

/// Whether a text sounds like a credential, or is too long to look.
fn sounds_like_credential(text: &str) -> String {
    let lower = format!("{text}.lowerAscii()");
    format!("({text}.size() > {LONGEST_TEXT} || {})", matches(&lower, &[NAMES]))
}
