//! A separate database on a real PostgreSQL that all tests share while one of them runs.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use bindery_test_support::postgres::{ADMIN, ADMIN_PASSWORD, Postgres};

use super::Place;

pub(crate) fn postgres(_folder: &Path) -> Place {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let server = Postgres::shared();
    let name = format!("store_{}", MADE.fetch_add(1, Ordering::Relaxed));
    server.psql(&format!("CREATE DATABASE {name} OWNER {ADMIN}"));
    let (port, ca) = (server.port(), server.ca_file().display().to_string());
    let url = format!("postgresql://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:{port}/{name}?sslrootcert={ca}");
    Place { url, _server: Some(server), cloud: None }
}
