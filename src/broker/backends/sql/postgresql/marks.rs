//! The installation's mark on its roles: the marker role is a member of each of them. Logins must not be members of
//! the marker, or all tenants could act as one role (SET ROLE). In earlier releases the roles, and with them every
//! login, were members of the marker; these marks still count, and are reversed when the broker starts.

use super::{Databases, connection::Session, error::SqlError, naming, server::members};

impl Databases {
    /// Reverses the marks of an earlier release.
    pub(super) async fn turn_marks(&self, session: &Session) -> Result<(), SqlError> {
        for role in self.unturned(session).await? {
            session.run([session.dialect().reverse_mark(&role, &self.marker)]).await?;
            tracing::info!(server = %self.server.settings.name, role, "the mark of an earlier release is turned round");
        }
        Ok(())
    }

    /// Reverses the mark of one role.
    pub(super) async fn turn_mark(&self, session: &Session, role: &str) -> Result<(), SqlError> {
        if self.unturned(session).await?.iter().any(|unturned| unturned == role) {
            session.run([session.dialect().reverse_mark(role, &self.marker)]).await?;
        }
        Ok(())
    }

    async fn unturned(&self, session: &Session) -> Result<Vec<String>, SqlError> {
        let members = members(session, &[&self.marker]).await?.into_keys();
        Ok(members.filter(|role| naming::grouped_database(role).is_some()).collect())
    }
}
