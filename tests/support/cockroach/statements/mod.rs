//! What the stand-in for CockroachDB makes of a statement: an allow-list, each entry with where CockroachDB says that it
//! takes this, and what PostgreSQL is asked instead. What is on neither list is refused, so that a statement which nobody
//! looked up fails a test.
//!
//! Sources are pages below <https://www.cockroachlabs.com/docs/v25.2/>, issues of cockroachdb/cockroach (`#…`), and its
//! own tests (`logic_test/…`). A new statement of the dialect is one more line in `ADMINISTRATORS`.
#![allow(dead_code, reason = "the library's tests use a part")]

mod sources;
mod tokens;

pub(crate) use self::sources::SYSTEM;
use self::{
    sources::{DEFAULTS, SOURCES},
    tokens::{Placed, Token, begins, fits, has, tokens},
};

/// Who sends a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// bindery: only what is on its list.
    Administrator,
    /// A binding's login: any plain statement.
    Application,
}

/// What becomes of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// PostgreSQL runs this on the same connection.
    Run(String),
    /// Nothing, if the query has a row; otherwise `Run`.
    Unless { query: String, run: String },
    /// Something for a second connection.
    Elsewhere(Job),
    /// An error.
    Refuse { code: &'static str, message: String },
}

/// What takes a second connection, since PostgreSQL cannot say it in the session's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Runs `sql` as the same user in another database.
    Within {
        database: String,
        sql: String,
    },
    CreateDatabase {
        database: String,
        sql: String,
    },
    DropDatabase {
        database: String,
        sql: String,
    },
    DropOwned {
        role: String,
    },
    EndSessions {
        role: String,
    },
}

/// An entry's form stands for a statement in messages and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) form: &'static str,
    pub(crate) verdict: Verdict,
}

/// What PostgreSQL does for an allowed statement. In the texts, `{0}` is the first quoted thing that the form leaves open,
/// and `{0:held}` is the same as a string literal.
enum Does {
    /// The same.
    Same,
    Instead(&'static str),
    Unless(&'static str, &'static str),
    Job(fn(&[Token]) -> Job),
    Refuse(&'static str, &'static str),
}
use Does::{Instead, Same, Unless};

struct Allowed {
    /// The statement; a quoted `?` is any such, and OBJECTS is any type of objects.
    form: &'static str,
    source: &'static str,
    does: Does,
}

const fn allow(form: &'static str, source: &'static str, does: Does) -> Allowed {
    Allowed { form, source, does }
}

/// alter-default-privileges; ROUTINES is what show-default-privileges calls functions (#108285).
const OBJECTS: [&str; 6] = ["TABLES", "SEQUENCES", "TYPES", "SCHEMAS", "FUNCTIONS", "ROUTINES"];

/// Every role may CREATE in a new public schema (security-reference/authorization, "Default privileges"); CONNECT is for
/// all, and only hides the database when it is taken back (#59875): here TEMPORARY, which CockroachDB lacks, stands for it.
const ADMINISTRATORS: &[Allowed] = &[
    allow(
        "SELECT version()",
        "functions-and-operators",
        Instead("SELECT 'CockroachDB CCL v25.2.13 (stand-in)'"),
    ),
    allow(
        r#"CREATE ROLE IF NOT EXISTS "?""#,
        "create-role",
        Unless("SELECT FROM pg_roles WHERE rolname = {0:held}", "CREATE ROLE {0}"),
    ),
    allow(r#"GRANT "?" TO "?""#, "grant; #104376: CREATEROLE suffices since v23.2", Same),
    allow(
        r#"CREATE DATABASE IF NOT EXISTS "?" OWNER "?""#,
        "create-database; #97951: both clauses since v23.1",
        Does::Job(|of| Job::CreateDatabase {
            database: of[0].held(),
            sql: fill("CREATE DATABASE {0} OWNER {1}", of),
        }),
    ),
    allow(
        r#"REVOKE CONNECT ON DATABASE "?" FROM public"#,
        "revoke; #59875",
        Instead("REVOKE TEMPORARY ON DATABASE {0} FROM PUBLIC"),
    ),
    allow(
        r#"REVOKE CREATE, USAGE ON SCHEMA "?".public FROM public"#,
        "revoke",
        Does::Job(|of| within(of, "REVOKE CREATE, USAGE ON SCHEMA public FROM PUBLIC")),
    ),
    allow(
        r#"GRANT ALL ON SCHEMA "?".public TO "?""#,
        "grant",
        Does::Job(|of| within(of, "GRANT ALL ON SCHEMA public TO {1}")),
    ),
    allow(r#"COMMENT ON DATABASE "?" IS '?'"#, "comment-on", Same),
    allow(
        r#"CREATE USER "?" WITH PASSWORD '?'"#,
        "create-user; security-reference/authentication: a SCRAM verifier is stored as it is",
        Same,
    ),
    allow(r#"ALTER USER "?" WITH LOGIN PASSWORD '?'"#, "alter-user", Same),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT ALL ON OBJECTS TO "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT USAGE ON TYPES TO "public""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT EXECUTE ON FUNCTIONS TO "public""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER USER IF EXISTS "?" WITH NOLOGIN PASSWORD NULL"#,
        "alter-user",
        Unless(
            "SELECT WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {0:held})",
            "ALTER USER {0} WITH NOLOGIN PASSWORD NULL",
        ),
    ),
    allow(
        "CANCEL SESSIONS IF EXISTS (SELECT session_id FROM [SHOW CLUSTER SESSIONS] WHERE user_name = '?')",
        "cancel-session",
        Does::Job(|of| Job::EndSessions { role: of[0].held() }),
    ),
    allow("SELECT count(*) FROM [SHOW CLUSTER SESSIONS] WHERE user_name = '?'", "show-sessions", Same),
    allow(
        "SELECT database_name::text FROM [SHOW DATABASES] WHERE database_name <> 'system'",
        "show-databases",
        Same,
    ),
    allow(
        "SELECT schema_name::text FROM [SHOW SCHEMAS] WHERE schema_name NOT IN \
         ('crdb_internal', 'information_schema', 'pg_catalog', 'pg_extension')",
        "show-schemas",
        Same,
    ),
    allow(
        "SELECT DISTINCT COALESCE(role::text, ''), object_type::text, grantee::text \
         FROM [SHOW DEFAULT PRIVILEGES FOR ROLE \"?\"]",
        "show-default-privileges",
        Same,
    ),
    allow(
        "SELECT DISTINCT COALESCE(role::text, ''), object_type::text, grantee::text \
         FROM [SHOW DEFAULT PRIVILEGES FOR ROLE \"?\" IN SCHEMA \"?\"]",
        "show-default-privileges",
        Same,
    ),
    allow(
        "SELECT DISTINCT COALESCE(role::text, ''), object_type::text, grantee::text \
         FROM [SHOW DEFAULT PRIVILEGES FOR GRANTEE \"?\"]",
        "show-default-privileges; #108285: since v23.1",
        Same,
    ),
    allow(
        "SELECT DISTINCT COALESCE(role::text, ''), object_type::text, grantee::text \
         FROM [SHOW DEFAULT PRIVILEGES FOR GRANTEE \"?\" IN SCHEMA \"?\"]",
        "show-default-privileges; #108285: since v23.1",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" REVOKE ALL ON OBJECTS FROM "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" IN SCHEMA "?" REVOKE ALL ON OBJECTS FROM "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ALL ROLES REVOKE ALL ON OBJECTS FROM "?""#,
        "alter-default-privileges: for members of admin",
        Does::Refuse(
            "42501",
            "only users with the admin role are allowed to ALTER DEFAULT PRIVILEGES FOR ALL ROLES",
        ),
    ),
    allow(r#"REASSIGN OWNED BY "?" TO "?""#, "reassign-owned: in the current database", Same),
    allow(
        r#"DROP OWNED BY "?""#,
        "drop-owned-by: in the current database; default privileges stay",
        Does::Job(|of| Job::DropOwned { role: of[0].held() }),
    ),
    allow(r#"DROP ROLE IF EXISTS "?""#, "drop-role", Same),
    allow(
        r#"DROP DATABASE IF EXISTS "?" CASCADE"#,
        "drop-database: whatever sessions are in it",
        Does::Job(|of| Job::DropDatabase {
            database: of[0].held(),
            sql: fill("DROP DATABASE IF EXISTS {0}", of),
        }),
    ),
    allow(
        "SELECT right_name FROM (VALUES ('CREATEROLE'), ('CREATEDB'), ('CREATELOGIN'), ('CANCELQUERY'), ('VIEWACTIVITY')) \
         AS rights (right_name) \
         WHERE NOT EXISTS (SELECT 1 FROM [SHOW USERS] WHERE username = current_user \
           AND (username = 'root' OR member_of::STRING LIKE '%admin%' OR options::STRING LIKE '%' || right_name || '%')) \
         AND NOT EXISTS (SELECT 1 FROM [SHOW SYSTEM GRANTS] WHERE grantee = current_user AND privilege_type IN (right_name, 'ALL'))",
        "show-users; show-system-grants",
        Same,
    ),
    allow(
        "SELECT r.rolname::text, g.rolname::text FROM pg_catalog.pg_roles r \
         LEFT JOIN pg_catalog.pg_auth_members m ON m.member = r.oid LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
         WHERE r.rolname::text = ANY ($1)",
        "pg-catalog: pg_roles, pg_auth_members",
        Same,
    ),
    allow(
        "SELECT r.rolname::text, g.rolname::text FROM pg_catalog.pg_roles r \
         JOIN pg_catalog.pg_auth_members m ON m.member = r.oid JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
         WHERE g.rolname::text = ANY ($1)",
        "pg-catalog: pg_roles, pg_auth_members",
        Same,
    ),
    allow(
        "SELECT r.rolname::text, g.rolname::text FROM pg_catalog.pg_roles r \
         LEFT JOIN pg_catalog.pg_auth_members m ON m.member = r.oid LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
         WHERE $1::text[] IS NOT NULL",
        "pg-catalog: pg_roles, pg_auth_members",
        Same,
    ),
    allow(
        "SELECT d.datname::text, COALESCE(r.rolname::text, '') FROM pg_catalog.pg_database d \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = d.datdba",
        "pg-catalog: pg_database; without CONNECT it is hidden (security-reference/authorization)",
        Instead(
            "SELECT d.datname::text, COALESCE(r.rolname::text, '') FROM pg_catalog.pg_database d \
             LEFT JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE has_database_privilege(d.oid, 'TEMPORARY')",
        ),
    ),
    allow(
        "SELECT COALESCE(r.rolname::text, '') FROM pg_catalog.pg_database d \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE d.datname::text = $1",
        "pg-catalog: pg_database; without CONNECT it is hidden (security-reference/authorization)",
        Instead(
            "SELECT COALESCE(r.rolname::text, '') FROM pg_catalog.pg_database d LEFT JOIN pg_catalog.pg_roles r \
             ON r.oid = d.datdba WHERE d.datname::text = $1 AND has_database_privilege(d.oid, 'TEMPORARY')",
        ),
    ),
];

/// What CockroachDB refuses and PostgreSQL would not: how it begins, what it holds, SQLSTATE, source.
pub(crate) const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "ALTER",
        "SET role",
        "55P02",
        "alter-role; logic_test/alter_role_set: parameter \"role\" cannot be changed",
    ),
    ("CREATE ROLE", "IN ROLE", "42601", "create-role: not in the grammar"),
    ("CREATE USER", "IN ROLE", "42601", "create-user: not in the grammar"),
    ("CREATE ROLE", "CONNECTION LIMIT", "42601", "create-role: not in the grammar"),
    ("CREATE USER", "CONNECTION LIMIT", "42601", "create-user: not in the grammar"),
    ("ALTER ROLE", "CONNECTION LIMIT", "42601", "alter-role: not in the grammar"),
    ("CREATE ROLE", "SUPERUSER", "42601", "role-options: not in the list"),
    ("CREATE ROLE", "INHERIT", "42601", "role-options: not in the list"),
    ("CREATE ROLE", "NOINHERIT", "42601", "role-options: not in the list"),
    ("CREATE DATABASE", "OWNER \"?\" ENCODING", "42601", "create-database: the order of clauses is fixed"),
    ("CREATE DATABASE", "TEMPLATE \"?\"", "0A000", "create-database: only template0"),
    ("DROP DATABASE", "(FORCE)", "42601", "drop-database: not in the grammar"),
    ("DROP OWNED BY", "CASCADE", "0A000", "drop-owned-by: not supported"),
    ("SELECT", "pg_terminate_backend(", "42883", "#35897: unknown function"),
    ("SELECT", "lo_create(", "42883", "functions-and-operators: not in the list"),
    ("ALTER DEFAULT PRIVILEGES", "LARGE OBJECTS", "42601", "alter-default-privileges: not in the grammar"),
];

/// What applications say; how it begins.
const APPLICATIONS: [&str; 27] = [
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "SET ROLE",
    "RESET ROLE",
    "CREATE TABLE",
    "CREATE INDEX",
    "CREATE VIEW",
    "CREATE SCHEMA",
    "CREATE SEQUENCE",
    "CREATE TYPE",
    "CREATE FUNCTION",
    "ALTER TABLE",
    "ALTER DEFAULT PRIVILEGES",
    "DROP TABLE",
    "DROP INDEX",
    "DROP VIEW",
    "DROP SCHEMA",
    "DROP SEQUENCE",
    "DROP TYPE",
    "DROP FUNCTION",
    "GRANT",
    "REVOKE",
];

/// What CockroachDB would make of a statement.
pub(crate) fn judge(sender: Sender, sql: &str) -> Judgement {
    let Some(placed) = tokens(sql) else { return unknown(sql) };
    let said: Vec<Token> = placed.iter().map(|placed| placed.token.clone()).collect();
    if sender == Sender::Administrator {
        for allowed in ADMINISTRATORS {
            if let Some(open) = opened(&said, &pattern(allowed.form)) {
                return Judgement { form: allowed.form, verdict: allowed.verdict(sql, &placed, &open) };
            }
        }
    }
    for statement in said.split(|token| *token == Token::Mark(';')).filter(|part| !part.is_empty()) {
        for (start, holds, code, source) in REFUSED {
            if begins(statement, &pattern(start)) && has(statement, &pattern(holds)) {
                let message = format!("CockroachDB refuses this ({source})");
                return Judgement { form: start, verdict: Verdict::Refuse { code, message } };
            }
        }
        let is_plain = APPLICATIONS.iter().any(|start| begins(statement, &pattern(start)));
        if sender == Sender::Administrator || !is_plain {
            return unknown(sql);
        }
    }
    Judgement { form: "", verdict: Verdict::Run(sql.to_owned()) }
}

/// The form of what is on no list.
pub(crate) const UNKNOWN: &str = "unknown";

fn unknown(sql: &str) -> Judgement {
    let message = format!(
        "the stand-in for CockroachDB does not know this statement: look it up in CockroachDB's documentation and add it \
         to tests/support/cockroach/statements: {sql}"
    );
    Judgement { form: UNKNOWN, verdict: Verdict::Refuse { code: "0A000", message } }
}

/// All forms that bindery may send.
pub(crate) fn forms() -> impl Iterator<Item = &'static str> {
    ADMINISTRATORS.iter().map(|allowed| allowed.form)
}

impl Allowed {
    fn verdict(&self, sql: &str, placed: &[Placed], open: &[Token]) -> Verdict {
        match self.does {
            Same => Verdict::Run(shown(sql, placed)),
            Instead(run) => Verdict::Run(fill(run, open)),
            Unless(query, run) => Verdict::Unless { query: fill(query, open), run: fill(run, open) },
            Does::Job(job) => Verdict::Elsewhere(job(open)),
            Does::Refuse(code, message) => Verdict::Refuse { code, message: message.to_owned() },
        }
    }
}

fn within(open: &[Token], sql: &str) -> Job {
    Job::Within { database: open[0].held(), sql: fill(sql, open) }
}

fn pattern(form: &str) -> Vec<Token> {
    tokens(form).expect("a form").into_iter().map(|placed| placed.token).collect()
}

/// What stands where the form leaves something open, if the statement has that form.
fn opened(said: &[Token], form: &[Token]) -> Option<Vec<Token>> {
    if said.len() != form.len() {
        return None;
    }
    let mut open = Vec::new();
    for (token, expected) in said.iter().zip(form) {
        let is_objects = *expected == Token::Word("OBJECTS".to_owned());
        if is_objects && OBJECTS.iter().any(|objects| *token == Token::Word((*objects).to_owned())) {
            continue;
        }
        if fits(token, expected)? {
            open.push(token.clone());
        }
    }
    Some(open)
}

fn fill(text: &str, open: &[Token]) -> String {
    let mut filled = text.to_owned();
    for (number, token) in open.iter().enumerate() {
        filled = filled.replace(&format!("{{{number}:held}}"), &token.literal());
        filled = filled.replace(&format!("{{{number}}}"), &token.sql());
    }
    filled
}

/// The statement with a query in place of every `[SHOW …]`, and PostgreSQL's name for the type STRING.
fn shown(sql: &str, placed: &[Placed]) -> String {
    let mut text = String::new();
    let mut copied = 0;
    let mut rest = placed;
    while let [Placed { token, at }, after @ ..] = rest {
        rest = after;
        let (replacement, end) = if *token == Token::Word("STRING".to_owned()) {
            ("text".to_owned(), at.end)
        } else if *token == Token::Mark('[')
            && let Some(length) = after.iter().position(|placed| placed.token == Token::Mark(']'))
            && let Some(query) = source(&after[..length])
        {
            rest = &after[length + 1..];
            (format!("({query}) AS shown"), after[length].at.end)
        } else {
            continue;
        };
        text.push_str(&sql[copied..at.start]);
        text.push_str(&replacement);
        copied = end;
    }
    text.push_str(&sql[copied..]);
    text
}

fn source(show: &[Placed]) -> Option<String> {
    let show: Vec<Token> = show.iter().map(|placed| placed.token.clone()).collect();
    SOURCES.iter().find_map(|source| {
        let open = opened(&show, &pattern(source.shows))?;
        Some(fill(&source.query.replace("{defaults}", DEFAULTS), &open))
    })
}
