//! What the webhooks for ServiceInstances and ServiceBindings share: the object with its spec as plain JSON, the
//! author, and the fields that both kinds get at creation. The spec stays JSON because the webhook must also set the
//! author of objects that do not match the types yet; the API server checks the schema afterwards.

use json_patch::Patch;
use k8s_openapi::{api::authentication::v1::UserInfo, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    codec::{MalformedReview, Request},
    decision::{Decision, DenialStatus},
    secret_rights::{Approvable, Purpose, SecretRights, Verdict, annotate},
};
use crate::{
    apis::servicecatalog::{self, FINALIZER, UsesSecrets},
    contract::approval::APPROVAL,
    k8s::trim::{is_cut, too_deep},
};

/// The field with the author.
pub(super) const USER_INFO: &str = "userInfo";
/// The field with the id at the broker.
pub(super) const EXTERNAL_ID: &str = "externalID";

/// A request about such an object.
pub(super) type AuthoredRequest = Request<Option<Authored>, Option<Authored>, UserInfo>;

/// A ServiceInstance or ServiceBinding as the API server sends it.
#[derive(Clone, Debug, Deserialize)]
pub struct Authored {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

impl Authored {
    /// The members of the spec; `None` if the spec is not an object, which the schema refuses.
    pub(super) fn members(&self) -> Option<&Map<String, Value>> {
        self.spec.as_object()
    }

    /// The object's name; `None` if the API server has yet to choose one (generateName).
    pub(super) fn name(&self) -> Option<&str> {
        self.metadata.name.as_deref().filter(|name| !name.is_empty())
    }

    fn approval(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(APPROVAL).map(String::as_str)
    }

    /// The object with another spec as its type; `None` if the spec does not match the type.
    fn typed<K: DeserializeOwned>(&self, spec: &Map<String, Value>, namespace: &str) -> Option<K> {
        let metadata = json!({"name": self.metadata.name, "namespace": namespace});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).ok()
    }
}

/// The user as the objects store it.
pub(super) fn author(user: &UserInfo) -> Value {
    let author = servicecatalog::UserInfo {
        username: user.username.clone().unwrap_or_default(),
        uid: user.uid.clone().unwrap_or_default(),
        groups: user.groups.clone().unwrap_or_default(),
        extra: user.extra.clone().unwrap_or_default(),
    };
    json!(author)
}

/// Sets what every new object gets: its author, and an id unless the user chose one.
pub(super) fn complete(spec: &mut Map<String, Value>, user: &UserInfo) {
    spec.insert(USER_INFO.to_owned(), author(user));
    if is_empty(spec.get(EXTERNAL_ID)) {
        spec.insert(EXTERNAL_ID.to_owned(), json!(Uuid::new_v4().to_string()));
    }
}

/// Whether a member is absent, or has the zero value that Go clients send for an absent one.
pub(super) fn is_empty(member: Option<&Value>) -> bool {
    match member {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Bool(_)) => false,
    }
}

/// Whether two specs say the same, apart from the author and from zero values.
pub(super) fn say_the_same(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let mut names = one.keys().chain(other.keys()).filter(|name| *name != USER_INFO);
    names.all(|name| {
        let (one, other) = (one.get(name), other.get(name));
        one == other || is_empty(one) && is_empty(other)
    })
}

/// Why an update cannot be reviewed: the comparison of two specs fails if a part of one was not read.
pub(super) fn unreadable(before: &Authored, after: &Authored) -> Option<Decision> {
    let is_unread = is_cut(&before.spec) || is_cut(&after.spec);
    is_unread.then(|| Decision::deny("malformed", DenialStatus::Invalid, too_deep("spec")))
}

/// Checks the Secrets that the object names and returns all changes of the object in one decision.
pub(super) async fn decide<K: DeserializeOwned + UsesSecrets + Sync>(
    request: &AuthoredRequest,
    object: &Authored,
    spec: &Map<String, Value>,
    rights: &SecretRights,
    purpose: Purpose,
) -> Result<Decision, MalformedReview> {
    let namespace = request.namespace()?;
    let mut patch = changes(request, object, spec);
    if let Some(wanted) = object.typed::<K>(spec, namespace) {
        let before = request.old_object.as_ref();
        let stored = before.and_then(|before| before.typed::<K>(before.members()?, namespace));
        let before = stored
            .as_ref()
            .zip(before)
            .map(|(stored, before)| Approvable { object: stored, approval: before.approval() });
        let wanted = Approvable { object: &wanted, approval: object.approval() };
        match rights.judge(wanted, before, &request.user_info, purpose).await {
            Verdict::Unchanged => {}
            Verdict::Approved(approval) => {
                patch.0.extend(annotate(object.metadata.annotations.as_ref(), &approval));
            }
            Verdict::Refused(status, message) => return Ok(Decision::deny("refused", status, message)),
        }
    }
    Ok(if patch.0.is_empty() { Decision::unchanged() } else { Decision::patch("completed", patch) })
}

/// The changes of the spec and, at creation, of the finalizers.
fn changes(request: &AuthoredRequest, object: &Authored, spec: &Map<String, Value>) -> Patch {
    let finalizers = object.metadata.finalizers.clone();
    let mut with_own = finalizers.clone().unwrap_or_default();
    if request.is_creation() && !with_own.iter().any(|finalizer| finalizer == FINALIZER) {
        with_own.push(FINALIZER.to_owned());
    }
    let metadata = |finalizers: Option<Vec<String>>| match finalizers {
        Some(finalizers) if !finalizers.is_empty() => json!({"finalizers": finalizers}),
        _ => json!({}),
    };
    let before = json!({"metadata": metadata(finalizers), "spec": object.spec});
    json_patch::diff(&before, &json!({"metadata": metadata(Some(with_own)), "spec": spec}))
}
