# A queue of Amazon SQS (`make demo-sqs`), with the chart and the manifests of the AWS Service Broker.
# shellcheck shell=bash

queue_example=examples/aws

sqs() {
  steps=6 release_namespace=aws-sb
  step "Check this machine, and have a Kubernetes"
  tests/preflight aws
  check_cluster
  begin_build
  start_cluster
  step "Have an account of AWS"
  start_aws
  step "Build bindery and install it with the chart of the AWS Service Broker's values"
  build_bindery
  install_aws_servicebroker
  step "Provision a queue, bind it, and run a pod that names the binding and one that names keys of its Secret"
  apply_queue
  step "Use the queue from inside the pod"
  use_queue
  step "Take it back: delete the binding, then the instance"
  delete_queue
}

install_aws_servicebroker() {
  local image=${BINDERY_DEMO_IMAGE:-bindery:demo}
  expect "helm installs the chart and its pods become ready within three minutes"
  say "\$ helm install aws-servicebroker charts/aws-servicebroker --namespace aws-sb --create-namespace \\"
  say "    --set aws.accesskeyid=… --set aws.secretkey=… --set image=$image \\"
  say "    --set aws.endpoint=$endpoint --set aws.cloudformationrolearn=$deploy_role"
  helm install aws-servicebroker charts/aws-servicebroker --namespace aws-sb --create-namespace \
    --set "aws.accesskeyid=$(element AccessKeyId < "$aws/key.xml")" --set "aws.secretkey=$(element SecretAccessKey < "$aws/key.xml")" \
    --set "image=$image" --set "aws.endpoint=$endpoint" --set "aws.cloudformationrolearn=$deploy_role" \
    --wait --timeout 180s > "$log/helm.log" 2>&1 || { indent < "$log/helm.log" && return 1; }
  await 60 "the broker is registered and Ready" \
    kubectl wait --for=condition=Ready clusterservicebroker/aws-servicebroker --timeout=1s
  show kubectl get ClusterServiceBroker aws-servicebroker
  same "the broker's address" https://aws-servicebroker-aws-servicebroker.aws-sb.svc.cluster.local \
    "$(kubectl get clusterservicebroker aws-servicebroker -o jsonpath='{.spec.url}')"
  show kubectl get clusterserviceclasses -o custom-columns=CLASS:.spec.externalName,DESCRIPTION:.spec.description
}

apply_queue() {
  expect "the manifests are applied"
  show kubectl apply -f $queue_example/queue-app.yaml
  show kubectl apply -f $queue_example/sqs-demo-binding.yaml
  show kubectl apply -f $queue_example/provision-sqs.yaml
  say "the blog's pod prints its environment and ends, and its image is the cluster's own busybox:"
  show kubectl apply -f - < <(sed 's/image: busybox/image: busybox:1.35\n    command: [env]/' $queue_example/sqs-demo-app-pod.yaml)
  await 60 "the instance is Ready" kubectl wait --for=condition=Ready serviceinstance/opensource-blog-sqs-demo --timeout=1s
  await 60 "the binding is Ready" kubectl wait --for=condition=Ready servicebinding/os-blog-sqs-binding --timeout=1s
  show kubectl get serviceinstances,servicebindings,secrets
  same "queues of the account that have the blog's prefix" 1 "$(queues | grep -c /AWSServiceBroker-)"
  await 60 "the blog's pod has ended" kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/sqs-demo-app-pod --timeout=1s
  say "\$ kubectl logs sqs-demo-app-pod | grep SQS_"
  kubectl logs sqs-demo-app-pod | grep SQS_ | indent
  same "SQS_QUEUE_URL in the blog's pod" "$(queues)" "$(kubectl logs sqs-demo-app-pod | sed -n 's/^SQS_QUEUE_URL=//p')"
}

# shellcheck disable=SC2016 # the pod's variables
signed='curl --silent --aws-sigv4 "aws:amz:$AWS_REGION:sqs" --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"'

# A request from inside the pod, with the credentials in its environment: queue parameter...
ask_queue() {
  local queue=$1 parameter words=''
  shift
  for parameter; do words+=" --data-urlencode '$parameter'"; done
  kubectl exec queue-app -- sh -c "$signed$words --write-out '\n%{http_code}\n' $queue" > "$aws/answer"
}

use_queue() {
  local url='"$QUEUE_URL"' other
  await 60 "the pod runs" kubectl wait --for=condition=Ready pod/queue-app --timeout=1s
  say "in the pod queue-app, which has the annotation bindery.dev/bind: os-blog-sqs-binding:"
  say "\$ $signed \\"
  say "    --data-urlencode Action=SendMessage --data-urlencode 'MessageBody=hello from a pod' \"\$QUEUE_URL\""
  ask_queue "$url" Action=SendMessage "MessageBody=hello from a pod"
  say "  $(tail -n 1 "$aws/answer"), MessageId $(element MessageId < "$aws/answer")"
  same "status of the message sent" 200 "$(tail -n 1 "$aws/answer")"
  say "\$ … --data-urlencode Action=ReceiveMessage --data-urlencode WaitTimeSeconds=20 \"\$QUEUE_URL\""
  ask_queue "$url" Action=ReceiveMessage WaitTimeSeconds=20
  say "  $(tail -n 1 "$aws/answer"), Body $(element Body < "$aws/answer")"
  same "the message received" "hello from a pod" "$(element Body < "$aws/answer")"
  say "another queue of the account, with the same credentials:"
  other=$(as_root sqs 2012-11-05 Action=CreateQueue QueueName=another | element QueueUrl)
  refused_at "$other"
}

refused_at() { # queue
  ask_queue "$1" Action=SendMessage MessageBody=hello
  say "  $(tail -n 1 "$aws/answer"), $(element Code < "$aws/answer"): $(element Message < "$aws/answer" | sed 's/^User: [^ ]* is/it is/' | cut -c 1-60)"
  same "status of the message sent" 403 "$(tail -n 1 "$aws/answer")"
}

delete_queue() {
  same "users of bindings in IAM" 1 "$(users | wc -l)"
  expect "the binding is deleted within a minute"
  show kubectl delete -f $queue_example/sqs-demo-binding.yaml --timeout 60s
  say "the pod still has the credentials in its environment; the queue refuses them:"
  # shellcheck disable=SC2016 # the pod's variable
  refused_at '"$QUEUE_URL"'
  same "users of bindings in IAM" "" "$(users)"
  expect "the instance is deleted within a minute"
  show kubectl delete -f $queue_example/provision-sqs.yaml --timeout 60s
  same "queues of the account that have the blog's prefix" "" "$(queues | grep /AWSServiceBroker- || true)"
  expect "bindery sweep finds nothing"
  show kubectl --namespace aws-sb exec deployment/aws-servicebroker-broker -- bindery sweep --config /etc/bindery/bindery.yaml
  same "external resources" "" "$(kubectl get extres --output name)"
}
