//! Which Secrets an object has bindery read for its author. bindery may read every Secret and an author may not, so the
//! webhook checks the author's rights to those that are named here, and approves what it checked. A new kind of reference
//! needs nothing but this trait for its type.

use super::broker::SecretReference;

/// An object that has bindery read Secrets.
pub trait UsesSecrets {
    /// The Secrets that bindery reads for the object's author.
    fn secrets(&self) -> Vec<&SecretReference>;

    /// Everything that decides which Secrets are read and who gets their content, as text that is another whenever any of it
    /// is. It begins with the kind and the name.
    fn checked(&self) -> String;
}
