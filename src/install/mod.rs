//! What an installation makes and keeps for itself: the broker's Secret, its registration, the webhook's CA bundle.

pub mod broker_secret;
pub mod ca_bundle;
pub mod registration;
pub mod secret_approvals;
