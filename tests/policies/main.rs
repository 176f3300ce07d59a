//! One meaning, several engines: each pod of a table gets the same verdict from the pure function, from `bindery check` and
//! from a real API server that has what bindery compiles. bindery itself does not run meanwhile.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod ages;
mod audit;
mod binders;
mod cluster;
mod config_maps;
mod controller;
mod corpus;
mod engines;
mod every_rule;
mod exceptions;
mod load;
mod objects;
mod protected;
mod random_values;
mod report_kinds;
mod services;
mod table;
mod webhook;
