//! Queries for what prevents a role or a database from being dropped: grants, objects and prepared transactions.

use super::{InWay, literal};

/// See [`super::super::DependencyStatements::grants_by_others`].
pub(in crate::broker::backends::sql::postgresql::dialect) fn grants_of_others(role: &str) -> String {
    let role = literal(role);
    format!(
        "WITH granted (class, object, acl) AS ( \
           SELECT 'pg_class'::regclass, oid, relacl FROM pg_class \
           UNION ALL SELECT 'pg_class'::regclass, attrelid, attacl FROM pg_attribute WHERE attacl IS NOT NULL \
           UNION ALL SELECT 'pg_proc'::regclass, oid, proacl FROM pg_proc \
           UNION ALL SELECT 'pg_namespace'::regclass, oid, nspacl FROM pg_namespace \
           UNION ALL SELECT 'pg_type'::regclass, oid, typacl FROM pg_type \
           UNION ALL SELECT 'pg_language'::regclass, oid, lanacl FROM pg_language \
           UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, fdwacl FROM pg_foreign_data_wrapper \
           UNION ALL SELECT 'pg_foreign_server'::regclass, oid, srvacl FROM pg_foreign_server \
           UNION ALL SELECT 'pg_largeobject'::regclass, oid, lomacl FROM pg_largeobject_metadata \
           UNION ALL SELECT 'pg_database'::regclass, oid, datacl FROM pg_database) \
         SELECT i.type, i.identity, string_agg(DISTINCT a.privilege_type, ', '), o.rolname::text FROM pg_roles r \
         JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid AND s.deptype = 'a' \
           AND s.dbid IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) \
         JOIN granted g ON g.class = s.classid AND g.object = s.objid \
         CROSS JOIN LATERAL aclexplode(g.acl) a JOIN pg_roles o ON o.oid = a.grantor \
         CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, 0) i \
         WHERE r.rolname = {role} AND a.grantee = r.oid AND pg_has_role(o.oid, 'MEMBER') \
         GROUP BY i.type, i.identity, o.rolname"
    )
}

/// See [`super::super::DependencyStatements::dependents`].
pub(in crate::broker::backends::sql::postgresql::dialect) fn dependents(role: &str) -> String {
    format!(
        "SELECT DISTINCT i.type, i.identity, s.deptype::text, s.dbid = 0 FROM pg_roles r \
         JOIN pg_shdepend s ON s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid \
           AND s.dbid IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) \
         CROSS JOIN LATERAL pg_identify_object(s.classid, s.objid, 0) i WHERE r.rolname = {} LIMIT 4",
        literal(role)
    )
}

/// See [`super::super::SessionStatements::prepared_transactions`].
pub(in crate::broker::backends::sql::postgresql::dialect) fn prepared(in_way: InWay<'_>) -> String {
    const PREPARED: &str = "SELECT DISTINCT p.gid, p.owner::text, p.database::text FROM pg_prepared_xacts p";
    match in_way {
        InWay::Login(login) => format!("{PREPARED} WHERE p.owner = {}", literal(login)),
        InWay::Database { database, owner } => {
            format!("{PREPARED} WHERE p.database = {} OR p.owner = {}", literal(database), literal(owner))
        }
        InWay::Role(role) => format!(
            "{PREPARED} JOIN pg_locks x ON x.transactionid = p.transaction AND x.pid IS NULL \
             JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.pid IS NULL \
             JOIN pg_roles r ON r.rolname = {} \
             WHERE p.owner ~ '^([a-p]{{32}}|cf_[a-p]{{32}}_[a-z]+|bindery_[0-9a-f]{{16}})$' AND pg_has_role(p.owner, 'MEMBER') \
             AND (l.locktype = 'object' AND l.classid = 'pg_authid'::regclass AND l.objid = r.oid \
               OR l.locktype = 'relation' AND l.relation = 'pg_authid'::regclass AND l.mode = 'RowExclusiveLock' \
               OR l.locktype = 'relation' AND p.database = current_database() \
                 AND l.relation IN (SELECT c.oid FROM pg_class c WHERE c.relowner = r.oid))",
            literal(role)
        ),
    }
}
