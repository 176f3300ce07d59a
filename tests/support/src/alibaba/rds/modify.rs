//! Changes and the deletion of an instance.

use serde_json::{Value, json};

use super::{
    Engine, Instance, Parameters, Result, Settings,
    create::{check_class, check_description, check_storage},
    instance::Change,
    refuse,
};

impl Instance {
    /// DeleteDBInstance. The documentation names no code for a protected instance, and none for a subscription, which is not
    /// released: these two are made up.
    pub(super) fn delete(&mut self, settings: &Settings, p: &Parameters) -> Result<Value> {
        if !matches!(p.get("ReleasedKeepPolicy"), None | Some("None" | "Lastest" | "All")) {
            return refuse(
                400,
                "InvalidReleasedKeepPolicy",
                "ReleasedKeepPolicy must be None, Lastest or All.",
            );
        }
        if self.is_protected {
            let message = "The instance cannot be deleted because its deletion protection is on.";
            return refuse(403, "OperationDenied.DeletionProtection", message);
        }
        if self.pay_type == "Prepaid" {
            return refuse(
                403,
                "OperationDenied.PayType",
                "A subscription cannot be released before it ends.",
            );
        }
        self.pass("Deleting", settings.deleting);
        Ok(json!({}))
    }

    /// ModifyDBInstanceSpec. Storage only grows; the code for less is made up.
    pub(super) fn modify_spec(&mut self, settings: &Settings, p: &Parameters) -> Result<Value> {
        let class = p.get("DBInstanceClass").unwrap_or(&self.class).to_owned();
        check_class(&class)?;
        let storage = match p.get("DBInstanceStorage") {
            Some(_) => check_storage(p)?,
            None => self.storage,
        };
        if storage < self.storage {
            return refuse(400, "InvalidDBInstanceStorage.Reduced", "The storage cannot be reduced.");
        }
        if let Some(pay_type) = p.get("PayType").filter(|it| *it != self.pay_type) {
            let message = format!("The PayType of the instance is {}, not {pay_type}.", self.pay_type);
            return refuse(400, "InvalidPayType.Malformed", message);
        }
        self.change("DBInstanceClassChanging", Change::Size { class, storage }, settings);
        Ok(json!({"OrderId": "3"}))
    }

    pub(super) fn modify_description(&mut self, p: &Parameters) -> Result<Value> {
        let description = p.required("DBInstanceDescription")?;
        check_description(description)?;
        description.clone_into(&mut self.description);
        Ok(json!({}))
    }

    pub(super) fn modify_deletion_protection(&mut self, p: &Parameters) -> Result<Value> {
        p.required("DeletionProtection")?;
        self.is_protected = p.is_true("DeletionProtection");
        Ok(json!({}))
    }

    /// ModifyDBInstanceSSL makes a certificate for an address of the instance, and restarts the instance. CAType is required
    /// where SSLEnabled is 1. The codes for wrong values are made up.
    pub(super) fn modify_ssl(&mut self, settings: &Settings, id: &str, p: &Parameters) -> Result<Value> {
        if p.required("ConnectionString")? != self.host(id) {
            return refuse(404, "InvalidConnectionString.NotFound", "The instance has no such address.");
        }
        let is_on = p.get("SSLEnabled") != Some("0");
        if is_on && !["aliyun", "custom"].contains(&p.required("CAType")?) {
            return refuse(400, "InvalidCAType.Malformed", "CAType must be aliyun or custom.");
        }
        self.change("SSL_MODIFYING", Change::Tls(is_on), settings);
        Ok(json!({}))
    }

    /// DescribeDBInstanceSSL: PostgreSQL spells the values in its own way.
    pub(super) fn describe_ssl(&self, id: &str) -> Value {
        let of = |truth: bool, [yes, no]: [&'static str; 2]| if truth { yes } else { no };
        let is_postgresql = self.engine == Engine::PostgreSql;
        let enabled = of(self.has_ssl, if is_postgresql { ["on", "off"] } else { ["Yes", "No"] });
        let update = of(self.needs_certificate, if is_postgresql { ["1", "0"] } else { ["Yes", "No"] });
        json!({"SSLEnabled": enabled, "RequireUpdate": update, "ConnectionString": self.host(id)})
    }
}
