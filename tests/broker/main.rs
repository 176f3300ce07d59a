//! The broker as a platform sees it, on a real PostgreSQL over TLS, with an administrator who is not a superuser.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod access;
mod admin;
mod bindings;
mod connections;
mod drift;
mod faults;
mod grants;
mod hostile;
mod java;
mod leftovers;
mod limits;
mod manifest;
mod origins;
mod pgbouncer;
mod poolers;
mod prepared;
mod secured;
mod server;
mod sharing;
mod upgrades;
mod versions;

use bindery_test_support::{clock, jdbc, keeper, platform, postgres};
