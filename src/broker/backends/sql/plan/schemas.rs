//! The generated JSON Schemas of a plan without configured ones.

use serde_json::{Value, json};

use super::DatabasePlan;
use crate::broker::config::DIALECT;

impl DatabasePlan {
    /// The Schemas Object of a plan whose configuration gives none (spec.md, "Schemas Object").
    pub(crate) fn schemas(&self) -> Value {
        let mut create = serde_json::Map::new();
        create.insert(
            "reclaimPolicy".to_owned(),
            self.reclaim_policy.schema("What becomes of the data when the instance is deleted."),
        );
        if let Some(default) = self.encodings.first() {
            let described = json!({"type": "string", "enum": self.encodings, "default": default,
                "description": "How the database encodes text."});
            create.insert("encoding".to_owned(), described);
        }
        if !self.templates.is_empty() {
            let names: Vec<_> = self.templates.keys().collect();
            let described = json!({"type": "string", "enum": names,
                "description": "The database to start as a copy of."});
            create.insert("template".to_owned(), described);
        }
        if !self.extensions.is_empty() {
            let described = json!({"type": "array", "uniqueItems": true,
                "items": {"type": "string", "enum": self.extensions},
                "description": "The extensions to have in the database."});
            create.insert("extensions".to_owned(), described);
        }
        let bind = json!({
            "access": self.access.schema("What the binding may do with the data."),
            "validFor": self.valid_for.schema(),
        });
        let object = |properties: Value| {
            json!({"parameters": {"$schema": DIALECT, "type": "object",
                "additionalProperties": false, "properties": properties}})
        };
        let instance = object(create.into());
        json!({
            "service_instance": {"create": instance, "update": instance},
            "service_binding": {"create": object(bind)},
        })
    }
}
