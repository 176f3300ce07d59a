//! The `mysql` service as a platform sees it, on a real MariaDB over TLS, with an administrator who has exactly the
//! documented grants. The `mariadb` client plays the application.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod access;
mod admin;
mod bindings;
mod definers;
mod drift;
mod faults;
mod hostile;
mod java;
mod leftovers;
mod limits;
mod server;

use bindery_test_support::{clock, jdbc, keeper, mariadb, platform};
