//! The statements of a bind and an unbind on PostgreSQL (`Databases` in `src/broker/services/postgresql`).

use postgres_protocol::password::scram_sha_256;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{Client, types::Type};
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

/// Runs the statements over one connection per worker, each in its own transaction.
pub(crate) struct OnPostgres {
    connections: Vec<Client>,
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
        let url = url(server, "postgres");
        let url = url.split('?').next().unwrap();
        let mut connections = Vec::new();
        for _ in 0..workers {
            let (client, connection) =
                tokio_postgres::connect(&format!("{url}?sslmode=require"), tls.clone()).await.unwrap();
            tokio::spawn(connection);
            connections.push(client);
        }
        Self { connections, databases }
    }
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

        roles(&[&owner, &login]).await;
        run(format!(
            "CREATE ROLE \"{login}\" LOGIN PASSWORD '{verifier}' VALID UNTIL 'infinity' IN ROLE \"{owner}\""
        ))
        .await;
        run(format!("ALTER ROLE \"{login}\" IN DATABASE \"{database}\" SET role = '{owner}'")).await;
        run(format!("GRANT \"{login}\" TO \"{ADMIN}\"")).await;

        roles(&[&login]).await;
        run(format!("ALTER ROLE \"{login}\" NOLOGIN PASSWORD NULL")).await;
        run(format!("GRANT \"{login}\" TO \"{ADMIN}\"")).await;
        run(format!("SELECT pg_terminate_backend(pid) {sessions}")).await;
        client.query_typed(&format!("SELECT count(*) {sessions}"), &[]).await.unwrap();
        run(format!("DROP ROLE IF EXISTS \"{login}\"")).await;
    }
}
