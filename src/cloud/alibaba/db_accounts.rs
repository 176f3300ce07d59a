//! Accounts of a database server of RDS, and their privileges. Creation and deletion go on after the answer.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::{
    Account, AlibabaError, Call,
    endpoints::Product,
    rpc::{Parameters, entries, text},
    users::found,
};

const PAGE: &str = "200";

/// An account to create, of type Normal.
#[derive(Clone, Copy, Debug)]
pub struct DbAccountRequest<'a> {
    /// The name, unique on the server.
    pub name: &'a str,
    /// The password.
    pub password: &'a SecretString,
    /// The description, which tells to whom the account belongs.
    pub description: &'a str,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbAccount {
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
    /// Whether the account is complete.
    pub is_available: bool,
    /// The databases and the privileges on them.
    pub privileges: Vec<(String, String)>,
}

impl Account {
    /// The accounts of a server; none if the server is gone.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn db_accounts(&self, server: &str) -> Result<Vec<DbAccount>, AlibabaError> {
        let call = Call::read("rds:DescribeAccounts", server);
        let (mut accounts, mut page) = (Vec::new(), 1);
        loop {
            let number: String = page.to_string();
            let parameters =
                Parameters::new(&[("DBInstanceId", server), ("PageSize", PAGE), ("PageNumber", &number)]);
            let Some(answer) = found(self.rpc(call, Product::Rds, &parameters).await)? else {
                return Ok(accounts);
            };
            let before = accounts.len();
            accounts.extend(entries(&answer, ["Accounts", "DBInstanceAccount"]).map(DbAccount::read));
            let total = answer["TotalRecordCount"].as_u64().unwrap_or_default();
            if accounts.len() == before || accounts.len() as u64 >= total {
                return Ok(accounts);
            }
            page += 1;
        }
    }

    /// Starts to create an account.
    ///
    /// # Errors
    /// Of kind [`super::ErrorKind::Exists`] if an account of that name exists.
    pub async fn create_db_account(
        &self,
        server: &str,
        wanted: &DbAccountRequest<'_>,
    ) -> Result<(), AlibabaError> {
        let parameters = Parameters::new(&[
            ("DBInstanceId", server),
            ("AccountName", wanted.name),
            ("AccountPassword", wanted.password.expose_secret()),
            ("AccountType", "Normal"),
            ("AccountDescription", wanted.description),
        ]);
        self.rpc(Call::once("rds:CreateAccount", wanted.name), Product::Rds, &parameters).await.map(drop)
    }

    /// Changes the password of an account.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn reset_db_password(
        &self,
        server: &str,
        name: &str,
        password: &SecretString,
    ) -> Result<(), AlibabaError> {
        let parameters = Parameters::new(&[
            ("DBInstanceId", server),
            ("AccountName", name),
            ("AccountPassword", password.expose_secret()),
        ]);
        let call = Call::write("rds:ResetAccountPassword", name);
        self.rpc(call, Product::Rds, &parameters).await.map(drop)
    }

    /// Grants a privilege on a database to an account.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn grant_db_privilege(
        &self,
        server: &str,
        name: &str,
        database: &str,
        privilege: &str,
    ) -> Result<(), AlibabaError> {
        let parameters = Parameters::new(&[
            ("DBInstanceId", server),
            ("AccountName", name),
            ("DBName", database),
            ("AccountPrivilege", privilege),
        ]);
        let call = Call::write("rds:GrantAccountPrivilege", name);
        self.rpc(call, Product::Rds, &parameters).await.map(drop)
    }

    /// Starts to delete an account. Nothing happens if it is gone.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn delete_db_account(&self, server: &str, name: &str) -> Result<(), AlibabaError> {
        let parameters = Parameters::new(&[("DBInstanceId", server), ("AccountName", name)]);
        let call = Call::write("rds:DeleteAccount", name);
        found(self.rpc(call, Product::Rds, &parameters).await).map(drop)
    }
}

impl DbAccount {
    fn read(item: &Value) -> Self {
        let privileges = entries(item, ["DatabasePrivileges", "DatabasePrivilege"]);
        Self {
            name: text(item, "AccountName").unwrap_or_default(),
            description: text(item, "AccountDescription").unwrap_or_default(),
            is_available: item["AccountStatus"] == "Available",
            privileges: privileges
                .filter_map(|privilege| {
                    Some((text(privilege, "DBName")?, text(privilege, "AccountPrivilege")?))
                })
                .collect(),
        }
    }

    /// Whether the account has this privilege on this database.
    #[must_use]
    pub fn has(&self, database: &str, privilege: &str) -> bool {
        self.privileges.iter().any(|(name, granted)| name == database && granted == privilege)
    }
}
