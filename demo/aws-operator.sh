# The AWS Service Operator's API (`make demo-aws-operator`), with the commands of the seed: a table of Amazon DynamoDB as an
# object of Kubernetes, and a pod that writes to the table that it names.
# shellcheck shell=bash

operator_example=examples/aws-service-operator

aws_operator() {
  steps=6 release_namespace=aws-service-operator
  step "Check this machine, and have a Kubernetes"
  tests/preflight aws
  check_cluster
  begin_build
  start_cluster
  step "Have an account of AWS"
  start_emulator
  make_users
  step "Build bindery, and install its webhook with the chart and the operator with the manifest of the AWS Service Operator"
  build_bindery
  install_webhook
  install_operator
  step "Apply a table and the application that uses it"
  apply_table
  step "Look at the application, which writes to the table that it names"
  look_at_application
  step "Take it back"
  delete_table
}

make_users() {
  local account
  account=$(as_root sts 2011-06-15 Action=GetCallerIdentity | element Account)
  say "a user for the operator, with the rights in $operator_example/policy.json, and one that may write to the table"
  sed "s/ACCOUNT/$account/; s/CLUSTER/aws-service-operator-demos/" $operator_example/policy.json > "$aws/operator.json"
  cat > "$aws/writer.json" << END
{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "dynamodb:PutItem",
  "Resource": "arn:aws:dynamodb:$region:$account:table/dynamo-table"}]}
END
  make_user operator
  make_user writer
  echo "$account" > "$aws/account"
}

make_user() { # name: with the policy of the file
  expect "the user $1 is made"
  as_root iam 2010-05-08 Action=CreateUser "UserName=$1" > /dev/null
  as_root iam 2010-05-08 Action=PutUserPolicy "UserName=$1" PolicyName=rights "PolicyDocument@$aws/$1.json" > /dev/null
  as_root iam 2010-05-08 Action=CreateAccessKey "UserName=$1" > "$aws/$1.xml"
}

key_of() { element AccessKeyId < "$aws/$1.xml"; }
secret_of() { element SecretAccessKey < "$aws/$1.xml"; }

install_webhook() {
  local image=${BINDERY_DEMO_IMAGE:-bindery:demo}
  expect "helm installs the chart and its pods become ready within three minutes"
  show helm install bindery charts/bindery --namespace bindery --create-namespace --set apis.serviceCatalog=false \
    --set "image.repository=${image%:*}" --set "image.tag=${image##*:}" --wait --timeout 180s
}

# The manifest with the values that the seed has its readers change, and the image.
install_operator() {
  local image=${BINDERY_DEMO_IMAGE:-bindery:demo} manifest=$aws/aws-service-operator.yaml
  sed -e "s/--region=us-west-2/--region=$region/" -e "s/--account-id=000000000000/--account-id=$(cat "$aws/account")/" \
    -e "s#image: bindery\$#image: $image#" $operator_example/aws-service-operator.yaml > "$manifest"
  say "\$ diff aws-service-operator.yaml (as it comes) (as it is applied)"
  diff $operator_example/aws-service-operator.yaml "$manifest" | grep '^[<>]' | indent || true
  expect "the five objects of the seed are created"
  show kubectl apply -f "$manifest"
  say "an emulator needs its address and a key; on AWS the role of the ServiceAccount takes their place:"
  kubectl --namespace aws-service-operator create secret generic aws-key \
    --from-literal="AWS_ACCESS_KEY_ID=$(key_of operator)" --from-literal="AWS_SECRET_ACCESS_KEY=$(secret_of operator)" > /dev/null
  show kubectl --namespace aws-service-operator set env deployment/aws-service-operator --from=secret/aws-key "AWS_ENDPOINT_URL=$endpoint"
  expect "the operator's pod becomes ready within two minutes"
  show kubectl --namespace aws-service-operator rollout status deployment/aws-service-operator --timeout=120s
  await 60 "the kinds are served" kubectl get dynamodbs,sqsqueues,s3buckets
  show kubectl get customresourcedefinitions
  same "definitions of service-operator.aws" 8 "$(kubectl get customresourcedefinitions --output name | grep -c '\.service-operator\.aws$')"
}

apply_table() {
  expect "the application is applied"
  # Each resource of a stack takes this long, so that the watch shows it.
  inside curl --silent --fail --data '{"delay": 4}' "$endpoint/_ground" > /dev/null
  kubectl create secret generic table-key --from-literal="accessKeyId=$(key_of writer)" \
    --from-literal="secretAccessKey=$(secret_of writer)" > /dev/null
  kubectl get dynamodb --output yaml --watch > "$aws/watch.yaml" 2> /dev/null &
  local watch=$!
  sed "s#command: \[sh, -c\]#&\n        env: [{name: AWS_ENDPOINT_URL_DYNAMODB, value: \"$endpoint\"}]#" $operator_example/dynamodb-app.yaml \
    > "$aws/dynamodb-app.yaml"
  show kubectl apply -f "$aws/dynamodb-app.yaml"
  say "\$ kubectl get dynamodb -o yaml -w"
  await 60 "the stack is being created" grep -q 'resourceStatus: CREATE_IN_PROGRESS' "$aws/watch.yaml"
  watched CREATE_IN_PROGRESS
  await 60 "the stack is complete" grep -q 'resourceStatus: CREATE_COMPLETE' "$aws/watch.yaml"
  watched CREATE_COMPLETE
  kill "$watch" 2> /dev/null || true
  same "the table in the object" dynamo-table "$(kubectl get dynamodb dynamo-table -o jsonpath='{.output.tableName}')"
  show kubectl get dynamodb,extres
  show kubectl get configmap dynamo-table --output yaml
}

# The last object of the watch in this state, without what the API server adds.
watched() { # state
  awk -v RS='---\n' -v state="resourceStatus: $1" 'index($0, state) { found = $0 } END { print found }' "$aws/watch.yaml" \
    | grep -v 'managedFields\|last-applied\|^ *{"apiVersion"\|resourceVersion\|uid:\|creationTimestamp\|generation:' | indent
}

look_at_application() {
  await 90 "the pod has written to the table" eval "kubectl logs deployment/frontend | grep -q '^wrote to dynamo-table'"
  say "\$ kubectl get service -o wide"
  kubectl get service frontend -o wide | indent
  show kubectl get pods --selector app=frontend
  show kubectl logs deployment/frontend
  same "items in the table" 1 "$(items)"
  say "another table of the account, with the same key:"
  # shellcheck disable=SC2016 # the pod's variables
  kubectl exec deployment/frontend -- sh -c 'curl --silent --aws-sigv4 "aws:amz:$AWS_REGION:dynamodb" \
    --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" --header "X-Amz-Target: DynamoDB_20120810.PutItem" \
    --header "Content-Type: application/x-amz-json-1.0" --data "{\"TableName\": \"another\", \"Item\": {\"name\": {\"S\": \"x\"}}}" \
    "$AWS_ENDPOINT_URL_DYNAMODB"' > "$aws/answer"
  same "the answer" AccessDeniedException "$(grep -o 'AccessDenied[A-Za-z]*' "$aws/answer" | head -n 1)"
  say "  AccessDeniedException"
}

# How many items the table has.
items() {
  inside curl --silent --show-error --fail-with-body --user test:test --aws-sigv4 "aws:amz:$region:dynamodb" \
    --header 'X-Amz-Target: DynamoDB_20120810.Scan' --header 'Content-Type: application/x-amz-json-1.0' \
    --data '{"TableName": "dynamo-table"}' "$endpoint" | sed 's/.*"Count": *\([0-9]*\).*/\1/'
}

delete_table() {
  expect "everything is deleted within two minutes"
  show kubectl delete -f "$aws/dynamodb-app.yaml" --timeout 120s
  same "stacks of the account" "" "$(as_root cloudformation 2010-05-15 Action=DescribeStacks | element StackName || true)"
  same "external resources" "" "$(kubectl get extres --output name)"
  expect "bindery sweep finds nothing"
  show kubectl --namespace aws-service-operator exec deployment/aws-service-operator -- bindery sweep --aws \
    --cluster-name aws-service-operator-demos --region "$region"
}
