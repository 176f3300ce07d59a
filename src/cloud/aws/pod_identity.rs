//! EKS Pod Identity: associations of a role with a service account of a cluster. A service account has at most one.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Account, AwsError, Call, ErrorKind, signed::JsonRequest};

/// A service account of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The name of the EKS cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Account {
    /// Associates a role with a service account. Succeeds if that association exists.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Exists`] when the service account has another role.
    pub async fn associate(
        &self,
        account: &ServiceAccount,
        role_arn: &str,
        token: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), AwsError> {
        let ServiceAccount { cluster, namespace, name } = account;
        let call = Call::write("eks:CreatePodIdentityAssociation", cluster);
        let body = json!({"namespace": namespace, "serviceAccount": name, "roleArn": role_arn,
            "clientRequestToken": token, "tags": tags});
        let path = associations(cluster);
        match self.json(call, &request("POST", &path, Some(&body))).await {
            Ok(_) => Ok(()),
            // The answer to an earlier attempt may have been lost.
            Err(error) if error.kind() == ErrorKind::Exists => {
                let roles = self.associated(account).await?;
                if roles.iter().any(|(_, role)| role == role_arn) { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Removes the association of a role with a service account, if there is one.
    ///
    /// # Errors
    /// When EKS does not answer or refuses.
    pub async fn dissociate(&self, account: &ServiceAccount, role_arn: &str) -> Result<(), AwsError> {
        for (id, role) in self.associated(account).await? {
            if role != role_arn {
                continue;
            }
            let call = Call::write("eks:DeletePodIdentityAssociation", &account.cluster);
            let path = format!("{}/{}", associations(&account.cluster), encoded(&id));
            unless_gone(self.json(call, &request("DELETE", &path, None)).await)?;
        }
        Ok(())
    }

    /// The ids of a service account's associations, each with its role.
    async fn associated(&self, account: &ServiceAccount) -> Result<Vec<(String, String)>, AwsError> {
        let ServiceAccount { cluster, namespace, name } = account;
        let call = Call::read("eks:ListPodIdentityAssociations", cluster);
        let path = format!(
            "{}?namespace={}&serviceAccount={}",
            associations(cluster),
            encoded(namespace),
            encoded(name)
        );
        // A cluster that is gone has taken its associations along.
        let listed = unless_gone(self.json(call, &request("GET", &path, None)).await)?.unwrap_or_default();
        let mut found = Vec::new();
        for association in listed["associations"].as_array().into_iter().flatten() {
            let Some(id) = association["associationId"].as_str() else { continue };
            let call = Call::read("eks:DescribePodIdentityAssociation", cluster);
            let path = format!("{}/{}", associations(cluster), encoded(id));
            let Some(described) = unless_gone(self.json(call, &request("GET", &path, None)).await)? else {
                continue;
            };
            let role = described["association"]["roleArn"].as_str().unwrap_or_default();
            found.push((id.to_owned(), role.to_owned()));
        }
        Ok(found)
    }
}

fn associations(cluster: &str) -> String {
    format!("/clusters/{}/pod-identity-associations", encoded(cluster))
}

fn request<'a>(method: &'static str, path: &'a str, body: Option<&'a Value>) -> JsonRequest<'a> {
    JsonRequest { service: "eks", method, path, target: None, body }
}

/// Names and ids of EKS have letters, digits, `-`, `_` and `.` only, which stay.
fn encoded(text: &str) -> String {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    utf8_percent_encode(text, ENCODED).to_string()
}

fn unless_gone(outcome: Result<Value, AwsError>) -> Result<Option<Value>, AwsError> {
    match outcome {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
