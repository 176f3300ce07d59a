//! Deletes exactly the object that was read, and never another object that has taken its name.

use std::fmt::Debug;

use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use serde::de::DeserializeOwned;

/// The parameters of a deletion that is refused unless the object has this uid.
#[must_use]
pub fn only(uid: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::default()
    }
}

/// Deletes the object of this name if it has this uid. An object that is gone or was replaced needs no deletion.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn delete<K>(api: &Api<K>, name: &str, uid: Option<String>) -> kube::Result<()>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.delete(name, &only(uid)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        other => other.map(drop),
    }
}
