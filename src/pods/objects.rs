//! Looks up the Secrets and ConfigMaps that pods refer to: whether they exist, and the names of their keys. No value is
//! kept.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use crate::injection::ObjectKind;

/// Whether the object exists. Reads no data.
pub(super) async fn exists(
    client: &Client,
    namespace: &str,
    kind: ObjectKind,
    name: &str,
) -> kube::Result<bool> {
    Ok(match kind {
        ObjectKind::Secret => {
            Api::<Secret>::namespaced(client.clone(), namespace).get_metadata_opt(name).await?.is_some()
        }
        ObjectKind::ConfigMap => {
            Api::<ConfigMap>::namespaced(client.clone(), namespace).get_metadata_opt(name).await?.is_some()
        }
    })
}

/// The names of the object's keys; `None` if it does not exist.
pub(super) async fn keys(
    client: &Client,
    namespace: &str,
    kind: ObjectKind,
    name: &str,
) -> kube::Result<Option<Vec<String>>> {
    Ok(match kind {
        ObjectKind::Secret => {
            let found = Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await?;
            found.map(|secret| secret.data.unwrap_or_default().into_keys().collect())
        }
        ObjectKind::ConfigMap => {
            let found = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await?;
            found.map(|map| {
                let binary = map.binary_data.unwrap_or_default().into_keys();
                map.data.unwrap_or_default().into_keys().chain(binary).collect()
            })
        }
    })
}
