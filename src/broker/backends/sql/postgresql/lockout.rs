//! Locking out logins that are revoked or expired. A locked-out login may resist, so nothing here waits for a lock
//! that the login's own session holds.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{error::SqlState, types::Type};

use super::{
    super::error::SharedSqlError,
    Databases,
    connection::Session,
    dialect::{InWay, Statement},
    error::SqlError,
    naming,
};

/// Locking a login and ending its sessions fails after this time.
const LOCKED_WITHIN: Duration = Duration::from_secs(30);
const SESSIONS_POLL: Duration = Duration::from_millis(20);

impl Databases {
    /// Locks a login out permanently.
    pub(super) async fn lock_out(&self, session: &Session, login: &str) -> Result<(), SqlError> {
        self.lock(session, login, session.dialect().disable_login(login)).await
    }

    /// Locks the login first. Meanwhile ends those of its sessions and transactions that prevent its role from being
    /// changed, until that succeeds; then ends the rest.
    async fn lock(&self, session: &Session, login: &str, lock: Statement) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let deadline = Instant::now() + LOCKED_WITHIN;
        loop {
            match session.run([lock.clone()]).await {
                // Another broker has already dropped the login.
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(()),
                Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                    if Instant::now() > deadline {
                        return Err(SqlError::StaysUnlocked { login: login.to_owned() });
                    }
                    session.run([dialect.join_role(login, self.admin())]).await?;
                    // End sessions last: the next round finds what they prepare until then.
                    self.roll_back(session, InWay::Role(login)).await?;
                    session.run([dialect.end_sessions(login)]).await?;
                }
                locked => break locked?,
            }
        }
        match session.run([dialect.join_role(login, self.admin())]).await {
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => return Ok(()),
            acting => acting?,
        }
        self.end_sessions(session, login, deadline).await?;
        // A prepared transaction keeps its locks, and could not be rolled back once the role is gone.
        match self.roll_back(session, InWay::Login(login)).await {
            Err(SqlError::Prepared { .. }) => Ok(()),
            ended => ended,
        }
    }

    async fn end_sessions(&self, session: &Session, login: &str, deadline: Instant) -> Result<(), SqlError> {
        let dialect = session.dialect();
        loop {
            session.run([dialect.end_sessions(login)]).await?;
            if count(session, "count the login's sessions", &dialect.count_sessions(login)).await? == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(SharedSqlError::SessionsStay { login: login.to_owned() }.into());
            }
            tokio::time::sleep(SESSIONS_POLL).await;
        }
    }

    /// Runs a statement on a role or its objects; ends sessions of bindings that block it.
    pub(super) async fn run_past_locks(
        &self,
        session: &Session,
        role: &str,
        statement: Statement,
    ) -> Result<(), SqlError> {
        match session.run([statement.clone()]).await {
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                session.run(session.dialect().end_blocking_sessions(role)).await?;
                self.roll_back(session, InWay::Role(role)).await?;
                session.run([statement]).await
            }
            outcome => outcome,
        }
    }

    /// Locks expired logins. A failure for one of them does not block the others.
    pub(super) async fn expire_once(&self) -> Result<(), SqlError> {
        let session = self.server.session_for_expiry().await?;
        let expired = session.dialect().expired_logins();
        let rows = session.rows("look for expired logins", expired, &[(&self.marker, Type::TEXT)]).await?;
        let mut failed = None;
        for login in rows.iter().map(|row| row.get::<_, String>(0)).filter(|name| naming::is_login(name)) {
            if let Err(error) = self.expire_login(&session, &login).await {
                tracing::warn!(server = %self.server.settings.name, login, "an expired login cannot be locked: {error}");
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Locks an expired login. Unlocks it if its binding was re-created meanwhile with a later expiry.
    async fn expire_login(&self, session: &Session, login: &str) -> Result<(), SqlError> {
        let dialect = session.dialect();
        let is_expired = async || {
            count(session, "look at the login's time", &dialect.is_expired(login))
                .await
                .map(|found| found > 0)
        };
        if !is_expired().await? {
            return Ok(());
        }
        self.lock(session, login, dialect.lock_login(login)).await?;
        if !is_expired().await? {
            return session.run([dialect.unlock_login(login)]).await;
        }
        tracing::info!(server = %self.server.settings.name, login, "the login is past its time: locked");
        Ok(())
    }
}

async fn count(session: &Session, does: &'static str, query: &str) -> Result<i64, SqlError> {
    let rows = session.rows(does, query, &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}
