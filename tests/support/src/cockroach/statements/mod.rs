//! The statements that the stand-in for CockroachDB accepts: an allow-list, in which each entry names CockroachDB's
//! documentation of the statement and the statement that PostgreSQL runs instead, and a list of refused statements. A
//! statement on neither list is refused, so that a statement which nobody checked fails a test. Sources are pages below
//! <https://www.cockroachlabs.com/docs/v25.2/>, issues of cockroachdb/cockroach (`#…`), and its own tests
//! (`logic_test/…`). A new statement of the dialect needs one entry in `administrators`.

mod administrators;
mod sources;
mod tokens;

use self::{
    administrators::ADMINISTRATORS,
    sources::{DEFAULTS, SOURCES},
    tokens::{Placed, Token, begins, fits, has, tokens},
};

/// The sender of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// bindery, which may send only the statements on its list.
    Administrator,
    /// A binding's login, which may send any plain statement.
    Application,
}

/// What the stand-in does with a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// PostgreSQL runs this on the same connection.
    Run(String),
    /// Does nothing if the query returns a row; otherwise like `Run`.
    Unless { query: String, run: String },
    /// Runs a job on a second connection.
    Elsewhere(Job),
    /// Returns an error.
    Refuse { code: &'static str, message: String },
}

/// Work on a second connection, because PostgreSQL cannot do it in the session's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
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

/// The verdict on a statement, and the form that identifies the statement in messages and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub form: &'static str,
    pub verdict: Verdict,
}

/// What PostgreSQL runs for an allowed statement. In the texts, `{0}` is the first quoted token that matched a
/// placeholder of the form, and `{0:held}` is the same as a string literal.
enum Does {
    /// The same statement.
    Same,
    Instead(&'static str),
    Unless(&'static str, &'static str),
    Job(fn(&[Token]) -> Job),
    Refuse(&'static str, &'static str),
}

struct Allowed {
    /// The statement; a quoted `?` matches any token of its kind, and OBJECTS any type of objects.
    form: &'static str,
    /// CockroachDB's documentation of the statement.
    #[expect(dead_code, reason = "for whoever reads or extends the list")]
    source: &'static str,
    does: Does,
}

const fn allow(form: &'static str, source: &'static str, does: Does) -> Allowed {
    Allowed { form, source, does }
}

/// alter-default-privileges; show-default-privileges calls functions ROUTINES (#108285).
const OBJECTS: [&str; 6] = ["TABLES", "SEQUENCES", "TYPES", "SCHEMAS", "FUNCTIONS", "ROUTINES"];

/// The statements that CockroachDB refuses and PostgreSQL accepts: the beginning, a required part, SQLSTATE, source.
pub const REFUSED: &[(&str, &str, &str, &str)] = &[
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

/// The beginnings of the statements that applications may send.
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

/// Judges a statement as CockroachDB would.
pub fn judge(sender: Sender, sql: &str) -> Judgement {
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

/// The form of a statement that is on no list.
pub const UNKNOWN: &str = "unknown";

fn unknown(sql: &str) -> Judgement {
    let message = format!(
        "the stand-in for CockroachDB does not know this statement: look it up in CockroachDB's documentation and add it \
         to tests/support/src/cockroach/statements: {sql}"
    );
    Judgement { form: UNKNOWN, verdict: Verdict::Refuse { code: "0A000", message } }
}

impl Allowed {
    fn verdict(&self, sql: &str, placed: &[Placed], open: &[Token]) -> Verdict {
        match self.does {
            Does::Same => Verdict::Run(shown(sql, placed)),
            Does::Instead(run) => Verdict::Run(fill(run, open)),
            Does::Unless(query, run) => Verdict::Unless { query: fill(query, open), run: fill(run, open) },
            Does::Job(job) => Verdict::Elsewhere(job(open)),
            Does::Refuse(code, message) => Verdict::Refuse { code, message: message.to_owned() },
        }
    }
}

fn pattern(form: &str) -> Vec<Token> {
    tokens(form).expect("a form").into_iter().map(|placed| placed.token).collect()
}

/// The tokens that match the placeholders of the form; `None` if the statement does not have the form.
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

/// The statement with each `[SHOW …]` replaced by a query, and the type STRING by PostgreSQL's name for it.
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
