//! The statements of a bind and an unbind on PostgreSQL (`Databases` in `src/broker/services/postgresql`).

use postgres_protocol::password::scram_sha_256;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use crate::{
    Bindings,
    postgres::{ADMIN, ADMIN_PASSWORD, Postgres},
};

/// The broker's query for roles.
const ROLES: &str = "SELECT r.rolname::text, g.rolname::text FROM pg_catalog.pg_roles r \
    LEFT JOIN pg_catalog.pg_auth_members m ON m.member = r.oid LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
    WHERE r.rolname::text = ANY ($1)";

/// The size of a record of a binding, sealed.
const RECORD: usize = 700;

/// Runs the statements over one connection per worker, each in its own transaction.
pub(crate) struct OnPostgres {
    connections: Vec<Client>,
    /// Connections to the database of the records, if the floor includes records.
    records: Vec<Client>,
    databases: Vec<String>,
}

/// The URL of a database for its administrator.
pub(crate) fn url(server: &Postgres, database: &str) -> String {
    let (port, ca) = (server.port(), server.ca_file());
    format!("postgresql://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:{port}/{database}?sslrootcert={}", ca.display())
}

impl OnPostgres {
    pub(crate) async fn of(server: &Postgres, databases: Vec<String>, workers: usize) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(server.ca_file()).unwrap()).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let tls = MakeRustlsConnect::new(tls);
        let connections = connect(&tls, &url(server, "postgres"), workers).await;
        Self { connections, records: Vec::new(), databases }
    }

    /// The same with the least that a durable record takes: the intent and the outcome of each operation are on the disk
    /// before the next step. Each is one statement on one row of a database on the same server.
    pub(crate) async fn with_records(self, server: &Postgres, database: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(server.ca_file()).unwrap()).unwrap();
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let records =
            connect(&MakeRustlsConnect::new(tls), &url(server, database), self.connections.len()).await;
        let table = "CREATE TABLE floor (id text PRIMARY KEY, state text NOT NULL, sealed bytea NOT NULL)";
        records[0].batch_execute(table).await.unwrap();
        Self { records, ..self }
    }

    /// Records a step of a binding, if the floor includes records.
    async fn record(&self, worker: usize, login: &str, step: &str) {
        let Some(client) = self.records.get(worker) else { return };
        let sealed = [7_u8; RECORD].as_slice();
        if step == "gone" {
            let sql = "DELETE FROM floor WHERE id = $1";
            client.query_typed(sql, &[(&login, Type::TEXT)]).await.unwrap();
        } else {
            let sql = "INSERT INTO floor VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET \
                       state = excluded.state, sealed = excluded.sealed";
            let values: [(&(dyn ToSql + Sync), Type); 3] =
                [(&login, Type::TEXT), (&step, Type::TEXT), (&sealed, Type::BYTEA)];
            client.query_typed(sql, &values).await.unwrap();
        }
    }
}

async fn connect(tls: &MakeRustlsConnect, url: &str, count: usize) -> Vec<Client> {
    let url = url.split('?').next().unwrap();
    let mut connections = Vec::new();
    for _ in 0..count {
        let (client, connection) =
            tokio_postgres::connect(&format!("{url}?sslmode=require"), tls.clone()).await.unwrap();
        tokio::spawn(connection);
        connections.push(client);
    }
    connections
}

impl Bindings for OnPostgres {
    async fn pair(&self, worker: usize, instance: usize) {
        let (client, database) = (&self.connections[worker], &self.databases[instance]);
        let (owner, login) = (format!("{database}_owner"), format!("floor_{}", Uuid::new_v4().simple()));
        let roles = async |names: &[&str]| {
            client.query_typed(ROLES, &[(&names, Type::TEXT_ARRAY)]).await.unwrap();
        };
        let run = async |sql: String| client.batch_execute(&sql).await.unwrap();
        let sessions = format!("FROM pg_stat_activity WHERE usename = '{login}'");
        let verifier = scram_sha_256(login.as_bytes());

        self.record(worker, &login, "creating").await;
        roles(&[&owner, &login]).await;
        run(format!(
            "CREATE ROLE \"{login}\" LOGIN PASSWORD '{verifier}' VALID UNTIL 'infinity' IN ROLE \"{owner}\""
        ))
        .await;
        run(format!("ALTER ROLE \"{login}\" IN DATABASE \"{database}\" SET role = '{owner}'")).await;
        run(format!("GRANT \"{login}\" TO \"{ADMIN}\"")).await;

        self.record(worker, &login, "ready").await;

        self.record(worker, &login, "deleting").await;
        roles(&[&login]).await;
        run(format!("ALTER ROLE \"{login}\" NOLOGIN PASSWORD NULL")).await;
        run(format!("GRANT \"{login}\" TO \"{ADMIN}\"")).await;
        run(format!("SELECT pg_terminate_backend(pid) {sessions}")).await;
        client.query_typed(&format!("SELECT count(*) {sessions}"), &[]).await.unwrap();
        run(format!("DROP ROLE IF EXISTS \"{login}\"")).await;
        self.record(worker, &login, "gone").await;
    }
}
