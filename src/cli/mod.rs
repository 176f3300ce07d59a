//! The command line: parses arguments, reads configuration, wires the parts together.

pub mod inject;
mod manifest;
