//! The statements of a bind and an unbind on MariaDB (`Databases` in `src/broker/services/mysql`).

use mysql_async::{Conn, OptsBuilder, Row, SslOpts, prelude::Queryable};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Bindings,
    mariadb::{ADMIN, ADMIN_PASSWORD, MariaDb},
};

/// `PASSWORD('secret')`.
const HASH: &str = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
/// The tables with the definers of views, routines, triggers and events.
const DEFINERS: [(&str, &str); 4] = [
    ("VIEWS", "TABLE_SCHEMA"),
    ("ROUTINES", "ROUTINE_SCHEMA"),
    ("TRIGGERS", "TRIGGER_SCHEMA"),
    ("EVENTS", "EVENT_SCHEMA"),
];

/// Runs the statements over one connection per worker.
pub(crate) struct OnMariaDb {
    connections: Vec<Mutex<Conn>>,
    databases: Vec<String>,
    marks: String,
}

impl OnMariaDb {
    /// Connects to a server on which a broker created these databases and their table of marks.
    pub(crate) async fn of(server: &MariaDb, databases: Vec<String>, workers: usize) -> Self {
        let marks =
            server.root("SELECT TABLE_SCHEMA FROM information_schema.TABLES WHERE TABLE_NAME = 'marks'");
        let tls = SslOpts::default()
            .with_root_certs(vec![server.ca_file().into()])
            .with_disable_built_in_roots(true);
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(server.port())
            .prefer_socket(false)
            .user(Some(ADMIN))
            .pass(Some(ADMIN_PASSWORD))
            .ssl_opts(tls);
        let mut connections = Vec::new();
        for _ in 0..workers {
            connections.push(Mutex::new(Conn::new(options.clone()).await.unwrap()));
        }
        Self { connections, databases, marks: format!("`{}`.marks", marks[0]) }
    }
}

impl Bindings for OnMariaDb {
    async fn pair(&self, worker: usize, instance: usize) {
        let (database, marks) = (&self.databases[instance], &self.marks);
        let binding = Uuid::new_v4().to_string();
        let login = format!("floor_{}", &Uuid::new_v4().simple().to_string()[..26]);
        let (account, definer) = (format!("'{login}'@'%'"), literal(&format!("{login}@%")));
        let (named, of) = (literal(&login), literal(database));
        let read = format!("SELECT name, kind, database_name FROM {marks} WHERE name IN");
        let has_login = format!("SELECT 1 FROM mysql.user WHERE User = {named} AND Host = '%'");
        let sessions = format!("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = {named}");
        let defines = DEFINERS.map(|(table, schema)| {
            format!("SELECT 1 FROM information_schema.{table} WHERE {schema} = {of} AND DEFINER = {definer}")
        });
        let bind = [
            format!("{read} ({of}, {named}) ORDER BY name"),
            format!("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {of}"),
            has_login.clone(),
            format!(
                "REPLACE INTO {marks} (name, kind, database_name, id, expires_at) VALUES ({named}, {}, {of}, {}, NULL)",
                literal("login"),
                literal(&binding)
            ),
            has_login,
            format!("CREATE USER {account} IDENTIFIED VIA mysql_native_password USING '{HASH}' REQUIRE SSL"),
            format!("GRANT ALL PRIVILEGES ON `{}`.* TO {account}", database.replace('_', "\\_")),
        ];
        let unbind = [
            format!("{read} ({named}) ORDER BY name"),
            format!("ALTER USER IF EXISTS {account} ACCOUNT LOCK"),
            format!("{sessions} AND (COMMAND <> 'Connect' OR HOST LIKE '%:%') AND COMMAND <> 'Killed'"),
            defines.join(" UNION ALL "),
            format!("{sessions} AND TRUE"),
            format!("DROP USER IF EXISTS {account}"),
            format!("DELETE FROM {marks} WHERE name = {named}"),
        ];
        let mut connection = self.connections[worker].lock().await;
        for sql in bind.into_iter().chain(unbind) {
            let _: Vec<Row> = connection.query(sql).await.unwrap();
        }
    }
}

fn literal(text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 X'{hex}'")
}
