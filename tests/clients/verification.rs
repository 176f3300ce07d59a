//! What each client verifies, by mode and with or without the CA: the page's truth table. Each client connects to a
//! server whose certificate has the host's name, to one whose certificate has another name, and with another CA. Its
//! refusals show what it verifies.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::{
    client::{Client, OF_MYSQL, OF_POSTGRESQL, Setting},
    injected::is_of_tls,
    mariadb::MariaDb,
    page,
    postgres::Postgres,
};

const USER: &str = "app";
const PASSWORD: &str = "the-apps-password";
const DATABASE: &str = "app";

/// The modes, in the terms of libpq.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Require,
    VerifyCa,
    VerifyFull,
}

/// A column of the table: the mode, and whether the client has the CA.
type Column = (Mode, bool);

const COLUMNS: [Column; 6] = [
    (Mode::Require, false),
    (Mode::Require, true),
    (Mode::VerifyCa, false),
    (Mode::VerifyCa, true),
    (Mode::VerifyFull, false),
    (Mode::VerifyFull, true),
];

/// The server to which a client connects, and the CA that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trial {
    Right,
    OtherName,
    OtherCa,
}

/// The host to which all clients connect. The other server's certificate has only `127.0.0.1`. The host is a name,
/// because some clients do not compare addresses.
const HOST: &str = "localhost";

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// The mode in the terms of MySQL.
    fn in_mysql(self) -> &'static str {
        match self {
            Self::Require => "REQUIRED",
            Self::VerifyCa => "VERIFY_CA",
            Self::VerifyFull => "VERIFY_IDENTITY",
        }
    }
}

/// Two servers, and a folder for each trial with the parts of the credentials, the CA and a trust store with the CA.
struct Place {
    folder: tempfile::TempDir,
    port: u16,
    other_port: u16,
}

impl Place {
    fn new([(port, ca), (other_port, other_ca)]: &[(u16, PathBuf); 2]) -> Self {
        let (port, other_port) = (*port, *other_port);
        let place = Self { folder: tempfile::tempdir().unwrap(), port, other_port };
        for (trial, ca) in [(Trial::Right, ca), (Trial::OtherName, other_ca), (Trial::OtherCa, other_ca)] {
            let (folder, port) = (place.at(trial), place.port(trial).to_string());
            fs::create_dir(&folder).unwrap();
            let parts = [("host", HOST), ("port", port.as_str()), ("username", USER), ("password", PASSWORD)];
            for (key, value) in parts.into_iter().chain([("database", DATABASE)]) {
                fs::write(folder.join(key), value).unwrap();
            }
            fs::copy(ca, folder.join("ca.crt")).unwrap();
            trust(&folder);
        }
        place
    }

    fn port(&self, trial: Trial) -> u16 {
        if trial == Trial::OtherName { self.other_port } else { self.port }
    }

    fn at(&self, trial: Trial) -> PathBuf {
        self.folder.path().join(format!("{trial:?}"))
    }

    /// The client's settings for this mode; `None` if the client has no such mode.
    fn setting(&self, client: Client, (mode, has_ca): Column, trial: Trial) -> Option<Setting> {
        let folder = self.at(trial);
        let ca = has_ca.then(|| folder.join("ca.crt").display().to_string());
        let mut env = BTreeMap::new();
        let mut exchanged = Vec::new();
        match client {
            Client::MariaDb => {
                let verify = match mode {
                    Mode::Require => "",
                    Mode::VerifyCa => return None,
                    Mode::VerifyFull => " --ssl-verify-server-cert",
                };
                let ca = ca.map(|ca| format!(" --ssl-ca={ca}")).unwrap_or_default();
                let options = format!("--no-defaults --protocol=tcp --ssl{ca}{verify}");
                exchanged.push((" --ssl-ca=ca.crt --ssl-verify-server-cert", String::new()));
                exchanged.push(("mariadb --host", format!("mariadb {options} --host")));
            }
            Client::PyMySql => {
                let verify = match mode {
                    Mode::Require => "ssl_verify_cert=False",
                    Mode::VerifyCa => "ssl_verify_cert=True",
                    Mode::VerifyFull => "ssl_verify_identity=True",
                };
                exchanged.push(("ssl_verify_identity=True", verify.to_owned()));
                if ca.is_none() {
                    exchanged.push(("ssl_ca=", "ssl_ca=None and ".to_owned()));
                }
            }
            Client::GoMySql => {
                let tls = match mode {
                    Mode::Require => "skip-verify",
                    Mode::VerifyCa => return None,
                    Mode::VerifyFull => "true",
                };
                let port = self.port(trial);
                let dsn = format!("{USER}:{PASSWORD}@tcp({HOST}:{port})/{DATABASE}?tls={tls}");
                env.insert("MYSQL_DSN".to_owned(), dsn);
                env.extend(has_ca.then(|| ("SSL_CERT_DIR".to_owned(), folder.display().to_string())));
            }
            Client::MySql2 => {
                let ssl = match mode {
                    Mode::Require => r#"{"rejectUnauthorized":false}"#,
                    Mode::VerifyCa => r#"{"rejectUnauthorized":true}"#,
                    Mode::VerifyFull => r#"{"rejectUnauthorized":true,"verifyIdentity":true}"#,
                };
                env.insert("DATABASE_URL".to_owned(), self.url("mysql", trial, &format!("ssl={ssl}")));
                env.extend(ca.map(|ca| ("NODE_EXTRA_CA_CERTS".to_owned(), ca)));
            }
            _ => {
                let ca = ca.map(|ca| format!("&sslrootcert={ca}")).unwrap_or_default();
                let tls = format!("sslmode={}{ca}", mode.as_str());
                env.insert("DATABASE_URL".to_owned(), self.url("postgres", trial, &tls));
            }
        }
        Some(Setting { env, folder, exchanged })
    }

    fn url(&self, scheme: &str, trial: Trial, query: &str) -> String {
        format!("{scheme}://{USER}:{PASSWORD}@{HOST}:{}/{DATABASE}?{query}", self.port(trial))
    }

    /// The same for Java drivers, which read everything from the URL.
    fn url_for_java(&self, client: Client, (mode, has_ca): Column, trial: Trial) -> String {
        let folder = self.at(trial);
        let (scheme, name, mode, ca) = match client {
            Client::Pgjdbc => {
                ("postgresql", "sslmode", mode.as_str(), format!("&sslrootcert={}/ca.crt", folder.display()))
            }
            Client::MariaDbConnectorJ => {
                let ca = format!("&serverSslCert={}/ca.crt", folder.display());
                ("mariadb", "sslMode", mode.in_mysql(), ca)
            }
            _ => {
                let store = format!("file:{}/trusted", folder.display());
                let ca =
                    format!("&trustCertificateKeyStoreUrl={store}&trustCertificateKeyStorePassword=changeit");
                ("mysql", "sslMode", mode.in_mysql(), ca)
            }
        };
        let ca = if has_ca { ca } else { String::new() };
        let port = self.port(trial);
        format!("jdbc:{scheme}://{HOST}:{port}/{DATABASE}?user={USER}&password={PASSWORD}&{name}={mode}{ca}")
    }

    /// The table row of a client.
    fn row(&self, client: Client) -> String {
        let trials = COLUMNS.map(|column| {
            let trials = [Trial::Right, Trial::OtherName, Trial::OtherCa].into_iter();
            // Without a CA there is no trial with another CA, either.
            trials.filter(move |trial| column.1 || *trial != Trial::OtherCa).map(move |trial| (column, trial))
        });
        let trials: Vec<_> = trials.into_iter().flatten().collect();
        let outcomes: Vec<_> = if client.is_java() {
            let urls: Vec<_> =
                trials.iter().map(|(column, trial)| self.url_for_java(client, *column, *trial)).collect();
            let setting = Setting { folder: self.at(Trial::Right), ..Setting::default() };
            client.connect_with_all(&urls, &setting).into_iter().map(Some).collect()
        } else {
            let connect = |(column, trial): &(Column, Trial)| {
                self.setting(client, *column, *trial).map(|setting| client.connect(&setting))
            };
            trials.iter().map(connect).collect()
        };
        let cells = COLUMNS.map(|column| {
            let of_column = trials.iter().zip(&outcomes).filter(|((other, _), _)| *other == column);
            cell(client, column, &of_column.map(|((_, trial), outcome)| (*trial, outcome)).collect())
        });
        format!("| {} | {} |\n", client.name(), cells.join(" | "))
    }
}

/// The table cell for a client's outcomes.
fn cell(
    client: Client,
    column: Column,
    outcomes: &BTreeMap<Trial, &Option<Result<String, String>>>,
) -> &'static str {
    let connects = |trial: Trial| {
        let outcome = outcomes.get(&trial)?.as_ref()?;
        if let Err(error) = outcome {
            assert!(is_of_tls(error), "{}, {column:?}, {trial:?}: {error}", client.name());
        } else {
            assert_eq!(outcome.as_deref(), Ok(USER), "{}, {column:?}, {trial:?}", client.name());
        }
        Some(outcome.is_ok())
    };
    match (connects(Trial::Right), connects(Trial::OtherName), connects(Trial::OtherCa)) {
        (None, ..) => "none",
        (Some(false), Some(false), None | Some(false)) => "refused",
        (Some(true), Some(true), None | Some(true)) => "encrypted",
        (Some(true), Some(true), Some(false)) => "CA",
        (Some(true), Some(false), Some(false)) => "CA and name",
        other => panic!("{}, {column:?}: {other:?}", client.name()),
    }
}

/// Creates a Java trust store from the CA.
fn trust(folder: &Path) {
    let mut keytool = Command::new("keytool");
    keytool.args(["-importcert", "-noprompt", "-alias", "ca", "-storepass", "changeit", "-file", "ca.crt"]);
    let output = keytool.args(["-keystore", "trusted"]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The names in the certificates of the two servers.
const NAMES: [&str; 2] = [HOST, "127.0.0.1"];

fn postgres(name: &str) -> Postgres {
    let server = Postgres::start("127.0.0.1", &[name]);
    server.psql(&format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"));
    server.psql(&format!("CREATE DATABASE {DATABASE} OWNER {USER}"));
    server
}

fn mariadb(name: &str) -> MariaDb {
    let server = MariaDb::start(name);
    server.root(&format!(
        "SET GLOBAL require_secure_transport = ON; CREATE DATABASE {DATABASE}; \
         CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {DATABASE}.* TO '{USER}'@'%'"
    ));
    server
}

#[test]
fn the_page_lists_what_each_client_verifies() {
    let (of_postgres, of_mariadb) = (NAMES.map(postgres), NAMES.map(mariadb));
    let postgres = Place::new(&of_postgres.each_ref().map(|server| (server.port(), server.ca_file())));
    let mariadb = Place::new(&of_mariadb.each_ref().map(|server| (server.port(), server.ca_file())));
    let rows = thread::scope(|scope| {
        let of_mysql = OF_MYSQL.map(|client| (client, &mariadb));
        let all = OF_POSTGRESQL.map(|client| (client, &postgres)).into_iter().chain(of_mysql);
        let rows: Vec<_> = all.map(|(client, place)| scope.spawn(move || place.row(client))).collect();
        rows.into_iter().map(|row| row.join().unwrap()).collect::<String>()
    });
    let columns =
        COLUMNS.map(|(mode, has_ca)| format!("`{}`{}", mode.as_str(), if has_ca { ", CA" } else { "" }));
    let head = format!("| client | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(COLUMNS.len()));
    page::keep_truth_table(&(head + &rows));
}
