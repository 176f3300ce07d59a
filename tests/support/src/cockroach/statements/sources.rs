//! The queries that replace CockroachDB's `[SHOW …]` in PostgreSQL, with the columns that bindery reads.

/// A `SHOW …` form (a quoted `?` matches any token of its kind), and the query that replaces it. `{0}` is the first
/// name.
pub(super) struct Source {
    pub(super) shows: &'static str,
    pub(super) query: &'static str,
}

pub(super) const SOURCES: [Source; 9] = [
    // show-sessions: session_id, user_name.
    Source {
        shows: "SHOW CLUSTER SESSIONS",
        query: "SELECT pid::text AS session_id, usename::text AS user_name FROM pg_stat_activity",
    },
    // show-databases: those to which the user may connect. TEMPORARY replaces CONNECT here (see `statements`).
    Source {
        shows: "SHOW DATABASES",
        query: "SELECT datname AS database_name, pg_get_userbyid(datdba) AS owner FROM pg_database \
            WHERE NOT datistemplate AND has_database_privilege(oid, 'TEMPORARY')",
    },
    // show-schemas.
    Source {
        shows: "SHOW SCHEMAS",
        query: "SELECT nspname AS schema_name FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)' \
            UNION ALL VALUES ('crdb_internal'), ('pg_extension')",
    },
    // show-users: username, options, member_of.
    Source {
        shows: "SHOW USERS",
        query: "SELECT rolname::text AS username, concat_ws(', ', CASE WHEN rolcreaterole THEN 'CREATEROLE' END, \
            CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN NOT rolcanlogin THEN 'NOLOGIN' END, \
            'VALID UNTIL=' || rolvaliduntil) AS options, ARRAY(SELECT g.rolname::text FROM pg_auth_members m \
            JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid) AS member_of FROM pg_roles r \
            WHERE rolname !~ '^(pg_|system:)'",
    },
    // show-system-grants: grantee, privilege_type (see `SYSTEM`).
    Source {
        shows: "SHOW SYSTEM GRANTS",
        query: "SELECT r.rolname::text AS grantee, split_part(g.rolname, ':', 2) AS privilege_type \
            FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles g ON g.oid = m.roleid \
            WHERE g.rolname ~ '^system:'",
    },
    // show-default-privileges; logic_test/show_default_privileges: built-in defaults are listed, too, but without a
    // schema.
    Source {
        shows: r#"SHOW DEFAULT PRIVILEGES FOR ROLE "?""#,
        query: "SELECT * FROM {defaults} WHERE role = {0:held} AND schema IS NULL",
    },
    Source {
        shows: r#"SHOW DEFAULT PRIVILEGES FOR ROLE "?" IN SCHEMA "?""#,
        query: "SELECT * FROM {defaults} WHERE role = {0:held} AND schema = {1:held}",
    },
    Source {
        shows: r#"SHOW DEFAULT PRIVILEGES FOR GRANTEE "?""#,
        query: "SELECT * FROM {defaults} WHERE grantee = {0:held} AND schema IS NULL",
    },
    Source {
        shows: r#"SHOW DEFAULT PRIVILEGES FOR GRANTEE "?" IN SCHEMA "?""#,
        query: "SELECT * FROM {defaults} WHERE grantee = {0:held} AND schema = {1:held}",
    },
];

/// The default privileges of every role in the database, one row each: the stored ones, and the built-in ones for all
/// other types.
pub(super) const DEFAULTS: &str = "(SELECT pg_get_userbyid(defaclrole)::text AS role, nspname::text AS schema, \
    CASE type WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'routines' END \
    AS object_type, CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END AS grantee, \
    a.privilege_type FROM (\
    SELECT defaclrole, defaclnamespace, defaclobjtype AS type, defaclacl FROM pg_default_acl UNION ALL \
    SELECT r.oid, 0, t.type, acldefault(CASE t.type WHEN 'S' THEN 's' ELSE t.type END, r.oid) \
    FROM pg_roles r, (VALUES ('r'::\"char\"), ('S'), ('T'), ('n'), ('f')) AS t (type) WHERE NOT EXISTS (\
    SELECT FROM pg_default_acl d WHERE d.defaclrole = r.oid AND d.defaclobjtype = t.type AND d.defaclnamespace = 0)\
    ) AS d LEFT JOIN pg_namespace n ON n.oid = defaclnamespace, aclexplode(defaclacl) AS a) AS defaults";
