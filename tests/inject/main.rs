//! Laws of the injection that hold for every pod, whichever way it is injected.

mod laws;
mod pods;
mod ways;
