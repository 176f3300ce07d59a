//! TLS of database servers. RDS makes a certificate for one host name, which is valid for a year, and restarts the server
//! for it (API of RDS: `ModifyDBInstanceSSL`, `DescribeDBInstanceSSL`).

use serde_json::Value;

use super::{
    Account, AlibabaError, Call,
    endpoints::Product,
    rpc::{Parameters, text},
};

/// The TLS of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbTls {
    /// The server takes only connections that are not encrypted.
    Off,
    /// Connections can be encrypted.
    On,
    /// Connections can be encrypted, but RDS asks for a new certificate, since the present one ends.
    Ending,
}

impl DbTls {
    /// The engines spell the values differently.
    fn read(answer: &Value) -> Self {
        let is = |field: &str| {
            let value = text(answer, field).unwrap_or_default();
            ["yes", "on", "1"].contains(&value.to_lowercase().as_str())
        };
        match (is("SSLEnabled"), is("RequireUpdate")) {
            (false, _) => Self::Off,
            (true, false) => Self::On,
            (true, true) => Self::Ending,
        }
    }
}

impl Account {
    /// The TLS of a server.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn db_instance_tls(&self, id: &str) -> Result<DbTls, AlibabaError> {
        let call = Call::read("rds:DescribeDBInstanceSSL", id);
        let answer = self.rpc(call, Product::Rds, &Parameters::new(&[("DBInstanceId", id)])).await?;
        Ok(DbTls::read(&answer))
    }

    /// Gives a server a certificate of Alibaba Cloud's for this host name. RDS restarts the server.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn certify_db_instance(&self, id: &str, host: &str) -> Result<(), AlibabaError> {
        let parameters = Parameters::new(&[
            ("DBInstanceId", id),
            ("ConnectionString", host),
            ("SSLEnabled", "1"),
            ("CAType", "aliyun"),
        ]);
        self.rpc(Call::once("rds:ModifyDBInstanceSSL", id), Product::Rds, &parameters).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_engine_s_spelling_is_read() {
        for (answer, expected) in [
            (json!({"SSLEnabled": "Yes", "RequireUpdate": "No"}), DbTls::On),
            (json!({"SSLEnabled": "on", "RequireUpdate": 0}), DbTls::On),
            (json!({"SSLEnabled": "on", "RequireUpdate": "1"}), DbTls::Ending),
            (json!({"SSLEnabled": "No", "RequireUpdate": "No"}), DbTls::Off),
            (json!({"SSLEnabled": "off"}), DbTls::Off),
            (json!({"ConnectionString": ""}), DbTls::Off),
        ] {
            assert_eq!(DbTls::read(&answer), expected, "{answer}");
        }
    }
}
