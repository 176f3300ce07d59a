//! The environment of a server whose clock is not this machine's: libfaketime (Debian's package `faketime`) puts itself
//! between.

use std::path::Path;

const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// The clock is so far ahead, such as `+2h`; what a server measures by the monotonic clock stays right.
pub fn ahead(by: &'static str) -> [(&'static str, &'static str); 3] {
    let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
    let library = library.expect("libfaketime: apt-get install faketime");
    [("LD_PRELOAD", library), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
}
