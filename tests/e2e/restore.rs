//! The broker's store lost with all it held, and rebuilt from the Claims while pods go on.

use crate::{
    installation::{NAMESPACE, kubectl},
    scenario::{BINDING, INSTANCE, POD, Scenario, run},
};

/// Empties the volume of the store, as a user would who has lost it.
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
async fn a_lost_store_is_rebuilt_from_the_claims() {
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
    // The instance and its binding; who lost the store keeps the credentials.
    assert!(report.contains("2 restored, 0 not on the server, 0 left out, 0 had a record"), "{report}");
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
