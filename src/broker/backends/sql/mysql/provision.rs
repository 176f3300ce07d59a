//! Creating and updating databases.

use super::{
    super::error::SharedSqlError,
    Databases, InstanceSpec,
    dialect::Statement,
    error::SqlError,
    marks::{Kind, Mark},
    naming,
    parameters::InstanceParameters,
    server::has_database,
};

impl Databases {
    pub(super) async fn provision_once(&self, instance: &InstanceSpec) -> Result<(), SqlError> {
        let database = naming::database(&instance.id);
        let parameters = InstanceParameters::read(&instance.parameters)?;
        let mut session = self.server.session().await?;

        if self.marks.named(&mut session, &[&database]).await?.is_empty() {
            if has_database(&mut session, &database).await? {
                return Err(SharedSqlError::Foreign { what: format!("database {database}") }.into());
            }
            session.run(self.marks.create()).await?;
            let mark = Mark { name: database.clone(), kind: Kind::Database, database: database.clone() };
            session.run([self.marks.write(&mark, instance.id.as_str(), None)]).await?;
        }
        if !has_database(&mut session, &database).await? {
            let encoding = parameters.encoding(self.plans.known(&instance.plan_id)?);
            session.run([Statement::create_database(&database, encoding)]).await?;
        }
        Ok(())
    }

    pub(super) async fn update_once(&self, instance: &InstanceSpec) -> Result<(), SqlError> {
        // The settings of a plan that is no longer offered are unknown.
        let Ok(plan) = self.plans.known(&instance.plan_id) else { return Ok(()) };
        let database = naming::database(&instance.id);
        let mut session = self.server.session().await?;
        let marks = self.marks.of_database(&mut session, &database).await?;
        let logins = marks.into_iter().filter(|mark| mark.kind == Kind::Login);
        let limits = logins.map(|mark| Statement::limit_connections(&mark.name, plan.connections()));
        session.run(limits).await?;
        Ok(())
    }
}
