//! Removing databases and logins, whatever the login created, was granted or has open, and whatever an earlier attempt
//! left.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::error::SharedSqlError,
    Databases,
    connection::Session,
    dialect::{Entry, Statement},
    error::{IS_DEFINER, SqlError},
    marks::{Kind, Mark},
    password,
    server::{Sessions, defines, has_database, has_login, sessions, sessions_in},
};
use crate::broker::config::ReclaimPolicy;

/// Ending the sessions of a login fails after this time.
const SESSIONS_END: Duration = Duration::from_secs(10);
const SESSIONS_POLL: Duration = Duration::from_millis(10);

impl Databases {
    /// Removes a login. A login that something runs as is locked and kept, so that this continues to work, and is
    /// dropped with its database. Returns whether the login is gone.
    pub(super) async fn remove_login(&self, login: &str) -> Result<bool, SqlError> {
        let mut session = self.server.session().await?;
        let mark = self.marks.named(&mut session, &[login]).await?.pop();
        let mut is_gone = true;
        match mark {
            Some(mark) => {
                lock_out(&mut session, login).await?;
                if self.drop_unless_definer(&mut session, login, &mark.database).await? {
                    session.run([self.marks.remove(login)]).await?;
                } else {
                    is_gone = false;
                    session.run([self.marks.keep_definer(login)]).await?;
                }
            }
            None if has_login(&mut session, login).await? => {
                return Err(SharedSqlError::Foreign { what: format!("login {login}") }.into());
            }
            None => {}
        }
        Ok(is_gone)
    }

    /// Drops logins that were kept although their database is gone, if nothing runs as them any more.
    pub(super) async fn settle_once(&self) -> Result<(), SqlError> {
        let mut session = self.server.session().await?;
        let marks = self.marks.all(&mut session).await?;
        let is_there = |database: &String| {
            marks.iter().any(|mark| mark.kind == Kind::Database && mark.name == *database)
        };
        let left: Vec<_> =
            marks.iter().filter(|mark| mark.kind == Kind::Definer && !is_there(&mark.database)).collect();
        for Mark { name, database, .. } in left {
            if self.drop_unless_definer(&mut session, name, database).await? {
                session.run([self.marks.remove(name)]).await?;
            }
        }
        Ok(())
    }

    /// Removes a database and its logins; with [`ReclaimPolicy::Retain`], keeps the database and removes its logins and
    /// its mark. A database without a mark is foreign.
    pub(super) async fn remove_database(
        &self,
        database: &str,
        policy: ReclaimPolicy,
    ) -> Result<(), SqlError> {
        let mut session = self.server.session().await?;
        let marks = self.marks.of_database(&mut session, database).await?;
        let is_ours = marks.iter().any(|mark| mark.kind == Kind::Database);
        let logins: Vec<_> =
            marks.iter().filter(|mark| mark.kind != Kind::Database).map(|mark| &mark.name).collect();
        for login in &logins {
            lock_out(&mut session, login).await?;
            if policy == ReclaimPolicy::Delete && has_login(&mut session, login).await? {
                // An event that runs as the login would keep the database locked or re-create it.
                session.run([Statement::revoke_all(login)]).await?;
                end_sessions(&mut session, login, Sessions::All).await?;
            }
        }
        if is_ours && policy == ReclaimPolicy::Delete {
            drop_database(&mut session, database).await?;
        }
        // A grant outlives its database and would apply to a new database of that name, so drop the login with its
        // grants.
        for login in logins {
            let is_dropped = self.drop_unless_definer(&mut session, login, database).await?;
            if !is_dropped && policy == ReclaimPolicy::Delete {
                // Something in another database runs as the login: keep it locked until nothing does.
                tracing::warn!(
                    login,
                    "is dropped later: {}",
                    SqlError::StillDefiner { login: login.clone() }
                );
                session.run([self.marks.keep_definer(login)]).await?;
            } else {
                session.run([self.marks.remove(login)]).await?;
            }
        }
        session.run([self.marks.remove(database)].into_iter().filter(|_| is_ours)).await?;
        if !is_ours && policy == ReclaimPolicy::Delete && has_database(&mut session, database).await? {
            return Err(SharedSqlError::Foreign { what: format!("database {database}") }.into());
        }
        Ok(())
    }

    /// Drops a locked-out login. A login that something runs as gets an unknown password instead. Returns whether the
    /// login was dropped.
    async fn drop_unless_definer(
        &self,
        session: &mut Session,
        login: &str,
        database: &str,
    ) -> Result<bool, SqlError> {
        if !defines(session, login, database).await? {
            // A dropped event may still be running.
            end_sessions(session, login, Sessions::All).await?;
            match session.run([Statement::drop_login(login)]).await {
                Err(error) if error.code() == Some(IS_DEFINER) => {}
                dropped => return dropped.map(|()| true),
            }
        }
        let dialect = session.dialect();
        let password = dialect.password(password::generate());
        let entry =
            Entry { login, password: &password, is_encrypted: true, is_locked: true, connections: None };
        session.run([dialect.set_password(entry)]).await?;
        Ok(false)
    }
}

/// Drops the database. No binding has a session in it or can re-create it; administrators may have sessions.
async fn drop_database(session: &mut Session, database: &str) -> Result<(), SqlError> {
    match session.run([Statement::drop_database(database)]).await {
        Err(error) if error.is_locked() => {
            let sessions = sessions_in(session, database).await?;
            tell_prepared(session, database).await;
            Err(SqlError::StillLocked { database: database.to_owned(), sessions })
        }
        dropped => dropped,
    }
}

/// Logs the server's prepared transactions, any of which may keep a database locked. The server does not report the
/// database of a transaction, so none is rolled back: it could belong to another tenant.
async fn tell_prepared(session: &mut Session, database: &str) {
    // https://dev.mysql.com/doc/refman/8.4/en/xa-statements.html: format, two lengths, then the name. MySQL requires a
    // right for this that bindery can do without.
    match session.rows("list prepared transactions", "XA RECOVER").await {
        Ok(rows) => {
            let names: Vec<_> = rows.iter().filter_map(|row| row.last()?.as_deref()).collect();
            tracing::warn!(database, prepared = ?names, "the database stays locked; XA RECOVER shows these transactions");
        }
        Err(error) => tracing::debug!("cannot list prepared transactions: {error}"),
    }
}

/// Locks a login out: first prevents new sessions, then ends the existing ones.
pub(super) async fn lock_out(session: &mut Session, login: &str) -> Result<(), SqlError> {
    session.run([Statement::lock_login(login)]).await?;
    end_sessions(session, login, Sessions::OfClients).await
}

/// Ends sessions one by one on both engines: MariaDB's KILL USER would also end events that run as the login.
async fn end_sessions(session: &mut Session, login: &str, which: Sessions) -> Result<(), SqlError> {
    let deadline = Instant::now() + SESSIONS_END;
    loop {
        let open = sessions(session, login, which).await?;
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(SharedSqlError::SessionsStay { login: login.to_owned() }.into());
        }
        session.run(open.into_iter().map(Statement::end_session)).await?;
        tokio::time::sleep(SESSIONS_POLL).await;
    }
}
