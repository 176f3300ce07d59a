//! The broker as a platform sees it, on a real PostgreSQL over real TLS, with an administrator who is no superuser.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod access;
mod admin;
mod bindings;
#[path = "../support/clock.rs"]
mod clock;
mod connections;
mod drift;
mod faults;
mod grants;
mod hostile;
mod java;
#[path = "../support/jdbc.rs"]
mod jdbc;
#[path = "../support/keeper.rs"]
mod keeper;
mod leftovers;
mod limits;
mod origins;
mod pgbouncer;
#[path = "../support/platform.rs"]
mod platform;
mod poolers;
#[path = "../support/postgres.rs"]
mod postgres;
mod prepared;
mod secured;
mod server;
mod sharing;
mod upgrades;
mod versions;
