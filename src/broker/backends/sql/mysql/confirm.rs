//! Checks whether a server still has what the records say: administrators drop and restore databases and accounts,
//! too.

use super::{
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
            return Ok(Confirmed::Differs(format!(
                "database {database} is on record, and not on the database server; restore it, or delete the service instance \
                 and provision it again"
            )));
        }
        if !is_marked(&database, Kind::Database) {
            return Ok(Confirmed::Differs(format!(
                "database {database} on the database server does not carry this installation's mark; restore the mark as \
                 docs/databases.md tells, or rename or drop the database and delete the service instance"
            )));
        }
        let Some(login) = login else { return Ok(Confirmed::There) };
        if !has_login(&mut session, &login).await? || !is_marked(&login, Kind::Login) {
            return Ok(Confirmed::Differs(format!(
                "login {login} is on record, and this installation's account of that name is not on the database server; \
                 delete the binding and make it anew"
            )));
        }
        if let Ok(plan) = self.plans.known(&instance.plan_id) {
            session.run([Statement::limit_connections(&login, plan.connections())]).await?;
        }
        Ok(Confirmed::There)
    }
}
