//! Names on the server, derived from ids alone. Databases and logins have the names that the CockroachDB broker of
//! seed 002 gave them (cockroachdb/pcf-crdb-service-broker at 90b9186, `util.go`); owner and marker roles are
//! bindery's own.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    broker::backends::sql::plan::Access,
    osb::{BindingId, InstanceId},
};

const DATABASES: Uuid = Uuid::from_u128(0x6875_1bc4_bd4e_42be_8fe9_dd37_e628_a186);
const LOGINS: Uuid = Uuid::from_u128(0x4d8d_2252_ce16_4c6f_b9a5_4228_35b8_9bed);

const DATABASE_PREFIX: &str = "cf_";
const OWNER_SUFFIX: &str = "_owner";
const READWRITE_SUFFIX: &str = "_readwrite";
const READONLY_SUFFIX: &str = "_readonly";
const REVOKED_SUFFIX: &str = "_revoked";
const MARKER_PREFIX: &str = "bindery_";
const DIGEST_PREFIX: &str = "sha256:";

/// The role that marks the owners of databases that outlive their instances. No installation's marker has this name.
pub(crate) const RETAINED: &str = "bindery_retained";

/// The database of an instance.
pub(crate) fn database(instance: &InstanceId) -> String {
    format!("{DATABASE_PREFIX}{}", letters(Uuid::new_v5(&DATABASES, instance.as_str().as_bytes())))
}

/// The role that owns a database.
pub(crate) fn owner(database: &str) -> String {
    format!("{database}{OWNER_SUFFIX}")
}

/// The role whose members have this access to a database.
pub(crate) fn group(database: &str, access: Access) -> String {
    let suffix = match access {
        Access::Owner => OWNER_SUFFIX,
        Access::ReadWrite => READWRITE_SUFFIX,
        Access::ReadOnly => READONLY_SUFFIX,
    };
    format!("{database}{suffix}")
}

/// The role whose members have lost their rights on a database but could not be dropped yet.
pub(crate) fn revoked(database: &str) -> String {
    format!("{database}{REVOKED_SUFFIX}")
}

/// The login of a binding.
pub(crate) fn login(instance: &InstanceId, binding: &BindingId) -> String {
    letters(Uuid::new_v5(&LOGINS, format!("{instance}/{binding}").as_bytes()))
}

/// The role that marks what an installation created: it is a member of the roles of each database.
pub(crate) fn marker(installation: &str) -> String {
    let digest = Sha256::digest(installation.as_bytes());
    format!("{MARKER_PREFIX}{}", hex::encode(&digest[..8]))
}

/// The digest of an id, safe for a server to show to other tenants: another platform that knew the id could request
/// its instance.
pub(crate) fn digest(id: &str) -> String {
    format!("{DIGEST_PREFIX}{}", hex::encode(Sha256::digest(id.as_bytes())))
}

/// Whether a name has the form of [`database`].
pub(crate) fn is_database(name: &str) -> bool {
    name.strip_prefix(DATABASE_PREFIX).is_some_and(is_login)
}

/// The database of an owner role, if the name has the form of [`owner`].
pub(crate) fn owned_database(role: &str) -> Option<&str> {
    role.strip_suffix(OWNER_SUFFIX).filter(|database| is_database(database))
}

/// Whether a name has the form of [`marker`], or is [`RETAINED`].
pub(crate) fn is_mark(name: &str) -> bool {
    let is_marker =
        |rest: &str| rest.len() == 16 && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    name == RETAINED || name.strip_prefix(MARKER_PREFIX).is_some_and(is_marker)
}

/// The database of a role, if the name has the form of [`group`] or [`revoked`].
pub(crate) fn grouped_database(role: &str) -> Option<&str> {
    let suffixes = [OWNER_SUFFIX, READWRITE_SUFFIX, READONLY_SUFFIX, REVOKED_SUFFIX];
    suffixes.into_iter().find_map(|suffix| role.strip_suffix(suffix)).filter(|database| is_database(database))
}

/// Whether a name has the form of [`login`].
pub(crate) fn is_login(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| (b'a'..=b'p').contains(&byte))
}

/// Encodes each byte as two letters, the low half first.
fn letters(id: Uuid) -> String {
    let letter = |half: u8| char::from(b'a' + half);
    id.as_bytes().iter().flat_map(|byte| [letter(byte & 0x0f), letter(byte >> 4)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "6c2b0b4e-0000-4000-8000-000000000001";
    const BINDING: &str = "6c2b0b4e-0000-4000-8000-000000000002";

    #[test]
    fn names_are_those_of_the_cockroachdb_broker() {
        assert_eq!(database(&INSTANCE.into()), "cf_leeblofcikjeoffmjimbkfdbnlobieje");
        assert_eq!(login(&INSTANCE.into(), &BINDING.into()), "lcjncgcbojgpgfojiikamkeimmlheebi");
    }

    #[test]
    fn names_fit_and_are_recognised() {
        let database = database(&"any/id \u{fc}".into());
        let owner = owner(&database);
        assert!(owner.len() <= 63, "{owner}");
        assert!(is_database(&database) && !is_login(&database));
        assert_eq!(owned_database(&owner), Some(database.as_str()));
        assert_eq!(owned_database(&database), None);
        for access in [Access::Owner, Access::ReadWrite, Access::ReadOnly] {
            let group = group(&database, access);
            assert_eq!(grouped_database(&group), Some(database.as_str()));
            assert_eq!(owned_database(&group).is_some(), access == Access::Owner);
            assert!(group.len() <= 63, "{group}");
        }
        assert_eq!(grouped_database(&revoked(&database)), Some(database.as_str()));
        assert!(is_login(&login(&"i".into(), &"b".into())));
        for foreign in ["cf_short", "postgres", "cf_qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"] {
            assert!(!is_database(foreign) && !is_login(foreign), "{foreign}");
        }
    }

    #[test]
    fn markers_tell_installations_apart() {
        // The first eight bytes of SHA-256("a"), FIPS 180-4.
        assert_eq!(marker("a"), "bindery_ca978112ca1bbdca");
        assert_ne!(marker("a"), marker("b"));
        assert!(
            is_mark(&marker("a")) && is_mark(RETAINED) && !is_mark("bindery") && !is_mark("bindery_admin")
        );
    }

    /// SHA-256("abc"), FIPS 180-4.
    #[test]
    fn ids_are_shown_as_their_digest() {
        assert_eq!(digest("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
