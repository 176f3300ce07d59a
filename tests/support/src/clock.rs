//! The environment of a server with a shifted clock, through libfaketime (Debian's package `faketime`).

use std::path::Path;

const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// Sets the clock ahead by this time, such as `+2h`; the monotonic clock is not shifted.
pub fn ahead(by: &'static str) -> [(&'static str, &'static str); 3] {
    let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
    let library = library.expect("libfaketime: apt-get install faketime");
    [("LD_PRELOAD", library), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
}
