# The account of AWS of `make demo-sqs` and `make demo-aws-operator`: an emulator that enforces signatures and policies, in the network of the cluster.
# shellcheck shell=bash

aws=$BINDERY_DEMO_DIR/aws
region=us-east-1

start_aws() {
  start_emulator
  make_prerequisites
}

start_emulator() {
  mkdir -p "$aws"
  expect "the emulator starts"
  mkfifo "$aws/input"
  # It ends when its input is closed; open for reading and writing, the input stays open as long as the emulator runs.
  inside env --ignore-environment "${CARGO_TARGET_DIR:-target}/venv/bin/python" tests/support/aws/ground.py "$(machine_address)" \
    <> "$aws/input" > "$aws/port" 2> "$log/aws.log" &
  await 60 "the emulator listens" test -s "$aws/port"
  endpoint=http://$(machine_address):$(cat "$aws/port")
  say "ministack $("${CARGO_TARGET_DIR:-target}/venv/bin/pip" list --format freeze 2> /dev/null | sed -n 's/^ministack==//p') at $endpoint, which enforces signatures and policies like AWS"
}

make_prerequisites() {
  expect "the prerequisites are created"
  say "creating a stack of examples/aws/prerequisites.yaml: a table, the role of CloudFormation, and a user for the broker"
  as_root cloudformation 2010-05-15 Action=CreateStack StackName=aws-servicebroker Capabilities.member.1=CAPABILITY_NAMED_IAM \
    TemplateBody@examples/aws/prerequisites.yaml > /dev/null
  await 60 "the stack is complete" eval "prerequisites | grep -q CREATE_COMPLETE"
  deploy_role=$(prerequisites | output DeployRoleARN)
  as_root iam 2010-05-08 Action=CreateAccessKey "UserName=$(prerequisites | output BrokerUserName)" > "$aws/key.xml"
  say "the role of CloudFormation: $deploy_role"
}

prerequisites() { as_root cloudformation 2010-05-15 Action=DescribeStacks StackName=aws-servicebroker; }

# The value of a stack's output, and the content of an element.
output() { grep -o "<OutputKey>$1</OutputKey><OutputValue>[^<]*" | sed 's/.*>//'; }
element() { grep -o "<$1>[^<]*" | sed 's/.*>//'; }

# A request as root of the account: service version parameter...
as_root() {
  local service=$1 version=$2 parameter words=()
  shift 2
  for parameter; do words+=(--data-urlencode "$parameter"); done
  inside curl --silent --show-error --fail-with-body --max-time 30 --user test:test --aws-sigv4 "aws:amz:$region:$service" \
    --data-urlencode "Version=$version" "${words[@]}" "$endpoint"
}

queues() { as_root sqs 2012-11-05 Action=ListQueues | element QueueUrl || true; }
users() { as_root iam 2010-05-08 Action=ListUsers PathPrefix=/bindery/ | element UserName || true; }
