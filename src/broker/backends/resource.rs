//! Things on a backend, as `bindery sweep` lists them.

use std::fmt;

/// A thing on a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// What it is; the order is that in which leftovers are removed.
    pub kind: ResourceKind,
    /// What the backend calls it.
    pub name: String,
    /// Whether it carries this installation's mark.
    pub ours: bool,
    /// Whether it is there: of some, only a mark is left.
    pub exists: bool,
}

/// What a [`Resource`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// A database.
    Database,
    /// A binding's login.
    Login,
    /// A role whose members have some access to a database.
    AccessRole,
    /// The role that owns a database.
    OwnerRole,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ResourceKind::Database => "database",
            ResourceKind::Login => "login",
            ResourceKind::AccessRole => "access role",
            ResourceKind::OwnerRole => "owner role",
        };
        write!(f, "{kind} {}", self.name)
    }
}
