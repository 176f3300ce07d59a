//! The objects that an installation creates and maintains for itself: the broker's Secret, its registration, the
//! webhook's CA bundle, and the key of approvals.

pub mod broker_secret;
pub mod ca_bundle;
pub mod own_secret;
pub mod registration;
pub mod secret_approvals;
