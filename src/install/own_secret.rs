//! A Secret that bindery creates for itself once and then keeps: generated values that Helm must not own.

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Api, Client, api::PostParams};

use crate::k8s::{explain, own};

/// Where one of bindery's own Secrets is.
#[derive(Clone)]
pub struct OwnSecret {
    client: Client,
    namespace: String,
    name: String,
}

/// One of bindery's own Secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnSecretError {
    /// The API server refused.
    #[error("Secret {namespace}/{name}: {}; bindery needs {verbs} on it", explain(source))]
    Api {
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// The verbs that bindery's role must allow.
        verbs: &'static str,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// A key is missing or unusable. bindery does not replace it, because other data depends on the value that was lost.
    #[error("Secret {namespace}/{name} has no usable key {key:?}; {remedy}")]
    UnusableKey {
        /// The Secret's namespace.
        namespace: String,
        /// The Secret's name.
        name: String,
        /// The key.
        key: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

impl OwnSecret {
    /// The Secret of this name, whether it exists or not.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The Secret's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Secret's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the existing Secret.
    ///
    /// # Errors
    /// When it does not, or the API server refuses.
    pub async fn get(&self) -> Result<Secret, OwnSecretError> {
        self.api().get(&self.name).await.map_err(|source| self.failed("get", source))
    }

    /// Reads the Secret if it exists.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn get_opt(&self) -> Result<Option<Secret>, OwnSecretError> {
        self.api().get_opt(&self.name).await.map_err(|source| self.failed("get", source))
    }

    /// Reads the Secret, or creates it with generated data if there is none. Replicas that race end with the same Secret.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn get_or_create<const N: usize>(
        &self,
        generate: impl FnOnce() -> [(&'static str, Vec<u8>); N],
    ) -> Result<Secret, OwnSecretError> {
        if let Some(secret) = self.get_opt().await? {
            return Ok(secret);
        }
        match self.api().create(&PostParams::default(), &manifest(&self.name, generate())).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.get().await,
            created => created.map_err(|source| self.failed("get and create", source)),
        }
    }

    /// The value of a key, as `parse` understands it.
    ///
    /// # Errors
    /// When the key is missing or `parse` refuses the value.
    pub fn value<T>(
        &self,
        secret: &Secret,
        key: &'static str,
        remedy: &'static str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, OwnSecretError> {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.and_then(|value| parse(&value.0)).ok_or_else(|| OwnSecretError::UnusableKey {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            key,
            remedy,
        })
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn failed(&self, verbs: &'static str, source: kube::Error) -> OwnSecretError {
        OwnSecretError::Api {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            verbs,
            source: Box::new(source),
        }
    }
}

/// A new Secret with these keys and values.
pub(super) fn manifest<const N: usize>(name: &str, data: [(&'static str, Vec<u8>); N]) -> Secret {
    Secret {
        metadata: own(name),
        type_: Some("Opaque".to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value))).collect()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{
        Json, Router,
        http::{Method, StatusCode},
        response::{IntoResponse, Response},
        routing::any,
    };
    use serde_json::{Value, json};

    use super::*;

    /// Another replica creates the Secret between this one's read and its create.
    #[tokio::test]
    async fn replicas_that_race_end_with_the_same_secret() {
        let created: Arc<Mutex<Option<Value>>> = Arc::default();
        let answer = async move |method: Method| -> Response {
            let mut created = created.lock().unwrap();
            let status = |reason, code: StatusCode| {
                let status = json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code.as_u16(), "message": ""});
                (code, Json(status)).into_response()
            };
            if method == Method::POST {
                *created = Some(json!({"metadata": {"name": "s"}, "data": {"key": "b3RoZXI="}}));
                return status("AlreadyExists", StatusCode::CONFLICT);
            }
            match &*created {
                Some(secret) => Json(secret.clone()).into_response(),
                None => status("NotFound", StatusCode::NOT_FOUND),
            }
        };
        let client = Client::new(Router::new().fallback(any(answer)), "default");
        let secret = OwnSecret::new(client, "bindery", "s");
        let read = secret.get_or_create(|| [("key", b"mine".to_vec())]).await.unwrap();
        let value = secret.value(&read, "key", "", |value| Some(value.to_vec())).unwrap();
        assert_eq!(value, b"other");
    }

    #[tokio::test]
    async fn a_refused_read_names_the_secret_and_the_verb() {
        let answer = async || {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"});
            (StatusCode::FORBIDDEN, Json(status))
        };
        let client = Client::new(Router::new().fallback(any(answer)), "default");
        let error = OwnSecret::new(client, "bindery", "s").get().await.unwrap_err().to_string();
        assert_eq!(error, "Secret bindery/s: no; bindery needs get on it");
    }
}
