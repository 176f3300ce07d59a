//! Every statement of CockroachDB's dialect is one that the stand-in knows from CockroachDB's documentation.

use bindery_test_support::cockroach::{Sender, UNKNOWN, judge};
use jiff::Timestamp;

use super::super::*;
use crate::broker::{backends::sql::plan::Access, config::Kinds};

const NAMES: InstanceNames<'_> = InstanceNames { database: "d\"d", owner: "d_owner", marker: "m" };

/// Every statement of this dialect, with names that need quotes.
fn all() -> Vec<String> {
    let privilege = |role: Option<&str>, schema: Option<&str>| DefaultPrivilege {
        role: role.map(ToOwned::to_owned),
        schema: schema.map(ToOwned::to_owned),
        object_type: "routines".to_owned(),
        grantee: "o'o".to_owned(),
    };
    let mut statements = vec![
        CockroachDb.create_marker("m"),
        CockroachDb.join_role("b", "bindery"),
        CockroachDb.create_database(NAMES, Origin::default()),
        CockroachDb.grant_connect("d", "d_readonly"),
        CockroachDb.revoke_role("m", "b"),
        CockroachDb.grant_role("b", "m"),
        CockroachDb.reverse_mark("b", "m"),
        CockroachDb.change_own_password("bindery", "v"),
        CockroachDb.disable_login("b"),
        CockroachDb.lock_login("b"),
        CockroachDb.unlock_login("b"),
        CockroachDb.end_sessions("b'"),
        CockroachDb.reassign_owned("b", "o"),
        CockroachDb.drop_owned("b"),
        CockroachDb.drop_role("b"),
        CockroachDb.drop_database("d"),
        privilege(Some("b"), None).revoke(),
        privilege(Some("b"), Some("s s")).revoke(),
        privilege(None, None).revoke(),
        privilege(None, Some("s")).revoke(),
    ];
    for verifier in [None, Some(r"v\'")] {
        for ends_at in [None, Some(Timestamp::UNIX_EPOCH)] {
            let login = Login { name: "b", group: "d_readonly", verifier, ends_at, connections: Some(1) };
            statements.extend([CockroachDb.create_login(login), CockroachDb.renew_login(login)]);
            statements.extend(CockroachDb.grant_login_rights(login, NAMES));
        }
    }
    for access in Access::ALL {
        if *access != Access::Owner {
            statements.extend(CockroachDb.grant_on_schema("s", "g", *access));
        }
        statements.extend(CockroachDb.share_future_objects("b", "g", *access));
    }
    statements.extend(CockroachDb.create_group("g", "m"));
    statements.extend(CockroachDb.mark_retained("o", "m"));
    statements.extend(CockroachDb.restrict_access(NAMES, "it's"));
    statements.extend(CockroachDb.reset_default_privileges("b"));
    let mut all: Vec<_> = statements.into_iter().map(|statement| statement.sql).collect();
    all.extend([
        CockroachDb.may_connect("d", "g"),
        CockroachDb.is_expired("b"),
        CockroachDb.expired_logins().to_owned(),
        CockroachDb.marked_databases().to_owned(),
        CockroachDb.schemas().to_owned(),
        CockroachDb.count_sessions("b"),
        CockroachDb.databases_with_dependents("b"),
        CockroachDb.missing_rights(),
    ]);
    all.extend(CockroachDb.default_privileges("b", None));
    all.extend(CockroachDb.default_privileges("b", Some("s")));
    all
}

#[test]
fn every_statement_was_looked_up() {
    for sql in all() {
        assert_ne!(judge(Sender::Administrator, &sql).form, UNKNOWN, "{sql}");
    }
}
