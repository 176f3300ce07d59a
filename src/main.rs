//! The `bindery` binary: all of it is in the library.

/// The C library's allocator keeps much of what a burst of reconciles took: with 500 instances and bindings 36 MiB, this one 25.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    bindery::cli::run()
}
