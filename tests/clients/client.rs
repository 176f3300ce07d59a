//! The clients, each run in an environment of its own. `tests/preflight clients` installs the drivers.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::page;

/// A client, with its name on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Client {
    Psql,
    Pgjdbc,
    Pgx,
    LibPq,
    NodePg,
    Psycopg,
    MariaDb,
    ConnectorJ,
    MariaDbConnectorJ,
    GoMySql,
    MySql2,
    PyMySql,
}

/// The clients of PostgreSQL and CockroachDB.
pub(crate) const OF_POSTGRESQL: [Client; 6] = {
    use Client::{LibPq, NodePg, Pgjdbc, Pgx, Psql, Psycopg};
    [Psql, Pgjdbc, Pgx, LibPq, NodePg, Psycopg]
};

/// The clients of MySQL and MariaDB.
pub(crate) const OF_MYSQL: [Client; 6] = {
    use Client::{ConnectorJ, GoMySql, MariaDb, MariaDbConnectorJ, MySql2, PyMySql};
    [MariaDb, ConnectorJ, MariaDbConnectorJ, GoMySql, MySql2, PyMySql]
};

/// The settings with which a client starts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    /// All variables except `PATH` and `HOME`.
    pub(crate) env: BTreeMap<String, String>,
    /// The folder that replaces the one on the page.
    pub(crate) folder: PathBuf,
    /// Words of the page's code that are replaced.
    pub(crate) exchanged: Vec<(&'static str, String)>,
}

/// The folder on the page.
pub(crate) const MOUNTED_AT: &str = "/var/secrets/mydb01-binding";

impl Client {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Psql => "psql",
            Self::Pgjdbc => "pgjdbc",
            Self::Pgx => "pgx",
            Self::LibPq => "lib/pq",
            Self::NodePg => "node pg",
            Self::Psycopg => "psycopg",
            Self::MariaDb => "mariadb",
            Self::ConnectorJ => "MySQL Connector/J",
            Self::MariaDbConnectorJ => "MariaDB Connector/J",
            Self::GoMySql => "go-sql-driver",
            Self::MySql2 => "mysql2",
            Self::PyMySql => "PyMySQL",
        }
    }

    /// The installed version: the pinned one, or for Debian's clients the one that the program reports.
    pub(crate) fn version(self) -> String {
        let pinned = |file: &str, before: &str, after: char| {
            let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
            let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{before} is not in {file}"));
            rest.split(after).next().unwrap().to_owned()
        };
        let node =
            |name: &str| pinned("tests/clients/programs/package.json", &format!("\"{name}\": \""), '"');
        let go = |name: &str| pinned("tests/clients/programs/go/go.mod", &format!("{name} v"), '\n');
        let python = |name: &str| pinned("tests/clients/programs/requirements.txt", name, '\n');
        match self {
            Self::Psql => word(&said("psql"), 2).split('.').next().unwrap().to_owned(),
            Self::MariaDb => {
                let said = said("mariadb");
                let (_, version) = said.split_once("Distrib ").unwrap_or_else(|| panic!("{said}"));
                version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
            }
            Self::Pgjdbc => pinned("tests/preflight", "org.postgresql:postgresql:", ' '),
            Self::ConnectorJ => pinned("tests/preflight", "com.mysql:mysql-connector-j:", ' '),
            Self::MariaDbConnectorJ => {
                pinned("tests/preflight", "org.mariadb.jdbc:mariadb-java-client:", ')')
            }
            Self::Pgx => go("github.com/jackc/pgx/v5"),
            Self::LibPq => go("github.com/lib/pq"),
            Self::GoMySql => go("github.com/go-sql-driver/mysql"),
            Self::NodePg => node("pg"),
            Self::MySql2 => node("mysql2"),
            Self::Psycopg => python("psycopg[binary]=="),
            Self::PyMySql => python("PyMySQL=="),
        }
    }

    /// Whether the client is a Java driver.
    pub(crate) fn is_java(self) -> bool {
        matches!(self, Self::Pgjdbc | Self::ConnectorJ | Self::MariaDbConnectorJ)
    }

    /// Whether the client's code on the page reads the service's URL from the variable.
    pub(crate) fn reads_url(self) -> bool {
        matches!(self, Self::Psql | Self::NodePg | Self::Psycopg | Self::MySql2)
    }

    /// Connects with the page's code. Returns the user, or the error.
    pub(crate) fn connect(self, setting: &Setting) -> Result<String, String> {
        let code = |heading: &str| {
            let code = page::code(heading).replace(MOUNTED_AT, &setting.folder.display().to_string());
            setting.exchanged.iter().fold(code, |code, (word, other)| {
                assert!(code.contains(word), "the code of {heading} has no {word}");
                code.replace(word, other)
            })
        };
        let shell = |code: String| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(code);
            shell
        };
        let command = match self {
            Self::Psql => shell(format!("{} -XAtqc 'SELECT session_user'", code("psql").trim_end())),
            Self::MariaDb => shell(format!("{} -BNe '{MYSQL_USER}'", code("mariadb").trim_end())),
            Self::NodePg => node(&format!(
                "{}\nconst {{ rows }} = await client.query('SELECT session_user AS name')\n\
                 console.log(rows[0].name)\nawait client.end()",
                code("node pg")
            )),
            Self::MySql2 => node(&format!(
                "{}\nconst [rows] = await connection.query(\"{MYSQL_USER} AS name\")\n\
                 console.log(rows[0].name)\nawait connection.end()",
                code("mysql2")
            )),
            Self::Psycopg => python(&format!(
                "{}\nprint(connection.execute('SELECT session_user').fetchone()[0])",
                code("psycopg")
            )),
            Self::PyMySql => python(&format!(
                "{}\ncursor = connection.cursor()\ncursor.execute(\"{MYSQL_USER}\")\nprint(cursor.fetchone()[0])",
                code("PyMySQL")
            )),
            Self::Pgx => go("pgx", "pgx and lib/pq", variable(setting)),
            Self::LibPq => go("postgres", "pgx and lib/pq", variable(setting)),
            Self::GoMySql => go("mysql", "go-sql-driver", "MYSQL_DSN"),
            Self::Pgjdbc | Self::ConnectorJ | Self::MariaDbConnectorJ => {
                let mut java = self.java();
                java.arg("SPRING_DATASOURCE_URL");
                java
            }
        };
        run(command, setting)
    }

    /// Connects with each of these URLs for Java, in one JVM.
    pub(crate) fn connect_with_all(self, urls: &[String], setting: &Setting) -> Vec<Result<String, String>> {
        let mut java = self.java();
        prepare(&mut java, setting);
        java.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut java = java.spawn().expect("run tests/preflight clients");
        java.stdin.take().unwrap().write_all((urls.join("\n") + "\n").as_bytes()).unwrap();
        let output = java.wait_with_output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let outcome = |line: &str| match line.strip_prefix("refused:") {
            Some(why) => Err(why.to_owned()),
            None => Ok(line.to_owned()),
        };
        let outcomes: Vec<_> = lines.lines().map(outcome).collect();
        assert_eq!(outcomes.len(), urls.len(), "{lines}");
        outcomes
    }

    /// The Java program with only this driver.
    fn java(self) -> Command {
        let archive = match self {
            Self::Pgjdbc => "postgresql",
            Self::ConnectorJ => "mysql-connector-j",
            Self::MariaDbConnectorJ => "mariadb-java-client",
            _ => panic!("{} is not Java", self.name()),
        };
        let archive = target().join("jdbc").join(archive).with_extension("jar");
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "--class-path"]);
        java.arg(format!("{}:{}", installed("java").display(), archive.display())).arg("Connect");
        java
    }
}

const MYSQL_USER: &str = "SELECT SUBSTRING_INDEX(USER(), CHAR(64), 1)";

/// The variable with the URL, which depends on the type of service.
fn variable(setting: &Setting) -> &'static str {
    if setting.env.contains_key("COCKROACH_URL") { "COCKROACH_URL" } else { "DATABASE_URL" }
}

fn node(body: &str) -> Command {
    let mut node = Command::new("node");
    node.arg("-e").arg(format!(
        "(async () => {{ {body}\n }})().catch((error) => {{ console.error(error); process.exit(1) }})"
    ));
    node.env("NODE_PATH", installed("node/node_modules"));
    node
}

fn python(code: &str) -> Command {
    let mut python = Command::new(installed("venv/bin/python"));
    python.arg("-c").arg(code);
    python
}

/// The program that was built with the Go drivers. Its source has the page's line, and takes the driver and the
/// variable as arguments.
fn go(driver: &str, heading: &str, variable: &str) -> Command {
    let opened = format!("db, err := sql.Open(\"{driver}\", os.Getenv(");
    assert!(page::code(heading).contains(&opened), "the page's code of {heading} has no {opened}");
    let mut go = Command::new(installed("go/clients"));
    go.args([driver, variable]);
    go
}

fn run(mut command: Command, setting: &Setting) -> Result<String, String> {
    prepare(&mut command, setting);
    let output = command.output().unwrap_or_else(|error| {
        panic!("{}: {error}; run tests/preflight clients", command.get_program().display())
    });
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr) + &text(output.stdout))
    }
}

/// Clears a program's environment except `PATH`, and sets an empty home.
fn prepare(command: &mut Command, setting: &Setting) {
    let own: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command.env_clear().env("PATH", env::var_os("PATH").unwrap()).env("HOME", setting.folder.join("home"));
    for (name, value) in own {
        command.env(name, value.unwrap_or_default());
    }
    command.envs(&setting.env).stdin(Stdio::null());
}

/// The output of a program's version option.
fn said(program: &str) -> String {
    let output = Command::new(program).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn word(text: &str, index: usize) -> &str {
    text.split_whitespace().nth(index).unwrap_or_else(|| panic!("{text}"))
}

/// A path below the folder of `tests/preflight clients`.
fn installed(name: &str) -> PathBuf {
    target().join("clients").join(name)
}

fn target() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("target"), |target| manifest.join(target))
}
