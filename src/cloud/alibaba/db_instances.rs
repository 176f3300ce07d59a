//! Database servers of RDS. Alibaba Cloud gives a server its id, so a tag finds it again; the client's token makes the
//! creation idempotent until lists show the server.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Account, AlibabaError, Call,
    endpoints::Product,
    rpc::{Parameters, entries, text},
    users::found,
};

const PAGE: &str = "100";
/// How many servers a list of tags is for, at most.
const MOST_TAGGED: usize = 50;

/// A server to create.
#[derive(Clone, Copy, Debug)]
pub struct DbInstanceRequest<'a> {
    /// Identifies the request: a repetition returns the same server.
    pub token: &'a str,
    /// The description, which the console shows.
    pub description: &'a str,
    /// `MySQL` or `PostgreSQL`.
    pub engine: &'a str,
    /// The version of the engine.
    pub engine_version: &'a str,
    /// The instance class.
    pub class: &'a str,
    /// The storage in GB.
    pub storage: u32,
    /// The kind of storage; absent: that of the class.
    pub storage_type: Option<&'a str>,
    /// The edition, such as `Basic`; absent: that of the class.
    pub category: Option<&'a str>,
    /// The addresses that may connect, with commas.
    pub security_ips: &'a str,
    /// The VPC; absent: the default one.
    pub vpc: Option<&'a str>,
    /// The vSwitch.
    pub vswitch: Option<&'a str>,
    /// The zone.
    pub zone: Option<&'a str>,
    /// The resource group.
    pub resource_group: Option<&'a str>,
    /// Whether Alibaba Cloud refuses to delete the server.
    pub deletion_protection: bool,
    /// The tags.
    pub tags: &'a BTreeMap<String, String>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbInstance {
    /// The id.
    pub id: String,
    /// The state, such as `Running`.
    pub status: String,
    /// The engine.
    pub engine: String,
    /// The instance class.
    pub class: String,
    /// The storage in GB.
    pub storage: u32,
    /// Where applications connect.
    pub address: Option<(String, u16)>,
    /// Why the server is locked, if it is: unpaid or full.
    pub lock: Option<String>,
    /// Whether Alibaba Cloud refuses to delete the server.
    pub deletion_protection: bool,
}

/// What remains of the backups of a deleted server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeptBackups {
    /// Nothing.
    #[default]
    None,
    /// The last one.
    Last,
    /// All.
    All,
}

impl KeptBackups {
    /// As the API spells the values.
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Last => "Lastest",
            Self::All => "All",
        }
    }
}

impl Account {
    /// Creates a server; the same one for the same token. Returns its id.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn create_db_instance(&self, wanted: &DbInstanceRequest<'_>) -> Result<String, AlibabaError> {
        let region = self.region().await?;
        let storage = wanted.storage.to_string();
        let parameters = Parameters::new(&[
            ("RegionId", &region),
            ("ClientToken", wanted.token),
            ("DBInstanceDescription", wanted.description),
            ("Engine", wanted.engine),
            ("EngineVersion", wanted.engine_version),
            ("DBInstanceClass", wanted.class),
            ("DBInstanceStorage", &storage),
            ("DBInstanceNetType", "Intranet"),
            ("InstanceNetworkType", "VPC"),
            ("PayType", "Postpaid"),
            ("SecurityIPList", wanted.security_ips),
            ("DeletionProtection", if wanted.deletion_protection { "true" } else { "false" }),
        ])
        .with_some("DBInstanceStorageType", wanted.storage_type)
        .with_some("Category", wanted.category)
        .with_some("VPCId", wanted.vpc)
        .with_some("VSwitchId", wanted.vswitch)
        .with_some("ZoneId", wanted.zone)
        .with_some("ResourceGroupId", wanted.resource_group)
        .with_tags(wanted.tags);
        let call = Call::write("rds:CreateDBInstance", wanted.description);
        let answer = self.rpc(call, Product::Rds, &parameters).await?;
        text(&answer, "DBInstanceId").ok_or_else(|| AlibabaError::incomplete(call, "DBInstanceId"))
    }

    /// The ids of the servers with this tag. Lists show a new server only after a while.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn db_instances_with_tag(&self, key: &str, value: &str) -> Result<Vec<String>, AlibabaError> {
        self.listed_db_instances(value, ("Tags", &json!({ key: value }).to_string())).await
    }

    /// The values of this tag by the ids of the servers that have it and whose description contains `text`.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn tagged_db_instances(
        &self,
        key: &str,
        text_of_description: &str,
    ) -> Result<BTreeMap<String, String>, AlibabaError> {
        let region = self.region().await?;
        let ids = self.listed_db_instances(key, ("SearchKey", text_of_description)).await?;
        let call = Call::read("rds:ListTagResources", key);
        let mut tagged = BTreeMap::new();
        for some in ids.chunks(MOST_TAGGED) {
            let of = Parameters::new(&[("RegionId", &region), ("ResourceType", "INSTANCE")]);
            let parameters =
                some.iter().zip(1..).fold(of, |of, (id, n)| of.with(format!("ResourceId.{n}"), id));
            // The answer has pages, too: a server may have 20 tags.
            let mut next = None::<String>;
            loop {
                let parameters = parameters.clone().with_some("NextToken", next.as_deref());
                let answer = self.rpc(call, Product::Rds, &parameters).await?;
                let tags = entries(&answer, ["TagResources", "TagResource"]);
                let of_key = tags.filter(|tag| tag["TagKey"] == key);
                tagged.extend(
                    of_key.filter_map(|tag| Some((text(tag, "ResourceId")?, text(tag, "TagValue")?))),
                );
                next = text(&answer, "NextToken").filter(|token| !token.is_empty());
                if next.is_none() {
                    break;
                }
            }
        }
        Ok(tagged)
    }

    async fn listed_db_instances(
        &self,
        resource: &str,
        filter: (&str, &str),
    ) -> Result<Vec<String>, AlibabaError> {
        let region = self.region().await?;
        let call = Call::read("rds:DescribeDBInstances", resource);
        let (mut ids, mut page) = (Vec::new(), 1);
        loop {
            let number: String = page.to_string();
            let of = [("RegionId", region.as_str()), filter, ("PageSize", PAGE), ("PageNumber", &number)];
            let answer = self.rpc(call, Product::Rds, &Parameters::new(&of)).await?;
            let before = ids.len();
            ids.extend(
                entries(&answer, ["Items", "DBInstance"]).filter_map(|item| text(item, "DBInstanceId")),
            );
            let total = answer["TotalRecordCount"].as_u64().unwrap_or_default();
            if ids.len() == before || ids.len() as u64 >= total {
                ids.sort();
                ids.dedup();
                return Ok(ids);
            }
            page += 1;
        }
    }

    /// A server by its id.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn db_instance(&self, id: &str) -> Result<Option<DbInstance>, AlibabaError> {
        let call = Call::read("rds:DescribeDBInstanceAttribute", id);
        let answer = self.rpc(call, Product::Rds, &Parameters::new(&[("DBInstanceId", id)])).await;
        let Some(answer) = found(answer)? else { return Ok(None) };
        let item = entries(&answer, ["Items", "DBInstanceAttribute"]).next();
        Ok(item.map(|item| DbInstance::read(id, item)))
    }

    /// Changes class and storage. RDS needs minutes for that, and the server stays as it is meanwhile.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn resize_db_instance(&self, id: &str, class: &str, storage: u32) -> Result<(), AlibabaError> {
        let storage = storage.to_string();
        let parameters = Parameters::new(&[
            ("DBInstanceId", id),
            ("DBInstanceClass", class),
            ("DBInstanceStorage", &storage),
            ("PayType", "Postpaid"),
        ]);
        self.rpc(Call::once("rds:ModifyDBInstanceSpec", id), Product::Rds, &parameters).await.map(drop)
    }

    /// Sets whether Alibaba Cloud refuses to delete the server.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn protect_db_instance(&self, id: &str, is_protected: bool) -> Result<(), AlibabaError> {
        let call = Call::write("rds:ModifyDBInstanceDeletionProtection", id);
        let value = if is_protected { "true" } else { "false" };
        let parameters = Parameters::new(&[("DBInstanceId", id), ("DeletionProtection", value)]);
        self.rpc(call, Product::Rds, &parameters).await.map(drop)
    }

    /// Starts to delete a server. Nothing happens if it is gone.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn delete_db_instance(&self, id: &str, kept: KeptBackups) -> Result<(), AlibabaError> {
        let parameters = Parameters::new(&[("DBInstanceId", id), ("ReleasedKeepPolicy", kept.as_str())]);
        let call = Call::write("rds:DeleteDBInstance", id);
        found(self.rpc(call, Product::Rds, &parameters).await).map(drop)
    }

    /// Adds a tag to a server.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn tag_db_instance(&self, id: &str, key: &str, value: &str) -> Result<(), AlibabaError> {
        let parameters = self.of_tags(id).await?.with("Tag.1.Key", key).with("Tag.1.Value", value);
        self.rpc(Call::write("rds:TagResources", id), Product::Rds, &parameters).await.map(drop)
    }

    /// Removes tags from a server, all at once.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn untag_db_instance(&self, id: &str, keys: &[&str]) -> Result<(), AlibabaError> {
        let of = self.of_tags(id).await?;
        let parameters = keys.iter().zip(1..).fold(of, |of, (key, n)| of.with(format!("TagKey.{n}"), *key));
        self.rpc(Call::write("rds:UntagResources", id), Product::Rds, &parameters).await.map(drop)
    }

    async fn of_tags(&self, id: &str) -> Result<Parameters, AlibabaError> {
        let region = self.region().await?;
        let of = [("RegionId", region.as_str()), ("ResourceType", "INSTANCE"), ("ResourceId.1", id)];
        Ok(Parameters::new(&of))
    }
}

impl DbInstance {
    fn read(id: &str, item: &Value) -> Self {
        let field = |name: &str| text(item, name).unwrap_or_default();
        let host = text(item, "ConnectionString").filter(|host| !host.is_empty());
        let port = text(item, "Port").and_then(|port| port.parse().ok());
        let is_locked = text(item, "LockMode").is_some_and(|mode| !mode.is_empty() && mode != "Unlock");
        Self {
            id: id.to_owned(),
            status: field("DBInstanceStatus"),
            engine: field("Engine"),
            class: field("DBInstanceClass"),
            storage: field("DBInstanceStorage").parse().unwrap_or_default(),
            address: host.zip(port),
            lock: is_locked
                .then(|| format!("{} {}", field("LockMode"), field("LockReason")).trim().to_owned()),
            deletion_protection: field("DeletionProtection") == "true",
        }
    }

    /// Whether the server can be changed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status == "Running"
    }

    /// Whether the server is going or gone.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(self.status.as_str(), "Deleting" | "Released")
    }

    /// Whether somebody has stopped the server, so that waiting does not help.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.status.as_str(), "Stopped" | "Stopping")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_whether_numbers_are_texts_or_not() {
        let item = json!({"DBInstanceStatus": "Running", "Engine": "MySQL", "DBInstanceClass": "mysql.n2e.small.1",
            "DBInstanceStorage": 20, "ConnectionString": "rm-1.mysql.rds.aliyuncs.com", "Port": "3306",
            "LockMode": "Unlock", "DeletionProtection": true});
        let server = DbInstance::read("rm-1", &item);
        assert!(server.is_running() && server.deletion_protection && server.lock.is_none(), "{server:?}");
        assert_eq!(
            (server.storage, server.address),
            (20, Some(("rm-1.mysql.rds.aliyuncs.com".to_owned(), 3306)))
        );
    }

    #[test]
    fn a_lock_is_told() {
        let item = json!({"LockMode": "LockByExpiration", "LockReason": "unpaid"});
        assert_eq!(DbInstance::read("rm-1", &item).lock.as_deref(), Some("LockByExpiration unpaid"));
    }
}
