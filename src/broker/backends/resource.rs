//! Things on a backend, as `bindery sweep` lists them.

use std::fmt;

/// A thing on a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What it is, in the backend's words: `database`, `login`, `stack`.
    pub kind: String,
    /// What the backend calls it.
    pub name: String,
    /// Whether it carries this installation's mark.
    pub ours: bool,
    /// Whether it is there: of some, only a mark is left.
    pub exists: bool,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
