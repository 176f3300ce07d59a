//! The manifests under `examples/` are those of the documents that bindery follows. The documents lost lines of their
//! YAML: each line that they show stands in the example, unchanged and in order, and `docs/seeds.md` has each command.

use crate::pages::read;

/// The lines that the AWS Open Source Blog shows of its three manifests.
const AWS: [(&str, &[&str]); 3] = [
    (
        "provision-sqs.yaml",
        &[
            "kind: ServiceInstance",
            "  name: opensource-blog-sqs-demo",
            "  clusterServiceClassExternalName: dh-sqs",
            "  clusterServicePlanExternalName: standard",
        ],
    ),
    (
        "sqs-demo-binding.yaml",
        &["kind: ServiceBinding", "  name: os-blog-sqs-binding", "    name: opensource-blog-sqs-demo"],
    ),
    (
        "sqs-demo-app-pod.yaml",
        &[
            "apiVersion: v1",
            "kind: Pod",
            "  name: sqs-demo-app-pod",
            "  - name: psuedocontainer",
            "    image: busybox",
            "      - name: SQS_QUEUE_URL",
            "            name: os-blog-sqs-binding",
            "            key: QueueURL",
            "      - name: SQS_QUEUE_ARN",
            "            name: os-blog-sqs-binding",
            "            key: QueueARN",
            "  restartPolicy: Never",
        ],
    ),
];

/// The lines that the article on CockroachDB shows.
const COCKROACHDB: [(&str, &[&str]); 4] = [
    (
        "servicebroker.yaml",
        &[
            "          - name: SERVICES",
            "            value: '[",
            r#"                "id": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00","#,
            r#"                "name": "cockroachdb","#,
            r#"                "description": "CockroachDB service broker for creating cloud-native SQL databases.","#,
            r#"                "bindable": true,"#,
            r#"                "plan_updateable": false,"#,
            r#"                "metadata": {"#,
            r#"                  "displayName": "CockroachDB","#,
            r#"                  "longDescription": "CockroachDB service broker for creating cloud-native SQL databases.","#,
            r#"                  "documentationUrl": "https://www.cockroachlabs.com/docs/","#,
            r#"                  "supportUrl": "https://www.cockroachlabs.com/community/","#,
            r#"                  "imageUrl": "https://www.cockroachlabs.com/images/CockroachLabs_Logo_Mark-lightbackground.svg""#,
            r#"                "tags": ["cockroachdb", "database", "SQL", "cloud"]"#,
            "          - name: PRECONFIGURED_PLANS",
            "            value: '[",
            r#"                "name": "default","#,
            r#"                "description": "Default","#,
            r#"                "metadata": {"#,
            r#"                  "displayName": "Default""#,
            r#"                "serviceID": "e2e250b5-73f8-45fd-9a7f-93c8dddc5f00","#,
            r#"                "crdbHost": "cockroachdb-public.default.svc.cluster.local","#,
            r#"                "crdbPort": "26257""#,
            "          - name: SECURITY_USER_NAME",
            "            value: user",
            "          - name: SECURITY_USER_PASSWORD",
            "            value: pass",
            "apiVersion: servicecatalog.k8s.io/v1beta1",
            "kind: ClusterServiceBroker",
            "  name: cockroachdb-service-broker",
            "  url:  http://user:pass@crdb-service-broker.default",
        ],
    ),
    (
        "serviceinstance.yaml",
        &[
            "apiVersion: servicecatalog.k8s.io/v1beta1",
            "kind: ServiceInstance",
            "  name: mydb01",
            "  clusterServiceClassExternalName: cockroachdb",
            "  clusterServicePlanExternalName: default",
        ],
    ),
    (
        "servicebinding.yaml",
        &[
            "apiVersion: servicecatalog.k8s.io/v1beta1",
            "kind: ServiceBinding",
            "  name: mydb01-binding",
            "    name: mydb01",
        ],
    ),
    (
        "clientapp-by-hand.yaml",
        &[
            "apiVersion: v1",
            "kind: Pod",
            "    app: client-app01",
            "  name: client-app01",
            "  - command:",
            "    - sleep",
            r#"    - "2147483648""#,
            "    image: cockroachdb/cockroach:v2.0.3",
            "    imagePullPolicy: IfNotPresent",
            "    name: client-app01",
            "    resources: {}",
            "    terminationMessagePath: /dev/termination-log",
            "    terminationMessagePolicy: File",
            "    - mountPath: /var/secrets/mydb01-binding",
            "      name: mydb01-binding",
            r#"    - name: "COCKROACH_URL""#,
            "          name: mydb01-binding",
            "          key: uri",
            "    - name: mydb01-binding",
            "        secretName: mydb01-binding",
        ],
    ),
];

/// The whole manifest of Kf's documentation.
const KF: &str = "apiVersion: servicecatalog.k8s.io/v1beta1
kind: ClusterServiceBroker
metadata:
  name: aws-sb
spec:
  # For all configuration options, look at the service catalog's
  # type definitions:
  #  https://github.com/kubernetes-sigs/service-catalog/blob/master/pkg/apis/servicecatalog/v1beta1/types.go#L185
  url: https://replace.with.url.to.service.broker
  insecureSkipTLSVerify: false # use a trusted TLS certificate
  authInfo:
    bearer: # or basic
      secretRef:
        namespace: some-namespace
        name: some-secret-name
";

#[test]
fn the_examples_have_every_line_of_their_documents() {
    for (folder, files) in [("aws", &AWS[..]), ("cockroachdb", &COCKROACHDB[..])] {
        for (file, lines) in files {
            let text = read(&format!("examples/{folder}/{file}"));
            let mut rest = text.lines();
            for line in *lines {
                assert!(
                    rest.any(|candidate| candidate == *line),
                    "examples/{folder}/{file} has no line {line:?}"
                );
            }
        }
    }
    assert_eq!(read("examples/kf/aws-sb.yaml"), KF);
}

/// The names that the README of Alibaba's broker gives to files and objects; it does not show the manifests.
#[test]
fn the_examples_of_alibaba_have_the_names_of_their_document() {
    for (file, name) in [
        ("broker.yaml", "alibabacloud-servicebroker"),
        ("rds-mysql-instance.yaml", "rds-mysql-1"),
        ("rds-binding.yaml", "rds-binding"),
        ("rds-binding.yaml", "rds-mysql-1"),
        ("oss-instance.yaml", "oss-instance"),
        ("oss-binding.yaml", "oss-binding"),
        ("oss-binding.yaml", "oss-instance"),
    ] {
        assert!(read(&format!("examples/alibaba/{file}")).contains(&format!("name: {name}\n")), "{file}");
    }
    for (file, line) in [
        ("rds-mysql-instance.yaml", "clusterServiceClassExternalName: alibaba-cloud-rds-mysqldb"),
        ("rds-mysql-instance.yaml", "clusterServicePlanExternalName: rds-mysql-t1-small"),
        ("rds-binding.yaml", "secretName: rds-instance-credentials"),
        ("rds-binding.yaml", "Username: orders"),
        ("oss-instance.yaml", "clusterServiceClassExternalName: alibaba-cloud-oss"),
        ("oss-instance.yaml", "clusterServicePlanExternalName: default"),
        ("oss-binding.yaml", "secretName: oss-instance-credentials"),
    ] {
        assert!(read(&format!("examples/alibaba/{file}")).contains(&format!("{line}\n")), "{file}: {line}");
    }
}

/// The commands of the documents, without their options' values.
const COMMANDS: [&str; 59] = [
    // The AWS Open Source Blog.
    "curl -sLo svcat",
    "svcat install plugin",
    "helm repo add svc-cat",
    "helm install svc-cat/catalog --name catalog --namespace catalog",
    "kubectl get pods --namespace=catalog",
    "aws iam create-policy",
    "aws iam create-role",
    "aws iam attach-role-policy",
    "kops edit cluster ${CLUSTER_NAME}",
    "kops update cluster ${CLUSTER_NAME}",
    "aws iam list-role-policies",
    "kubectl get pods --namespace=aws-service-broker",
    "kubectl get svc",
    "kubectl plugin svcat get brokers",
    "kubectl plugin svcat get classes",
    "kubectl apply -f provision-sqs.yaml",
    "kubectl plugin svcat get instances",
    "aws --region YOUR_REGION sqs list-queues --queue-name-prefix AWSServiceBroker",
    "kubectl apply -f sqs-demo-binding.yaml",
    "kubectl plugin svcat get bindings",
    "kubectl plugin svcat describe binding os-blog-sqs-binding",
    "kubectl get secrets",
    // The AWS Service Operator.
    "aws iam attach-role-policy",
    "wget https://raw.githubusercontent.com/awslabs/aws-service-operator/master/configs/aws-service-operator.yaml",
    "aws sts get-caller-identity",
    "kubectl apply -f aws-service-operator.yaml",
    "kubectl get customresourcedefinitions",
    "kubectl apply -f https://gist.githubusercontent.com",
    "kubectl get dynamodb -o yaml -w",
    "kubectl get service -o wide",
    // CockroachDB.
    "minikube start",
    "helm init",
    "helm upgrade -i --wait cockroachdb01",
    "kubectl run -it --rm cockroach-client",
    "helm repo add svc-cat",
    "helm install svc-cat/catalog",
    "kubectl get clusterserviceclasses",
    "kubectl get clusterservicebroker",
    "kubectl apply -f k8s/servicebroker.yaml",
    "kubectl get clusterserviceclasses -o=custom-columns=SERVICE\\ NAME:.metadata.name,EXTERNAL\\ NAME:.spec.externalName",
    "kubectl get clusterserviceplans -o=custom-columns=PLAN\\ NAME:.metadata.name,EXTERNAL\\ NAME:.spec.externalName",
    "kubectl apply -f k8s/clientapp.yaml",
    "kubectl get secret mydb01-binding",
    "kubectl exec -ti client-app01 -- /cockroach/cockroach sql",
    "kubectl exec -it cockroachdb-client-secure",
    "kubectl delete serviceinstance",
    // Alibaba Cloud.
    "git clone https://github.com/AliyunContainerService/open-service-broker-alibabacloud.git",
    "helm install --name alibabacloud-servicebroker --namespace catalog charts/alibabacloud-servicebroker",
    "kubectl create -f examples/broker.yaml",
    "kubectl get clusterserviceclass",
    "kubectl get clusterserviceplan",
    "kubectl create -f examples/rds-mysql-instance.yaml",
    "kubectl get serviceinstance",
    "kubectl create -f examples/rds-binding.yaml",
    "kubectl get servicebindings",
    "kubectl describe secret rds-instance-credentials",
    // Kf.
    "helm repo add aws-sb https://awsservicebroker.s3.amazonaws.com/charts",
    "helm install aws-sb/aws-servicebroker",
    "kubectl get ClusterServiceBroker aws-servicebroker",
];

#[test]
fn the_page_has_each_command_of_the_documents() {
    let page = read("docs/seeds.md");
    let missing: Vec<_> =
        COMMANDS.into_iter().chain(["kf marketplace"]).filter(|command| !page.contains(command)).collect();
    assert!(missing.is_empty(), "docs/seeds.md lacks: {missing:#?}");
}
