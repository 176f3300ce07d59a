//! One database server: its settings, a few open sessions, and queries about it. The queries use `pg_catalog`, which
//! both engines have.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::Type;

use super::{
    super::{error::SharedSqlError, idle::Idle},
    connection::Session,
    dialect::Object,
    engine::Engine,
    error::SqlError,
};
use crate::broker::backends::sql::settings::ServerSettings;

/// A server and its sessions.
pub(super) struct Server {
    pub(super) settings: ServerSettings,
    idle: SharedIdle,
    engine: OnceLock<Engine>,
    /// Whether users know the service as CockroachDB.
    for_cockroachdb: bool,
    /// One permit per session of the maintenance database in use. Idle sessions have no permit, but are reused before
    /// a new one is opened, so that at most this many are open.
    maintenance: Arc<Semaphore>,
    /// One permit per session in another database. A task with such a session never waits for one of the maintenance
    /// database, which prevents deadlocks.
    inside: Arc<Semaphore>,
    /// The session that checks for expired logins, separate so that it does not wait for long work.
    expiry: Arc<Semaphore>,
}

type SharedIdle = Arc<Mutex<Idle<Arc<Session>>>>;

/// A session of the maintenance database in use. Dropping it returns the session to the idle ones, even after a
/// failure: if clients use all connections of the server, bindery cannot open another.
pub(super) struct Lent {
    session: Arc<Session>,
    idle: SharedIdle,
    /// Released only after the session is among the idle ones.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Deref for Lent {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.session.is_usable() {
            locked(&self.idle).put(self.session.clone());
        }
    }
}

fn locked(idle: &SharedIdle) -> MutexGuard<'_, Idle<Arc<Session>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Roles by name, each with the roles that it is a direct member of and the marks that it carries.
pub(super) type Roles = BTreeMap<String, Vec<String>>;

impl Server {
    pub(super) fn new(settings: ServerSettings, for_cockroachdb: bool) -> Self {
        let (inside, expiry) = (settings.max_connections / 2, 1);
        let maintenance = settings.max_connections - inside - expiry;
        let permits = |count: usize| Arc::new(Semaphore::new(count));
        Self {
            settings,
            idle: SharedIdle::default(),
            engine: OnceLock::new(),
            for_cockroachdb,
            maintenance: permits(maintenance),
            inside: permits(inside),
            expiry: permits(expiry),
        }
    }

    /// Takes or opens a session in the maintenance database.
    pub(super) async fn session(&self) -> Result<Lent, SqlError> {
        self.pooled(&self.maintenance).await
    }

    /// A session in the maintenance database that waits only for other checks for expired logins.
    pub(super) async fn session_for_expiry(&self) -> Result<Lent, SqlError> {
        self.pooled(&self.expiry).await
    }

    async fn pooled(&self, permits: &Arc<Semaphore>) -> Result<Lent, SqlError> {
        // The semaphores are never closed.
        let permit = permits.clone().acquire_owned().await.ok();
        let idle = locked(&self.idle).take(|session| session.is_usable());
        let session = match idle {
            Some(session) => session,
            None => Arc::new(self.open(&self.settings.database).await?),
        };
        Ok(Lent { session, idle: self.idle.clone(), _permit: permit })
    }

    /// Opens a separate session in a database.
    pub(super) async fn session_in(&self, database: &str) -> Result<Session, SqlError> {
        let permit = self.inside.clone().acquire_owned().await.ok();
        let mut session = self.open(database).await?;
        session.set_permit(permit);
        Ok(session)
    }

    async fn open(&self, database: &str) -> Result<Session, SqlError> {
        let session = Session::open(&self.settings, database, self.engine.get().copied()).await?;
        if self.engine.set(session.engine()).is_ok() {
            tracing::info!(server = %self.settings.name, "engine: {}", self.engine_for_users(session.engine()));
        }
        Ok(session)
    }

    /// The server's engine, for users.
    pub(super) fn engine_for_users(&self, engine: Engine) -> String {
        match engine {
            Engine::PostgreSql { .. } if self.for_cockroachdb => {
                format!("{engine} (standing in for CockroachDB)")
            }
            _ => engine.to_string(),
        }
    }
}

/// The time of the server's clock, which decides when credentials expire.
pub(super) async fn now(session: &Session) -> Result<Timestamp, SqlError> {
    const DOES: &str = "read the server's clock";
    let sql = "SELECT (extract(epoch FROM pg_catalog.now()) * 1000000)::int8";
    let rows = session.rows(DOES, sql, &[]).await?;
    let microseconds = rows.first().and_then(|row| row.try_get(0).ok());
    microseconds
        .and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok())
        .ok_or_else(|| SharedSqlError::Answer { does: DOES }.into())
}

/// The named roles that exist.
pub(super) async fn roles(session: &Session, names: &[&str]) -> Result<Roles, SqlError> {
    let sql = "SELECT r.rolname::text, g.rolname::text FROM pg_catalog.pg_roles r \
        LEFT JOIN pg_catalog.pg_auth_members m ON m.member = r.oid LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
        WHERE r.rolname::text = ANY ($1) UNION SELECT r.rolname::text, k.rolname::text FROM pg_catalog.pg_roles r \
        JOIN pg_catalog.pg_auth_members m ON m.roleid = r.oid JOIN pg_catalog.pg_roles k ON k.oid = m.member \
        WHERE r.rolname::text = ANY ($1) AND k.rolname::text ~ '^bindery_([0-9a-f]{16}|retained)$'";
    grouped(session, sql, names).await
}

/// The members of the named roles, each with the named roles that it is a member of.
pub(super) async fn members(session: &Session, names: &[&str]) -> Result<Roles, SqlError> {
    let sql = "SELECT r.rolname::text, g.rolname::text FROM pg_catalog.pg_roles r \
        JOIN pg_catalog.pg_auth_members m ON m.member = r.oid JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
        WHERE g.rolname::text = ANY ($1)";
    grouped(session, sql, names).await
}

/// All roles.
pub(super) async fn all_roles(session: &Session) -> Result<Roles, SqlError> {
    let sql = "SELECT r.rolname::text, g.rolname::text FROM pg_catalog.pg_roles r \
        LEFT JOIN pg_catalog.pg_auth_members m ON m.member = r.oid LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
        WHERE $1::text[] IS NOT NULL UNION SELECT r.rolname::text, k.rolname::text FROM pg_catalog.pg_roles r \
        JOIN pg_catalog.pg_auth_members m ON m.roleid = r.oid JOIN pg_catalog.pg_roles k ON k.oid = m.member \
        WHERE k.rolname::text ~ '^bindery_([0-9a-f]{16}|retained)$'";
    grouped(session, sql, &[]).await
}

/// All databases with their owners.
pub(super) async fn databases(session: &Session) -> Result<BTreeMap<String, String>, SqlError> {
    let sql = "SELECT d.datname::text, COALESCE(r.rolname::text, '') FROM pg_catalog.pg_database d \
        LEFT JOIN pg_catalog.pg_roles r ON r.oid = d.datdba";
    let rows = session.rows("list databases", sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The owner of a database, if the database exists.
pub(super) async fn database_owner(session: &Session, database: &str) -> Result<Option<String>, SqlError> {
    let sql = "SELECT COALESCE(r.rolname::text, '') FROM pg_catalog.pg_database d \
        LEFT JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE d.datname::text = $1";
    let rows = session.rows("look for the database", sql, &[(&database, Type::TEXT)]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The objects from a copied template that `owner` does not own: user objects and the schema `public`, except objects
/// that follow another one or belong to an extension. PostgreSQL only (functions-info, `pg_identify_object`).
pub(super) async fn adoptable(session: &Session, owner: &str) -> Result<Vec<Object>, SqlError> {
    let sql = "WITH o (classid, objid, owner) AS ( \
          SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, nspowner FROM pg_catalog.pg_namespace \
          UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relowner FROM pg_catalog.pg_class WHERE relkind IN ('r','p','v','m','f','S','c') \
          UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typowner FROM pg_catalog.pg_type WHERE typtype IN ('d','e','r') \
          UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, proowner FROM pg_catalog.pg_proc \
          UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, oid, stxowner FROM pg_catalog.pg_statistic_ext \
          UNION ALL SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collowner FROM pg_catalog.pg_collation \
          UNION ALL SELECT 'pg_catalog.pg_conversion'::pg_catalog.regclass, oid, conowner FROM pg_catalog.pg_conversion \
          UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprowner FROM pg_catalog.pg_operator \
          UNION ALL SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, oid, opcowner FROM pg_catalog.pg_opclass \
          UNION ALL SELECT 'pg_catalog.pg_opfamily'::pg_catalog.regclass, oid, opfowner FROM pg_catalog.pg_opfamily \
          UNION ALL SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictowner FROM pg_catalog.pg_ts_dict \
          UNION ALL SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgowner FROM pg_catalog.pg_ts_config \
          UNION ALL SELECT 'pg_catalog.pg_publication'::pg_catalog.regclass, oid, pubowner FROM pg_catalog.pg_publication \
          UNION ALL SELECT 'pg_catalog.pg_largeobject_metadata'::pg_catalog.regclass, oid, lomowner FROM pg_catalog.pg_largeobject_metadata) \
        SELECT pg_catalog.upper(i.type), i.identity FROM o CROSS JOIN LATERAL pg_catalog.pg_identify_object( \
            CASE o.classid WHEN 'pg_catalog.pg_largeobject_metadata'::pg_catalog.regclass THEN 'pg_catalog.pg_largeobject'::pg_catalog.regclass ELSE o.classid END, o.objid, 0) i \
        WHERE (o.objid >= 16384 OR o.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND i.identity = 'public' \
            AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles r WHERE r.oid = o.owner AND r.rolname = 'pg_database_owner')) AND o.owner <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname::text = $1) \
          AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype IN ('e', 'i')) \
          AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
            WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'a' AND d.refobjsubid > 0)";
    let rows = session.rows("list what the template brought along", sql, &[(&owner, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| Object { kind: row.get(0), identity: row.get(1) }).collect())
}

async fn grouped(session: &Session, sql: &str, names: &[&str]) -> Result<Roles, SqlError> {
    let mut found = Roles::new();
    for row in session.rows("look for roles", sql, &[(&names, Type::TEXT_ARRAY)]).await? {
        let groups = found.entry(row.get(0)).or_default();
        groups.extend(row.get::<_, Option<String>>(1));
    }
    Ok(found)
}
