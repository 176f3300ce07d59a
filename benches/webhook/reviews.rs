//! The reviews: pods of three sizes, each with one binding.

use axum::body::Bytes;
use serde_json::{Value, json};

/// A review, and its rate under load at a fixed rate.
pub(crate) struct Review {
    pub(crate) name: &'static str,
    pub(crate) rate: u32,
    pub(crate) body: Bytes,
}

/// A minimal pod; a pod like that of a web application's Deployment; and a pod as large as etcd accepts, of which no
/// machine here could decode a thousand per second.
pub(crate) fn all() -> [Review; 3] {
    let small = json!([{"name": "app", "image": "registry.example/app:1"}]);
    let typical: Vec<Value> = (0..3).map(|number| container(number, 12)).collect();
    let huge: Vec<Value> = (0..40).map(|number| container(number, 235)).collect();
    [
        Review { name: "small", rate: 1000, body: review(&small) },
        Review { name: "typical", rate: 1000, body: review(&json!(typical)) },
        Review { name: "huge", rate: 20, body: review(&json!(huge)) },
    ]
}

fn container(number: usize, variables: usize) -> Value {
    let env: Vec<Value> = (0..variables)
        .map(|variable| json!({"name": format!("SETTING_{variable}"), "value": format!("a value of some length, {variable:030}")}))
        .collect();
    json!({
        "name": format!("container-{number}"),
        "image": format!("registry.example/shop/container-{number}@sha256:{:064}", number),
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/bin/app", "--listen=0.0.0.0:8080"],
        "env": env,
        "ports": [{"name": "http", "containerPort": 8080 + number, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        ]
    })
}

fn probe(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
        "successThreshold": 1, "failureThreshold": 3})
}

fn review(containers: &Value) -> Bytes {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-5d4f8b7c96-",
            "namespace": "",
            "creationTimestamp": null,
            "labels": {"app": "web", "pod-template-hash": "5d4f8b7c96"},
            "annotations": {"bindery.dev/bind": "mydb01-binding"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8b7c96",
                "uid": "0c9a8d74-9cb7-44dd-b98e-09fd62def2f4", "controller": true, "blockOwnerDeletion": true}]
        },
        "spec": {
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
                ]}}
            ],
            "containers": containers,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            ],
            "priority": 0,
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority"
        },
        "status": {}
    });
    let pods = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let review = json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "7b1b9a4e-2f6f-4b0b-8a4b-0a8c1f6f6f10",
            "kind": kind,
            "resource": pods,
            "requestKind": kind,
            "requestResource": pods,
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "5f0a5f0e-4b0c-4f0f-8f0a-5f0e4b0c4f0f",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]
            },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        }
    });
    review.to_string().into()
}
