//! The pages are held to the code: tables of what bindery writes for others to read, the reference of the configuration file,
//! and every snippet of YAML.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod configuration;
mod imports;
mod layout;
mod pages;
mod reference;
mod snippets;
mod sources;
