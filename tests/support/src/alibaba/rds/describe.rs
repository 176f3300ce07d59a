//! What is told of instances: DescribeDBInstances, DescribeDBInstanceAttribute, DescribeDBInstanceNetInfo.

use serde_json::{Map, Value, json};

use super::{Engine, Instance, Parameters, Rds, Result, instance::Look, page, refuse};

impl Rds {
    /// DescribeDBInstances: a page of the region's instances that meet all filters.
    pub(super) fn list(&mut self, p: &Parameters) -> Result<Value> {
        let region = p.required("RegionId")?;
        self.instances.retain(|_, instance| instance.look() != Look::Gone);
        let tags: Map<String, Value> = match p.get("Tags").map(serde_json::from_str) {
            None => Map::new(),
            Some(Ok(tags)) => tags,
            Some(Err(_)) => return refuse(400, "InvalidTags.Malformed", "Tags must be a JSON object."),
        };
        let is = |filter: &str, value: &str| p.get(filter).is_none_or(|wanted| wanted == value);
        let meets = |id: &str, instance: &Instance| {
            instance.region == region
                && is("DBInstanceId", id)
                && is("DBInstanceStatus", instance.state())
                && is("Engine", instance.engine.name())
                && p.get("SearchKey").is_none_or(|key| id.contains(key) || instance.description.contains(key))
                && tags.iter().all(|(key, value)| {
                    instance
                        .tags
                        .get(key)
                        .is_some_and(|found| value.as_str().is_none_or(|value| value == found))
                })
        };
        let found: Vec<_> = self
            .instances
            .iter()
            .filter(|(id, instance)| meets(id, instance))
            .map(|(id, instance)| instance.item(id))
            .collect();
        let (items, number, total) = page(found, p, 1..=100)?;
        Ok(json!({"PageNumber": number, "PageRecordCount": items.len(), "TotalRecordCount": total,
            "Items": {"DBInstance": items}}))
    }
}

impl Instance {
    /// The address for applications.
    pub(super) fn host(&self, id: &str) -> String {
        match self.server() {
            Some(server) => server.host.clone(),
            None if self.engine == Engine::PostgreSql => format!("{id}.pg.rds.aliyuncs.com"),
            None => format!("{id}.mysql.rds.aliyuncs.com"),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.server().map_or(self.engine.port(), |server| server.port)
    }

    fn item(&self, id: &str) -> Value {
        let mut item = json!({
            "DBInstanceId": id, "DBInstanceDescription": self.description, "DBInstanceStatus": self.state(),
            "DBInstanceClass": self.class, "DBInstanceType": "Primary", "DBInstanceNetType": "Intranet",
            "InstanceNetworkType": "VPC", "Engine": self.engine.name(), "EngineVersion": self.version,
            "PayType": self.pay_type, "RegionId": self.region, "LockMode": "Unlock", "LockReason": "",
            "DeletionProtection": self.is_protected,
        });
        for (name, value) in &self.network {
            item[*name] = value.clone().into();
        }
        item
    }

    /// DescribeDBInstanceAttribute. There is no address before the instance runs.
    pub(super) fn attribute(&self, id: &str) -> Value {
        let mut item = self.item(id);
        item["DBInstanceStorage"] = self.storage.into();
        if self.state() != "Creating" {
            item["ConnectionString"] = self.host(id).into();
            item["Port"] = self.port().to_string().into();
        }
        json!({"Items": {"DBInstanceAttribute": [item]}})
    }

    pub(super) fn net_info(&self, id: &str) -> Value {
        let mut addresses = Vec::new();
        if self.state() != "Creating" {
            addresses.push(json!({"ConnectionString": self.host(id), "Port": self.port().to_string(),
                "IPType": "Private", "ConnectionStringType": "Normal"}));
        }
        json!({"InstanceNetworkType": "VPC", "DBInstanceNetInfos": {"DBInstanceNetInfo": addresses}})
    }
}

/// DescribeAvailableZones and DescribeAvailableClasses, as far as a client can ask for a zone and a class.
pub(super) fn available(action: &str, p: &Parameters) -> Result<Value> {
    p.required("RegionId")?;
    p.required("Engine")?;
    if action == "DescribeAvailableZones" {
        let zones: Vec<_> = ["h", "i"].map(|zone| json!({"ZoneId": format!("cn-hangzhou-{zone}")})).into();
        return Ok(json!({"AvailableZones": zones}));
    }
    for parameter in ["ZoneId", "EngineVersion", "Category", "DBInstanceStorageType"] {
        p.required(parameter)?;
    }
    let classes = ["mysql.n2.small.1", "mysql.n2.medium.1"];
    let classes = classes.map(|class| json!({"DBInstanceClass": class, "StorageRange": "20,20000,5"}));
    Ok(json!({"DBInstanceClasses": classes}))
}
