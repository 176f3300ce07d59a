//! Deleting an object that was seen, and never another that has taken its name since.

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

/// Deletes the object of this name if it has this uid. One that is gone, or another by now, needs no deletion.
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
