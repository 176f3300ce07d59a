//! What the fuzz targets run. The main package's tests include the same files, to keep the targets honest.

#[path = "../../tests/support/fake.rs"]
mod fake;
mod targets;
mod trial;

pub use targets::{bind, provision, request, update};
