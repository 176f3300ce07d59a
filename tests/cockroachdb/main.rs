//! The service `cockroachdb` as a platform sees it: on CockroachDB if there is one, else on the stand-in. The suite
//! prints which one it uses (`cluster`).

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod cluster;
mod faults;
mod real;
mod refused;
mod story;
mod tenants;

use bindery_test_support::{cockroach as stand_in, platform, postgres};
