//! Injected pods in a real kubelet. The test writes the Secrets itself, so no database is needed.

use std::time::Duration;

use tokio::time::timeout;

use crate::scenario::{LIMIT, Scenario};

/// The Secrets that bindery would write for a binding `db`, and a Secret and a ConfigMap of another owner.
const SECRETS: &str = r"
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {host: db.example.com, port: '5432', uri: 'postgres://db'}
---
apiVersion: v1
kind: Secret
metadata: {name: db-env}
stringData: {COCKROACH_URL: 'postgres://db', TWICE: binding, LEVEL: binding}
---
apiVersion: v1
kind: Secret
metadata: {name: plain}
stringData: {key: the-key, other: hidden}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: features}
data: {dark-mode: 'on'}
";

/// A pod that meets the strictest standard and has its own variables: before and after bindery's, repeated, and with
/// names that the binding also uses.
const FACTS: &str = r"
apiVersion: v1
kind: Pod
metadata:
  name: facts
  annotations:
    bindery.dev/bind: db, secret/plain, configmap/features
    bindery.dev/env: |
      HOST=db/host
      PORT=db/port
      DB_*=db/*
      DARK_MODE=configmap/features/dark-mode
    bindery.dev/files: client.key=secret/plain/key:0440
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
  initContainers:
  - name: init
    image: busybox:1.35
    imagePullPolicy: Never
    command: [sh, -c, 'test $HOST = db.example.com && test $(cat /var/secrets/db/port) = 5432']
    securityContext: &locked {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
  - {name: sidecar, image: 'busybox:1.35', imagePullPolicy: Never, restartPolicy: Always, command: [sleep, '3600'], securityContext: *locked}
  containers:
  - name: main
    image: busybox:1.35
    imagePullPolicy: Never
    command: [sh, -c, 'echo $(COCKROACH_URL) $(ADDRESS); exec sleep 3600']
    env:
    - {name: ADDRESS, value: 'tcp://$(HOST):$(PORT)'}
    - {name: OF_BINDING, value: '$(COCKROACH_URL)'}
    - {name: TWICE, value: first}
    - {name: TWICE, value: second}
    - {name: LEVEL, value: own}
    securityContext: *locked
";

/// P17, P18 and P6: `$(NAME)` sees bindery's variables, the container's own variables win, and the last of equal
/// names wins; the root file system may be read-only; a debugging container gets no credentials.
#[tokio::test]
async fn a_locked_down_pod_has_its_variables_and_files_in_every_container_but_the_debugger_s() {
    let scenario = Scenario::new("kubelet").await;
    let restricted =
        ["label", "namespace", &scenario.namespace, "pod-security.kubernetes.io/enforce=restricted"];
    scenario.kubectl(&restricted).await.expect_success();
    for manifest in [SECRETS, FACTS] {
        scenario.apply(manifest).await.expect_success();
    }
    scenario.running("facts").await;
    let said = |container: &'static str, script: &'static str| {
        let scenario = &scenario;
        async move {
            let command = ["exec", "facts", "--container", container, "--", "sh", "-c", script];
            scenario.kubectl(&command).await.expect_success()
        }
    };
    let variables = "echo $ADDRESS $OF_BINDING $TWICE $LEVEL $DB_uri $DARK_MODE";
    let expected = "tcp://db.example.com:5432 postgres://db second own postgres://db on\n";
    assert_eq!(said("main", variables).await, expected);
    let logs = scenario.kubectl(&["logs", "facts", "--container=main"]).await.expect_success();
    assert_eq!(logs, "postgres://db tcp://db.example.com:5432\n");
    assert_eq!(said("sidecar", variables).await, "binding binding postgres://db on\n");
    let files = "cd /var/secrets; ls *; cat plain/client.key; stat -L -c %a plain/client.key";
    assert_eq!(
        said("main", files).await,
        "db:\nhost\nport\nuri\n\nfeatures:\ndark-mode\n\nplain:\nclient.key\nthe-key440\n"
    );

    let debug = [
        "debug",
        "facts",
        "--profile=restricted",
        "--image=busybox:1.35",
        "--container=debugger",
        "--",
        "sleep",
        "3600",
    ];
    scenario.kubectl(&debug).await.expect_success();
    let look = [
        "exec",
        "facts",
        "--container=debugger",
        "--",
        "sh",
        "-c",
        "echo \"<$HOST$COCKROACH_URL>\"; ls /var/secrets",
    ];
    let seen = timeout(LIMIT, async {
        loop {
            let seen = scenario.kubectl(&look).await;
            if seen.stdout.starts_with('<') {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let seen = seen.await.expect("the debugger runs");
    assert!(seen.stdout == "<>\n" && seen.stderr.contains("No such file"), "{}", seen.all());
    forget_secrets(&scenario).await;
    scenario.finish(&[]).await;
}

const NESTED: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: NAME, annotations: {bindery.dev/bind: db}}
spec:
  restartPolicy: Never
  volumes: [{name: own, SOURCE}]
  containers:
  - {name: main, image: 'busybox:1.35', imagePullPolicy: Never, command: [sleep, '3600'], volumeMounts: [{name: own, mountPath: /var/secrets}]}
";

/// The kubelet creates the folder even if containers cannot write there.
#[tokio::test]
async fn a_binding_s_folder_may_lie_in_another_volume() {
    let scenario = Scenario::new("nested").await;
    scenario.apply(SECRETS).await.expect_success();
    for (name, source) in [("read-only", "secret: {secretName: plain}"), ("writable", "emptyDir: {}")] {
        scenario.apply(&NESTED.replace("NAME", name).replace("SOURCE", source)).await.expect_success();
        scenario.running(name).await;
        let port = scenario.exec(name, &["cat", "/var/secrets/db/port"]).await.expect_success();
        assert_eq!(port, "5432", "{name}");
    }
    forget_secrets(&scenario).await;
    scenario.finish(&[]).await;
}

async fn forget_secrets(scenario: &Scenario) {
    scenario.kubectl(&["delete", "secret", "db", "db-env", "plain"]).await.expect_success();
}
