//! Names that users and other programs see: annotations, labels and derived Secret names. Changing one breaks
//! somebody's manifests, so all of them stand here and nowhere else.

use serde::{Deserialize, Serialize};

/// The API group of bindery's own resources.
pub const GROUP: &str = "bindery.dev";

/// The field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "bindery";

/// What becomes of an instance's data when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReclaimPolicy {
    /// It is dropped.
    #[default]
    Delete,
    /// It stays on the server without anybody who can log in to it.
    Retain,
}

/// Annotations of a pod (template).
pub mod pod {
    /// Comma-separated bindings of the pod's namespace; `secret/NAME` names a plain Secret.
    pub const BIND: &str = "bindery.dev/bind";
    /// The beginning of `bindery.dev/bind.CONTAINER`: bindings of that container alone, beside those of all.
    pub const BIND_CONTAINER: &str = "bindery.dev/bind.";
    /// `env,files` (default), `files` or `env`.
    pub const AS: &str = "bindery.dev/as";
    /// Extra variables, comma- or newline-separated: `DB_HOST=mydb01-binding/host`, or `DB_*=mydb01-binding/*` for all keys.
    pub const ENV: &str = "bindery.dev/env";
    /// The only files of their bindings, comma- or newline-separated: `client.key=mydb01-binding/tls.key:0400`.
    pub const FILES: &str = "bindery.dev/files";
    /// The containers to bind; default all but the installation's excluded ones.
    pub const CONTAINERS: &str = "bindery.dev/containers";
    /// The bindings without which the pod starts as well, comma-separated; `true` for all.
    pub const OPTIONAL: &str = "bindery.dev/optional";
    /// The folder below which each binding gets a folder of its own.
    pub const MOUNT_ROOT: &str = "bindery.dev/mount-root";
    /// A scheduling gate, not an annotation: the pod is held back until its Secrets are there.
    pub const GATE: &str = "bindery.dev/binding";
    /// The default of [`MOUNT_ROOT`].
    pub const DEFAULT_MOUNT_ROOT: &str = "/var/secrets";
}

/// What is written into the status of owners whose pods were refused.
pub mod nudge {
    /// The condition's type.
    pub const CONDITION: &str = "bindery.dev/Nudged";
}

/// The webhooks of the webhook configuration, as the API server's messages call them.
pub mod webhook {
    /// For pods that say what they are bound to.
    pub const OWN: &str = "inject.bindery.dev";
    /// For pods of which their Namespace says it.
    pub const DEFAULTS: &str = "defaults.bindery.dev";
}

/// Labels of a Namespace. Its annotations are called like those of [`pod`].
pub mod namespace {
    /// Label: with this value the Namespace's annotations hold for its pods that have no [`super::pod::BIND`].
    pub const INJECT: (&str, &str) = ("bindery.dev/inject", "enabled");
    /// Annotation: with this value pods that asked for bindings and were created without them are evicted, so that
    /// their owners make others in their place.
    pub const MISSED: (&str, &str) = ("bindery.dev/missed-pods", "evict");
}

/// Labels and annotations of a ServiceBinding and of the Secrets written for it.
pub mod binding {
    /// Annotation of a ServiceBinding: what its variables are called, `DB_URL=uri` or templates, newline-separated.
    pub const ENV: &str = "bindery.dev/env";
    /// Annotation of a ServiceBinding: a new value has its Secrets looked at at once.
    pub const RECONCILE: &str = "bindery.dev/reconcile";
    /// Label of a Secret: the binding's name, hashed when longer than a label may be.
    pub const BINDING: &str = "bindery.dev/binding";
    /// Annotation of a Secret: counts up with each rotation.
    pub const REVISION: &str = "bindery.dev/revision";
    /// Annotation of a Secret: when its credentials end, RFC 3339.
    pub const EXPIRES_AT: &str = "bindery.dev/expires-at";
    /// Annotation of a Secret: the kind of service, such as `cockroachdb`.
    pub const TYPE: &str = "bindery.dev/type";
    /// Label of everything bindery writes.
    pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "bindery");
}

/// Annotations of objects that have bindery read Secrets.
pub mod approval {
    /// Annotation: written by the webhook once it has checked that the author may get the Secrets. Any other value asks the
    /// webhook to check.
    pub const APPROVAL: &str = "bindery.dev/secret-approval";
    /// The value that asks for a check.
    pub const CHECK: &str = "check";
    /// The reason of the condition of an object whose Secrets are not approved.
    pub const NOT_APPROVED: &str = "SecretNotApproved";
}

/// Annotations of ExternalResources.
pub mod external_resource {
    /// Annotation: the uid of the namespace whose object of the same name may take over what the ExternalResource stands for. Set by
    /// an administrator.
    pub const ADOPT: &str = "bindery.dev/adopt";
}

/// Labels and annotations by which NamespaceBindings are carried out.
pub mod branch {
    /// Label of a ServiceInstance and a ServiceBinding: the NamespaceBinding that they were made for.
    pub const NAMESPACE_BINDING: &str = "bindery.dev/namespace-binding";
    /// Annotation beside [`NAMESPACE_BINDING`]: its uid.
    pub const NAMESPACE_BINDING_UID: &str = "bindery.dev/namespace-binding-uid";
    /// Annotation of a ServiceInstance: when it goes because its namespace is not selected any more, RFC 3339.
    pub const LEAVES_AT: &str = "bindery.dev/leaves-at";
    /// Annotation of a ServiceInstance: when it goes because its time is over, RFC 3339. Set once that is near.
    pub const EXPIRES_AT: &str = "bindery.dev/expires-at";
    /// Annotation of a Namespace: until then it keeps what it has, RFC 3339. Set by `bindery extend`.
    pub const EXTENDED_UNTIL: &str = "bindery.dev/extended-until";
    /// Annotation of a Namespace: when a pod of it was last seen running, RFC 3339.
    pub const LAST_POD_AT: &str = "bindery.dev/last-pod-at";
    /// Annotation of a Namespace: the [`super::pod::BIND`] that bindery put there. One that differs is a user's own.
    pub const BOUND_BY: &str = "bindery.dev/bound-by-namespace-bindings";
}

/// The name of the Secret that holds a binding's environment variables, derived from the binding's name. The
/// webhook refers to it before it exists.
#[must_use]
pub fn env_secret_name(binding: &str) -> String {
    format!("{binding}-env")
}
