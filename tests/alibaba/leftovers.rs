//! Sweeps, and what another installation or somebody else has made.

use bindery::broker::sweep;
use bindery_test_support::alibaba::Alibaba;
use serde_json::json;

use crate::cloud::{BUCKET, Cloud, MYSQL};

#[tokio::test]
async fn only_leftovers_of_this_installation_are_swept() {
    let cloud = Cloud::start().await;
    for instance in ["kept", "lost"] {
        cloud.provisioned(BUCKET, instance, json!({})).await;
        for kind in ["user", "session"] {
            let parameters = json!({"credentials": kind});
            cloud.bound(BUCKET, instance, &format!("{instance}-{kind}"), parameters).await;
        }
        let server = format!("{instance}-server");
        cloud.provisioned(MYSQL, &server, json!({})).await;
        cloud.bound(MYSQL, &server, &format!("{instance}-account"), json!({})).await;
    }
    let theirs = [("UserName", "bindery-theirs")];
    cloud.server.call(&Alibaba::root(), "ram", "CreateUser", &theirs).unwrap();
    assert_eq!(sweep(cloud.platform.config(), &[], false).await.unwrap().leftover, []);
    for lost in ["lost", "lost-server"] {
        cloud.platform.forget(lost);
    }
    let report = sweep(cloud.platform.config(), &[], true).await.unwrap().to_string();
    for kind in ["account", "user", "policy", "bucket", "server"] {
        assert!(report.contains(&format!("removed: {kind} ")), "{report}");
    }
    assert!(report.contains("foreign, left alone: user bindery-theirs"), "{report}");
    assert_eq!(sweep(cloud.platform.config(), &[], false).await.unwrap().leftover, []);
    cloud.server.call(&Alibaba::root(), "ram", "DeleteUser", &theirs).unwrap();
    cloud.deprovisioned(BUCKET, "kept").await;
    cloud.deprovisioned(MYSQL, "kept-server").await;
    assert_eq!(cloud.server.left(), Vec::<String>::new());
}
