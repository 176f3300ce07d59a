//! Sharing what a login makes under its own name with the other bindings of the instance: with the owner and with the groups
//! that have fewer rights. Where logins act as the owner, they make little so, but a client can leave the owner's role
//! (SET ROLE NONE; on some versions DISCARD ALL). Then only the login could use what it makes, also after bindings are added.

use tokio_postgres::types::Type;

use super::{
    super::naming::group,
    Databases,
    connection::Session,
    dialect::InstanceNames,
    error::SqlError,
    naming,
    removal::groups,
    server::{members, roles},
};
use crate::broker::{backends::sql::plan::Access, config::Kinds};

/// A role whose members have this access.
pub(super) type Group = (String, Access);

impl Databases {
    /// Shares what a new login is going to make, and what the others have made. Only a second binding has others to share
    /// with, so that the first one costs no session in the database.
    pub(super) async fn share(
        &self,
        session: &Session,
        login: &str,
        access: Access,
        names: InstanceNames<'_>,
    ) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let found = groups_of(session, names.database).await?;
        if dialect.logins_own() {
            if access == Access::Owner {
                let inside = self.enter(session, names.database, names.owner).await?;
                for (role, access) in found {
                    inside.run(dialect.share(login, &role, access)).await?;
                }
            }
            return Ok(());
        }
        let logins = logins_of(session, names.database).await?;
        if logins.len() < 2 {
            return Ok(());
        }
        self.act_for_logins(session, names.database).await?;
        let inside = self.enter(session, names.database, names.owner).await?;
        for group in &found {
            share_what_comes(&inside, &logins, group).await?;
        }
        share_what_is(&inside, &logins, &found).await
    }
}

/// The logins of a database.
pub(super) async fn logins_of(session: &Session, database: &str) -> Result<Vec<String>, SqlError> {
    let groups = groups(database);
    let groups: Vec<_> = groups.iter().map(String::as_str).collect();
    let members = members(session, &groups).await?.into_keys();
    Ok(members.filter(|role| naming::is_login(role)).collect())
}

/// Those groups of a database that there are.
pub(super) async fn groups_of(session: &Session, database: &str) -> Result<Vec<Group>, SqlError> {
    let all: Vec<Group> = Access::ALL.iter().map(|access| (group(database, *access), *access)).collect();
    let names: Vec<_> = all.iter().map(|(role, _)| role.as_str()).collect();
    let found = roles(session, &names).await?;
    Ok(all.into_iter().filter(|(role, _)| found.contains_key(role)).collect())
}

/// Shares with a group what logins make from now on, as far as they do not yet.
async fn share_what_comes(
    inside: &Session,
    logins: &[String],
    (role, access): &Group,
) -> Result<(), SqlError> {
    let dialect = inside.dialect();
    let Some(query) = dialect.makers_that_keep(role) else { return Ok(()) };
    let makers = inside.rows("look at default privileges", &query, &[(&logins, Type::TEXT_ARRAY)]).await?;
    for maker in makers {
        inside.run(dialect.share(maker.get(0), role, *access)).await?;
    }
    Ok(())
}

/// Lets groups use what logins have made under their own names, as far as they may not yet.
pub(super) async fn share_what_is(
    inside: &Session,
    logins: &[String],
    groups: &[Group],
) -> Result<(), SqlError> {
    let dialect = inside.dialect();
    for (role, access) in groups {
        let Some((schemas, relations)) = dialect.kept_from(role) else { continue };
        for row in inside.rows("list schemas of logins", &schemas, &[(&logins, Type::TEXT_ARRAY)]).await? {
            inside.run([dialect.open_own_schema(row.get(0), role, *access)]).await?;
        }
        for row in inside.rows("list tables of logins", &relations, &[(&logins, Type::TEXT_ARRAY)]).await? {
            inside.run([dialect.open_relation(row.get(0), row.get(1), row.get(2), role, *access)]).await?;
        }
    }
    Ok(())
}
