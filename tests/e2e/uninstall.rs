//! A refused uninstall and the way back from it, as described in `docs/install.md`.

use crate::{
    installation::{NAMESPACE, RELEASE, kubectl},
    scenario::{INSTANCE, Scenario, run},
};

#[tokio::test]
async fn a_refused_uninstall_is_rolled_back_and_nothing_is_lost() {
    let scenario = Scenario::alone("uninstall").await;
    scenario.apply(INSTANCE).await.expect_success();
    scenario.instance_says("mydb01", "ProvisionedSuccessfully").await;

    let uninstall = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--timeout=1m"];
    run("helm", &uninstall, "").await.expect_failure();
    let job = format!("job/{RELEASE}-uninstall");
    let refusal = kubectl(&["--namespace", NAMESPACE, "logs", &job]).await;
    let instance = format!("ServiceInstance {}/mydb01", scenario.namespace);
    for part in [
        "bindery: these objects still hold databases, users or stacks: ",
        &instance,
        "ExternalResource ",
        "uninstall.force=true",
    ] {
        assert!(refusal.contains(part), "{part:?} is not in {refusal}");
    }

    // The documented command, which finds the release's own revision.
    let script = format!(
        r#"revision=$(helm history {RELEASE} --namespace {NAMESPACE} --max 1 --output yaml | sed -n 's/.*revision: //p')
helm rollback {RELEASE} "$revision" --namespace {NAMESPACE} --wait --timeout 2m"#
    );
    run("sh", &["-c", &script], "").await.expect_success();
    let status = run("helm", &["status", RELEASE, "--namespace", NAMESPACE], "").await.expect_success();
    assert!(status.contains("STATUS: deployed"), "{status}");
    // The next uninstall would delete the remains of the refused one; its pod belongs to no role of the release.
    kubectl(&["--namespace", NAMESPACE, "delete", &job]).await;
    scenario.installation.recovered().await;
    scenario.finish(&[]).await;
}
