//! CreateDBInstance, which alone has a ClientToken: the same request again is answered with the same instance, another
//! request with the same token is IdempotentParameterMismatch.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::random, Engine, Instance, Parameters, Rds, Result, Settings, instance::Behind, refuse,
    security_ips, server::Server,
};

const LONGEST_TOKEN: usize = 64;

impl Rds {
    pub(super) fn create(&mut self, settings: &Settings, p: &Parameters) -> Result<Value> {
        let token = p.get("ClientToken");
        if let Some(token) = token {
            if token.len() > LONGEST_TOKEN || !token.is_ascii() {
                return refuse(400, "InvalidClientToken", "ClientToken has at most 64 ASCII characters.");
            }
            if let Some((parameters, id)) = self.tokens.get(token) {
                if *parameters != p.0 {
                    let message =
                        "The request uses the same client token as a previous, but non-identical request.";
                    return refuse(400, "IdempotentParameterMismatch", message);
                }
                return Ok(json!({"DBInstanceId": id, "OrderId": "2"}));
            }
        }
        let mut instance = read(p)?;
        instance.pass("Creating", settings.creating);
        if p.is_true("DryRun") {
            return Ok(json!({"DryRun": true, "DryRunResult": true}));
        }
        if let Some(host) = self.host.clone() {
            let engine = instance.engine;
            instance.behind = Behind::Starting(std::thread::spawn(move || Server::start(engine, &host)));
        }
        let prefix = if instance.engine == Engine::PostgreSql { "pgm" } else { "rm" };
        let id = format!("{prefix}-bp1{}", random("abcdefghijkmnpqrstuvwxyz0123456789", 14));
        let mut answer = json!({"DBInstanceId": id, "OrderId": "1"});
        if self.host.is_none() {
            // The port of a real server is not known yet.
            answer["ConnectionString"] = instance.host(&id).into();
            answer["Port"] = instance.port().to_string().into();
        }
        if let Some(token) = token {
            self.tokens.insert(token.to_owned(), (p.0.clone(), id.clone()));
        }
        self.instances.insert(id, instance);
        Ok(answer)
    }
}

/// Checks the parameters that the documentation demands, and those that it limits.
fn read(p: &Parameters) -> Result<Instance> {
    let region = p.required("RegionId")?;
    let engine = Engine::read(p.required("Engine")?);
    let version = p.required("EngineVersion")?;
    let class = p.required("DBInstanceClass")?;
    p.required("DBInstanceStorage")?;
    let net_type = p.required("DBInstanceNetType")?;
    let pay_type = p.required("PayType")?;
    let security_ips = security_ips::read(p.required("SecurityIPList")?)?;
    let Some(engine) = engine else {
        return refuse(400, "InvalidEngine.Malformed", "The specified engine is not valid.");
    };
    if !versions(engine).contains(&version) {
        return refuse(400, "InvalidEngineVersion.Malformed", "The specified engine version is not valid.");
    }
    check_class(class)?;
    let storage = check_storage(p)?;
    if !matches!(net_type, "Intranet" | "Internet") {
        return refuse(400, "InvalidDBInstanceNetType.Malformed", "The specified network type is not valid.");
    }
    check_payment(pay_type, p)?;
    let description = p.get("DBInstanceDescription").unwrap_or_default();
    check_description(description)?;
    let tags = p.tags();
    check_tags(&tags)?;
    Ok(Instance {
        region: region.to_owned(),
        engine,
        version: version.to_owned(),
        class: class.to_owned(),
        storage,
        next: None,
        pay_type: pay_type.to_owned(),
        description: description.to_owned(),
        network: network(p)?,
        tags,
        is_protected: p.is_true("DeletionProtection"),
        has_ssl: false,
        needs_certificate: false,
        passing: None,
        security_ips: [("default".to_owned(), security_ips)].into(),
        accounts: BTreeMap::new(),
        databases: BTreeMap::new(),
        behind: Behind::Nothing,
    })
}

fn versions(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::MySql => &["5.6", "5.7", "8.0"],
        Engine::MariaDb => &["10.3", "10.6"],
        Engine::PostgreSql => &["12.0", "13.0", "14.0", "15.0", "16.0", "17.0"],
    }
}

/// Names of classes begin with the engine (instance types of RDS); which of them are on sale is not known here.
pub(super) fn check_class(class: &str) -> Result<()> {
    if ["rds.", "mysql.", "pg.", "mariadb."].iter().any(|prefix| class.starts_with(prefix)) {
        return Ok(());
    }
    refuse(400, "InvalidDBInstanceClass.Malformed", "The specified parameter DBInstanceClass is not valid.")
}

/// Gigabytes, in steps of 5.
pub(super) fn check_storage(p: &Parameters) -> Result<u32> {
    let storage = p.number("DBInstanceStorage")?.unwrap_or_default();
    if !(5..=64_000).contains(&storage) || storage % 5 != 0 {
        let message = "The specified storage is not valid; it must be a multiple of 5 GB.";
        return refuse(400, "InvalidDBInstanceStorage.Format", message);
    }
    Ok(storage)
}

fn check_payment(pay_type: &str, p: &Parameters) -> Result<()> {
    match pay_type {
        "Postpaid" | "Serverless" => Ok(()),
        "Prepaid" => {
            p.required("Period")?;
            p.required("UsedTime")?;
            if p.is_true("DeletionProtection") {
                let message = "Only pay-as-you-go instances can be protected.";
                return refuse(400, "InvalidDeletionProtection", message);
            }
            Ok(())
        }
        _ => refuse(400, "InvalidPayType.Malformed", "The specified PayType is not valid."),
    }
}

/// 2 to 255 characters, the first a letter, no scheme of a URL.
pub(super) fn check_description(description: &str) -> Result<()> {
    let is_valid = (2..=255).contains(&description.chars().count())
        && description.starts_with(char::is_alphabetic)
        && !description.starts_with("http://")
        && !description.starts_with("https://");
    if description.is_empty() || is_valid {
        return Ok(());
    }
    refuse(400, "InvalidDBInstanceDescription.Malformed", "The specified description is not valid.")
}

/// Keys have 1 to 64 characters, values up to 128 (TagResources); some prefixes are reserved.
pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    if tags.len() > 20 {
        return refuse(400, "NumberExceed.Tags", "An instance has at most 20 tags.");
    }
    for (key, value) in tags {
        let is_reserved = ["aliyun", "acs:", "http://", "https://"].iter().any(|it| key.starts_with(it));
        if is_reserved || key.chars().count() > 64 {
            return refuse(400, "InvalidTagKey.Malformed", format!("The key {key} is not valid."));
        }
        if value.chars().count() > 128 || value.contains("http://") || value.contains("https://") {
            return refuse(
                400,
                "InvalidTagValue.Malformed",
                format!("The value of the tag {key} is not valid."),
            );
        }
    }
    Ok(())
}

/// The classic network is not offered any more. In a VPC both or neither of VPC and VSwitch are named.
fn network(p: &Parameters) -> Result<BTreeMap<&'static str, String>> {
    match p.get("InstanceNetworkType") {
        None | Some("VPC") => {}
        _ => {
            let message = "The specified InstanceNetworkType is not valid.";
            return refuse(400, "InvalidParam.InstanceNetworkType", message);
        }
    }
    match (p.get("VPCId"), p.get("VSwitchId")) {
        (Some(_), None) => p.required("VSwitchId").map(|_| ())?,
        (None, Some(_)) => p.required("VPCId").map(|_| ())?,
        _ => {}
    }
    let parameters = [("ZoneId", "ZoneId"), ("VPCId", "VpcId"), ("VSwitchId", "VSwitchId")];
    let found = parameters.map(|(parameter, field)| Some((field, p.get(parameter)?.to_owned())));
    Ok(found.into_iter().flatten().collect())
}
