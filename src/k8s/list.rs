//! Lists objects page by page. Unreadable objects are reported and do not stop the others.

use std::fmt::{self, Debug};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::{Api, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;

use super::{guarded::Guarded, unreadable::why};

/// The page size, as in kubectl.
const PAGE: u32 = 500;

/// The result of a list.
#[derive(Debug)]
pub struct Listed<K> {
    /// The readable objects.
    pub items: Vec<K>,
    /// The unreadable objects.
    pub unread: Vec<Unread>,
}

/// An object that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its name, prefixed by its namespace if it has one.
    pub name: String,
    /// The reason, without quoting the object.
    pub why: String,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be read ({})", self.name, self.why)
    }
}

impl<K> Listed<K> {
    /// Returns all objects.
    ///
    /// # Errors
    /// An unreadable object, for callers to whom an incomplete list would do harm.
    pub fn complete(mut self) -> Result<Vec<K>, Unread> {
        self.unread.pop().map_or(Ok(self.items), Err)
    }
}

/// Lists the objects that `selected` selects.
///
/// # Errors
/// When the API server cannot be reached or refuses.
pub async fn list<K>(api: &Api<Guarded<K>>, selected: ListParams) -> kube::Result<Listed<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    let mut page = selected.limit(PAGE);
    let mut listed = Listed { items: Vec::new(), unread: Vec::new() };
    loop {
        let found = api.list(&page).await?;
        for object in found.items {
            match object.0 {
                Ok(object) => listed.items.push(object),
                Err(ref invalid) => {
                    let why = why(invalid);
                    let name = match object.namespace() {
                        Some(namespace) => format!("{namespace}/{}", object.name_any()),
                        None => object.name_any(),
                    };
                    listed.unread.push(Unread { name, why });
                }
            }
        }
        if !turn(&mut page, found.metadata) {
            return Ok(listed);
        }
    }
}

/// Turns to the page after the one that this list is. Returns whether there is one.
pub(crate) fn turn(page: &mut ListParams, list: ListMeta) -> bool {
    page.continue_token = list.continue_.filter(|token| !token.is_empty());
    page.continue_token.is_some()
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, extract::RawQuery, routing::get};
    use serde_json::json;

    use super::*;
    use crate::{apis::servicecatalog::ServiceBinding, k8s::asking};

    #[tokio::test]
    async fn all_pages_are_read_and_unreadable_objects_are_named() {
        let binding = |name: &str, instance: serde_json::Value| json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"instanceRef": {"name": instance}}});
        let page = async move |RawQuery(query): RawQuery| {
            let (items, next) = if query.unwrap_or_default().contains("continue=second") {
                (vec![binding("c", json!("db"))], "")
            } else {
                (vec![binding("a", json!("db")), binding("b", json!(["canary"]))], "second")
            };
            let metadata = json!({"continue": next});
            Json(
                json!({"kind": "ServiceBindingList", "apiVersion": "v1", "metadata": metadata, "items": items}),
            )
        };
        let path = "/apis/servicecatalog.k8s.io/v1beta1/servicebindings";
        let client = asking(Router::new().route(path, get(page)));
        let listed = list::<ServiceBinding>(&Api::all(client), ListParams::default()).await.unwrap();
        assert_eq!(listed.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(listed.unread.len(), 1);
        let said = listed.unread[0].to_string();
        assert!(said.starts_with("shop/b cannot be read (") && !said.contains("canary"), "{said}");
        assert_eq!(listed.complete().unwrap_err().name, "shop/b");
    }
}
