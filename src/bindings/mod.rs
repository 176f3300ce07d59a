//! What a binding is to a pod: its Secrets, its variables, and whether they are there.

mod lost_secrets;
pub mod readiness;
pub(crate) mod secret_keys;
pub(crate) mod secrets;
pub mod variables;

pub use self::lost_secrets::LostSecrets;
