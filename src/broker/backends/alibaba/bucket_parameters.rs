//! The parameters of a bucket, by the names of the Service Broker for Alibaba Cloud.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    bucket_kinds::{Acl, StorageClass},
    catalog::BucketDefinition,
    read::{invalid, read},
    release::{RECLAIM_POLICY, Release},
};
use crate::{
    broker::{
        backends::Unacceptable,
        config::{Kinds, ReclaimPolicy},
    },
    osb::Object,
};

/// The keys of the caller that the former broker asked for, and kept among the parameters.
const CALLERS_KEY: [&str; 2] = ["AccessKeyId", "AccessKeySecret"];

/// A bucket that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WantedBucket {
    pub(super) acl: Acl,
    pub(super) storage_class: StorageClass,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "PascalCase")]
struct BucketParameters {
    #[serde(alias = "ACL")]
    acl: Option<Acl>,
    storage_class: Option<StorageClass>,
    region: Option<String>,
    #[serde(rename = "reclaimPolicy")]
    reclaim_policy: Option<ReclaimPolicy>,
}

impl BucketDefinition {
    /// The bucket that these parameters ask for. `region` is the backend's, if its configuration names one.
    ///
    /// # Errors
    /// Names the parameter that is unknown, not allowed, or wrong.
    pub(super) fn wanted(
        &self,
        given: &Object,
        region: Option<&str>,
        release: &Release,
    ) -> Result<WantedBucket, Unacceptable> {
        let mut given = given.clone();
        for name in CALLERS_KEY {
            let value = given.remove(name).unwrap_or_default();
            if !value.is_null() && value != "" {
                let problem =
                    "is refused: bindery uses its own credentials and keeps no key of yours; leave it out";
                return Err(invalid(name, problem));
            }
        }
        // Manifests leave placeholders empty.
        given.retain(|_, value| !value.is_null() && value != "");
        let asked: BucketParameters = read(&given)?;
        release
            .reclaim_policy
            .take(asked.reclaim_policy)
            .map_err(|problem| invalid(RECLAIM_POLICY, &problem))?;
        if let Some(asked) = &asked.region {
            let asked = asked.strip_prefix("oss-").unwrap_or(asked);
            if region != Some(asked) {
                let problem = format!(
                    "is {asked:?}, and the buckets of this service are in {}; leave it out",
                    region.unwrap_or("the region of the cluster")
                );
                return Err(invalid("Region", &problem));
            }
        }
        Ok(WantedBucket {
            acl: self.acl.take(asked.acl).map_err(|problem| invalid("Acl", &problem))?,
            storage_class: self
                .storage_class
                .take(asked.storage_class)
                .map_err(|problem| invalid("StorageClass", &problem))?,
        })
    }

    /// The JSON Schema of the properties.
    pub(super) fn properties(&self, release: &Release) -> Map<String, Value> {
        let text = |description: &str| json!({"type": ["string", "null"], "description": description});
        let refused = |name: &str| {
            let schema = json!({"deprecated": true,
                "description": "Refused: bindery uses its own credentials and keeps no key of yours."});
            (name.to_owned(), schema)
        };
        let policy =
            release.reclaim_policy.schema("What happens to the bucket when the instance is deleted.");
        let mut properties: Map<String, Value> = CALLERS_KEY.into_iter().map(refused).collect();
        let words = |allowed: Vec<&str>| format!("One of {}.", allowed.join(", "));
        let acls = self.acl.allowed.iter().map(|acl| acl.as_str()).collect();
        let classes = self.storage_class.allowed.iter().map(|class| class.as_str()).collect();
        properties.extend([
            ("Acl".to_owned(), text(&format!("Who may use the bucket without credentials. {}", words(acls)))),
            ("ACL".to_owned(), text("As Acl.")),
            ("StorageClass".to_owned(), text(&format!("The storage class. {}", words(classes)))),
            ("Region".to_owned(), text("The region of the service; may be left out.")),
            (RECLAIM_POLICY.to_owned(), policy),
        ]);
        properties
    }
}

impl WantedBucket {
    /// Refuses a change for which OSS would need another bucket.
    pub(super) fn check_change(self, to: Self) -> Result<(), Unacceptable> {
        if self.storage_class == to.storage_class {
            return Ok(());
        }
        let problem = "parameter StorageClass cannot be changed; provision another instance";
        Err(Unacceptable::Unsupported(problem.to_owned()))
    }
}
