//! `ClusterServiceBroker` and `ServiceBroker`: an Open Service Broker that the whole cluster or one namespace may use.

#![expect(unreachable_pub, reason = "KubeSchema repeats the structs inside a function")]

use std::fmt;

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{NameReference, condition::Conditions, names::absent_if_empty};

/// How to reach a broker and how to read its catalog: what both kinds share.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommonServiceBrokerSpec {
    /// The address of the broker, http or https. May contain a user name and password, but a Secret in `authInfo` is
    /// better.
    #[x_kube(validation = Rule::new("self.startsWith('http://') || self.startsWith('https://')")
        .message("the broker's url must begin with http:// or https://"))]
    #[schemars(length(max = 2048))]
    pub url: BrokerUrl,
    /// Accept any certificate. Anyone who can intercept the traffic can then read the credentials of every service.
    #[serde(default, rename = "insecureSkipTLSVerify", skip_serializing_if = "is_false")]
    pub insecure_skip_tls_verify: bool,
    /// The certificate authorities to trust for this broker, PEM in base64. Default: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::bytes")]
    pub ca_bundle: Option<ByteString>,
    /// Whether bindery reads the catalog again at intervals. Default: `Duration`.
    #[serde(default)]
    #[schemars(schema_with = "relist_behavior")]
    pub relist_behavior: RelistBehavior,
    /// The interval between reads of the catalog, such as `1h30m`. Default: `15m`; minimum: 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absent_if_empty")]
    #[schemars(schema_with = "super::names::optional_duration")]
    pub relist_duration: Option<String>,
    /// Increase the number to make bindery read the catalog at once. Zero counts as unset: the webhook keeps the former
    /// number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relist_requests: Option<i64>,
    /// Which classes and plans of the catalog become objects. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_restrictions: Option<CatalogRestrictions>,
}

/// Rules that a class or plan must satisfy to become an object, such as `spec.externalName in (small, large)`. All
/// rules must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatalogRestrictions {
    /// Rules for classes, over `name`, `spec.externalName` and `spec.externalID`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::names::default_if_null"
    )]
    #[schemars(length(max = 100), inner(length(max = 4096)), extend("nullable" = true))]
    pub service_class: Vec<String>,
    /// Rules for plans, over `name`, `spec.externalName`, `spec.externalID`, `spec.free` and the class:
    /// `spec.clusterServiceClass.name`, or `spec.serviceClass.name` for a ServiceBroker.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "super::names::default_if_null"
    )]
    #[schemars(length(max = 100), inner(length(max = 4096)), extend("nullable" = true))]
    pub service_plan: Vec<String>,
}

/// A broker that the whole cluster may use.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ClusterServiceBroker",
    status = "ServiceBrokerStatus",
    derive = "PartialEq",
    doc = "An Open Service Broker that the whole cluster may use",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".status.url"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.lastConditionState"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.caBundle) && has(self.insecureSkipTLSVerify) && self.insecureSkipTLSVerify)")
        .message("caBundle and insecureSkipTLSVerify: true exclude each other; remove insecureSkipTLSVerify"),
    validation = Rule::new("!has(oldSelf.relistRequests) || !has(self.relistRequests) || self.relistRequests == 0 || self.relistRequests >= oldSelf.relistRequests")
        .message("relistRequests can only grow; increase the number to have the catalog read at once")
)]
pub struct ClusterServiceBrokerSpec {
    /// What both kinds of brokers share.
    #[serde(flatten)]
    pub common: CommonServiceBrokerSpec,
    /// The credentials for the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_info: Option<AuthInfo>,
}

/// A broker that only its namespace may use.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "servicecatalog.k8s.io",
    version = "v1beta1",
    kind = "ServiceBroker",
    namespaced,
    status = "ServiceBrokerStatus",
    derive = "PartialEq",
    doc = "An Open Service Broker that only its namespace may use",
    category = "all",
    category = "svcat",
    label("svcat", "true"),
    annotation("api-approved.kubernetes.io", "unapproved, API of the retired service-catalog"),
    printcolumn = r#"{"name": "URL", "type": "string", "jsonPath": ".status.url"}"#,
    printcolumn = r#"{"name": "Status", "type": "string", "jsonPath": ".status.lastConditionState"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.caBundle) && has(self.insecureSkipTLSVerify) && self.insecureSkipTLSVerify)")
        .message("caBundle and insecureSkipTLSVerify: true exclude each other; remove insecureSkipTLSVerify"),
    validation = Rule::new("!has(oldSelf.relistRequests) || !has(self.relistRequests) || self.relistRequests == 0 || self.relistRequests >= oldSelf.relistRequests")
        .message("relistRequests can only grow; increase the number to have the catalog read at once")
)]
pub struct ServiceBrokerSpec {
    /// What both kinds of brokers share.
    #[serde(flatten)]
    pub common: CommonServiceBrokerSpec,
    /// The credentials for the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_info: Option<LocalAuthInfo>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A broker's address as the user wrote it. It may contain a password, which `Debug` and [`BrokerUrl::shown`] omit.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct BrokerUrl(String);

impl BrokerUrl {
    /// The complete address, including credentials.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The address without user name and password, otherwise as the user wrote it.
    #[must_use]
    pub fn shown(&self) -> String {
        let Ok(mut url) = url::Url::parse(&self.0) else { return "(not a URL)".to_owned() };
        if url.username().is_empty() && url.password().is_none() {
            return self.0.clone();
        }
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return "(a URL without a host)".to_owned();
        }
        // The text is compared with the parsed URL, because only the parser decides what the user name is.
        match self.without_userinfo() {
            Some(text) if url::Url::parse(&text).is_ok_and(|parsed| parsed == url) => text,
            _ => url.to_string(),
        }
    }

    /// The text without what is before the last `@` of the authority.
    fn without_userinfo(&self) -> Option<String> {
        let (scheme, rest) = self.0.split_once("://")?;
        let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (_, host) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://{host}{path}"))
    }
}

impl From<&str> for BrokerUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// The credentials with which bindery authenticates to the broker: one of two kinds.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.basic) != has(self.bearer)").message("authInfo must have either basic or bearer"))]
pub struct AuthInfo {
    /// A Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<AuthSecret>,
    /// A Secret with the key `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<AuthSecret>,
}

/// The reference to credentials for a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthSecret {
    /// The Secret.
    pub secret_ref: SecretReference,
}

/// The credentials with which bindery authenticates to a ServiceBroker: one of two kinds.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.basic) != has(self.bearer)").message("authInfo must have either basic or bearer"))]
pub struct LocalAuthInfo {
    /// A Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<LocalAuthSecret>,
    /// A Secret with the key `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<LocalAuthSecret>,
}

impl LocalAuthInfo {
    /// The same references with the namespace of the ServiceBroker.
    #[must_use]
    pub fn within(&self, namespace: &str) -> AuthInfo {
        let within = |secret: &LocalAuthSecret| AuthSecret {
            secret_ref: SecretReference {
                namespace: namespace.to_owned(),
                name: secret.secret_ref.name.clone(),
            },
        };
        AuthInfo { basic: self.basic.as_ref().map(within), bearer: self.bearer.as_ref().map(within) }
    }
}

/// The reference to credentials for a ServiceBroker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalAuthSecret {
    /// The Secret, in the namespace of the ServiceBroker.
    pub secret_ref: NameReference,
}

/// A Secret in any namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretReference {
    /// Its namespace.
    #[schemars(schema_with = "super::label_name")]
    pub namespace: String,
    /// Its name.
    #[schemars(schema_with = "super::object_name")]
    pub name: String,
}

fn relist_behavior(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Duration", "Manual", ""]})
}

/// When the catalog is read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RelistBehavior {
    /// Every `relistDuration`. An empty string means the same.
    #[default]
    #[serde(alias = "")]
    Duration,
    /// Only when the spec changes, for example `relistRequests`.
    Manual,
}

/// The state of the catalog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceBrokerStatus {
    /// The conditions `Ready` and `Failed`.
    pub conditions: Conditions,
    /// `spec.url` without user name and password, which `kubectl get` must not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The generation of the spec with which the catalog was read.
    pub reconciled_generation: i64,
    /// Since when bindery has failed to read the catalog. Absent if the last read succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_start_time: Option<Time>,
    /// When the catalog was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_catalog_retrieval_time: Option<Time>,
    /// The state in one word, for the column `Status` of `kubectl get`.
    pub last_condition_state: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_never_shown() {
        let url = BrokerUrl::from("http://user:hunter2@broker.default:8080/x");
        assert_eq!(url.shown(), "http://broker.default:8080/x");
        assert_eq!(BrokerUrl::from("http://broker.default").shown(), "http://broker.default");
        for (given, shown) in [
            ("http://user:hunter2@broker", "http://broker"),
            ("https://user@Broker:443?a=b@c", "https://Broker:443?a=b@c"),
            ("http://a@b:hunter2@broker/x@y", "http://broker/x@y"),
            ("http:\\\\user:hunter2@broker", "http://broker/"),
        ] {
            assert_eq!(BrokerUrl::from(given).shown(), shown, "{given}");
        }
        let common = CommonServiceBrokerSpec { url, ..CommonServiceBrokerSpec::default() };
        let spec = ClusterServiceBrokerSpec { common, auth_info: None };
        assert!(!format!("{spec:?}").contains("hunter2"));
        assert!(!format!("{:?}", BrokerUrl::from("ht tp://u:hunter2@h")).contains("hunter2"));
    }
}
