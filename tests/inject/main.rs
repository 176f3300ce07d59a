//! Laws of the injection that hold for every pod, whichever way it is injected.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod laws;
mod pods;
mod ways;
