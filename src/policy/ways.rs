//! The ways in which credentials reach a pod: the table that both engines read. A new way is one row here.

use crate::{apis::bindery::credential_policy::RuleName, contract::pod};

/// Where a way begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// Each container: also init containers, sidecars and ephemeral containers.
    Container,
    /// Each volume of the pod.
    Volume,
    /// The pod template: its metadata and the fields of its spec that belong to no container.
    Template,
}

/// One way in which a credential reaches a pod.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The rule that it may violate.
    pub rule: RuleName,
    /// Where the path begins.
    pub root: Root,
    /// The path: fields, and `[]` for the items of a list.
    pub path: &'static str,
    /// The way in a few words, for messages and documentation.
    pub what: &'static str,
    /// What the value at the path must be to violate the rule.
    pub(super) test: Test,
}

/// What a value at the end of a path must be to violate the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// It exists.
    Exists,
    /// The name of a Secret that is neither a binding's nor allowed.
    UnboundSecret,
    /// The name of a CSI driver that brings credentials from elsewhere.
    SecretsDriver,
    /// A text with a credential.
    Text,
    /// An entry of `env` whose value contains a credential or, judged by its name, is one.
    Variable,
    /// Annotations of which one contains a credential.
    Annotations,
    /// A variable or header that is named like a credential and has a random value.
    RandomVariable,
    /// A list of arguments, of which one has a random value for an option that is named like a credential.
    RandomArguments,
    /// Annotations of which one is named like a credential and has a random value.
    RandomAnnotations,
    /// Annotations that ask for variables.
    AsksForVariables,
    /// A pod spec that does not turn the service account's token off.
    TokenNotOff,
    /// A projected token that the API server accepts.
    ApiToken,
}

/// The CSI drivers that mount credentials from a vault of a cloud or of HashiCorp into pods, without a Secret.
pub(super) const SECRETS_DRIVERS: [&str; 2] = ["secrets-store.csi.k8s.io", "secrets-store-gke.csi.k8s.io"];

/// The audiences of tokens that the API server accepts by default. An empty audience stands for them.
pub(super) const API_AUDIENCES: [&str; 5] = [
    "",
    "api",
    "kubernetes.default.svc",
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
];

/// Annotations that are not searched. `kubectl apply` copies the whole manifest into the first, and what it repeats is found
/// in its place. Those of bindery assign references, such as `PASSWORD=db/password`.
pub(super) const NOT_SEARCHED: [&str; 3] =
    ["kubectl.kubernetes.io/last-applied-configuration", pod::ENV, pod::FILES];

const fn way(rule: RuleName, root: Root, path: &'static str, what: &'static str, test: Test) -> Way {
    Way { rule, root, path, what, test }
}

/// All ways.
pub const WAYS: [Way; 47] = {
    use Root::{Container, Template, Volume};
    use RuleName::{BindingsOnly, FilesOnly, NoPlainText, NoRandomValues, NoServiceAccountTokens};
    use Test::{
        Annotations, ApiToken, AsksForVariables, Exists, RandomAnnotations, RandomArguments, RandomVariable,
        SecretsDriver, Text, TokenNotOff, UnboundSecret, Variable,
    };
    const OF_STORAGE: &str = "the Secret of a storage driver";
    [
        way(
            BindingsOnly,
            Container,
            "env[].valueFrom.secretKeyRef.name",
            "a variable from a Secret",
            UnboundSecret,
        ),
        way(
            BindingsOnly,
            Container,
            "envFrom[].secretRef.name",
            "all variables from a Secret",
            UnboundSecret,
        ),
        way(BindingsOnly, Volume, "secret.secretName", "a Secret volume", UnboundSecret),
        way(
            BindingsOnly,
            Volume,
            "projected.sources[].secret.name",
            "a Secret in a projected volume",
            UnboundSecret,
        ),
        way(
            BindingsOnly,
            Volume,
            "csi.nodePublishSecretRef.name",
            "the Secret of an inline CSI volume",
            UnboundSecret,
        ),
        way(BindingsOnly, Volume, "csi.driver", "an inline CSI volume of credentials", SecretsDriver),
        way(BindingsOnly, Volume, "azureFile.secretName", OF_STORAGE, UnboundSecret),
        way(BindingsOnly, Volume, "cephfs.secretRef.name", OF_STORAGE, UnboundSecret),
        way(BindingsOnly, Volume, "cinder.secretRef.name", OF_STORAGE, UnboundSecret),
        way(BindingsOnly, Volume, "flexVolume.secretRef.name", OF_STORAGE, UnboundSecret),
        way(BindingsOnly, Volume, "iscsi.secretRef.name", OF_STORAGE, UnboundSecret),
        way(BindingsOnly, Volume, "rbd.secretRef.name", OF_STORAGE, UnboundSecret),
        way(BindingsOnly, Volume, "scaleIO.secretRef.name", OF_STORAGE, UnboundSecret),
        way(BindingsOnly, Volume, "storageos.secretRef.name", OF_STORAGE, UnboundSecret),
        way(NoPlainText, Container, "env[]", "the value of a variable", Variable),
        way(NoPlainText, Container, "args[]", "an argument", Text),
        way(NoPlainText, Container, "command[]", "a command", Text),
        way(NoPlainText, Container, "lifecycle.postStart.exec.command[]", "the command of a hook", Text),
        way(NoPlainText, Container, "lifecycle.preStop.exec.command[]", "the command of a hook", Text),
        way(
            NoPlainText,
            Container,
            "lifecycle.postStart.httpGet.httpHeaders[].value",
            "a header of a hook",
            Text,
        ),
        way(
            NoPlainText,
            Container,
            "lifecycle.preStop.httpGet.httpHeaders[].value",
            "a header of a hook",
            Text,
        ),
        way(NoPlainText, Container, "livenessProbe.exec.command[]", "the command of a probe", Text),
        way(NoPlainText, Container, "readinessProbe.exec.command[]", "the command of a probe", Text),
        way(NoPlainText, Container, "startupProbe.exec.command[]", "the command of a probe", Text),
        way(NoPlainText, Container, "livenessProbe.httpGet.httpHeaders[].value", "a header of a probe", Text),
        way(
            NoPlainText,
            Container,
            "readinessProbe.httpGet.httpHeaders[].value",
            "a header of a probe",
            Text,
        ),
        way(NoPlainText, Container, "startupProbe.httpGet.httpHeaders[].value", "a header of a probe", Text),
        way(NoPlainText, Template, "metadata.annotations", "an annotation", Annotations),
        way(NoRandomValues, Container, "env[]", "the value of a variable", RandomVariable),
        way(NoRandomValues, Container, "args", "an argument", RandomArguments),
        way(NoRandomValues, Container, "command", "a command", RandomArguments),
        way(
            NoRandomValues,
            Container,
            "lifecycle.postStart.exec.command",
            "the command of a hook",
            RandomArguments,
        ),
        way(
            NoRandomValues,
            Container,
            "lifecycle.preStop.exec.command",
            "the command of a hook",
            RandomArguments,
        ),
        way(
            NoRandomValues,
            Container,
            "lifecycle.postStart.httpGet.httpHeaders[]",
            "a header of a hook",
            RandomVariable,
        ),
        way(
            NoRandomValues,
            Container,
            "lifecycle.preStop.httpGet.httpHeaders[]",
            "a header of a hook",
            RandomVariable,
        ),
        way(
            NoRandomValues,
            Container,
            "livenessProbe.exec.command",
            "the command of a probe",
            RandomArguments,
        ),
        way(
            NoRandomValues,
            Container,
            "readinessProbe.exec.command",
            "the command of a probe",
            RandomArguments,
        ),
        way(
            NoRandomValues,
            Container,
            "startupProbe.exec.command",
            "the command of a probe",
            RandomArguments,
        ),
        way(
            NoRandomValues,
            Container,
            "livenessProbe.httpGet.httpHeaders[]",
            "a header of a probe",
            RandomVariable,
        ),
        way(
            NoRandomValues,
            Container,
            "readinessProbe.httpGet.httpHeaders[]",
            "a header of a probe",
            RandomVariable,
        ),
        way(
            NoRandomValues,
            Container,
            "startupProbe.httpGet.httpHeaders[]",
            "a header of a probe",
            RandomVariable,
        ),
        way(NoRandomValues, Template, "metadata.annotations", "an annotation", RandomAnnotations),
        way(FilesOnly, Container, "env[].valueFrom.secretKeyRef", "a variable from a Secret", Exists),
        way(FilesOnly, Container, "envFrom[].secretRef", "all variables from a Secret", Exists),
        way(
            FilesOnly,
            Template,
            "metadata.annotations",
            "variables that bindery.dev annotations ask for",
            AsksForVariables,
        ),
        way(
            NoServiceAccountTokens,
            Volume,
            "projected.sources[].serviceAccountToken",
            "a projected token for the API server",
            ApiToken,
        ),
        way(NoServiceAccountTokens, Template, "spec", "the token of the service account", TokenNotOff),
    ]
};
