//! A queue of Amazon SQS: provisioned, bound and used with the manifests in `examples/aws`.

use k8s_openapi::api::core::v1::{Pod, Secret};

use crate::scenario::{Output, Scenario};

const INSTANCE: &str = include_str!("../../examples/aws/provision-sqs.yaml");
const BINDING: &str = include_str!("../../examples/aws/sqs-demo-binding.yaml");
const POD_BY_HAND: &str = include_str!("../../examples/aws/sqs-demo-app-pod.yaml");
const POD: &str = include_str!("../../examples/aws/queue-app.yaml");
/// The image that every test cluster has.
const BUSYBOX: &str = "image: busybox:1.35\n    command: [env]";

/// Asks a queue from the pod, as docs/aws.md does. The last line of the output is the HTTP status.
async fn ask(scenario: &Scenario, queue: &str, parameters: &[&str]) -> (String, u16) {
    let parameters: Vec<_> = parameters.iter().map(|it| format!("--data-urlencode {it:?}")).collect();
    let script = format!(
        "curl --silent --show-error --max-time 60 --write-out '\n%{{http_code}}' \
         --aws-sigv4 \"aws:amz:$AWS_REGION:sqs\" --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" {} \"{queue}\"",
        parameters.join(" ")
    );
    let output: Output = scenario.exec("queue-app", &["sh", "-c", &script]).await;
    let text = output.expect_success();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (body.to_owned(), status.parse().unwrap())
}

#[tokio::test]
async fn a_pod_uses_its_queue_and_no_other_until_the_binding_ends() {
    let scenario = Scenario::new("queue").await;
    let aws = &scenario.installation.aws;
    let by_hand = POD_BY_HAND.replace("image: busybox", BUSYBOX);
    for manifest in [POD, &by_hand, BINDING, INSTANCE] {
        scenario.apply(manifest).await.expect_success();
    }
    let credentials = scenario.credentials("os-blog-sqs-binding").await;
    scenario.running("queue-app").await;
    let (send, receive) =
        (["Action=SendMessage", "MessageBody=hello"], ["Action=ReceiveMessage", "WaitTimeSeconds=20"]);
    let (_, sent) = ask(&scenario, "$QUEUE_URL", &send).await;
    let (received, status) = ask(&scenario, "$QUEUE_URL", &receive).await;
    assert_eq!((sent, status), (200, 200), "{received}");
    assert!(received.contains("<Body>hello</Body>"), "{received}");
    let other = aws.make_queue("other");
    for parameters in [send, receive] {
        let (answer, status) = ask(&scenario, &other, &parameters).await;
        assert!(status == 403 && answer.contains("AccessDenied"), "{status}: {answer}");
    }

    let is_done = |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()).is_some_and(|phase| phase == "Succeeded")
    };
    scenario.until::<Pod>("sqs-demo-app-pod", "done", is_done).await;
    let environment = scenario.kubectl(&["logs", "sqs-demo-app-pod"]).await.expect_success();
    let line = |name: &str, key: &str| format!("{name}={}\n", credentials.get(key));
    for wanted in [line("SQS_QUEUE_URL", "QueueURL"), line("SQS_QUEUE_ARN", "QueueARN")] {
        assert!(environment.contains(&wanted), "{environment}");
    }

    scenario
        .kubectl(&["delete", "servicebinding", "os-blog-sqs-binding", "--timeout=60s"])
        .await
        .expect_success();
    let (answer, status) = ask(&scenario, "$QUEUE_URL", &send).await;
    assert_eq!(status, 403, "{answer}");
    scenario.gone::<Secret>("os-blog-sqs-binding").await;
    scenario.finish_with(&[], async || assert_eq!(aws.leftovers(), Vec::<String>::new())).await;
}
