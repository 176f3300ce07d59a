//! The kinds of resources on an SQL server, as `bindery sweep` names them.

/// A database.
pub(super) const DATABASE: &str = "database";
/// A binding's login.
pub(super) const LOGIN: &str = "login";
/// A role whose members have some access to a database.
pub(super) const ACCESS_ROLE: &str = "access role";
/// The role that owns a database.
pub(super) const OWNER_ROLE: &str = "owner role";
