//! Accounts of an instance (CreateAccount, GrantAccountPrivilege, DeleteAccount and others). An account is Unavailable at
//! first; it exists on the real server behind the instance once it is Available.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Engine, Instance, Parameters, Refusal, Result, Settings, page, refuse};

pub(super) struct Account {
    is_super: bool,
    password: String,
    description: String,
    pub(super) privileges: BTreeMap<String, String>,
    /// How many looks it is still Unavailable, and whether it is deleted then.
    passing: Option<(u32, bool)>,
}

impl Account {
    pub(super) fn hurry(&mut self) {
        if let Some((looks, _)) = &mut self.passing {
            *looks = 0;
        }
    }
}

/// Words that are no names of accounts (CreateAccount: "forbidden keywords"); the documentation has more.
const FORBIDDEN: [&str; 6] = ["root", "admin", "eagleye", "master", "aurora", "mysql"];

impl Instance {
    /// Lets the time of one look pass for an account. What has become Available or was deleted changes on the server.
    fn look_at_account(&mut self, name: &str) {
        let Some(account) = self.accounts.get_mut(name) else { return };
        match account.passing {
            None => return,
            Some((looks, is_deleted)) if looks > 0 => {
                account.passing = Some((looks - 1, is_deleted));
                return;
            }
            Some((_, true)) => {
                self.accounts.remove(name);
                return;
            }
            Some((_, false)) => account.passing = None,
        }
        let (password, is_super) = (account.password.clone(), account.is_super);
        if let Some(server) = self.server() {
            server.create_account(name, &password, is_super);
        }
    }

    /// An account that is Available.
    fn account(&mut self, name: &str) -> Result<&mut Account> {
        self.look_at_account(name);
        let message = format!("The specified account {name} does not exist.");
        let unknown = || Refusal::new(404, "InvalidAccountName.NotFound", message);
        let account = self.accounts.get_mut(name).ok_or_else(unknown)?;
        if account.passing.is_some() {
            let message = format!("The status of the account {name} does not allow this operation.");
            return refuse(400, "IncorrectAccountStatus", message);
        }
        Ok(account)
    }

    pub(super) fn create_account(&mut self, settings: &Settings, p: &Parameters) -> Result<Value> {
        let (name, password) = (p.required("AccountName")?, p.required("AccountPassword")?);
        self.check_account_name(name)?;
        check_password(password)?;
        let is_super = match p.get("AccountType") {
            None | Some("Normal") => false,
            Some("Super") => true,
            _ => return refuse(400, "InvalidAccountType.Format", "AccountType must be Normal or Super."),
        };
        let taken: Vec<_> =
            self.accounts.keys().filter(|it| it.eq_ignore_ascii_case(name)).cloned().collect();
        for name in &taken {
            self.look_at_account(name);
        }
        if self.accounts.keys().any(|it| it.eq_ignore_ascii_case(name)) {
            let message = format!("The specified account name {name} already exists.");
            return refuse(400, "InvalidAccountName.Duplicate", message);
        }
        if is_super && self.accounts.values().any(|account| account.is_super) {
            return refuse(403, "AccountLimitExceeded", "The instance has a privileged account already.");
        }
        let account = Account {
            is_super,
            password: password.to_owned(),
            description: p.get("AccountDescription").unwrap_or_default().to_owned(),
            privileges: BTreeMap::new(),
            passing: Some((settings.account_creating, false)),
        };
        self.accounts.insert(name.to_owned(), account);
        if settings.account_creating == 0 {
            self.look_at_account(name);
        }
        Ok(json!({}))
    }

    /// A letter first, a letter or digit last, letters, digits and `_` between; upper case on MySQL alone.
    fn check_account_name(&self, name: &str) -> Result<()> {
        let longest = match (self.engine, self.version.as_str()) {
            (Engine::MySql, "5.6") | (Engine::MariaDb, _) => 16,
            (Engine::MySql, _) => 32,
            (Engine::PostgreSql, _) => 63,
        };
        let is_letter =
            |it: char| it.is_ascii_lowercase() || it.is_ascii_uppercase() && self.engine == Engine::MySql;
        let is_valid = (2..=longest).contains(&name.len())
            && name.starts_with(is_letter)
            && name.ends_with(|it: char| is_letter(it) || it.is_ascii_digit())
            && name.chars().all(|it| is_letter(it) || it.is_ascii_digit() || it == '_');
        if !is_valid {
            return refuse(
                400,
                "InvalidAccountName.Malformed",
                format!("The account name {name} is not valid."),
            );
        }
        if FORBIDDEN.contains(&name.to_lowercase().as_str()) {
            return refuse(400, "InvalidAccountName.Forbid", format!("The account name {name} is reserved."));
        }
        Ok(())
    }

    /// DescribeAccounts, with pages of 30 to 200 accounts.
    pub(super) fn describe_accounts(&mut self, id: &str, p: &Parameters) -> Result<Value> {
        let names: Vec<_> = self.accounts.keys().cloned().collect();
        let is_named = |name: &String| p.get("AccountName").is_none_or(|wanted| wanted == name);
        let mut found = Vec::new();
        for name in names.iter().filter(|name| is_named(name)) {
            self.look_at_account(name);
            found.extend(self.accounts.get(name).map(|account| item(id, name, account)));
        }
        let (accounts, number, total) = page(found, p, 30..=200)?;
        Ok(
            json!({"PageNumber": number, "TotalRecordCount": total, "Accounts": {"DBInstanceAccount": accounts}}),
        )
    }

    /// DeleteAccount. The account is gone from the server at once, and from the list after some looks.
    pub(super) fn delete_account(&mut self, settings: &Settings, p: &Parameters) -> Result<Value> {
        let name = p.required("AccountName")?;
        self.account(name)?.passing = Some((settings.account_deleting, true));
        if let Some(server) = self.server() {
            server.drop_account(name);
        }
        if settings.account_deleting == 0 {
            self.accounts.remove(name);
        }
        Ok(json!({}))
    }

    pub(super) fn reset_password(&mut self, p: &Parameters) -> Result<Value> {
        let (name, password) = (p.required("AccountName")?, p.required("AccountPassword")?);
        check_password(password)?;
        password.clone_into(&mut self.account(name)?.password);
        if let Some(server) = self.server() {
            server.reset_password(name, password);
        }
        Ok(json!({}))
    }

    /// GrantAccountPrivilege: databases and privileges by comma, as many of the one as of the other.
    pub(super) fn grant(&mut self, p: &Parameters) -> Result<Value> {
        let (name, databases) = (p.required("AccountName")?, p.required("DBName")?);
        let privileges: Vec<_> = p.required("AccountPrivilege")?.split(',').collect();
        let databases: Vec<_> = databases.split(',').collect();
        let allowed: &[&str] = match self.engine {
            Engine::PostgreSql => &["DBOwner"],
            _ => &["ReadWrite", "ReadOnly", "DDLOnly", "DMLOnly"],
        };
        if let Some(unknown) = privileges.iter().find(|privilege| !allowed.contains(privilege)) {
            let message = format!("The privilege {unknown} is not valid.");
            return refuse(400, "InvalidAccountPrivilege.Malformed", message);
        }
        if databases.len() != privileges.len() {
            let message = "There must be as many privileges as databases.";
            return refuse(400, "InvalidDBNameOrAccountPrivilege", message);
        }
        if self.account(name)?.is_super {
            return refuse(403, "IncorrectAccountType", "A privileged account has all privileges already.");
        }
        databases.iter().try_for_each(|database| self.check_database(database))?;
        for (database, privilege) in databases.into_iter().zip(privileges) {
            if let Some(server) = self.server() {
                server.revoke(name, database);
                server.grant(name, database, privilege);
            }
            self.account(name)?.privileges.insert(database.to_owned(), privilege.to_owned());
        }
        Ok(json!({}))
    }

    pub(super) fn revoke(&mut self, p: &Parameters) -> Result<Value> {
        let (name, database) = (p.required("AccountName")?, p.required("DBName")?);
        self.account(name)?.privileges.remove(database);
        if let Some(server) = self.server() {
            server.revoke(name, database);
        }
        Ok(json!({}))
    }
}

/// 8 to 32 characters, three of: upper case, lower case, digits, `!@#$%^&*()_+-=`.
fn check_password(password: &str) -> Result<()> {
    let special = |it: char| "!@#$%^&*()_+-=".contains(it);
    let kinds: [&dyn Fn(char) -> bool; 4] = [
        &|it: char| it.is_ascii_uppercase(),
        &|it: char| it.is_ascii_lowercase(),
        &|it: char| it.is_ascii_digit(),
        &special,
    ];
    let has = kinds.iter().filter(|kind| password.chars().any(kind)).count();
    let is_valid = (8..=32).contains(&password.len())
        && has >= 3
        && password.chars().all(|it| it.is_ascii_alphanumeric() || special(it));
    if is_valid {
        return Ok(());
    }
    refuse(400, "InvalidAccountPassword.Format", "The specified password is not in the correct format.")
}

fn item(id: &str, name: &str, account: &Account) -> Value {
    let privilege = |(database, privilege): (&String, &String)| json!({"DBName": database, "AccountPrivilege": privilege, "AccountPrivilegeDetail": privilege});
    let privileges: Vec<_> = account.privileges.iter().map(privilege).collect();
    json!({"DBInstanceId": id, "AccountName": name, "AccountDescription": account.description,
        "AccountStatus": if account.passing.is_some() { "Unavailable" } else { "Available" },
        "AccountType": if account.is_super { "Super" } else { "Normal" }, "PrivExceeded": "0",
        "DatabasePrivileges": {"DatabasePrivilege": privileges}})
}
