//! Shares objects that a login creates under its own name with the other bindings of the instance: with the owner and
//! with the groups that have fewer rights. Where logins act as the owner, such objects are rare, but a client can
//! leave the owner's role (SET ROLE NONE; on some versions DISCARD ALL). Without sharing, only the login could use
//! these objects.

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

/// A role and the access of its members.
pub(super) type Group = (String, Access);

impl Databases {
    /// Shares the future objects of a new login and the existing objects of the others. The first binding has nobody
    /// to share with, and so costs no session in the database.
    pub(super) async fn share(
        &self,
        session: &Session,
        login: &str,
        access: Access,
        names: InstanceNames<'_>,
    ) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let found = groups_of(session, names.database).await?;
        if dialect.logins_own_objects() {
            if access == Access::Owner {
                let inside = self.enter(session, names.database, names.owner).await?;
                for (role, access) in found {
                    inside.run(dialect.share_future_objects(login, &role, access)).await?;
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

/// The existing groups of a database.
pub(super) async fn groups_of(session: &Session, database: &str) -> Result<Vec<Group>, SqlError> {
    let all: Vec<Group> = Access::ALL.iter().map(|access| (group(database, *access), *access)).collect();
    let names: Vec<_> = all.iter().map(|(role, _)| role.as_str()).collect();
    let found = roles(session, &names).await?;
    Ok(all.into_iter().filter(|(role, _)| found.contains_key(role)).collect())
}

/// Shares the future objects of logins with a group, where this is not set up yet.
async fn share_what_comes(
    inside: &Session,
    logins: &[String],
    (role, access): &Group,
) -> Result<(), SqlError> {
    let dialect = inside.dialect();
    let Some(query) = dialect.logins_that_share_nothing(role) else { return Ok(()) };
    let makers = inside.rows("look at default privileges", &query, &[(&logins, Type::TEXT_ARRAY)]).await?;
    for maker in makers {
        inside.run(dialect.share_future_objects(maker.get(0), role, *access)).await?;
    }
    Ok(())
}

/// Gives groups access to the existing objects of logins, where they lack it.
pub(super) async fn share_what_is(
    inside: &Session,
    logins: &[String],
    groups: &[Group],
) -> Result<(), SqlError> {
    let dialect = inside.dialect();
    for (role, access) in groups {
        let Some((schemas, relations)) = dialect.unshared_objects(role) else { continue };
        for row in inside.rows("list schemas of logins", &schemas, &[(&logins, Type::TEXT_ARRAY)]).await? {
            inside.run([dialect.grant_on_login_schema(row.get(0), role, *access)]).await?;
        }
        for row in inside.rows("list tables of logins", &relations, &[(&logins, Type::TEXT_ARRAY)]).await? {
            inside
                .run([dialect.grant_on_relation(row.get(0), row.get(1), row.get(2), role, *access)])
                .await?;
        }
    }
    Ok(())
}
