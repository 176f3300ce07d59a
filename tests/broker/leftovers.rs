//! Sweeps, and objects that bindery must not touch.

use bindery::broker::{Held, HeldBinding, PlatformInstance, restore, sweep};
use serde_json::{Value, json};

use crate::{
    platform::{Platform, held, text},
    postgres::Postgres,
};

#[tokio::test]
async fn a_sweep_removes_only_leftovers_of_this_installation() {
    let server = Postgres::shared();
    let (platform, neighbour) = (Platform::on(&server).await, Platform::on(&server).await);
    for (platform, instance) in [(&platform, "kept"), (&platform, "lost"), (&neighbour, "foreign")] {
        assert_eq!(platform.provision(instance).await.0, 201);
    }
    let kept = platform.credentials("kept", "b").await;
    let lost = platform.credentials("lost", "b").await;
    let foreign = neighbour.credentials("foreign", "b").await;
    let database = |credentials: &serde_json::Value| credentials["database"].as_str().unwrap().to_owned();
    platform.forget("lost");

    let report = sweep(platform.config(), &[], false).await.unwrap().to_string();
    for credentials in [&lost["database"], &lost["username"]] {
        assert!(report.contains(&format!("left over: {}", kind_and_name(credentials))), "{report}");
    }
    assert!(report.contains(&format!("foreign, left alone: database {}", database(&foreign))), "{report}");
    assert!(
        !report.contains(&database(&kept)) && report.ends_with("3 left over; remove with --delete"),
        "{report}"
    );

    // An ExternalResource still refers to what the store has lost.
    let on_platform = [PlatformInstance { instance: "lost".into(), bindings: vec!["b".into()] }];
    let report = sweep(platform.config(), &on_platform, true).await.unwrap().to_string();
    assert!(report.ends_with("nothing left over"), "{report}");

    let report = sweep(platform.config(), &[], true).await.unwrap().to_string();
    assert!(report.ends_with("3 removed"), "{report}");
    assert!(sweep(platform.config(), &[], false).await.unwrap().to_string().ends_with("\nnothing left over"));
    let gone = format!(
        "SELECT 1 FROM pg_roles WHERE rolname IN ('{}_owner', {})",
        database(&lost),
        lost["username"].to_string().replace('"', "'")
    );
    assert_eq!(server.psql(&gone), Vec::<String>::new());
    crate::server::connect(&server, &kept).await.unwrap();
    crate::server::connect(&server, &foreign).await.unwrap();
    assert_eq!(platform.deprovision("kept").await.0, 200);
    assert_eq!(neighbour.deprovision("foreign").await.0, 200);
}

/// Each plan may name its own server, and several names may mean the same server, so that each lists the others'
/// databases.
#[tokio::test]
async fn objects_on_the_same_server_under_another_backend_name_are_no_leftovers() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("twice").await.0, 201);
    let credentials = platform.credentials("twice", "b").await;
    let mut config = platform.config().clone();
    let mut same = config.services.backends[0].clone();
    same.name = "same".into();
    config.services.backends.push(same);

    let report = sweep(&config, &[], true).await.unwrap().to_string();
    assert!(report.ends_with("nothing left over"), "{report}");
    crate::server::connect(&server, &credentials).await.unwrap();
    assert_eq!(platform.deprovision("twice").await.0, 200);
}

#[tokio::test]
async fn a_sweep_removes_nothing_while_a_record_names_an_unconfigured_backend() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    assert_eq!(platform.provision("renamed").await.0, 201);
    let credentials = platform.credentials("renamed", "b").await;
    let mut config = platform.config().clone();
    config.services.backends[0].name = "other".into();

    let error = sweep(&config, &[], true).await.unwrap_err().to_string();
    assert!(error.contains("instance renamed is on backend main, which is not configured"), "{error}");
    assert!(sweep(&config, &[], false).await.unwrap().to_string().ends_with("nothing left over"));
    crate::server::connect(&server, &credentials).await.unwrap();
    assert_eq!(platform.deprovision("renamed").await.0, 200);
}

fn kind_and_name(name: &serde_json::Value) -> String {
    let name = name.as_str().unwrap();
    format!("{} {name}", if name.starts_with("cf_") { "database" } else { "login" })
}

/// Without the records everything would look like a leftover.
#[tokio::test]
async fn a_sweep_without_the_brokers_store_is_refused() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    let mut config = platform.config().clone();
    config.settings.store = "sqlite:/nowhere/broker.db".parse().unwrap();
    let error = sweep(&config, &[], true).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/broker.db does not exist"), "{error}");
}

/// Two installations with the same instance id need the same database: the second one gets an error, and removes
/// nothing.
#[tokio::test]
async fn objects_of_another_installation_are_not_changed() {
    let server = Postgres::shared();
    let (first, second) = (Platform::on(&server).await, Platform::on(&server).await);
    assert_eq!(first.provision("wanted").await.0, 201);
    let credentials = first.credentials("wanted", "b").await;
    let (status, body) = second.provision("wanted").await;
    assert_eq!(status, 500);
    assert!(
        body["description"].as_str().unwrap().contains("does not carry this installation's mark"),
        "{body}"
    );
    assert_eq!(second.deprovision("wanted").await.0, 200);
    crate::server::connect(&server, &credentials).await.unwrap();
    assert_eq!(first.deprovision("wanted").await.0, 200);
}

#[tokio::test]
async fn a_role_that_bindery_did_not_create_is_not_changed() {
    let server = Postgres::shared();
    let platform = Platform::on(&server).await;
    platform.provision("occupied").await;
    let login = platform.credentials("occupied", "b").await["username"].as_str().unwrap().to_owned();
    assert_eq!(platform.unbind("occupied", "b").await.0, 200);
    server.psql(&format!("CREATE ROLE \"{login}\" LOGIN"));
    let (status, body) = platform.bind("occupied", "b").await;
    assert_eq!(status, 500);
    assert!(body["description"].as_str().unwrap().contains(&format!("role {login} exists")), "{body}");
    assert_eq!(platform.unbind("occupied", "b").await.0, 200);
    assert_eq!(platform.deprovision("occupied").await.0, 200);
    // The role was not dropped, or this would fail.
    server.psql(&format!("DROP ROLE \"{login}\""));
}

/// The ExternalResources and the marks suffice to delete everything, and to bind again.
#[tokio::test]
async fn a_lost_store_is_rebuilt_from_external_resources_and_marks() {
    let server = Postgres::shared();
    let mut platform = Platform::on(&server).await;
    platform.keep_installation().await;
    platform.provision("rebuilt").await;
    let before = platform.credentials("rebuilt", "b").await;
    platform.broker.drain().await;
    for file in ["broker.db", "broker.db-wal", "broker.db-shm"] {
        let _ = std::fs::remove_file(platform.store().join(file));
    }
    let held = [held("rebuilt", &["b"]), held("never-made", &[])];
    let report = restore(platform.config(), &held).await.unwrap();
    assert_eq!(report.restored, ["service instance rebuilt", "binding b of service instance rebuilt"]);
    assert_eq!(report.missing, ["service instance never-made"]);
    let again = restore(platform.config(), &held).await.unwrap();
    assert_eq!((again.recorded, again.restored.len()), (3, 0), "{again}");

    platform.restart().await;
    crate::server::connect(&server, &before).await.unwrap();
    assert_eq!(platform.provision("rebuilt").await.0, 200);
    let after = platform.credentials("rebuilt", "b").await;
    assert_eq!(after["username"], before["username"]);
    crate::server::connect(&server, &after).await.unwrap();
    assert_eq!(platform.unbind("rebuilt", "b").await.0, 200);
    for instance in ["rebuilt", "never-made"] {
        assert_eq!(platform.deprovision(instance).await.0, 200);
    }
    assert_eq!(sweep(platform.config(), &[], false).await.unwrap().leftover, []);
}

/// What a binding is follows from what the platform still knows of it. Defaults would give more rights than were asked for.
#[tokio::test]
async fn restored_bindings_keep_their_parameters_and_their_predecessor() {
    let server = Postgres::shared();
    let mut platform = Platform::on(&server).await;
    platform.keep_installation().await;
    platform.provision("kept").await;
    platform.reader("kept", "former").await;
    assert_eq!(platform.rotate("kept", "next", "former").await.0, 201);
    assert_eq!(platform.unbind("kept", "former").await.0, 200);
    platform.reader("kept", "secret").await;
    platform.reader("kept", "lost").await;
    platform.broker.drain().await;
    for file in ["broker.db", "broker.db-wal", "broker.db-shm"] {
        let _ = std::fs::remove_file(platform.store().join(file));
    }
    let read_only = json!({"access": "readonly"});
    let known = |id: &str, parameters: Option<&Value>| HeldBinding {
        id: id.into(),
        parameters: parameters.map(|parameters| parameters.as_object().unwrap().clone()),
        predecessor: (id != "secret").then(|| "former".into()),
    };
    let bindings = vec![known("next", Some(&read_only)), known("secret", None), known("lost", None)];
    let held = [Held { bindings, ..held("kept", &[]) }];
    assert_eq!(restore(platform.config(), &held).await.unwrap().restored.len(), 4);
    platform.restart().await;

    let (status, body) = platform.rotate("kept", "next", "former").await;
    assert_eq!(status, 201, "{body}");
    let reads_only = async |credentials: &Value| {
        let client = crate::server::connect(&server, credentials).await.unwrap();
        let refused = client.batch_execute("CREATE TABLE t (id int)").await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{refused}");
    };
    reads_only(&body["credentials"]).await;
    let (status, body) = platform.bind_with("kept", "secret", json!({"access": "nonsense"})).await;
    assert_eq!(status, 400, "{body}");
    reads_only(&platform.reader("kept", "secret").await).await;
    let (status, body) = platform.rotate("kept", "lost", "former").await;
    assert_eq!(status, 400, "{body}");
    assert!(text(&body, "description").contains("make a new binding"), "{body}");
    for binding in ["next", "secret", "lost"] {
        assert_eq!(platform.unbind("kept", binding).await.0, 200);
    }
    platform.deprovisioned("kept").await;
}

/// Store and installation are lost: a new installation with the name of the former mark owns everything that it marks.
/// `docs/restore.md` explains the procedure.
#[tokio::test]
async fn renaming_the_marker_transfers_everything_to_another_installation() {
    let server = Postgres::shared();
    let (mut former, mut new) = (Platform::on(&server).await, Platform::on(&server).await);
    for platform in [&mut former, &mut new] {
        platform.keep_installation().await;
    }
    former.provision("handed-over").await;
    let before = former.credentials("handed-over", "b").await;
    former.broker.drain().await;
    new.broker.drain().await;
    let held = [held("handed-over", &["b"])];
    assert_eq!(restore(new.config(), &held).await.unwrap().restored, Vec::<String>::new());

    std::fs::remove_file(new.store().join("broker.db")).unwrap();
    let [from, to] = [&former, &new].map(Platform::mark);
    server.psql(&format!("ALTER ROLE {from} RENAME TO {to}"));
    let report = restore(new.config(), &held).await.unwrap();
    assert_eq!((report.restored.len(), report.missing.len()), (2, 0), "{report}");
    new.restart().await;
    crate::server::connect(&server, &before).await.unwrap();
    assert_eq!(new.unbind("handed-over", "b").await.0, 200);
    assert_eq!(new.deprovision("handed-over").await.0, 200);
    assert_eq!(sweep(new.config(), &[], false).await.unwrap().leftover, []);
}
