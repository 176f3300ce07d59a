//! What a pod gets from a binding: the binding's state, its Secrets and its variables.

pub mod awaited;
mod json_path;
mod key_names;
mod lost_secrets;
pub(crate) mod secret_extras;
pub(crate) mod secret_keys;
pub(crate) mod secrets;
pub mod state;
pub(crate) mod transforms;
mod values;
pub mod variables;

pub use self::lost_secrets::LostSecrets;
