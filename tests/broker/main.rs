//! The broker as a platform sees it, on a real PostgreSQL over real TLS, with an administrator who is no superuser.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod bindings;
mod faults;
mod leftovers;
#[path = "../support/platform.rs"]
mod platform;
#[path = "../support/postgres.rs"]
mod postgres;
mod server;
