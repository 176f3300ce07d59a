//! Real clients, each connecting as a pod would: with the variables and files of a binding, and the lines and code in
//! `docs/clients.md`. The servers require TLS and have a certificate from a private CA. The tests read the page itself,
//! so that it cannot differ from what was tested.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod client;
mod injected;
mod page;
mod verification;

use bindery_test_support::{mariadb, platform, postgres};
