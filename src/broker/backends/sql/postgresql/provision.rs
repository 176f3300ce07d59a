//! Creating and updating databases.

use super::{
    super::error::SharedSqlError,
    Databases, Ownership, bind,
    connection::Session,
    dialect::{InstanceNames, Origin},
    error::SqlError,
    instance_names, naming, ownership,
    server::{adoptable, database_owner, members, roles},
};
use crate::broker::{
    backends::{
        InstanceSpec,
        sql::{
            parameters::InstanceParameters,
            plan::{Access, DatabasePlan},
        },
    },
    config::Kinds,
};

/// An object whose owner cannot be changed yet is retried in the next round: views after tables, tables after types.
const ROUNDS: usize = 8;

impl Databases {
    pub(super) async fn provision_once(
        &self,
        instance: &InstanceSpec,
        asked: &InstanceParameters,
    ) -> Result<(), SqlError> {
        let (database, owner) = instance_names(&instance.id);
        let names = self.names(&database, &owner);
        let session = self.server.session().await?;
        let dialect = session.dialect();
        Self::must_be_recent(session.engine())?;

        let found = roles(&session, &[&owner, &self.marker]).await?;
        if ownership(&found, &owner, &[&self.marker], &session) == Ownership::Foreign {
            return Err(SharedSqlError::Foreign { what: format!("role {owner}") }.into());
        }
        let exists = match database_owner(&session, &database).await? {
            Some(other) if other != owner => {
                return Err(SharedSqlError::Foreign { what: format!("database {database}") }.into());
            }
            found => found.is_some(),
        };
        if !found.contains_key(&self.marker) {
            session.run([dialect.create_marker(&self.marker)]).await?;
        }
        session.run(dialect.create_group(&owner, &self.marker)).await?;
        session.run([dialect.join_role(&owner, self.admin())]).await?;
        if found.contains_key(&owner) {
            self.take_back(&session, &database, &owner).await?;
        }
        if !exists {
            let origin = origin(self.plans.known(&instance.plan_id)?, asked)?;
            session.run([dialect.create_database(names, origin)]).await?;
        }
        let comment = self.comment_on(instance.id.as_str());
        session.run(dialect.restrict_access(names, &comment)).await?;
        if asked.template.is_some() {
            self.adopt(&session, &database, &owner).await?;
        }
        self.set_extensions(&session, names, &[], &asked.extensions).await?;
        Ok(())
    }

    /// Gives the contents of a copied template to the owner. REASSIGN OWNED is unsuitable: it would also reassign the
    /// template, if the template has the same owner.
    async fn adopt(&self, session: &Session, database: &str, owner: &str) -> Result<(), SqlError> {
        let inside = self.enter(session, database, owner).await?;
        let mut last = None;
        for _ in 0..ROUNDS {
            let found = adoptable(&inside, owner).await?;
            if found.is_empty() {
                let dialect = inside.dialect();
                for schema in inside.texts("list schemas", dialect.schemas()).await? {
                    inside.run(dialect.revoke_public_rights(&schema)).await?;
                }
                return Ok(());
            }
            for object in found {
                // The next round retries what failed here, unless the change of another object included it.
                if let Err(error) = inside.run([inside.dialect().change_object_owner(&object, owner)]).await {
                    last = Some(error);
                }
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Creates and drops extensions as the owner, which may do so with trusted extensions.
    async fn set_extensions(
        &self,
        session: &Session,
        names: InstanceNames<'_>,
        from: &[String],
        to: &[String],
    ) -> Result<(), SqlError> {
        let missing: Vec<&String> = to.iter().filter(|wanted| !from.contains(wanted)).collect();
        let surplus: Vec<&String> = from.iter().filter(|had| !to.contains(had)).collect();
        if missing.is_empty() && surplus.is_empty() {
            return Ok(());
        }
        let inside = self.enter(session, names.database, names.owner).await?;
        let dialect = inside.dialect();
        inside.run([dialect.set_role(names.owner)]).await?;
        for extension in missing {
            inside.run([dialect.create_extension(extension)]).await?;
        }
        for extension in surplus {
            inside.run([dialect.drop_extension(extension)]).await?;
        }
        Ok(())
    }

    pub(super) async fn update_once(
        &self,
        instance: &InstanceSpec,
        from: &InstanceParameters,
        to: &InstanceParameters,
    ) -> Result<(), SqlError> {
        let (database, owner) = instance_names(&instance.id);
        let session = self.server.session().await?;
        self.must_be_ours(&session, &database, &owner).await?;
        // The settings of a plan that is no longer offered are unknown.
        if let Ok(plan) = self.plans.known(&instance.plan_id) {
            self.limit_logins(&session, &database, plan).await?;
        }
        let names = self.names(&database, &owner);
        self.set_extensions(&session, names, &from.extensions, &to.extensions).await?;
        Ok(())
    }

    /// Applies the plan's connection limit to the logins of a database: the plan may be a different one now.
    async fn limit_logins(
        &self,
        session: &Session,
        database: &str,
        plan: &DatabasePlan,
    ) -> Result<(), SqlError> {
        bind::must_limit(session.engine(), plan)?;
        let groups: Vec<_> = Access::ALL.iter().map(|access| naming::group(database, *access)).collect();
        let groups: Vec<_> = groups.iter().map(String::as_str).collect();
        let logins = members(session, &groups).await?.into_keys();
        let limits = logins
            .filter(|role| naming::is_login(role))
            .filter_map(|login| session.dialect().limit_connections(&login, plan.connections()));
        session.run(limits).await
    }

    /// # Errors
    /// When the instance's database is missing.
    pub(super) async fn must_be_ours(
        &self,
        session: &Session,
        database: &str,
        owner: &str,
    ) -> Result<(), SqlError> {
        let found = roles(session, &[owner]).await?;
        match ownership(&found, owner, &[&self.marker], session) {
            Ownership::Ours => Ok(()),
            Ownership::Absent | Ownership::Foreign => {
                Err(SharedSqlError::Lost { what: format!("database {database} of this installation") }.into())
            }
        }
    }
}

/// Finds the template again: the operator may have removed it from the plan since the request was checked.
fn origin<'a>(plan: &'a DatabasePlan, asked: &'a InstanceParameters) -> Result<Origin<'a>, SqlError> {
    let template = match &asked.template {
        None => None,
        Some(name) => Some(
            plan.templates
                .get(name)
                .ok_or_else(|| SqlError::TemplateLeftPlan { name: name.clone() })?
                .as_str(),
        ),
    };
    Ok(Origin { encoding: asked.encoding(plan), template })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_left_the_plan_is_named() {
        let asked = InstanceParameters { template: Some("demo".to_owned()), ..InstanceParameters::default() };
        let error = origin(&DatabasePlan::default(), &asked).unwrap_err();
        assert_eq!(
            error.to_string(),
            "template \"demo\" is not in the plan any more; choose another template"
        );
    }
}
