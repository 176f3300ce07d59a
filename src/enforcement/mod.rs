//! The controller of CredentialPolicies: keeps in the API server what `policy::cel` compiles, so that policies hold without
//! bindery. It removes what no policy needs any more, drops exceptions when they end, and audits what exists already.
//! `webhook` judges by the rules that the API server cannot evaluate.

mod audit;
mod controller;
mod notices;
mod policy_writer;
mod status;
mod type_check;
pub mod webhook;
mod webhook_registration;

use kube::ResourceExt;

pub use self::{
    controller::{EnforcementError, EnforcementSettings, run},
    notices::{resumed as resumed_notice, stood_down as stood_down_notice},
};
use crate::{apis::bindery::credential_policy::CredentialPolicy, contract::policy::STOOD_DOWN};

/// The user who switched a policy off, and the reason; `None` if the policy is on.
#[must_use]
pub fn stood_down(policy: &CredentialPolicy) -> Option<&str> {
    policy.annotations().get(STOOD_DOWN).map(String::as_str)
}
