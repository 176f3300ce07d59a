//! Pods and the kinds that have a pod template, in CEL.

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, NamedRuleWithOperations, Variable};

use super::{
    condition, rule,
    text::{binds, literal},
    variable,
};
use crate::contract::{namespace, pod};

/// The pod, or the pod template of a workload.
pub(super) const TEMPLATE: &str = "dyn(object).?spec.?jobTemplate.?spec.?template.orValue(dyn(object).?spec.?template.orValue(\
                                   dyn(object).?template.orValue(dyn(object))))";

pub(super) fn resources() -> Vec<NamedRuleWithOperations> {
    let written = ["CREATE", "UPDATE"];
    vec![
        rule(&written, "", "v1", &["pods", "replicationcontrollers", "podtemplates"]),
        rule(&["UPDATE"], "", "v1", &["pods/ephemeralcontainers"]),
        rule(&written, "apps", "v1", &["deployments", "statefulsets", "daemonsets", "replicasets"]),
        rule(&written, "batch", "v1", &["jobs", "cronjobs"]),
    ]
}

pub(super) fn conditions() -> Vec<MatchCondition> {
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

/// The parts of the pod or pod template.
pub(super) fn variables() -> Vec<Variable> {
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
        variable("template", TEMPLATE),
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
