//! A separate table on a moto that all tests share. The broker takes its account from the environment, as in
//! production; moto accepts any.

use std::{
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bindery_test_support::moto::Moto;

use super::Place;

pub(crate) fn dynamodb(_folder: &Path) -> Place {
    static MOTO: LazyLock<Moto> = LazyLock::new(Moto::start);
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let has_account = std::env::var_os("AWS_ACCESS_KEY_ID").is_some();
    assert!(has_account, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to anything");
    let table = format!("conformance-{}", MADE.fetch_add(1, Ordering::Relaxed));
    let url = format!("dynamodb:{table}?region=eu-central-1&endpoint={}", MOTO.endpoint());
    Place { url, _server: None, cloud: None }
}
