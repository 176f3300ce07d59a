//! Work on a second connection to PostgreSQL, as its superuser. Each connection is closed afterwards, because
//! PostgreSQL does not drop a database with a session in it.

use std::path::PathBuf;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

use super::statements::Job;

/// The socket at which the superuser needs no password.
#[derive(Clone)]
pub(super) struct Socket {
    pub(super) folder: PathBuf,
    pub(super) port: u16,
}

impl Socket {
    /// The path of PostgreSQL's socket.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }

    async fn open(&self, database: &str) -> Result<(Client, JoinHandle<Result<(), Error>>), Error> {
        let mut config = Config::new();
        config.host_path(&self.folder).port(self.port).user("postgres").dbname(database);
        let (client, connection) = config.connect(NoTls).await?;
        Ok((client, tokio::spawn(connection)))
    }

    /// Opens a connection for some work, and closes it afterwards.
    async fn with<T>(
        &self,
        database: &str,
        work: impl AsyncFnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (client, connection) = self.open(database).await?;
        let done = work(&client).await;
        drop(client);
        let _ = connection.await;
        done
    }

    /// Whether a query returns a row.
    pub(super) async fn has_row(&self, database: &str, query: &str) -> Result<bool, Error> {
        self.with(database, async |client| Ok(!client.query(query, &[]).await?.is_empty())).await
    }

    /// Runs a job for `user`, whose session is in `database`.
    pub(super) async fn run(&self, job: &Job, user: &str, database: &str) -> Result<(), Error> {
        match job {
            Job::Within { database, sql } => self.run_as(user, database, sql).await,
            Job::CreateDatabase { database: new, sql } => {
                let is_there = format!("SELECT FROM pg_database WHERE datname = '{new}'");
                if self.has_row("postgres", &is_there).await? {
                    return Ok(());
                }
                self.run_as(user, database, sql).await?;
                let open = "GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC";
                self.with(new, async |client| client.batch_execute(open).await).await
            }
            Job::DropDatabase { database: old, sql } => {
                let end = format!(
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity, pg_database d WHERE d.datname = pg_stat_activity.datname \
                     AND d.datname = '{old}' AND pg_has_role('{user}', datdba, 'MEMBER')"
                );
                self.with("postgres", async |client| client.batch_execute(&end).await).await?;
                self.run_as(user, database, sql).await
            }
            Job::DropOwned { role } => self.drop_owned(role, user, database).await,
            Job::EndSessions { role } => {
                let end = format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
                );
                self.with("postgres", async |client| client.batch_execute(&end).await).await
            }
        }
    }

    async fn run_as(&self, user: &str, database: &str, sql: &str) -> Result<(), Error> {
        self.with(database, async |client| {
            client.batch_execute(&format!("SET SESSION AUTHORIZATION \"{user}\"")).await?;
            client.batch_execute(sql).await
        })
        .await
    }

    /// Restores the default privileges after DROP OWNED, which removes them in PostgreSQL but not in CockroachDB.
    async fn drop_owned(&self, role: &str, user: &str, database: &str) -> Result<(), Error> {
        let keep = format!(
            "CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM pg_default_acl \
               WHERE pg_get_userbyid(defaclrole) = '{role}' \
               OR EXISTS (SELECT FROM aclexplode(defaclacl) a WHERE pg_get_userbyid(a.grantee) = '{role}'); \
             CREATE TEMPORARY TABLE kept_on_roles ON COMMIT DROP AS SELECT * FROM pg_shdepend \
               WHERE classid = 'pg_default_acl'::regclass AND objid IN (SELECT oid FROM kept) \
               AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database()); \
             CREATE TEMPORARY TABLE kept_on_schemas ON COMMIT DROP AS SELECT * FROM pg_depend \
               WHERE classid = 'pg_default_acl'::regclass AND objid IN (SELECT oid FROM kept)"
        );
        let drop = format!(
            "SET LOCAL SESSION AUTHORIZATION \"{user}\"; DROP OWNED BY \"{role}\"; RESET SESSION AUTHORIZATION"
        );
        let put_back = [
            ("pg_default_acl", "oid", "kept"),
            ("pg_shdepend", "objid", "kept_on_roles"),
            ("pg_depend", "objid", "kept_on_schemas"),
        ]
        .map(|(table, id, kept)| {
            let of = if id == "oid" { "" } else { "classid = 'pg_default_acl'::regclass AND " };
            format!(
                "DELETE FROM {table} WHERE {of}{id} IN (SELECT oid FROM kept); \
                     INSERT INTO {table} SELECT * FROM {kept};"
            )
        })
        .concat();
        let sql = format!("BEGIN; {keep}; {drop}; {put_back} COMMIT");
        self.with(database, async |client| client.batch_execute(&sql).await).await
    }
}
