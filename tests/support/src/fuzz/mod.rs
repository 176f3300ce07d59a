//! The code of the fuzz targets (`fuzz`, a separate package). `tests/fuzz` runs the same code, so that the targets stay
//! correct.

mod targets;
mod trial;

pub use self::targets::{bind, provision, request, update};
