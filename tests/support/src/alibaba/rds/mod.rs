//! RDS 2014-08-15 (ApsaraDB RDS API reference, one page an action): instances that take time, their accounts and
//! databases. A right is one on `acs:rds:REGION:ACCOUNT:dbinstance/ID`, with the instance's tags as `rds:ResourceTag/KEY`
//! (the table "Authorization information" of each action); creating needs one on `*`. An instance that does not exist is
//! answered before the rights are checked: the documentation does not tell the order.
//!
//! Time passes by looks: each call that meets an instance, account or database in a passing state is one look, and
//! `Settings` has how many looks a state lasts.

mod accounts;
mod create;
mod databases;
mod describe;
mod instance;
mod modify;
mod security_ips;
mod server;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::instance::Engine;
pub(super) use self::{instance::Instance, server::Kind};
use super::{
    Settings,
    account::ACCOUNT,
    call::{Call, Parameters, Product},
    identities::Caller,
    policy::Context,
    refusal::{Refusal, refuse},
};

type Result<T> = std::result::Result<T, Refusal>;

/// All instances, by id.
#[derive(Default)]
pub(super) struct Rds {
    pub(super) instances: BTreeMap<String, Instance>,
    /// Requests with a ClientToken, and the instances that they made.
    tokens: BTreeMap<String, (BTreeMap<String, String>, String)>,
    /// The address at which real servers listen behind the instances. `None` without real servers.
    host: Option<String>,
}

/// Answers an action of RDS.
pub(super) fn answer(rds: &mut Rds, settings: &Settings, caller: &Caller, call: &Call) -> Result<Value> {
    let (action, p) = (call.action.as_str(), &call.parameters);
    rds.check(caller, action, p)?;
    match action {
        "CreateDBInstance" => rds.create(settings, p),
        "DescribeDBInstances" => rds.list(p),
        "TagResources" | "UntagResources" | "ListTagResources" => rds.tags(action, p),
        "DescribeAvailableZones" | "DescribeAvailableClasses" => describe::available(action, p),
        _ => rds.on_instance(settings, action, p),
    }
}

impl Rds {
    /// With real servers at this address behind the instances.
    pub(super) fn with_servers(host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..Self::default() }
    }

    /// Refuses what the caller may not do.
    fn check(&mut self, caller: &Caller, action: &str, p: &Parameters) -> Result<()> {
        match action {
            "CreateDBInstance" => {
                let mut context: Context = p.tags().iter().flat_map(resource_tag).collect();
                for (key, parameter) in [
                    ("rds:Engine", "Engine"),
                    ("rds:EngineVersion", "EngineVersion"),
                    ("rds:DBInstanceClass", "DBInstanceClass"),
                    ("rds:DBInstanceStorage", "DBInstanceStorage"),
                ] {
                    context.extend(p.get(parameter).map(|value| (key.to_owned(), value.to_owned())));
                }
                caller.check(Product::Rds, action, &["*".to_owned()], context)
            }
            "DescribeDBInstances" => {
                let resource = format!("acs:rds:{}:{ACCOUNT}:dbinstance/*", p.required("RegionId")?);
                caller.check(Product::Rds, action, &[resource], Context::new())
            }
            "DescribeAvailableZones" | "DescribeAvailableClasses" => {
                caller.check(Product::Rds, action, &["*".to_owned()], Context::new())
            }
            "TagResources" | "UntagResources" | "ListTagResources" => {
                p.required("RegionId")?;
                p.required("ResourceType")?;
                p.list("ResourceId").into_iter().try_for_each(|id| self.check_instance(caller, action, id))
            }
            _ => self.check_instance(caller, action, p.required("DBInstanceId")?),
        }
    }

    fn check_instance(&mut self, caller: &Caller, action: &str, id: &str) -> Result<()> {
        let instance = self.get(id, action)?;
        let context: Context = instance.tags.iter().flat_map(resource_tag).collect();
        let resource = format!("acs:rds:{}:{ACCOUNT}:dbinstance/{id}", instance.region);
        caller.check(Product::Rds, action, &[resource], context)
    }

    /// An instance that exists. The status is 404, but 400 for two actions (CreateAccount, ModifySecurityIps).
    fn get(&mut self, id: &str, action: &str) -> Result<&mut Instance> {
        let status = if matches!(action, "CreateAccount" | "ModifySecurityIps") { 400 } else { 404 };
        let message = format!("The specified DB instance {id} does not exist.");
        let unknown = || Refusal::new(status, "InvalidDBInstanceId.NotFound", message);
        self.instances.get_mut(id).ok_or_else(unknown)
    }

    /// Answers an action on one instance.
    fn on_instance(&mut self, settings: &Settings, action: &str, p: &Parameters) -> Result<Value> {
        let id = p.required("DBInstanceId")?.to_owned();
        if self.get(&id, action)?.look() == instance::Look::Gone {
            self.instances.remove(&id);
        }
        let instance = self.get(&id, action)?;
        match action {
            "DescribeDBInstanceAttribute" => return Ok(instance.attribute(&id)),
            "DescribeDBInstanceNetInfo" => return Ok(instance.net_info(&id)),
            "DescribeDBInstanceIPArrayList" => return Ok(instance.describe_security_ips()),
            "DescribeDBInstanceSSL" => return Ok(instance.describe_ssl(&id)),
            "DescribeAccounts" => return instance.describe_accounts(&id, p),
            "DescribeDatabases" => return instance.describe_databases(&id, p),
            _ => {}
        }
        instance.check_running(action)?;
        match action {
            "DeleteDBInstance" => instance.delete(settings, p),
            "ModifyDBInstanceSpec" => instance.modify_spec(settings, p),
            "ModifyDBInstanceDescription" => instance.modify_description(p),
            "ModifyDBInstanceDeletionProtection" => instance.modify_deletion_protection(p),
            "ModifyDBInstanceSSL" => instance.modify_ssl(settings, &id, p),
            "ModifySecurityIps" => instance.modify_security_ips(p),
            "CreateAccount" => instance.create_account(settings, p),
            "DeleteAccount" => instance.delete_account(settings, p),
            "ResetAccountPassword" => instance.reset_password(p),
            "GrantAccountPrivilege" => instance.grant(p),
            "RevokeAccountPrivilege" => instance.revoke(p),
            "CreateDatabase" => instance.create_database(settings, p),
            "DeleteDatabase" => instance.delete_database(p),
            _ => {
                refuse(404, "InvalidAction.NotFound", format!("The stand-in does not know {action} of RDS."))
            }
        }
    }

    /// TagResources, UntagResources and ListTagResources. At most 20 tags an instance.
    fn tags(&mut self, action: &str, p: &Parameters) -> Result<Value> {
        if p.required("ResourceType")? != "INSTANCE" {
            return refuse(400, "InvalidResourceType.Malformed", "ResourceType must be INSTANCE.");
        }
        p.required("ResourceId.1")?;
        let (tags, mut listed) = (p.tags(), Vec::new());
        if action == "TagResources" {
            create::check_tags(&tags)?;
            p.required("Tag.1.Key")?;
        }
        for id in p.list("ResourceId") {
            let instance = self.get(id, action)?;
            match action {
                "TagResources" => instance.tags.extend(tags.clone()),
                "UntagResources" => {
                    let all = p.is_true("All");
                    let keys = p.list("TagKey");
                    instance.tags.retain(|key, _| !all && !keys.contains(&key.as_str()));
                }
                _ => {}
            }
            if instance.tags.len() > 20 {
                return refuse(400, "NumberExceed.Tags", "An instance has at most 20 tags.");
            }
            listed.extend(instance.tags.iter().map(|(key, value)| {
                json!({"ResourceId": id, "ResourceType": "INSTANCE", "TagKey": key, "TagValue": value})
            }));
        }
        Ok(if action == "ListTagResources" {
            json!({"TagResources": {"TagResource": listed}})
        } else {
            json!({})
        })
    }

    /// What exists.
    pub(super) fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (id, instance) in &self.instances {
            left.push(format!("rds instance {id}"));
            left.extend(instance.accounts.keys().map(|name| format!("rds account {id}/{name}")));
            left.extend(instance.databases.keys().map(|name| format!("rds database {id}/{name}")));
        }
        left
    }
}

fn resource_tag((key, value): (&String, &String)) -> [(String, String); 2] {
    ["rds", "acs"].map(|product| (format!("{product}:ResourceTag/{key}"), value.clone()))
}

/// A page by number, as DescribeDBInstances, DescribeAccounts and DescribeDatabases have it.
fn page<T>(
    items: Vec<T>,
    p: &Parameters,
    sizes: std::ops::RangeInclusive<u32>,
) -> Result<(Vec<T>, u32, usize)> {
    let (number, size) = (p.number("PageNumber")?.unwrap_or(1), p.number("PageSize")?.unwrap_or(30));
    if number == 0 {
        return refuse(400, "InvalidPageNumber.Malformed", "PageNumber must be at least 1.");
    }
    if !sizes.contains(&size) {
        let message = format!("PageSize must be between {} and {}.", sizes.start(), sizes.end());
        return refuse(400, "InvalidPageSize.Malformed", message);
    }
    let (total, size) = (items.len(), size as usize);
    let before = (number as usize - 1) * size;
    Ok((items.into_iter().skip(before).take(size).collect(), number, total))
}
