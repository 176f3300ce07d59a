//! Reads Secrets on behalf of an object's author. bindery may read every Secret but an author may not, so a Secret is
//! read only with an approval of the webhook, which has checked the author's rights.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, ResourceExt};

use super::parameters::{self, ParametersError};
use crate::{
    apis::servicecatalog::{ParametersFromSource, UsesSecrets, broker::SecretReference, reasons},
    contract::approval,
    install::secret_approvals::Approvals,
    k8s::explain,
    osb::Object,
};

/// Why a Secret is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("{0}")]
    NotApproved(String),
    #[error("{0}")]
    Unreadable(String),
    #[error(transparent)]
    Parameters(#[from] ParametersError),
}

impl SecretError {
    /// The reason of the condition.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NotApproved(_) => reasons::SECRET_NOT_APPROVED,
            Self::Unreadable(_) | Self::Parameters(_) => reasons::ERROR_WITH_PARAMETERS,
        }
    }
}

/// Reads approved Secrets.
pub(super) struct ApprovedSecrets {
    cluster: Client,
    approvals: Approvals,
}

/// The object that names Secrets and carries the approval.
pub(super) struct Holder<'a> {
    pub(super) kind: &'a str,
    /// The namespace of a namespaced object.
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) approval: &'a str,
}

impl ApprovedSecrets {
    pub(super) fn new(cluster: Client, approvals: Approvals) -> Self {
        Self { cluster, approvals }
    }

    /// Checks that the webhook has approved all Secrets that the object names. Without any, nothing needs approval.
    pub(super) async fn check<K>(&self, object: &K) -> Result<(), SecretError>
    where
        K: UsesSecrets + Resource<DynamicType = ()>,
    {
        let (kind, namespace, name) = (K::kind(&()), object.namespace(), object.name_any());
        let approval = object.annotations().get(approval::APPROVAL).map_or("", String::as_str);
        let holder = Holder { kind: &kind, namespace: namespace.as_deref(), name: &name, approval };
        self.verify(object, &holder).await
    }

    /// Checks the approval that `holder` carries for the Secrets of `uses`.
    pub(super) async fn verify(
        &self,
        uses: &impl UsesSecrets,
        holder: &Holder<'_>,
    ) -> Result<(), SecretError> {
        let secrets = uses.secrets();
        if secrets.is_empty() {
            return Ok(());
        }
        match self.approvals.verify(&uses.checked(), holder.approval).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(SecretError::NotApproved(holder.not_approved(&secrets))),
            Err(error) => Err(SecretError::Unreadable(error.to_string())),
        }
    }

    /// The parameters from the Secrets that `spec.parametersFrom` of an object names, one JSON object for each.
    pub(super) async fn parameters<K>(
        &self,
        object: &K,
        sources: &[ParametersFromSource],
    ) -> Result<Vec<Object>, SecretError>
    where
        K: UsesSecrets + Resource<DynamicType = ()>,
    {
        let references: Vec<_> = sources.iter().filter_map(|source| source.secret_key_ref.as_ref()).collect();
        if references.is_empty() {
            return Ok(Vec::new());
        }
        self.check(object).await?;
        let mut all = Vec::new();
        for reference in references {
            let secret = SecretReference {
                namespace: object.namespace().unwrap_or_default(),
                name: reference.name.clone(),
            };
            let content = self.read(&secret, "spec.parametersFrom").await?;
            let value = content.data.as_ref().and_then(|data| data.get(&reference.key)).ok_or_else(|| {
                let SecretReference { namespace, name } = &secret;
                SecretError::Unreadable(format!(
                    "Secret {namespace}/{name}, which spec.parametersFrom names, lacks the key {:?}; add it",
                    reference.key
                ))
            })?;
            all.push(parameters::of_secret(&reference.name, &reference.key, &value.0)?);
        }
        Ok(all)
    }

    /// A Secret that `field` names. The caller has checked the approval.
    pub(super) async fn read(&self, reference: &SecretReference, field: &str) -> Result<Secret, SecretError> {
        let SecretReference { namespace, name } = reference;
        let api: Api<Secret> = Api::namespaced(self.cluster.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => Err(SecretError::Unreadable(format!(
                "Secret {namespace}/{name}, which {field} names, does not exist; create it"
            ))),
            Err(error) => Err(SecretError::Unreadable(format!(
                "Secret {namespace}/{name}, which {field} names, cannot be read: {}",
                explain(&error)
            ))),
        }
    }
}

impl Holder<'_> {
    /// What to do about a missing approval.
    fn not_approved(&self, secrets: &[SecretReference]) -> String {
        let named: Vec<_> =
            secrets.iter().map(|secret| format!("{}/{}", secret.namespace, secret.name)).collect();
        let Self { kind, namespace, name, .. } = self;
        let within = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
        format!(
            "Secret {} is not used: bindery's webhook has not checked that an author of {kind} {name} may get it. \
            When the webhook is registered and running, request the check as a user who may get the Secret: kubectl \
            annotate {} {name}{within} {}={} --overwrite",
            named.join(", "),
            kind.to_lowercase(),
            approval::APPROVAL,
            approval::CHECK,
        )
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::any};
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::json;

    use super::*;
    use crate::apis::servicecatalog::ServiceInstance;

    /// A cluster with the approvals' key and the Secret `params`, which holds a JSON object.
    fn secrets() -> (ApprovedSecrets, Approvals) {
        let answer = async |uri: axum::http::Uri| {
            let name = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            let data = match name.as_str() {
                "approvals" => json!({"key": STANDARD.encode([7; 64])}),
                "params" => json!({"json": STANDARD.encode(r#"{"password": "hunter2"}"#)}),
                _ => {
                    let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404,
                        "message": ""});
                    return (StatusCode::NOT_FOUND, Json(status)).into_response();
                }
            };
            Json(json!({"metadata": {"name": name}, "data": data})).into_response()
        };
        let client = Client::new(Router::new().fallback(any(answer)), "default");
        let approvals = Approvals::new(client.clone(), "bindery", "approvals");
        (ApprovedSecrets::new(client, approvals.clone()), approvals)
    }

    fn instance(secret: &str, key: &str) -> ServiceInstance {
        serde_json::from_value(json!({
            "apiVersion": "servicecatalog.k8s.io/v1beta1", "kind": "ServiceInstance",
            "metadata": {"name": "db", "namespace": "team-a"},
            "spec": {"clusterServiceClassExternalName": "c",
                "parametersFrom": [{"secretKeyRef": {"name": secret, "key": key}}]},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_secret_is_read_only_with_an_approval_for_this_object() {
        let (secrets, approvals) = secrets();
        let mut instance = instance("params", "json");
        let error = secrets.parameters(&instance, &instance.spec.parameters_from).await.unwrap_err();
        assert_eq!(error.reason(), "SecretNotApproved");
        let remedy = "kubectl annotate serviceinstance db -n team-a bindery.dev/secret-approval=check";
        assert!(error.to_string().contains(remedy), "{error}");
        let approval = approvals.issue(&instance.checked()).await.unwrap();
        instance.annotations_mut().insert(approval::APPROVAL.to_owned(), approval);
        let read = secrets.parameters(&instance, &instance.spec.parameters_from).await.unwrap();
        assert_eq!(json!(read), json!([{"password": "hunter2"}]));
        instance.metadata.name = Some("other".to_owned());
        let error = secrets.parameters(&instance, &instance.spec.parameters_from).await.unwrap_err();
        assert_eq!(error.reason(), "SecretNotApproved", "an approval cannot be copied");
    }

    #[tokio::test]
    async fn a_missing_secret_or_key_is_named() {
        let (secrets, approvals) = secrets();
        for (secret, key, expected) in [
            ("gone", "json", "team-a/gone, which spec.parametersFrom names, does not exist"),
            ("params", "x", "lacks the key \"x\""),
        ] {
            let mut instance = instance(secret, key);
            let approval = approvals.issue(&instance.checked()).await.unwrap();
            instance.annotations_mut().insert(approval::APPROVAL.to_owned(), approval);
            let error = secrets.parameters(&instance, &instance.spec.parameters_from).await.unwrap_err();
            assert_eq!(error.reason(), "ErrorWithParameters");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
