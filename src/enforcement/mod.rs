//! The controller of CredentialPolicies: keeps in the API server what `policy::cel` compiles, so that policies hold without
//! bindery. It removes what no policy needs any more, and drops exceptions when they end.

mod controller;
mod status;

pub use self::controller::{EnforcementError, run};
