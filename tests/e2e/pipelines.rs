//! The pipeline examples, run unchanged: every shell line, with exactly the documented rights.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    installation::{kubectl, repository},
    scenario::{Scenario, run},
};

const EXAMPLES: &str = "examples/feature-branches";

fn example(name: &str) -> Value {
    let text = fs::read_to_string(repository().join(EXAMPLES).join(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// A machine that runs pipelines: bindery on the PATH, and a kubeconfig of the pipelines' account.
struct Runner {
    folder: TempDir,
    namespace: String,
}

impl Runner {
    async fn new(namespace: &str) -> Self {
        for name in ["namespacebinding.yaml", "pipeline-rights.yaml"] {
            kubectl(&["apply", "-f", &format!("{}/{EXAMPLES}/{name}", repository().display())]).await;
        }
        let folder = TempDir::new().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bindery"), folder.path().join("bindery")).unwrap();
        let runner = Self { folder, namespace: namespace.to_owned() };
        runner.log_in().await;
        runner
    }

    async fn log_in(&self) {
        let known = kubectl(&["config", "view", "--raw", "--minify", "--flatten", "--output=json"]).await;
        let mut config: Value = serde_json::from_str(&known).unwrap();
        let token = kubectl(&["--namespace", "pipelines", "create", "token", "pipeline"]).await;
        config["users"][0]["user"] = json!({"token": token.trim()});
        let authority = &config["clusters"][0]["cluster"]["certificate-authority-data"];
        assert!(STANDARD.decode(authority.as_str().unwrap()).is_ok());
        fs::write(self.folder.path().join("kubeconfig"), config.to_string()).unwrap();
    }

    /// Runs a script as CI would.
    async fn run(&self, script: &str) {
        assert!(!script.contains("${{"), "only GitHub can fill in {script:?}");
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        let environment = BTreeMap::from([
            ("PATH", path),
            ("KUBECONFIG", self.folder.path().join("kubeconfig").display().to_string()),
            ("NAMESPACE", self.namespace.clone()),
        ]);
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(repository())
            .envs(environment)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&said));
    }

    async fn is_gone(&self, scenario: &Scenario) {
        let api: Api<Namespace> = Api::all(scenario.client.clone());
        assert!(api.get_opt(&self.namespace).await.unwrap().is_none(), "{} is still there", self.namespace);
    }
}

/// Checks that the scenario left nothing.
async fn finish(scenario: Scenario) {
    let folder = repository().join(EXAMPLES);
    for name in ["namespacebinding.yaml", "pipeline-rights.yaml"] {
        kubectl(&["delete", "-f", &folder.join(name).display().to_string()]).await;
    }
    let installation = scenario.installation;
    scenario
        .finish_with(&[], async || {
            let report = installation.sweep().await;
            assert!(report.contains("nothing left over"), "{report}");
        })
        .await;
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|line| line.as_str().unwrap())
}

#[tokio::test]
async fn every_line_of_the_github_workflow_works() {
    let scenario = Scenario::alone("pipeline-github").await;
    let workflow = example("github-actions.yaml");
    let runner = Runner::new("feature-17").await;
    for job in ["deploy", "remove"] {
        let steps = workflow["jobs"][job]["steps"].as_array().unwrap();
        for script in steps.iter().filter_map(|step| step["run"].as_str()) {
            runner.run(script).await;
        }
    }
    runner.is_gone(&scenario).await;
    finish(scenario).await;
}

#[tokio::test]
async fn every_line_of_the_gitlab_jobs_works() {
    let scenario = Scenario::alone("pipeline-gitlab").await;
    let jobs = example("gitlab-ci.yml");
    let runner = Runner::new("feature-login-page").await;
    for job in ["deploy", "remove"] {
        for line in strings(&jobs[job]["script"]) {
            runner.run(line).await;
        }
    }
    runner.is_gone(&scenario).await;
    finish(scenario).await;
}

/// The actions of Argo CD for an Application of the set: create the namespace with its labels, then apply the source.
#[tokio::test]
async fn the_actions_of_argo_cd_create_a_database() {
    let scenario = Scenario::alone("pipeline-argo").await;
    let runner = Runner::new("feature-18").await;
    let set = example("argocd-applicationset.yaml");
    let application = &set["spec"]["template"]["spec"];
    let labels = &application["syncPolicy"]["managedNamespaceMetadata"]["labels"];
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": runner.namespace, "labels": labels}});
    run("kubectl", &["apply", "-f", "-"], &namespace.to_string()).await.expect_success();
    let source = &application["source"];
    let included =
        Path::new(source["path"].as_str().unwrap()).join(source["directory"]["include"].as_str().unwrap());
    let included = repository().join(included).display().to_string();
    kubectl(&["--namespace", &runner.namespace, "apply", "-f", &included]).await;
    kubectl(&["--namespace", &runner.namespace, "rollout", "status", "deployment/app", "--timeout=2m"]).await;
    runner.run("kubectl delete namespace \"$NAMESPACE\" --timeout 2m").await;
    finish(scenario).await;
}
