//! The addresses that may connect (ModifySecurityIps). The stand-in keeps them; the real server behind an instance does
//! not enforce them.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{Instance, Parameters, Result, refuse};

const MOST_GROUPS: usize = 200;

impl Instance {
    /// ModifySecurityIps: replaces a group, adds to it, or deletes from it. A group is made if it is absent.
    pub(super) fn modify_security_ips(&mut self, p: &Parameters) -> Result<Value> {
        let addresses = read(p.required("SecurityIps")?)?;
        let name = p.get("DBInstanceIPArrayName").unwrap_or("default");
        let is_allowed = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
        let is_valid = (2..=32).contains(&name.len())
            && name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.chars().all(is_allowed);
        if !is_valid {
            return refuse(400, "SecurityIPListGroup.Format", "The name of the group is not valid.");
        }
        if !self.security_ips.contains_key(name) && self.security_ips.len() >= MOST_GROUPS {
            let message = "The instance has 200 groups of addresses.";
            return refuse(400, "InvalidSecurityIPListGroup.QuotaExceeded", message);
        }
        let mut group = self.security_ips.get(name).cloned().unwrap_or_default();
        match p.get("ModifyMode").unwrap_or("Cover") {
            "Cover" | "0" => group = addresses,
            "Append" | "1" => {
                if addresses.iter().any(|address| group.contains(address)) {
                    return refuse(
                        400,
                        "InvalidSecurityIPList.Duplicate",
                        "An address is in the group already.",
                    );
                }
                group.extend(addresses);
            }
            "Delete" | "2" => group.retain(|address| !addresses.contains(address)),
            _ => return refuse(400, "InvalidModifyMode", "ModifyMode must be Cover, Append or Delete."),
        }
        self.security_ips.insert(name.to_owned(), group);
        self.security_ips.retain(|name, group| name == "default" || !group.is_empty());
        Ok(json!({"TaskId": "1"}))
    }

    /// DescribeDBInstanceIPArrayList.
    pub(super) fn describe_security_ips(&self) -> Value {
        let group = |(name, addresses): (&String, &Vec<String>)| {
            json!({"DBInstanceIPArrayName": name, "DBInstanceIPArrayAttribute": "", "SecurityIPType": "IPv4",
                "SecurityIPList": addresses.join(",")})
        };
        let groups: Vec<_> = self.security_ips.iter().map(group).collect();
        json!({"Items": {"DBInstanceIPArray": groups}})
    }
}

/// IPv4 addresses and blocks, separated by commas, each once.
pub(super) fn read(list: &str) -> Result<Vec<String>> {
    let addresses: Vec<_> = list.split(',').map(str::to_owned).collect();
    let is_valid = |address: &String| {
        let (ip, prefix) = address.split_once('/').unwrap_or((address, "32"));
        ip.parse::<Ipv4Addr>().is_ok() && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= 32)
    };
    if !addresses.iter().all(is_valid) {
        return refuse(400, "InvalidSecurityIPList.Format", "SecurityIPList is not in the correct format.");
    }
    let mut once = addresses.clone();
    once.sort();
    once.dedup();
    if once.len() != addresses.len() {
        return refuse(400, "InvalidSecurityIPList.Duplicate", "SecurityIPList has an address twice.");
    }
    Ok(addresses)
}
