//! Names that users and other programs see: annotations, labels and derived Secret names. They are all defined here,
//! because changing one breaks users' manifests.

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
    /// Comma-separated bindings of the pod's namespace; `secret/NAME` names a plain Secret, `configmap/NAME` a ConfigMap.
    pub const BIND: &str = "bindery.dev/bind";
    /// The prefix of `bindery.dev/bind.CONTAINER`: bindings of that container only, in addition to those of all
    /// containers.
    pub const BIND_CONTAINER: &str = "bindery.dev/bind.";
    /// `env,files` (default), `files` or `env`.
    pub const AS: &str = "bindery.dev/as";
    /// Extra variables, comma- or newline-separated: `DB_HOST=mydb01-binding/host`, or `DB_*=mydb01-binding/*` for all keys.
    pub const ENV: &str = "bindery.dev/env";
    /// The files to mount instead of all files of their bindings, comma- or newline-separated:
    /// `client.key=mydb01-binding/tls.key:0400`.
    pub const FILES: &str = "bindery.dev/files";
    /// The containers to bind. Default: all except the installation's excluded ones.
    pub const CONTAINERS: &str = "bindery.dev/containers";
    /// The bindings that the pod can start without, comma-separated; `true` for all.
    pub const OPTIONAL: &str = "bindery.dev/optional";
    /// The parent folder of the bindings' folders.
    pub const MOUNT_ROOT: &str = "bindery.dev/mount-root";
    /// Written by the API server where it binds a pod of a Namespace with defaults by itself, so that it does not call the
    /// webhook.
    pub const BOUND_BY: (&str, &str) = ("bindery.dev/bound-by", "api-server");
    /// A scheduling gate, not an annotation: keeps the pod unscheduled until its Secrets exist.
    pub const GATE: &str = "bindery.dev/binding";
    /// The default of [`MOUNT_ROOT`].
    pub const DEFAULT_MOUNT_ROOT: &str = "/var/secrets";
}

/// The condition that bindery writes into the status of owners whose pods were refused.
pub mod nudge {
    /// The condition's type.
    pub const CONDITION: &str = "bindery.dev/Nudged";
}

/// The names of the webhooks in the API server's messages.
pub mod webhook {
    /// The webhook for pods with an annotation.
    pub const OWN: &str = "inject.bindery.dev";
    /// The webhook for pods that get the default of their Namespace.
    pub const DEFAULTS: &str = "defaults.bindery.dev";
}

/// Labels of a Namespace. Its annotations have the names of [`pod`].
pub mod namespace {
    /// Label: with this value the Namespace's annotations are defaults for pods without [`super::pod::BIND`].
    pub const INJECT: (&str, &str) = ("bindery.dev/inject", "enabled");
    /// Annotation: with this value bindery evicts missed pods, so that their owners replace them.
    pub const MISSED: (&str, &str) = ("bindery.dev/missed-pods", "evict");
}

/// Labels and annotations of a ServiceBinding and of the Secrets written for it.
pub mod binding {
    /// Annotation of a ServiceBinding: the names of its variables, `DB_URL=uri` or templates, newline-separated.
    pub const ENV: &str = "bindery.dev/env";
    /// Annotation of a ServiceBinding: a new value makes bindery check its Secrets at once.
    pub const RECONCILE: &str = "bindery.dev/reconcile";
    /// Annotation of a ServiceBinding: a new value makes bindery replace the credentials, if the plan allows it.
    pub const ROTATE: &str = "bindery.dev/rotate";
    /// Annotation of a ServiceBinding: how long the former credentials work after a rotation, such as `10m`.
    pub const ROTATION_OVERLAP: &str = "bindery.dev/rotation-overlap";
    /// Annotation of a ServiceBinding: labels for its Secrets, `name=value` separated by commas, or a JSON object.
    pub const SECRET_LABELS: &str = "bindery.dev/secret-labels";
    /// Annotation of a ServiceBinding: annotations for its Secrets, in the same form.
    pub const SECRET_ANNOTATIONS: &str = "bindery.dev/secret-annotations";
    /// Annotation of a ServiceBinding: keys of its Secret with facts about the instance, such as `instance_name,plan`.
    pub const SECRET_KEYS: &str = "bindery.dev/secret-keys";
    /// Annotation of a ClusterServicePlan, a ServicePlan or a Namespace: a JSON object with parameters for bindings that do not
    /// set them. Those of the Namespace count before those of the plan.
    pub const DEFAULT_PARAMETERS: &str = "bindery.dev/default-bind-parameters";
    /// Annotation of a Secret: the names of the labels and annotations that it has because of [`SECRET_LABELS`] and
    /// [`SECRET_ANNOTATIONS`].
    pub const SECRET_EXTRAS: &str = "bindery.dev/secret-extras";
    /// Label of a Secret: the binding's name, hashed if it is longer than a label may be.
    pub const BINDING: &str = "bindery.dev/binding";
    /// Annotation of a Secret: the number of its credentials, increased with each rotation.
    pub const REVISION: &str = "bindery.dev/revision";
    /// Annotation of a Secret: when its credentials expire, RFC 3339.
    pub const EXPIRES_AT: &str = "bindery.dev/expires-at";
    /// Annotation of a Secret: the kind of service, such as `cockroachdb`.
    pub const TYPE: &str = "bindery.dev/type";
    /// Label of every object that bindery writes.
    pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "bindery");
}

/// Annotations of objects that make bindery read Secrets.
pub mod approval {
    /// Annotation: the webhook writes it after checking that the author may get the Secrets. Any other value asks the
    /// webhook to check.
    pub const APPROVAL: &str = "bindery.dev/secret-approval";
    /// The value that asks for a check.
    pub const CHECK: &str = "check";
}

/// Annotations of ServiceInstances.
pub mod instance {
    /// Annotation: `true` keeps the instance at the broker although the object is deleted.
    pub const DELETION_PROTECTION: &str = "bindery.dev/deletion-protection";
    /// Annotation: with `true`, deleting the instance deletes its bindings.
    pub const CASCADING_DELETION: &str = "bindery.dev/cascading-deletion";
    /// Annotation: how often the Secrets of `spec.parametersFrom` are read again, such as `10m`.
    pub const REREAD_PARAMETERS: &str = "bindery.dev/reread-parameters";
}

/// Annotations of ExternalResources.
pub mod external_resource {
    /// Annotation: the uid of the namespace whose object of the same name may take over the instance or binding of
    /// the ExternalResource. Set by an administrator.
    pub const ADOPT: &str = "bindery.dev/adopt";
    /// Label of the ExternalResources of stacks: a hash of the cluster's name in the names of the stacks.
    pub const STACK: &str = "bindery.dev/stack";
    /// The selector of all ExternalResources that are at brokers.
    pub const NOT_OF_STACKS: &str = "!bindery.dev/stack";
}

/// Labels and annotations for CredentialPolicies.
pub mod policy {
    /// Label of a ValidatingAdmissionPolicy and its binding: the CredentialPolicy of which they were compiled.
    pub const POLICY: &str = "bindery.dev/credential-policy";
    /// Annotation of a CredentialPolicy: who switched it off, when and why. `bindery policies stand-down` writes it.
    pub const STOOD_DOWN: &str = "bindery.dev/stood-down";
    /// Annotation of a report: the number of results for which it has no room.
    pub const RESULTS_LEFT_OUT: &str = "bindery.dev/results-left-out";
}

/// Annotations and the finalizer of objects of `service-operator.aws`.
pub mod aws_operator {
    /// Finalizer: keeps an object until its stack is gone.
    pub const FINALIZER: &str = "bindery.dev/aws-operator";
    /// Annotation: `true` lets an update replace a resource that holds data.
    pub const ALLOW_REPLACEMENT: &str = "bindery.dev/allow-replacement";
    /// Annotation of a Namespace: the names of the resources of AWS that its objects may adopt, separated by commas; a star at
    /// the end of a name matches any ending.
    pub const ADOPTABLE: &str = "bindery.dev/adoptable";
    /// Annotation of a CloudFormationTemplate: the namespaces whose objects may use it, separated by commas; `*` for all.
    pub const ALLOWED_NAMESPACES: &str = "bindery.dev/allowed-namespaces";
}

/// Labels and annotations for NamespaceBindings.
pub mod branch {
    /// Label of a ServiceInstance and a ServiceBinding: the NamespaceBinding for which they were created.
    pub const NAMESPACE_BINDING: &str = "bindery.dev/namespace-binding";
    /// Annotation beside [`NAMESPACE_BINDING`]: the uid of that NamespaceBinding.
    pub const NAMESPACE_BINDING_UID: &str = "bindery.dev/namespace-binding-uid";
    /// Annotation of a ServiceInstance: when it will be deleted because its namespace is not selected any more, RFC
    /// 3339.
    pub const LEAVES_AT: &str = "bindery.dev/leaves-at";
    /// Annotation of a ServiceInstance: when it will be deleted because its ttl ends, RFC 3339. Set shortly before
    /// the end.
    pub const EXPIRES_AT: &str = "bindery.dev/expires-at";
    /// Annotation of a Namespace: until when it keeps its services, RFC 3339. Set by `bindery extend`.
    pub const EXTENDED_UNTIL: &str = "bindery.dev/extended-until";
    /// Annotation of a Namespace: when one of its pods was last seen running, RFC 3339.
    pub const LAST_POD_AT: &str = "bindery.dev/last-pod-at";
    /// Annotation of a Namespace: the [`super::pod::BIND`] that bindery wrote. A different value was written by a
    /// user.
    pub const BOUND_BY: &str = "bindery.dev/bound-by-namespace-bindings";
}

/// The environment variables of well-known services, by the service's name or type: pairs of a variable and the
/// credentials key that holds its value. The broker publishes them in its catalog; the catalog's controllers use them
/// for brokers that publish none.
const WELL_KNOWN_VARIABLES: [(&str, Variables); 6] = [
    ("cockroachdb", &[("COCKROACH_URL", "uri")]),
    ("postgresql", &[("DATABASE_URL", "uri")]),
    ("mysql", &[("DATABASE_URL", "uri")]),
    ("rabbitmq", &[("AMQP_URL", "uri")]),
    ("dh-sqs", &[("QUEUE_URL", "QueueURL"), ("QUEUE_ARN", "QueueARN")]),
    ("sqs", &[("QUEUE_URL", "QueueURL"), ("QUEUE_ARN", "QueueARN")]),
];

/// Pairs of an environment variable and the credentials key that holds its value.
pub(crate) type Variables = &'static [(&'static str, &'static str)];

/// The environment variables of a service that names none; empty for unknown names.
pub(crate) fn well_known_variables(service: &str) -> Variables {
    WELL_KNOWN_VARIABLES.iter().find(|(name, _)| *name == service).map_or(&[], |(_, variables)| variables)
}

/// The name of the Secret with a binding's environment variables, derived from the binding's name. The webhook refers
/// to it before it exists.
#[must_use]
pub fn env_secret_name(binding: &str) -> String {
    format!("{binding}-env")
}
