//! Databases of an instance (CreateDatabase, DescribeDatabases, DeleteDatabase).

use serde_json::{Value, json};

use super::{Engine, Instance, Parameters, Refusal, Result, Settings, page, refuse};

pub(super) struct Database {
    charset: String,
    description: String,
    /// How many looks it is still Creating.
    creating: u32,
}

impl Database {
    pub(super) fn hurry(&mut self) {
        self.creating = 0;
    }

    fn state(&self) -> &'static str {
        if self.creating > 0 { "Creating" } else { "Running" }
    }

    /// The state before the time of one look has passed.
    fn look(&mut self) -> &'static str {
        let state = self.state();
        self.creating = self.creating.saturating_sub(1);
        state
    }
}

impl Instance {
    /// Refuses a database that does not exist or is still being created.
    pub(super) fn check_database(&mut self, name: &str) -> Result<()> {
        let message = format!("The specified database {name} does not exist.");
        let unknown = || Refusal::new(404, "InvalidDBName.NotFound", message);
        if self.databases.get_mut(name).ok_or_else(unknown)?.look() == "Creating" {
            let message = format!("The database {name} is still being created.");
            return refuse(403, "OperationDenied.DBStatus", message);
        }
        Ok(())
    }

    pub(super) fn create_database(&mut self, settings: &Settings, p: &Parameters) -> Result<Value> {
        let (name, charset) = (p.required("DBName")?, p.required("CharacterSetName")?);
        let is_inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_' || it == '-';
        let is_valid = (2..=64).contains(&name.len())
            && name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.ends_with(|it: char| it.is_ascii_lowercase() || it.is_ascii_digit())
            && name.chars().all(is_inner);
        if !is_valid {
            return refuse(400, "InvalidDBName.Malformed", format!("The database name {name} is not valid."));
        }
        let charsets: &[&str] = match self.engine {
            Engine::PostgreSql => &["UTF8", "UTF8,C,C", "UTF8,en_US.utf8,en_US.utf8"],
            _ => &["utf8", "gbk", "latin1", "utf8mb4"],
        };
        if !charsets.contains(&charset) {
            let message = format!("The character set {charset} is not valid.");
            return refuse(400, "InvalidCharacterSetName.Format", message);
        }
        if self.databases.contains_key(name) {
            let message = format!("The specified database name {name} already exists.");
            return refuse(400, "InvalidDBName.Duplicate", message);
        }
        let database = Database {
            charset: charset.to_owned(),
            description: p.get("DBDescription").unwrap_or_default().to_owned(),
            creating: settings.database_creating,
        };
        self.databases.insert(name.to_owned(), database);
        if let Some(server) = self.server() {
            server.create_database(name, charset);
        }
        Ok(json!({}))
    }

    /// DescribeDatabases, with pages of 30 to 100 databases.
    pub(super) fn describe_databases(&mut self, id: &str, p: &Parameters) -> Result<Value> {
        let engine = self.engine.name();
        let is = |filter: &str, value: &str| p.get(filter).is_none_or(|wanted| wanted == value);
        let mut found = Vec::new();
        for (name, database) in &mut self.databases {
            let state = database.look();
            if is("DBName", name) && is("DBStatus", state) {
                found.push(json!({"DBInstanceId": id, "DBName": name, "DBStatus": state, "Engine": engine,
                    "CharacterSetName": database.charset, "DBDescription": database.description}));
            }
        }
        let (databases, number, total) = page(found, p, 30..=100)?;
        Ok(json!({"PageNumber": number, "TotalRecordCount": total, "Databases": {"Database": databases}}))
    }

    pub(super) fn delete_database(&mut self, p: &Parameters) -> Result<Value> {
        let name = p.required("DBName")?;
        self.check_database(name)?;
        self.databases.remove(name);
        for account in self.accounts.values_mut() {
            account.privileges.remove(name);
        }
        if let Some(server) = self.server() {
            server.drop_database(name);
        }
        Ok(json!({}))
    }
}
