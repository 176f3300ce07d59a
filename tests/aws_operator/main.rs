//! The AWS Service Operator's API against a real API server and ministack, an emulator that runs stacks. kubectl plays the
//! user.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod accounts;
mod adoption;
mod ground;
mod kills;
mod kinds;
mod ledger;
mod lifecycle;
mod push;
mod scale;
mod schema;
mod seed;
mod templates;
