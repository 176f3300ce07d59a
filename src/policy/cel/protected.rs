//! The rule about objects that only bindery and administrators change, in CEL.

use k8s_openapi::api::admissionregistration::v1::{MatchCondition, NamedRuleWithOperations, Variable};

use super::{
    super::protected::{
        ADMINISTRATORS, CONTROLLERS, Kind, NAMESPACE_ANNOTATIONS, OWN_PREFIX, RECORD_FIELDS, SECRET_FIELDS,
        accounts_of,
    },
    condition, rule,
    text::{any, is_among, list, literal},
    variable,
};
use crate::{
    apis::bindery::credential_policy::ProtectedObjects,
    contract::{binding, branch, namespace, pod},
};

pub(super) fn resources() -> Vec<NamedRuleWithOperations> {
    let everything = ["CREATE", "UPDATE", "DELETE"];
    let namespaces = ["namespaces", "namespaces/status", "namespaces/finalize"];
    vec![
        rule(&everything, "", "v1", &["secrets"]),
        rule(&everything, "bindery.dev", "v1alpha1", &["externalresources", "externalresources/status"]),
        rule(&everything[..2], "", "v1", &namespaces),
    ]
}

/// Requests of authors who may change everything are not evaluated any further, so that no error can stop them.
pub(super) fn conditions(settings: &ProtectedObjects, excluded: &[String]) -> Vec<MatchCondition> {
    let name = "request.userInfo.username";
    let controllers = format!("{name} in {}", list(&CONTROLLERS));
    let accounts = excluded.iter().map(|it| format!("{name}.startsWith({})", literal(&accounts_of(it))));
    let groups: Vec<_> = settings.allow_groups.iter().cloned().chain([ADMINISTRATORS.to_owned()]).collect();
    let of_group = format!("request.userInfo.?groups.orValue([]).exists(g, {})", is_among("g", &groups));
    let allowed = [controllers, is_among(name, &settings.allow_users), of_group];
    let is_allowed = any(allowed.into_iter().chain(accounts));
    vec![condition("is-not-by-an-administrator", format!("!{is_allowed}"))]
}

/// The variables; `touched` says whether the request touches what is protected.
pub(super) fn variables() -> Vec<Variable> {
    let own = |key: &str| {
        format!("({key} == {} || {key}.startsWith({}))", literal(binding::MANAGED_BY.0), literal(OWN_PREFIX))
    };
    let is_of_binding = |object: &str| {
        format!(
            "({} in variables.{object}.?metadata.?labels.orValue({{}}) || \
             variables.{object}.?metadata.?ownerReferences.orValue([]).exists(o, o.kind == 'ServiceBinding' \
             && o.apiVersion.startsWith('servicecatalog.k8s.io/') && o.?controller.orValue(false)))",
            literal(binding::BINDING)
        )
    };
    let isnt_update = "request.operation != 'UPDATE'".to_owned();
    let secret = any([
        isnt_update.clone(),
        differs(&SECRET_FIELDS),
        differs_in("labels", &own("k")),
        differs_in("annotations", &own("k")),
    ]);
    let record = any([isnt_update, differs(&RECORD_FIELDS)]);
    let of_namespace = format!(
        "k in {} || variables.isDefaultOwn && k == {}",
        list(&NAMESPACE_ANNOTATIONS),
        literal(pod::BIND)
    );
    let inject = format!("variables.isDefaultOwn && k == {}", literal(namespace::INJECT.0));
    let annotation =
        |name| format!("variables.before.?metadata.?annotations[?{}].orValue('')", literal(name));
    let kind = |kind: Kind| format!("request.resource.resource == {}", literal(kind.resource()));
    vec![
        // A default for pods that differs from what bindery wrote is the user's own.
        variable(
            "isDefaultOwn",
            format!(
                "{} in variables.before.?metadata.?annotations.orValue({{}}) && {} == {}",
                literal(branch::BOUND_BY),
                annotation(pod::BIND),
                annotation(branch::BOUND_BY)
            ),
        ),
        variable(
            "touched",
            format!(
                "{} ? ({} || {}) && {secret} : {} ? {record} : {}",
                kind(Kind::Secret),
                is_of_binding("before"),
                is_of_binding("after"),
                kind(Kind::Record),
                any([differs_in("annotations", &of_namespace), differs_in("labels", &inject)])
            ),
        ),
        variable(
            "what",
            Kind::ALL.map(|it| format!("{} ? {} : ", kind(it), literal(it.what()))).concat() + "''",
        ),
    ]
}

/// Where the object is, and its labels as the API server's selectors see them.
pub(super) fn place() -> Vec<Variable> {
    vec![
        variable("before", "oldObject == null ? dyn({}) : dyn(oldObject)"),
        variable("after", "object == null ? dyn({}) : dyn(object)"),
        variable(
            "name",
            "(request.operation == 'DELETE' ? variables.before : variables.after).metadata.name",
        ),
        variable(
            "namespaceName",
            "request.resource.resource == 'namespaces' ? variables.name : request.?namespace.orValue('')",
        ),
        variable(
            "namespaceLabels",
            "request.resource.resource == 'namespaces' ? variables.after.?metadata.?labels.orValue({}) : \
             dyn(namespaceObject) == null ? dyn({}) : dyn(namespaceObject).metadata.?labels.orValue({})",
        ),
        variable(
            "times",
            "request.operation == 'DELETE' ? [] : request.operation == 'CREATE' ? \
             [timestamp(variables.after.metadata.creationTimestamp)] : \
             variables.after.metadata.?managedFields.orValue([]).map(m, has(m.time), timestamp(m.time))",
        ),
        variable("account", "''"),
        // The objects have none, so no exception for images is for them.
        variable("images", "[]"),
        variable("inScope", "true"),
    ]
}

fn differs(fields: &[&str]) -> String {
    any(fields.iter().map(|field| {
        let path: String = field.split('.').map(|name| format!(".?{name}")).collect();
        format!("variables.before{path} != variables.after{path}")
    }))
}

/// Whether labels or annotations differ whose name `k` fulfils the test.
fn differs_in(map: &str, test: &str) -> String {
    let of = |object: &str| format!("variables.{object}.?metadata.?{map}.orValue({{}})");
    let names = format!("({}.map(k, k) + {}.map(k, k))", of("before"), of("after"));
    let value = |object: &str| format!("variables.{object}.?metadata.?{map}[?k]");
    format!("{names}.exists(k, ({test}) && {} != {})", value("before"), value("after"))
}
