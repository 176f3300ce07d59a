//! Checks whether a server still has what the records say: administrators drop and restore databases and accounts,
//! too.

use super::{
    super::drift::{BIND_AGAIN, missing_database, missing_login},
    BindingSpec, Confirmed, Databases, InstanceSpec,
    dialect::Statement,
    error::SqlError,
    marks::Kind,
    naming,
    server::{has_database, has_login},
};

impl Databases {
    /// Checks that an instance, and optionally a binding of it, exists. Applies the plan's connection limit to an
    /// existing login, because the plan may have changed.
    pub(super) async fn confirm_once(
        &self,
        instance: &InstanceSpec,
        binding: Option<&BindingSpec>,
    ) -> Result<Confirmed, SqlError> {
        let database = naming::database(&instance.id);
        let login = binding.map(|binding| naming::login(&instance.id, &binding.id));
        let mut session = self.server.session().await?;
        let names: Vec<_> =
            [Some(&database), login.as_ref()].into_iter().flatten().map(String::as_str).collect();
        let marks = self.marks.named(&mut session, &names).await?;
        let is_marked =
            |name: &str, kind: Kind| marks.iter().any(|mark| mark.name == name && mark.kind == kind);
        if !has_database(&mut session, &database).await? {
            return Ok(Confirmed::Differs(missing_database(&database, "restore it")));
        }
        if !is_marked(&database, Kind::Database) {
            return Ok(Confirmed::Differs(format!(
                "database {database} on the database server does not carry this installation's mark; restore the mark as \
                 docs/databases.md tells, or rename or drop the database and delete the service instance"
            )));
        }
        let Some(login) = login else { return Ok(Confirmed::There) };
        if !has_login(&mut session, &login).await? {
            return Ok(Confirmed::Differs(missing_login(&login)));
        }
        if !is_marked(&login, Kind::Login) {
            return Ok(Confirmed::Differs(format!(
                "login {login} on the database server does not carry this installation's mark; drop that account, then \
                 {BIND_AGAIN}"
            )));
        }
        if let Ok(plan) = self.plans.known(&instance.plan_id) {
            session.run([Statement::limit_connections(&login, plan.connections())]).await?;
        }
        Ok(Confirmed::There)
    }
}
