//! The AWS Service Operator's API in the chart: off by default, with least privilege, and the accounts of the values only.

use std::collections::BTreeSet;

use bindery::{apis::aws_operator::Kind, operators::aws::definitions};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    rendered::{arguments, documents_of, find, folder, kind, name, refusal, rules, strings},
    rights::{rights, set},
};

const ON: [&str; 2] = ["--set", "awsOperator.enabled=true,awsOperator.clusterName=demos"];

fn operator(more: &[&str]) -> Vec<Value> {
    documents_of(&[&ON[..], more].concat())
}

fn plurals() -> BTreeSet<&'static str> {
    Kind::ALL.into_iter().map(|kind| kind.facts().plural).collect()
}

#[test]
fn it_is_off_by_default_and_needs_the_name_of_the_cluster() {
    let names: Vec<_> = documents_of(&[]).iter().map(|document| name(document).to_owned()).collect();
    assert!(names.iter().all(|name| !name.contains("aws")), "{names:?}");
    let refused = refusal(&["--set", "awsOperator.enabled=true"]);
    assert!(refused.contains("clusterName"), "{refused}");
}

#[test]
fn every_value_is_an_argument() {
    let accounts = json!([{"id": "111122223333", "roleArn": "arn:aws:iam::111122223333:role/o", "externalId": "contract-7"}]);
    let teams = json!([{"name": "payments", "roleArn": "arn:aws:iam::111122223333:role/payments"}]);
    let documents = operator(&[
        "--set-json",
        &format!("awsOperator.accounts={accounts}"),
        "--set-json",
        &format!("awsOperator.teams={teams}"),
        "--set-json",
        r#"awsOperator.kinds=["DynamoDB","SQSQueue"]"#,
        "--set-string",
        "awsOperator.accountId=000000000000",
        "--set",
        "awsOperator.region=us-west-2,awsOperator.namespace=shop,awsOperator.defaultNamespace=templates,\
         awsOperator.deletionPolicy=retain,awsOperator.allowIam=true,awsOperator.bucket=bucket,awsOperator.driftInterval=6h,awsOperator.pollInterval=7s,\
         awsOperator.events=push,awsOperator.apiCallsPerSecond=3",
    ]);
    let expected = [
        "aws-operator",
        "--log-format=json",
        "--log=info",
        "--lease=bindery-aws-operator",
        "--cluster-name=demos",
        "--region=us-west-2",
        "--account-id=000000000000",
        "--account=111122223333=arn:aws:iam::111122223333:role/o,contract-7",
        "--team=payments=arn:aws:iam::111122223333:role/payments",
        "--resources=dynamodb,sqsqueue",
        "--k8s-namespace=shop",
        "--default-namespace=templates",
        "--deletion-policy=retain",
        "--allow-iam",
        "--bucket=bucket",
        "--drift-interval=6h",
        "--poll-interval=7s",
        "--events=push",
        "--api-calls-per-second=3",
    ];
    assert_eq!(arguments(&documents, "bindery-aws-operator"), expected.into());
    for wrong in [
        r#"awsOperator.accounts=[{"id":"1","roleArn":"arn:aws:iam::1:role/o"}]"#,
        r#"awsOperator.accounts=[{"id":"111122223333"}]"#,
        r#"awsOperator.teams=[{"name":"a=b","roleArn":"arn:aws:iam::1:role/o"}]"#,
        r#"awsOperator.kinds=["Table"]"#,
        r#"awsOperator.deletionPolicy="keep""#,
        r#"awsOperator.events="webhook""#,
        r#"awsOperator.extraEnv=[{"name":"AWS_SECRET_ACCESS_KEY","value":"secret"}]"#,
    ] {
        refusal(&[&ON[..], &["--set-json", wrong]].concat());
    }
}

#[test]
fn its_pod_is_locked_down_and_has_its_role() {
    let documents = operator(&[
        "--set-json",
        r#"awsOperator.serviceAccountAnnotations={"eks.amazonaws.com/role-arn":"arn"}"#,
        "--set-json",
        r#"awsOperator.podAnnotations={"iam.amazonaws.com/role":"operator"}"#,
        "--set-json",
        r#"awsOperator.extraEnv=[{"name":"AWS_REGION","value":"eu-west-1"}]"#,
    ]);
    let account = find(&documents, "ServiceAccount", "bindery-aws-operator").unwrap();
    assert_eq!(account["metadata"]["annotations"], json!({"eks.amazonaws.com/role-arn": "arn"}));
    let template = &find(&documents, "Deployment", "bindery-aws-operator").unwrap()["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"], json!({"iam.amazonaws.com/role": "operator"}));
    let pod = &template["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    let locked = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    assert_eq!(container["securityContext"], locked);
    assert!(container["resources"]["limits"]["memory"].is_string());
    let region = json!({"name": "AWS_REGION", "value": "eu-west-1"});
    assert!(container["env"].as_array().unwrap().contains(&region), "{container}");
}

/// No Secrets, no wildcards, no definitions, and objects of its own kinds only.
#[test]
fn its_rights_are_minimal() {
    let documents = operator(&[]);
    let of_operator: Vec<_> =
        rules(&documents).filter(|(role, _)| *role == "bindery-aws-operator").map(|(_, rule)| rule).collect();
    for rule in &of_operator {
        for field in ["apiGroups", "resources", "verbs"] {
            assert!(!strings(&rule[field]).contains("*"), "{rule}");
        }
        assert!(!strings(&rule["resources"]).contains("secrets"), "{rule}");
    }
    let may = |resources: &[&str]| rights(&documents, "bindery-aws-operator", resources);
    assert_eq!(may(&["configmaps"]), set(&["create configmaps", "get configmaps", "patch configmaps"]));
    assert_eq!(may(&["customresourcedefinitions"]), set(&["get customresourcedefinitions"]));
    assert_eq!(may(&["cloudformationtemplates"]), set(&["get cloudformationtemplates"]));
    let namespaces = set(&["get namespaces", "list namespaces", "watch namespaces"]);
    assert_eq!(may(&["namespaces"]), namespaces);
    for plural in plurals().into_iter().filter(|plural| *plural != "cloudformationtemplates") {
        let verbs = ["get", "list", "update", "watch"].map(|verb| format!("{verb} {plural}"));
        assert_eq!(may(&[plural]), verbs.into());
    }
    for policy in ["bindery-aws-operator-outputs", "bindery-aws-operator-ledger"] {
        let policy = find(&documents, "ValidatingAdmissionPolicy", policy).unwrap();
        let condition = policy["spec"]["matchConditions"][0]["expression"].as_str().unwrap();
        assert_eq!(
            condition,
            "request.userInfo.username == 'system:serviceaccount:bindery:bindery-aws-operator'"
        );
        assert!(find(&documents, "ValidatingAdmissionPolicyBinding", name(policy)).is_some());
    }
}

#[test]
fn a_hook_writes_the_definitions_and_may_write_no_other() {
    let documents = operator(&[]);
    let job = find(&documents, "Job", "bindery-aws-crds").unwrap();
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-install,pre-upgrade");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"], json!(["crds", "--apply", "--aws-operator"]));
    let needed: BTreeSet<_> = definitions().iter().map(ResourceExt::name_any).collect();
    for role in ["bindery-aws-crds", "bindery-aws-operator"] {
        let named: BTreeSet<_> = rules(&documents)
            .filter(|(found, rule)| {
                *found == role && strings(&rule["resources"]).contains("customresourcedefinitions")
            })
            .flat_map(|(_, rule)| strings(&rule["resourceNames"]))
            .map(ToOwned::to_owned)
            .collect();
        assert_eq!(named, needed, "{role}");
    }
    let manifest = folder("examples/aws-service-operator");
    let of_seed: BTreeSet<_> = rules(&manifest)
        .filter(|(_, rule)| strings(&rule["resources"]).contains("customresourcedefinitions"))
        .flat_map(|(_, rule)| strings(&rule["resourceNames"]))
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(of_seed, needed, "the manifest of the seed");
}

#[test]
fn users_of_a_namespace_may_read_or_change_the_objects() {
    let documents = operator(&[]);
    for (role, verb) in [("bindery-aws-view", "watch"), ("bindery-aws-edit", "create")] {
        let role = find(&documents, "ClusterRole", role).unwrap();
        let rule = &role["rules"][0];
        assert_eq!(strings(&rule["resources"]), plurals(), "{role}");
        assert!(strings(&rule["verbs"]).contains(verb), "{role}");
    }
    let policy = operator(&["--set", "networkPolicy.enabled=true"]);
    let policies: BTreeSet<_> =
        policy.iter().filter(|document| kind(document) == "NetworkPolicy").map(name).collect();
    assert!(policies.contains("bindery-aws-operator"), "{policies:?}");
}
