//! The broker's store is lost, or replaced by another, and rebuilt from the ExternalResources while pods keep
//! running.

use crate::{
    installation::{NAMESPACE, kubectl},
    scenario::{BINDING, INSTANCE, POD, Scenario, run},
};

/// Empties the volume of the store, as if a user had lost it.
const EMPTIED: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: emptied}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532}
  containers:
  - name: emptied
    image: busybox:1.35
    imagePullPolicy: Never
    command: [sh, -c, 'ls /store/broker.db && rm -rf /store/* && test ! -e /store/broker.db']
    volumeMounts: [{name: store, mountPath: /store}]
  volumes:
  - {name: store, persistentVolumeClaim: {claimName: store-e2e-broker-0}}
";

#[tokio::test]
async fn a_lost_store_is_rebuilt_from_the_external_resources() {
    let scenario = Scenario::alone("restored").await;
    for manifest in [INSTANCE, BINDING, POD] {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;
    scenario.sql("client-app01", "create table t (id int); insert into t values (42)").await.expect_success();

    let installation = scenario.installation;
    installation.scale("statefulset/e2e-broker", 0).await;
    let in_release = ["--namespace", NAMESPACE];
    run("kubectl", &[&in_release[..], &["apply", "-f", "-"]].concat(), EMPTIED).await.expect_success();
    let emptied = ["wait", "pod/emptied", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"];
    kubectl(&[&in_release[..], &emptied].concat()).await;
    kubectl(&[&in_release[..], &["delete", "pod", "emptied", "--timeout=60s"]].concat()).await;

    installation.upgrade(&["broker.restore=true"]).await;
    let report = kubectl(&[&in_release[..], &["logs", "e2e-broker-0", "--container=restore"]].concat()).await;
    // The instance and its binding. The ExternalResources that are left out belong to other brokers of the cluster.
    assert!(report.contains("2 restored, 0 not on the backend, "), "{report}");
    assert!(report.contains(" 0 had a record"), "{report}");
    assert_eq!(scenario.sql("client-app01", "select id from t").await.expect_success().trim(), "42");
    assert!(installation.sweep().await.contains("nothing left over"));
    installation.upgrade(&["broker.restore=false"]).await;

    scenario.kubectl(&["delete", "servicebinding", "mydb01-binding", "--timeout=60s"]).await.expect_success();
    let refused = scenario.sql("client-app01", "select 1").await.expect_failure();
    assert!(refused.contains("authentication failed"), "{refused}");
    scenario
        .finish_with(&[&credentials], async || {
            let report = installation.sweep().await;
            assert!(report.contains("nothing left over"), "{report}");
        })
        .await;
}

/// Replaces one broker with a volume by two brokers with a shared database, and back.
#[tokio::test]
async fn several_brokers_take_over_and_share_a_database() {
    let scenario = Scenario::alone("shared-store").await;
    scenario.apply(INSTANCE).await.expect_success();
    scenario.instance_says("mydb01", "ProvisionedSuccessfully").await;
    let installation = scenario.installation;
    let postgres = &installation.postgres;
    postgres.psql("CREATE ROLE store LOGIN PASSWORD 'st0re'");
    postgres.psql("CREATE DATABASE store OWNER store");
    let ca = format!("--from-file=ca.crt={}", postgres.ca_file().display());
    let secret = ["create", "secret", "generic", "store", "--from-literal=password=st0re", &ca];
    kubectl(&[&["--namespace", NAMESPACE], &secret[..]].concat()).await;

    let store = format!(
        "broker.store=postgres://store@{}:{}/store?sslrootcert=/etc/bindery/store-tls/ca.crt",
        std::env::var("NODE_IP").unwrap(),
        postgres.port()
    );
    let password = "broker.storePassword.secretName=store,broker.storeTls.secretName=store";
    installation.upgrade(&[&store, password, "broker.restore=true"]).await;
    installation.settled("broker", 2).await;
    assert_eq!(postgres.psql_in("store", "select count(*) from bindery_records"), ["1"]);
    for manifest in [BINDING, POD] {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("client-app01").await;
    let credentials = scenario.credentials("mydb01-binding").await;
    assert_eq!(scenario.sql("client-app01", "select 42").await.expect_success().trim(), "42");
    assert!(installation.sweep().await.contains("nothing left over"));

    scenario
        .finish_with(&[&credentials], async || {
            assert_eq!(postgres.psql_in("store", "select count(*) from bindery_records"), ["0"]);
            let back = "broker.store=,broker.storePassword.secretName=,broker.storeTls.secretName=";
            installation.upgrade(&[back, "broker.restore=false"]).await;
            // Objects that other scenarios create at a broker that is still terminating would be in the wrong store.
            installation.settled("broker", 1).await;
        })
        .await;
}
