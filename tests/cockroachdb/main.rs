//! The service `cockroachdb` as a platform sees it: on CockroachDB where there is one, else on the stand-in for it, and
//! the suite says which (`cluster`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod cluster;
mod faults;
mod real;
mod refused;
mod story;
mod tenants;

#[path = "../support/postgres.rs"]
mod debian;
#[path = "../broker/platform.rs"]
#[allow(dead_code, reason = "each suite uses its part")]
mod platform;
#[path = "../support/cockroach/mod.rs"]
mod stand_in;

/// The server that the platform's broker works on is here a cluster.
mod postgres {
    pub(crate) use crate::{cluster::Cluster as Postgres, debian::ADMIN};
}
