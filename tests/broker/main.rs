//! The broker as a platform sees it, on a real PostgreSQL over real TLS, with an administrator who is no superuser.

mod bindings;
mod faults;
mod leftovers;
mod platform;
#[path = "../support/postgres.rs"]
mod postgres;
