//! The statements that bindery sends to CockroachDB, one entry each.

use super::{
    Allowed,
    Does::{self, Instead, Same, Unless},
    Job, allow, fill,
    tokens::Token,
};

const ONLY_ADMINS: &str =
    "only users with the admin role are allowed to ALTER DEFAULT PRIVILEGES FOR ALL ROLES";
const LOGIN: &str = "create-user; security-reference/authentication: a SCRAM verifier is stored as it is";

fn within(open: &[Token], sql: &str) -> Job {
    Job::Within { database: open[0].held(), sql: fill(sql, open) }
}

/// Every role may CREATE in a new public schema (security-reference/authorization, "Default privileges"). Every role
/// also has CONNECT, and revoking it only hides the database (#59875). PostgreSQL's TEMPORARY, which CockroachDB lacks,
/// replaces CONNECT here.
pub(super) const ADMINISTRATORS: &[Allowed] = &[
    allow(
        "SELECT pg_catalog.version()",
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
        "SELECT datname::text, shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database \
         WHERE starts_with(shobj_description(oid, 'pg_database'), $1)",
        "functions-and-operators: shobj_description, starts_with",
        Same,
    ),
    allow(r#"CREATE USER "?" WITH PASSWORD '?'"#, LOGIN, Same),
    allow(r#"CREATE USER "?" WITH PASSWORD '?' VALID UNTIL '?'"#, LOGIN, Same),
    allow(
        r#"CREATE USER "?" WITH PASSWORD '?' VALID UNTIL NULL"#,
        LOGIN,
        Instead("CREATE USER {0} WITH PASSWORD {1} VALID UNTIL 'infinity'"),
    ),
    allow(r#"CREATE USER "?" WITH PASSWORD NULL VALID UNTIL '?'"#, LOGIN, Same),
    allow(
        r#"CREATE USER "?" WITH PASSWORD NULL VALID UNTIL NULL"#,
        LOGIN,
        Instead("CREATE USER {0} WITH PASSWORD NULL VALID UNTIL 'infinity'"),
    ),
    allow(r#"ALTER USER "?" WITH LOGIN PASSWORD '?'"#, "alter-user", Same),
    allow(r#"ALTER USER "?" WITH LOGIN PASSWORD '?' VALID UNTIL '?'"#, "alter-user", Same),
    allow(
        r#"ALTER USER "?" WITH LOGIN PASSWORD '?' VALID UNTIL NULL"#,
        "alter-user",
        Instead("ALTER USER {0} WITH LOGIN PASSWORD {1} VALID UNTIL 'infinity'"),
    ),
    allow(r#"ALTER USER "?" WITH LOGIN PASSWORD NULL VALID UNTIL '?'"#, "alter-user", Same),
    allow(
        r#"ALTER USER "?" WITH LOGIN PASSWORD NULL VALID UNTIL NULL"#,
        "alter-user",
        Instead("ALTER USER {0} WITH LOGIN PASSWORD NULL VALID UNTIL 'infinity'"),
    ),
    allow(r#"ALTER ROLE "?" PASSWORD '?'"#, "alter-role", Same),
    allow(r#"REVOKE "?" FROM "?""#, "revoke", Same),
    allow(r#"REVOKE "?" FROM "?"; GRANT "?" TO "?""#, "revoke; grant", Same),
    allow(
        r#"GRANT CONNECT ON DATABASE "?" TO "?""#,
        "grant; #59875",
        Instead("GRANT TEMPORARY ON DATABASE {0} TO {1}"),
    ),
    allow(
        "SELECT pg_catalog.has_database_privilege('?', '?', 'CONNECT')",
        "functions-and-operators",
        Instead("SELECT has_database_privilege({0}, {1}, 'TEMPORARY')"),
    ),
    allow(r#"GRANT USAGE ON SCHEMA "?" TO "?""#, "grant", Same),
    allow(r#"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "?" TO "?""#, "grant", Same),
    allow(r#"GRANT SELECT ON ALL TABLES IN SCHEMA "?" TO "?""#, "grant", Same),
    allow(r#"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA "?" TO "?""#, "grant", Same),
    allow(r#"GRANT SELECT ON ALL SEQUENCES IN SCHEMA "?" TO "?""#, "grant", Same),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT SELECT ON TABLES TO "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT SELECT ON SEQUENCES TO "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "?" GRANT USAGE ON SCHEMAS TO "?""#,
        "alter-default-privileges",
        Same,
    ),
    allow(
        "SELECT DISTINCT l.rolname::text FROM pg_catalog.pg_roles k \
         JOIN pg_catalog.pg_auth_members gm ON k.oid IN (gm.member, gm.roleid) \
         JOIN pg_catalog.pg_auth_members lm ON lm.roleid IN (gm.member, gm.roleid) AND lm.roleid <> k.oid \
         JOIN pg_catalog.pg_roles l ON l.oid = lm.member \
         WHERE k.rolname::text = $1 AND l.rolvaliduntil <= now() \
         AND (l.rolcanlogin OR l.rolname::text IN (SELECT user_name FROM [SHOW CLUSTER SESSIONS]))",
        "pg-catalog: pg_roles, pg_auth_members; show-sessions",
        Same,
    ),
    allow(
        "SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = '?' AND rolvaliduntil <= now()",
        "pg-catalog: pg_roles",
        Same,
    ),
    allow(
        "SELECT (extract(epoch FROM pg_catalog.now()) * 1000000)::int8",
        "functions-and-operators: extract",
        Same,
    ),
    allow(
        "SELECT NOT rolcanlogin AND (rolvaliduntil IS NULL OR rolvaliduntil > now()) FROM pg_catalog.pg_roles \
         WHERE rolname::text = $1",
        "pg-catalog: pg_roles",
        Same,
    ),
    allow(r#"ALTER ROLE "?" NOLOGIN"#, "alter-role", Same),
    allow(r#"ALTER ROLE "?" LOGIN"#, "alter-role", Same),
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
        Does::Refuse("42501", ONLY_ADMINS),
    ),
    allow(
        r#"ALTER DEFAULT PRIVILEGES FOR ALL ROLES IN SCHEMA "?" REVOKE ALL ON OBJECTS FROM "?""#,
        "alter-default-privileges: for members of admin",
        Does::Refuse("42501", ONLY_ADMINS),
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
         WHERE r.rolname::text = ANY ($1) UNION SELECT r.rolname::text, k.rolname::text FROM pg_catalog.pg_roles r \
         JOIN pg_catalog.pg_auth_members m ON m.roleid = r.oid JOIN pg_catalog.pg_roles k ON k.oid = m.member \
         WHERE r.rolname::text = ANY ($1) AND k.rolname::text ~ '^bindery_([0-9a-f]{16}|retained)$'",
        "pg-catalog: pg_roles, pg_auth_members; functions-and-operators: ~",
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
         WHERE $1::text[] IS NOT NULL UNION SELECT r.rolname::text, k.rolname::text FROM pg_catalog.pg_roles r \
         JOIN pg_catalog.pg_auth_members m ON m.roleid = r.oid JOIN pg_catalog.pg_roles k ON k.oid = m.member \
         WHERE k.rolname::text ~ '^bindery_([0-9a-f]{16}|retained)$'",
        "pg-catalog: pg_roles, pg_auth_members; functions-and-operators: ~",
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
