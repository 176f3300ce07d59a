//! The `mysql` service as a platform sees it, on a real MariaDB over real TLS, with an administrator who has the documented
//! grants and no more. Applications are the `mariadb` client.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod access;
mod admin;
mod bindings;
#[path = "../support/clock.rs"]
mod clock;
mod definers;
mod drift;
mod faults;
mod hostile;
mod java;
#[path = "../support/jdbc.rs"]
mod jdbc;
#[path = "../support/keeper.rs"]
mod keeper;
mod leftovers;
mod limits;
#[path = "../support/mariadb.rs"]
mod mariadb;
#[path = "../support/platform.rs"]
mod platform;
mod server;
