//! The AWS Service Operator's API as users install it: with the seed's manifest, and with the chart. Both operators serve one
//! namespace only, because a cluster has one operator.

use bindery::apis::bindery::stack_record::StackRecord;
use bindery_test_support::ministack::{ACCOUNT, Key, REGION, Request};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::scenario::{LIMIT, Output, Scenario, run};

const OPERATOR: &str = include_str!("../../examples/aws-service-operator/aws-service-operator.yaml");
const APPLICATION: &str = include_str!("../../examples/aws-service-operator/dynamodb-app.yaml");
const POLICY: &str = include_str!("../../examples/aws-service-operator/policy.json");
const CLUSTER: &str = "e2e";
/// The namespace of the seed's manifest.
const OPERATORS: &str = "aws-service-operator";

/// A user with exactly the rights of the example.
fn operator_key(scenario: &Scenario, name: &str) -> Key {
    let policy = POLICY.replace("ACCOUNT", ACCOUNT).replace("CLUSTER", CLUSTER);
    let policy: Value = serde_json::from_str(&policy).unwrap();
    scenario.installation.aws.user(name, &policy["Statement"])
}

/// A Secret with an access key under these names.
fn secret(name: &str, namespace: &str, key: &Key, names: [&str; 2]) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": {names[0]: key.id, names[1]: key.secret}})
    .to_string()
}

const ENVIRONMENT: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

async fn kubectl(arguments: &[&str], input: &str) -> Output {
    run("kubectl", arguments, input).await
}

/// Waits until the table's stack is complete, and a pod has written to the table. Then deletes everything.
async fn use_a_table(scenario: &Scenario) {
    let aws = &scenario.installation.aws;
    let table = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/dynamo-table");
    let may_write = json!([{"Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": table}]);
    let key = aws.user(&format!("writer-{}", scenario.namespace), &may_write);
    let secret = secret("table-key", &scenario.namespace, &key, ["accessKeyId", "secretAccessKey"]);
    scenario.apply(&secret).await.expect_success();
    scenario.apply(APPLICATION).await.expect_success();
    let endpoint = format!("AWS_ENDPOINT_URL_DYNAMODB={}", aws.endpoint());
    scenario.kubectl(&["set", "env", "deployment/frontend", &endpoint]).await.expect_success();
    let seconds = format!("--timeout={}s", LIMIT.as_secs());
    let complete = "--for=jsonpath={.status.resourceStatus}=CREATE_COMPLETE";
    let waited = scenario.kubectl(&["wait", complete, "dynamodb/dynamo-table", &seconds]).await;
    if !waited.success {
        let object = scenario.kubectl(&["describe", "dynamodb", "dynamo-table"]).await;
        panic!("{}\n{}", waited.all(), object.all());
    }
    scenario.kubectl(&["rollout", "status", "deployment/frontend", &seconds]).await.expect_success();
    let written = "until kubectl --namespace \"$0\" logs deployment/frontend | grep 'wrote to dynamo-table'; do sleep 0.2; done";
    run("timeout", &["120", "sh", "-c", written, &scenario.namespace], "").await.expect_success();
    let scan = Request::json("dynamodb", "DynamoDB_20120810.Scan", &json!({"TableName": "dynamo-table"}));
    let items: Value = serde_json::from_str(&aws.administer(&scan)).unwrap();
    assert!(items["Count"].as_u64().unwrap() >= 1, "{items}");
    assert!(items["Items"][0]["name"]["S"].as_str().unwrap().starts_with("frontend-"), "{items}");
    assert_eq!(records(scenario).await.len(), 1);
    scenario.kubectl_with_input(&["delete", "-f", "-", "--timeout=120s"], APPLICATION).await.expect_success();
    scenario.kubectl(&["delete", "secret", "table-key"]).await.expect_success();
    assert_eq!(aws.leftovers(), Vec::<String>::new());
    assert!(records(scenario).await.is_empty());
}

async fn records(scenario: &Scenario) -> Vec<StackRecord> {
    let selected = ListParams::default().labels("bindery.dev/stack");
    Api::<StackRecord>::all(scenario.client.clone()).list(&selected).await.unwrap().items
}

/// The operator of the seed's manifest with the three values that the seed has users change, and with what an emulator of
/// AWS needs.
#[tokio::test]
async fn the_manifest_of_the_seed_serves_a_table() {
    let scenario = Scenario::alone("seed-001").await;
    let aws = &scenario.installation.aws;
    let changes = [
        ("image: bindery\n", "image: docker.io/library/bindery:dev\n".to_owned()),
        ("--cluster-name=aws-service-operator-demos", format!("--cluster-name={CLUSTER}")),
        ("--region=us-west-2", format!("--region={REGION}")),
        (
            "--account-id=000000000000",
            format!("--account-id={ACCOUNT}\n            - --k8s-namespace={}", scenario.namespace),
        ),
    ];
    let mut manifest = OPERATOR.to_owned();
    for (from, to) in changes {
        assert!(manifest.contains(from), "{from}");
        manifest = manifest.replace(from, &to);
    }
    let applied = kubectl(&["apply", "-f", "-"], &manifest).await.expect_success();
    assert_eq!(applied.matches(" created").count(), 5, "the five objects of the seed: {applied}");
    let key = operator_key(&scenario, "operator-of-the-seed");
    kubectl(&["apply", "-f", "-"], &secret("aws-key", OPERATORS, &key, ENVIRONMENT)).await.expect_success();
    let set = ["set", "env", "deployment/aws-service-operator", "--namespace", OPERATORS];
    let endpoint = format!("AWS_ENDPOINT_URL={}", aws.endpoint());
    kubectl(&[&set[..], &["--from=secret/aws-key", &endpoint]].concat(), "").await.expect_success();
    let status =
        ["rollout", "status", "deployment/aws-service-operator", "--namespace", OPERATORS, "--timeout=120s"];
    kubectl(&status, "").await.expect_success();
    let served = "until kubectl get dynamodbs; do sleep 0.2; done";
    run("timeout", &["60", "sh", "-c", served], "").await.expect_success();
    use_a_table(&scenario).await;
    kubectl(&["delete", "-f", "-", "--timeout=120s"], &manifest).await.expect_success();
    scenario.finish(&[]).await;
}

#[tokio::test]
async fn the_chart_serves_a_table() {
    let scenario = Scenario::alone("aws-chart").await;
    let key = operator_key(&scenario, "operator-of-the-chart");
    let release = crate::installation::NAMESPACE;
    kubectl(&["apply", "-f", "-"], &secret("aws-operator-key", release, &key, ENVIRONMENT))
        .await
        .expect_success();
    let values = std::env::temp_dir().join(format!("bindery-{}.yaml", scenario.namespace));
    let variable = |name: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "aws-operator-key", "key": name}}});
    let mut environment: Vec<Value> = ENVIRONMENT.map(variable).into();
    environment.push(json!({"name": "AWS_ENDPOINT_URL", "value": scenario.installation.aws.endpoint()}));
    let operator = json!({"enabled": true, "clusterName": CLUSTER, "region": REGION, "accountId": ACCOUNT,
        "namespace": scenario.namespace, "replicas": 1, "extraEnv": environment});
    std::fs::write(&values, json!({"awsOperator": operator}).to_string()).unwrap();
    scenario.installation.upgrade_by(&["--values", &values.display().to_string()]).await;
    use_a_table(&scenario).await;
    scenario.installation.upgrade(&["awsOperator.enabled=false"]).await;
    std::fs::remove_file(&values).unwrap();
    scenario.finish(&[]).await;
}
