//! Resources on a backend, as `bindery sweep` lists them.

use std::fmt;

/// A resource on a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The kind of resource, in the backend's terms: `database`, `login`, `stack`.
    pub kind: String,
    /// The resource's name on the backend.
    pub name: String,
    /// Whether the resource carries this installation's mark.
    pub ours: bool,
    /// Whether the resource exists; otherwise only its mark is left.
    pub exists: bool,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
