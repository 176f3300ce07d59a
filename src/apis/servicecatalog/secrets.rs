//! Lists the Secrets that bindery reads on behalf of an object's author. bindery may read every Secret but an author
//! may not, so the webhook checks the author's rights to the Secrets listed here and approves them. A type with
//! references to Secrets only has to implement this trait.

use super::broker::SecretReference;

/// An object that makes bindery read Secrets.
pub trait UsesSecrets {
    /// The Secrets that bindery reads on behalf of the object's author.
    fn secrets(&self) -> Vec<&SecretReference>;

    /// Everything that decides which Secrets are read and who receives their content, as a text that changes whenever
    /// any of it changes. The text begins with the kind and the name.
    fn checked(&self) -> String;
}
