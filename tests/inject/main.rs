//! Laws of the injection that hold for every pod, whichever way it is injected, and what scripts learn of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod corpus;
mod exits;
mod laws;
mod page;
mod pitfalls;
mod pods;
mod ways;
