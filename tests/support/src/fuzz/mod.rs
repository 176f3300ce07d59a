//! What the fuzz targets (`fuzz`, a package of its own) run. `tests/fuzz` runs the same code, to keep the targets honest.

mod targets;
mod trial;

pub use self::targets::{bind, provision, request, update};
