//! Checks that brokers and databases hold exactly what the platform was told.

use futures::stream::{self, StreamExt};
use serde_json::Value;
use tokio_postgres::error::SqlState;

use crate::{
    cluster::Cluster,
    load::{Binding, Instance},
    platform::{PASSWORD, Platform},
    postgres::Postgres,
};

const AT_ONCE: usize = 8;

/// Checks the brokers and the databases' server.
pub(crate) async fn exactly(held: &[Instance], platform: &Platform, server: &Postgres) {
    let asked = stream::iter(held).for_each_concurrent(AT_ONCE, async |instance| {
        let found = platform.fetch(&instance.path).await.0;
        assert_eq!(found, if instance.is_kept { 200 } else { 404 }, "{instance:?}");
        for binding in &instance.bindings {
            is_as_told(binding, platform, server).await;
        }
    });
    asked.await;
    let kept = held.iter().filter(|instance| instance.is_kept);
    let bindings = kept.clone().flat_map(|instance| &instance.bindings).filter(|binding| binding.is_kept);
    let count = |sql: &str| server.psql(sql)[0].parse::<usize>().unwrap();
    assert!(kept.clone().count() > 0 && bindings.clone().count() > 0, "nothing was kept");
    assert_eq!(count("SELECT count(*) FROM pg_database WHERE datname LIKE 'cf\\_%'"), kept.clone().count());
    assert_eq!(count("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'cf\\_%\\_owner'"), kept.count());
    assert_eq!(count("SELECT count(*) FROM pg_roles WHERE rolname ~ '^[a-p]{32}$'"), bindings.count());
}

async fn is_as_told(binding: &Binding, platform: &Platform, server: &Postgres) {
    let (status, found) = platform.fetch(&binding.path).await;
    if binding.is_kept {
        assert_eq!((status, &found["credentials"]), (200, &binding.credentials), "{}", binding.path);
        log_in(&binding.credentials, server).await.unwrap();
    } else {
        assert_eq!(status, 404, "{}", binding.path);
        if binding.credentials != Value::Null {
            let refused = log_in(&binding.credentials, server).await.unwrap_err();
            // The role is gone, and possibly its database.
            let codes = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
            assert!(codes.contains(refused.code().unwrap()), "{refused:?}");
        }
    }
}

pub(crate) fn nothing_is_left_over(cluster: &Cluster) {
    let said = cluster.sweep();
    assert!(said.trim_end().ends_with("nothing left over"), "{said}");
}

pub(crate) fn no_secret_was_logged(held: &[Instance], cluster: &Cluster) {
    let logs = cluster.logs();
    assert!(!logs.is_empty() && !logs.contains(PASSWORD), "the platform's password was logged");
    for binding in held.iter().flat_map(|instance| &instance.bindings) {
        if let Some(password) = binding.credentials["password"].as_str() {
            assert!(!logs.contains(password), "the password of {} was logged", binding.path);
        }
    }
}

async fn log_in(credentials: &Value, server: &Postgres) -> Result<(), tokio_postgres::Error> {
    let client = server.connect(credentials["uri"].as_str().unwrap()).await?;
    client.simple_query("SELECT 1").await.map(drop)
}
