//! Real clients, each connecting as a pod would: from the variables and files of a binding, and from the lines and the code
//! of `docs/clients.md`. The servers refuse connections without TLS and have a certificate of a private CA. What the page
//! says is read from the page, so that it cannot differ from what was tried.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test's set-up fails the test")]

mod client;
mod injected;
mod page;
mod verification;

use bindery_test_support::{mariadb, platform, postgres};
