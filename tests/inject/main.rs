//! The laws that hold for the injection of every pod, by webhook or command, and the command's results for scripts.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod corpus;
mod exits;
mod laws;
mod page;
mod pitfalls;
mod pods;
mod ways;
