//! Roles for service accounts of a cluster on EKS: pods get them by a token of the cluster (IRSA) or by EKS Pod Identity,
//! so the Secret of a binding holds nothing secret. A role's tags say which association belongs to it.

use super::{Services, grant::RoleFor, naming};
use crate::{
    broker::backends::{ServiceError, cloud_error::foreign},
    cloud::aws::{
        ErrorKind,
        pod_identity::ServiceAccount,
        policy,
        sessions::LONGEST_CHAINED,
        users::{Principal, PrincipalRequest},
    },
};

/// The tags of a role that is associated with a service account.
const CLUSTER_TAG: &str = "bindery:eks-cluster";
const NAMESPACE_TAG: &str = "bindery:eks-namespace";
const ACCOUNT_TAG: &str = "bindery:eks-service-account";

impl Services {
    /// Creates a role for a service account, and associates it if that is how pods get it. Returns the role's ARN.
    pub(super) async fn role_for(
        &self,
        wanted: &PrincipalRequest<'_>,
        whom: &RoleFor,
    ) -> Result<String, ServiceError> {
        let failed = |error| self.failed(&error);
        let account = match whom {
            RoleFor::Token { provider_arn, namespace, service_account } => {
                let trust = policy::trust_token(provider_arn, namespace, service_account);
                return self.account.create_role(wanted, &trust, LONGEST_CHAINED).await.map_err(failed);
            }
            RoleFor::Pods(account) => account,
        };
        let ServiceAccount { cluster, namespace, name } = account;
        // Created with the role, so that the association is found whenever the role is.
        let mut tags = wanted.tags.clone();
        tags.extend([(CLUSTER_TAG, cluster), (NAMESPACE_TAG, namespace), (ACCOUNT_TAG, name)].map(own));
        let wanted = PrincipalRequest { tags: &tags, ..*wanted };
        let trust = policy::trust_pods(cluster, namespace, name);
        let role = self.account.create_role(&wanted, &trust, LONGEST_CHAINED).await.map_err(failed)?;
        match self.account.associate(account, &role, wanted.name, &tags).await {
            Ok(()) => Ok(role),
            Err(error) if error.kind() == ErrorKind::Exists => {
                self.account.delete_role(wanted.name).await.map_err(failed)?;
                let problem = format!(
                    "service account {name} has a role by EKS Pod Identity already, and AWS allows one; name another \
                     serviceAccount, or ask for credentials: irsa"
                );
                Err(ServiceError::new(&self.name, problem).detailed(error))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Deletes the role of this name with its association, if it is this installation's.
    pub(super) async fn remove_role(&self, name: &str) -> Result<(), ServiceError> {
        let failed = |error| self.failed(&error);
        let Some(role) = self.account.role(name).await.map_err(failed)? else { return Ok(()) };
        if !self.owns(&role) {
            return Err(foreign(&self.name, &format!("role {name}")));
        }
        if let Some(account) = associated_with(&role) {
            self.account.dissociate(&account, &role.arn).await.map_err(failed)?;
        }
        self.account.delete_role(name).await.map_err(failed)
    }
}

fn associated_with(role: &Principal) -> Option<ServiceAccount> {
    let tag = |name: &str| role.tags.get(name).cloned();
    Some(ServiceAccount {
        cluster: tag(CLUSTER_TAG)?,
        namespace: tag(NAMESPACE_TAG)?,
        name: tag(ACCOUNT_TAG)?,
    })
}

fn own((key, value): (&str, &String)) -> (String, String) {
    (key.to_owned(), naming::tag_value(value))
}
