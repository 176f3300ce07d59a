//! The API server binds pods as bindery does: a real API server evaluates what the chart renders, and bindery does not run.
//! In some of the namespaces the chart's webhook is registered at an address where nothing listens, so each pod that would
//! be sent to the webhook is refused.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod cluster;
mod corpus;
mod equality;
mod limits;
mod running;
mod table;
