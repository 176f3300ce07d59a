mod cockroachdb;

use super::*;
use crate::broker::backends::sql::plan::Access;

const POSTGRESQL: PostgreSql = PostgreSql { before_16: false };
const NAMES: InstanceNames<'_> = InstanceNames { database: "d", owner: "o", marker: "m" };
const LOGIN: Login<'_> =
    Login { name: "b", group: "o", verifier: Some("SCRAM"), ends_at: None, connections: Some(5) };

fn sql(statements: impl IntoIterator<Item = Statement>) -> Vec<String> {
    statements.into_iter().map(|statement| statement.sql).collect()
}

#[test]
fn on_postgresql_owners_act_as_the_owner() {
    assert_eq!(
        sql(POSTGRESQL.grant_login_rights(LOGIN, NAMES)),
        [r#"ALTER ROLE "b" IN DATABASE "d" SET role = 'o'"#]
    );
    assert!(!POSTGRESQL.logins_own_objects());
    assert_eq!(
        POSTGRESQL.create_login(LOGIN).sql,
        r#"CREATE ROLE "b" LOGIN PASSWORD 'SCRAM' VALID UNTIL 'infinity' CONNECTION LIMIT 5 IN ROLE "o""#
    );
    assert!(POSTGRESQL.grant_login_rights(Login { group: "g", ..LOGIN }, NAMES).is_empty());
}

/// Since version 16, a role that the administrator cannot change would outlive its binding.
#[test]
fn before_16_admin_option_is_taken_with_the_role() {
    let before_16 = PostgreSql { before_16: true };
    assert!(before_16.create_login(LOGIN).sql.ends_with(r#" IN ROLE "o" ADMIN CURRENT_USER"#));
    assert_eq!(
        sql(before_16.create_group("g", "m")),
        [r#"CREATE ROLE "g" NOLOGIN ROLE "m" ADMIN CURRENT_USER"#]
    );
    assert_eq!(before_16.join_role("b", "a").sql, r#"GRANT "b" TO CURRENT_USER WITH ADMIN OPTION"#);
    assert_eq!(
        POSTGRESQL.join_role("b", "a").sql,
        r#"GRANT "b" TO CURRENT_USER WITH INHERIT TRUE, SET TRUE"#
    );
}

#[test]
fn connections_are_limited_where_the_engine_can() {
    let unlimited = Login { connections: None, ..LOGIN };
    for (login, limit) in [(LOGIN, "CONNECTION LIMIT 5"), (unlimited, "CONNECTION LIMIT -1")] {
        let limited = POSTGRESQL.limit_connections("b", login.connections).unwrap();
        for sql in [POSTGRESQL.create_login(login).sql, POSTGRESQL.renew_login(login).sql, limited.sql] {
            assert!(sql.contains(limit), "{sql}");
        }
        assert!(!CockroachDb.create_login(login).sql.contains("CONNECTION"));
    }
    assert!(POSTGRESQL.limits_connections() && !CockroachDb.limits_connections());
}

/// CockroachDB refuses SET role with 55P02 and has no IN ROLE.
#[test]
fn on_cockroachdb_logins_share_by_default_privileges() {
    assert_eq!(sql(CockroachDb.grant_login_rights(LOGIN, NAMES)), [r#"GRANT "o" TO "b""#]);
    assert!(CockroachDb.logins_own_objects());
    let shared = sql(CockroachDb.share_future_objects("b", "o", Access::Owner));
    assert_eq!(shared.len(), 5);
    assert_eq!(shared[0], r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" GRANT ALL ON TABLES TO "o""#);
    let database = CockroachDb.create_database(NAMES, Origin::default());
    let all = sql([CockroachDb.create_login(LOGIN), database]).join(";");
    assert!(!all.contains("IN ROLE") && !all.contains("FORCE"), "{all}");
}

#[test]
fn readers_read_and_writers_write_rows() {
    let opened = sql(POSTGRESQL.grant_on_schema("S x", "g", Access::ReadOnly));
    assert_eq!(opened[0], r#"GRANT USAGE ON SCHEMA "S x" TO "g""#);
    assert_eq!(opened[1], r#"GRANT SELECT ON ALL TABLES IN SCHEMA "S x" TO "g""#);
    let shared = sql(POSTGRESQL.share_future_objects("o", "g", Access::ReadWrite)).join(";");
    assert!(shared.contains("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES"), "{shared}");
    assert!(shared.contains("GRANT USAGE ON SCHEMAS") && !shared.contains("ALL"), "{shared}");
}

#[test]
fn a_database_starts_as_it_is_asked_to() {
    let origin = Origin { template: Some("demo"), ..Origin::default() };
    let sql = POSTGRESQL.create_database(NAMES, origin).sql;
    assert_eq!(sql, r#"CREATE DATABASE "d" OWNER "o" TEMPLATE "demo" ALLOW_CONNECTIONS false"#);
    let origin = Origin { encoding: Some("LATIN1"), ..Origin::default() };
    let sql = POSTGRESQL.create_database(NAMES, origin).sql;
    assert!(sql.contains("TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"), "{sql}");
}

#[test]
fn a_login_ends_at_its_time() {
    let ends_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
    for dialect in [&POSTGRESQL as &dyn Dialect, &CockroachDb] {
        let login = Login { ends_at, verifier: None, ..LOGIN };
        for sql in [dialect.create_login(login).sql, dialect.renew_login(login).sql] {
            assert!(sql.contains("VALID UNTIL '2026-01-01T00:00:00Z'"), "{sql}");
            assert!(sql.contains("PASSWORD NULL"), "{sql}");
        }
    }
    assert!(CockroachDb.renew_login(LOGIN).sql.ends_with("VALID UNTIL NULL"));
}

/// Every role may create in the public schema of a new CockroachDB database.
#[test]
fn on_cockroachdb_the_public_schema_is_closed() {
    let statements = sql(CockroachDb.restrict_access(NAMES, "it's"));
    assert!(
        statements.contains(&r#"REVOKE CREATE, USAGE ON SCHEMA "d".public FROM public"#.to_owned()),
        "{statements:?}"
    );
    assert!(statements.contains(&r#"COMMENT ON DATABASE "d" IS 'it''s'"#.to_owned()), "{statements:?}");
}

/// Only REVOKE removes an entry without effect.
#[test]
fn on_cockroachdb_defaults_are_reset_by_grants_and_a_revoke_at_last() {
    let reset = sql(CockroachDb.reset_default_privileges("b"));
    assert_eq!(reset[0], r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" GRANT ALL ON TABLES TO "b""#);
    let (last, grants) = reset.split_last().unwrap();
    assert!(grants.iter().all(|grant| grant.contains(" GRANT ")), "{grants:?}");
    assert_eq!(last, r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" REVOKE ALL ON TABLES FROM "public""#);
    assert!(POSTGRESQL.reset_default_privileges("b").is_empty());
}

#[test]
fn default_privileges_are_taken_back_as_they_were_given() {
    let mut privilege = DefaultPrivilege {
        role: Some("b".to_owned()),
        schema: Some("S x".to_owned()),
        object_type: "tables".to_owned(),
        grantee: "o".to_owned(),
    };
    assert!(!privilege.is_builtin());
    assert_eq!(
        privilege.revoke().sql,
        r#"ALTER DEFAULT PRIVILEGES FOR ROLE "b" IN SCHEMA "S x" REVOKE ALL ON TABLES FROM "o""#
    );
    (privilege.role, privilege.schema) = (None, None);
    assert_eq!(
        privilege.revoke().sql,
        r#"ALTER DEFAULT PRIVILEGES FOR ALL ROLES REVOKE ALL ON TABLES FROM "o""#
    );
    privilege.role = Some("o".to_owned());
    assert!(privilege.is_builtin());
}
