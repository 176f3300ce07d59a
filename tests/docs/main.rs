//! Compares the pages with the code: the tables of everything that bindery writes, the reference of the configuration
//! file, and every YAML snippet.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alibaba;
mod configuration;
mod imports;
mod layout;
mod pages;
mod policies;
mod reasons;
mod reference;
mod seeds;
mod service_catalog;
mod snippets;
mod sources;
