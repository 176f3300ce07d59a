//! The `bindery` binary: all of it is in the library.

/// The C library's allocator keeps much of what a burst of reconciles took: with 500 instances and bindings 36 MiB, this one 25.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // A huge page stays in memory as long as one of its 512 pages is in use: half of the broker's memory after a burst.
    // Where the kernel has no huge pages there is nothing to turn off.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    bindery::cli::run()
}
