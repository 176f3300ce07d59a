//! Judges how pods get their credentials by CredentialPolicies. Pure: a pod in, findings out; no IO, no clock. Each way in
//! which a credential can reach a pod is one row of `ways`: a path into the pod and a test. `judge` walks the rows for
//! `bindery check`, and `cel` compiles the same rows into ValidatingAdmissionPolicies, which the API server evaluates
//! without bindery. A test on a real API server compares both.

mod access;
mod ages;
mod aging;
mod allowed;
mod binders;
pub mod cel;
mod changes;
mod config_maps;
mod credential_patterns;
mod error;
mod exception;
mod judge;
mod named;
mod namespace;
mod offences;
mod path;
mod protected;
mod randomness;
mod scope;
mod services;
mod subject;
mod ways;

pub use self::{
    access::Access,
    ages::Ages,
    error::InvalidPolicy,
    judge::{Finding, Policies, Verdict, default_message},
    namespace::Namespace,
    protected::{Author, Change},
    scope::SYSTEM_NAMESPACES,
    subject::Subject,
    ways::{Root, WAYS, Way},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::apis::bindery::{
    credential_policy::CredentialPolicy, credential_policy_exception::CredentialPolicyException,
};

/// The custom resource definitions of policies and exceptions.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![CredentialPolicy::crd(), CredentialPolicyException::crd()]
}

#[cfg(test)]
mod tests;
