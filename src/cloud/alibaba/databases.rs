//! Databases on a database server of RDS.

use super::{
    Account, AlibabaError, Call,
    endpoints::Product,
    rpc::{Parameters, entries},
    users::found,
};

impl Account {
    /// The state of a database; nothing if there is no such database.
    ///
    /// # Errors
    /// When RDS does not answer or refuses.
    pub async fn database_status(&self, server: &str, name: &str) -> Result<Option<String>, AlibabaError> {
        let parameters = Parameters::new(&[("DBInstanceId", server), ("DBName", name)]);
        let call = Call::read("rds:DescribeDatabases", server);
        let answer = found(self.rpc(call, Product::Rds, &parameters).await)?.unwrap_or_default();
        let mut databases = entries(&answer, ["Databases", "Database"]);
        let named = databases.find(|database| database["DBName"] == name);
        Ok(named.map(|database| database["DBStatus"].as_str().unwrap_or_default().to_owned()))
    }

    /// Starts to create a database.
    ///
    /// # Errors
    /// Of kind [`super::ErrorKind::Exists`] if a database of that name exists.
    pub async fn create_database(
        &self,
        server: &str,
        name: &str,
        character_set: &str,
    ) -> Result<(), AlibabaError> {
        let parameters = Parameters::new(&[
            ("DBInstanceId", server),
            ("DBName", name),
            ("CharacterSetName", character_set),
        ]);
        self.rpc(Call::once("rds:CreateDatabase", name), Product::Rds, &parameters).await.map(drop)
    }
}
