//! Creating logins, and the groups that give them their rights.

use tokio_postgres::error::SqlState;

use super::{
    super::error::SharedSqlError,
    Databases, Ownership,
    connection::Session,
    credentials::{self, Credential},
    dialect::{InstanceNames, Login},
    engine::Engine,
    error::SqlError,
    instance_names, naming, ownership,
    server::{Roles, members, now, roles},
    sharing::logins_of,
};
use crate::broker::backends::{
    BindingSpec, Bound, InstanceSpec,
    sql::{
        connection_limit::ConnectionLimit,
        naming::group,
        parameters::{BindingParameters, Expiry},
        plan::{Access, DatabasePlan},
    },
};

impl Databases {
    pub(super) async fn bind_once(
        &self,
        instance: &InstanceSpec,
        binding: &BindingSpec,
        asked: BindingParameters,
    ) -> Result<Bound, SqlError> {
        let plan = self.plans.known(&instance.plan_id)?;
        let access = asked.access(plan)?;
        let (database, owner) = instance_names(&instance.id);
        let (login, role) = (naming::login(&instance.id, &binding.id), group(&database, access));
        let names = self.names(&database, &owner);
        let session = self.server.session().await?;
        let dialect = session.dialect();
        must_limit(session.engine(), plan)?;

        let found = self.find_roles(&session, names, access, [&role, &login]).await?;
        let expiry = match asked.lifetime(plan)? {
            Some(lifetime) => Some(Expiry::of(lifetime, now(&session).await?)),
            None => None,
        };
        let ends_at = expiry.map(|expiry| expiry.ends_at);
        let ca = self.server.settings.client_ca.as_ref();
        let credential = Credential::new(plan.credentials, &login, ca, expiry).await?;
        let (verifier, connections) = (credential.verifier(), plan.connections());
        let wanted =
            Login { name: &login, group: &role, verifier: verifier.as_deref(), ends_at, connections };
        self.ensure_login(&session, &found, wanted, &naming::revoked(&database)).await?;
        session.run(dialect.grant_login_rights(wanted, names)).await?;
        // Grants that this login made to other roles prevent these from being dropped, and only a member of the login
        // can revoke them.
        session.run([dialect.join_role(&login, self.admin())]).await?;
        self.share(&session, &login, access, names).await?;
        let place = credentials::Place {
            server: &self.server.settings,
            kind: self.plans.kind(&instance.plan_id),
            sslmode: plan.sslmode_on(&self.server.settings),
            database: &database,
            mounted_at: binding.mounted_at(),
        };
        let credentials = place.credentials(&login, &credential).await?;
        Ok(Bound {
            credentials,
            endpoints: vec![self.server.settings.endpoint()],
            expires_at: ends_at,
            renew_before: expiry.map(|expiry| expiry.renew_before),
            ..Bound::default()
        })
    }

    /// Reads the roles of the instance, and creates the group that the binding needs.
    ///
    /// # Errors
    /// When the instance's database or its owner is not this installation's.
    async fn find_roles(
        &self,
        session: &Session,
        names: InstanceNames<'_>,
        access: Access,
        [role, login]: [&str; 2],
    ) -> Result<Roles, SqlError> {
        let InstanceNames { database, owner, .. } = names;
        let found = roles(session, &[owner, role, login]).await?;
        if ownership(&found, owner, &[&self.marker], session) != Ownership::Ours {
            return Err(
                SharedSqlError::Lost { what: format!("database {database} of this installation") }.into()
            );
        }
        self.must_be_there(session, database, owner).await?;
        if access != Access::Owner {
            let is_ours = ownership(&found, role, &[&self.marker], session);
            self.ensure_group(session, names, access, role, &is_ours).await?;
        }
        Ok(found)
    }

    /// Creates the login, or renews the password of an existing one. A login that an earlier unbind could only strip
    /// of its rights (a member of `revoked`) gets its group back.
    async fn ensure_login(
        &self,
        session: &Session,
        found: &Roles,
        wanted: Login<'_>,
        revoked: &str,
    ) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let Login { name: login, group, .. } = wanted;
        match ownership(found, login, &[group, revoked], session) {
            Ownership::Foreign => Err(SharedSqlError::Foreign { what: format!("role {login}") }.into()),
            Ownership::Absent => session.run([dialect.create_login(wanted)]).await,
            Ownership::Ours if found[login].iter().any(|of| of == revoked) => {
                let returned = [
                    dialect.grant_role(group, login),
                    dialect.renew_login(wanted),
                    dialect.revoke_role(revoked, login),
                ];
                session.run(returned).await
            }
            Ownership::Ours => session.run([dialect.renew_login(wanted)]).await,
        }
    }

    /// Creates a group with its rights, unless it exists with all of them.
    async fn ensure_group(
        &self,
        session: &Session,
        names: InstanceNames<'_>,
        access: Access,
        role: &str,
        is_ours: &Ownership,
    ) -> Result<(), SqlError> {
        let dialect = session.dialect();
        match is_ours {
            Ownership::Foreign => return Err(SharedSqlError::Foreign { what: format!("role {role}") }.into()),
            Ownership::Absent => session.run(dialect.create_group(role, names.marker)).await?,
            Ownership::Ours => {
                self.take_back(session, names.database, role).await?;
                let query = dialect.may_connect(names.database, role);
                let rows = session.rows("look at the group's rights", &query, &[]).await?;
                if rows.first().is_some_and(|row| row.get(0)) {
                    return Ok(());
                }
            }
        }
        let makers: Vec<String> = if dialect.logins_own_objects() {
            let logins = members(session, &[names.owner]).await?.into_keys();
            logins.filter(|role| naming::is_login(role)).collect()
        } else {
            self.act_for_logins(session, names.database).await?;
            let logins = logins_of(session, names.database).await?;
            logins.into_iter().chain([names.owner.to_owned()]).collect()
        };
        let inside = self.enter(session, names.database, names.owner).await?;
        // Share future objects before existing ones, so that nothing created in between is missed.
        for maker in makers {
            inside.run(dialect.share_future_objects(&maker, role, access)).await?;
        }
        for schema in inside.texts("list schemas", dialect.schemas()).await? {
            self.open_schema(&inside, &schema, role, access).await?;
        }
        session.run([dialect.grant_connect(names.database, role)]).await
    }

    /// Lets a group use the contents of a schema, except what does not belong to the instance.
    async fn open_schema(
        &self,
        inside: &Session,
        schema: &str,
        role: &str,
        access: Access,
    ) -> Result<(), SqlError> {
        let dialect = inside.dialect();
        match inside.run(dialect.grant_on_schema(schema, role, access)).await {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                let Some(query) = dialect.grantable_relations(schema) else { return Err(error) };
                for row in inside.rows("list what is in the schema", &query, &[]).await? {
                    inside
                        .run([dialect.grant_on_relation(schema, row.get(0), row.get(1), role, access)])
                        .await?;
                }
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// # Errors
/// When a plan limits connections on an engine without such a limit.
pub(super) fn must_limit(engine: Engine, plan: &DatabasePlan) -> Result<(), SqlError> {
    match plan.max_connections_per_binding {
        Some(ConnectionLimit::AtMost(_)) if !engine.dialect().limits_connections() => {
            Err(SqlError::NoConnectionLimit { found: engine.to_string() })
        }
        _ => Ok(()),
    }
}
