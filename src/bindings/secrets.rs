//! The Secrets of a binding: computes their content (pure) and writes them, but never changes a Secret that another
//! owner created. Secrets are not watched or listed; each is read when needed. Writes are creates, and merge patches
//! with the resource version that was read: a server-side apply would take over a Secret that another user created in
//! between, and would recreate one in a terminating namespace.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    secret_extras::{self, Extras},
    transforms::TransformError,
};
use crate::apis::servicecatalog::{ServiceBinding, binding::WrittenSecret};
use crate::{
    contract::{FIELD_MANAGER, binding as contract, env_secret_name},
    k8s::{delete_by_uid, explain},
};

/// The maximum length of an object's name.
const LONGEST_NAME: usize = 253;
/// The type of every Secret that is written.
const OPAQUE: &str = "Opaque";

/// A Secret cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(
        "Secret {0:?} exists and is not this binding's; delete or rename it, or give the binding another name or \
         spec.secretName"
    )]
    NameTaken(String),
    #[error(
        "the credentials have the key {0:?}, which a Secret cannot hold (at most 253 letters, digits, -, _ and ., and not \
         beginning with ..)"
    )]
    Key(String),
    #[error("{what} have {bytes} bytes, and a Secret holds {limit} at most")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    #[error(
        "the name of the binding has {length} characters, which leave no room for the ending of the Secret with its variables: \
         delete the binding and create it with a name of at most {longest}"
    )]
    LongName { length: usize, longest: usize },
    #[error(transparent)]
    Transform(#[from] TransformError),
    // The API server's own message may quote the credentials.
    #[error("Secret {name:?} cannot be written: status {code}, {reason}")]
    Refused { name: String, code: u16, reason: String },
    #[error("{}", explain(.0))]
    Cluster(#[from] kube::Error),
}

/// The metadata of a binding's Secrets.
pub(crate) struct Marks {
    pub(crate) revision: i64,
    /// The service's name.
    pub(crate) service: String,
    pub(crate) expires_at: Option<String>,
    /// What the binding's annotations add.
    pub(crate) extras: Extras,
}

/// The names of a binding's Secrets in the order of writing: the variables first, the Secret that pods mount last.
pub(crate) fn names(binding: &ServiceBinding) -> Vec<String> {
    let name = binding.name_any();
    let mut names = vec![env_secret_name(&name)];
    names.extend(binding.spec.secret_name.clone().filter(|other| *other != name));
    names.push(name);
    names
}

/// Refuses a name that is too long for the suffix of the Secret with the variables, whose name pods derive from the
/// binding.
pub(crate) fn check_names(binding: &ServiceBinding) -> Result<(), SecretError> {
    let name = binding.name_any();
    if env_secret_name(&name).len() > LONGEST_NAME {
        let longest = LONGEST_NAME - env_secret_name("").len();
        return Err(SecretError::LongName { length: name.len(), longest });
    }
    Ok(())
}

/// The content of one of the binding's Secrets.
pub(crate) fn desired(
    binding: &ServiceBinding,
    name: &str,
    data: BTreeMap<String, ByteString>,
    marks: &Marks,
) -> Secret {
    let (managed_by, manager) = contract::MANAGED_BY;
    let full_name = binding.name_any();
    // bindery's own names come last, so that they count.
    let mut labels = marks.extras.labels.clone();
    labels.extend([
        (managed_by.to_owned(), manager.to_owned()),
        (contract::BINDING.to_owned(), label(&full_name)),
    ]);
    let mut annotations = marks.extras.annotations.clone();
    annotations.extend([
        (contract::BINDING.to_owned(), full_name.clone()),
        (contract::REVISION.to_owned(), marks.revision.to_string()),
        (contract::TYPE.to_owned(), marks.service.clone()),
    ]);
    annotations.extend(marks.extras.recorded().map(|record| (contract::SECRET_EXTRAS.to_owned(), record)));
    annotations.extend(marks.expires_at.clone().map(|at| (contract::EXPIRES_AT.to_owned(), at)));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: binding.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: binding.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(OPAQUE.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// A name as a label value: the name itself, or a hash if it is too long.
fn label(name: &str) -> String {
    if name.len() <= 63 {
        return name.to_owned();
    }
    hex::encode(&Sha256::digest(name)[..20])
}

fn belongs_to(meta: &ObjectMeta, binding: &ServiceBinding) -> bool {
    meta.owner_references
        .iter()
        .flatten()
        .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == binding.metadata.uid.as_ref())
}

/// Reads the binding's Secrets, `None` for absent ones. Fails if another owner has a Secret of that name.
pub(crate) async fn read(
    api: &Api<Secret>,
    binding: &ServiceBinding,
) -> Result<Vec<(String, Option<Secret>)>, SecretError> {
    let mut found = Vec::new();
    let names = names(binding);
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(SecretError::NameTaken(name.clone())); // `spec.secretName` names the variables' Secret.
        }
        let secret = api.get_opt(name).await?;
        // The type of a Secret is immutable, and bindery writes only this one.
        let is_ours = |secret: &Secret| {
            belongs_to(&secret.metadata, binding) && secret.type_.as_deref() == Some(OPAQUE)
        };
        if secret.as_ref().is_some_and(|secret| !is_ours(secret)) {
            return Err(SecretError::NameTaken(name.clone()));
        }
        found.push((name.clone(), secret));
    }
    Ok(found)
}

/// Whether the Secrets are unchanged since the last write. Reads no data. The names come from the binding, not from the
/// status.
pub(crate) async fn untouched(
    api: &Api<Secret>,
    binding: &ServiceBinding,
    written: &[WrittenSecret],
) -> kube::Result<bool> {
    for name in names(binding) {
        let Some(left) = written.iter().find(|secret| secret.name == name) else { return Ok(false) };
        let meta = api.get_metadata_opt(&name).await?;
        let is_left = |meta: &PartialObjectMeta<Secret>| {
            belongs_to(&meta.metadata, binding)
                && meta.metadata.resource_version.as_ref() == Some(&left.resource_version)
        };
        if !meta.as_ref().is_some_and(is_left) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a Secret over the version that was read; does nothing if the content is already correct.
pub(crate) async fn write(
    api: &Api<Secret>,
    desired: &Secret,
    existing: Option<&Secret>,
) -> Result<WrittenSecret, SecretError> {
    let name = desired.name_any();
    let written = match existing {
        None => {
            let parameters =
                PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            api.create(&parameters, desired).await
        }
        Some(existing) => match difference(existing, desired) {
            None => Ok(existing.clone()),
            Some(patch) => {
                let parameters =
                    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
                api.patch(&name, &parameters, &Patch::Merge(patch)).await
            }
        },
    };
    match written {
        Ok(secret) => Ok(WrittenSecret {
            name,
            uid: secret.uid().unwrap_or_default(),
            resource_version: secret.resource_version().unwrap_or_default(),
        }),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Err(SecretError::NameTaken(name)),
        Err(kube::Error::Api(status)) if status.is_invalid() || status.code == 413 => {
            Err(SecretError::Refused { name, code: status.code, reason: status.reason.clone() })
        }
        Err(error) => Err(error.into()),
    }
}

/// The merge patch from the existing to the desired Secret, with the resource version to which it applies.
fn difference(existing: &Secret, desired: &Secret) -> Option<serde_json::Value> {
    let (labels, annotations) = (existing.labels(), existing.annotations());
    let (former_labels, former_annotations) =
        secret_extras::formerly_written(annotations.get(contract::SECRET_EXTRAS));
    let optional = [contract::EXPIRES_AT, contract::SECRET_EXTRAS].map(str::to_owned);
    let labels = changes(labels, desired.labels(), &former_labels);
    let annotations =
        changes(annotations, desired.annotations(), &[former_annotations, optional.to_vec()].concat());
    if existing.data == desired.data && labels.is_empty() && annotations.is_empty() {
        return None;
    }
    let mut data = json!(desired.data);
    for key in existing.data.iter().flatten().map(|(key, _)| key) {
        if !desired.data.as_ref().is_some_and(|desired| desired.contains_key(key)) {
            data[key] = serde_json::Value::Null;
        }
    }
    Some(json!({
        "metadata": {
            "uid": existing.metadata.uid,
            "resourceVersion": existing.metadata.resource_version,
            "labels": labels,
            "annotations": annotations,
        },
        "data": data,
    }))
}

/// The entries to set, and to remove with `null`: those of `removable` that are no longer desired.
fn changes(
    existing: &BTreeMap<String, String>,
    desired: &BTreeMap<String, String>,
    removable: &[String],
) -> BTreeMap<String, Option<String>> {
    let set = desired.iter().filter(|(name, value)| existing.get(*name) != Some(value));
    let removed =
        removable.iter().filter(|name| existing.contains_key(*name) && !desired.contains_key(*name));
    let set = set.map(|(name, value)| (name.clone(), Some(value.clone())));
    set.chain(removed.map(|name| (name.clone(), None))).collect()
}

/// The revision of the credentials in a Secret.
pub(crate) fn revision(secret: &Secret) -> Option<i64> {
    secret.annotations().get(contract::REVISION)?.parse().ok()
}

/// Deletes the binding's Secrets. The names come from the binding and the ownership from the owner reference, because
/// the status could name any Secret.
pub(crate) async fn remove(api: &Api<Secret>, binding: &ServiceBinding) -> kube::Result<()> {
    for name in names(binding) {
        let Some(found) = api.get_metadata_opt(&name).await? else { continue };
        if belongs_to(&found.metadata, binding) {
            delete_by_uid::delete(api, &name, found.uid()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apis::servicecatalog::{NameReference, ServiceBindingSpec};

    fn binding(name: &str, secret_name: Option<&str>) -> ServiceBinding {
        let mut binding = ServiceBinding::new(
            name,
            ServiceBindingSpec {
                instance_ref: NameReference { name: "i".to_owned() },
                secret_name: secret_name.map(str::to_owned),
                ..ServiceBindingSpec::default()
            },
        );
        binding.metadata.namespace = Some("ns".to_owned());
        binding.metadata.uid = Some("u".to_owned());
        binding
    }

    fn marks() -> Marks {
        Marks { revision: 3, service: "cockroachdb".to_owned(), expires_at: None, extras: Extras::default() }
    }

    #[test]
    fn the_mounted_secret_is_written_last() {
        assert_eq!(names(&binding("b", None)), ["b-env", "b"]);
        assert_eq!(names(&binding("b", Some("b"))), ["b-env", "b"]);
        assert_eq!(names(&binding("b", Some("other"))), ["b-env", "other", "b"]);
    }

    #[test]
    fn a_name_leaves_room_for_the_secret_with_the_variables() {
        check_names(&binding(&"b".repeat(249), None)).unwrap();
        let told = check_names(&binding(&"b".repeat(250), None)).unwrap_err().to_string();
        assert!(told.contains("250 characters") && told.contains("at most 249"), "{told}");
    }

    #[test]
    fn a_secret_carries_its_marks_and_its_owner() {
        let name = "b".repeat(80);
        let secret = desired(&binding(&name, None), "s", BTreeMap::new(), &marks());
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
        assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "bindery");
        assert_eq!(secret.labels()["bindery.dev/binding"].len(), 40);
        assert_eq!(secret.annotations()["bindery.dev/binding"], name);
        assert_eq!(secret.annotations()["bindery.dev/revision"], "3");
        assert_eq!(secret.annotations()["bindery.dev/type"], "cockroachdb");
        assert!(belongs_to(&secret.metadata, &binding("other", None)), "same uid");
        let mut stranger = binding("b", None);
        stranger.metadata.uid = Some("v".to_owned());
        assert!(!belongs_to(&secret.metadata, &stranger));
    }

    #[test]
    fn labels_from_annotations_come_and_go_and_never_replace_bindery_s_own() {
        let secret = |labels: &[(&str, &str)]| {
            let mut extras = Extras::default();
            extras.labels =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            desired(&binding("b", None), "b", BTreeMap::new(), &Marks { extras, ..marks() })
        };
        let labelled = secret(&[("team", "a"), ("app.kubernetes.io/managed-by", "me")]);
        assert_eq!(labelled.labels()["app.kubernetes.io/managed-by"], "bindery");
        assert_eq!(labelled.labels()["team"], "a");
        let patch = difference(&labelled, &secret(&[("tier", "db")])).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({"team": null, "tier": "db"}));
        let patch = difference(&labelled, &secret(&[])).unwrap();
        assert_eq!(patch["metadata"]["annotations"], json!({"bindery.dev/secret-extras": null}));
        assert_eq!(difference(&labelled, &labelled.clone()), None);
    }

    #[test]
    fn a_patch_takes_away_what_is_no_longer_there() {
        let one = |pairs: &[(&str, &str)]| {
            let data = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())))
                .collect();
            desired(&binding("b", None), "b", data, &marks())
        };
        assert_eq!(difference(&one(&[("a", "1")]), &one(&[("a", "1")])), None);
        let patch = difference(&one(&[("a", "1"), ("b", "2")]), &one(&[("a", "1")])).unwrap();
        assert_eq!(patch["data"], json!({"a": "MQ==", "b": null}));
    }
}
