# A MySQL instance of Alibaba Cloud RDS for a pod (`make demo-alibaba`), with the chart and the manifests of Alibaba Cloud's
# broker, on a stand-in for the cloud: tests/support/src/alibaba.
# shellcheck shell=bash

alibaba=$BINDERY_DEMO_DIR/alibaba
alibaba_example=examples/alibaba

alibaba() {
  steps=6 release_namespace=catalog
  step "Check this machine, and have a Kubernetes"
  tests/preflight mariadb
  check_cluster
  begin_build
  start_cluster
  step "Have an account of Alibaba Cloud"
  start_alibaba
  step "Build bindery and install it with the chart of Alibaba Cloud's broker"
  build_bindery
  install_alibabacloud_servicebroker
  step "Provision a MySQL instance and bind it, with the commands of the broker's README"
  apply_rds
  step "Use the database from a pod"
  use_rds
  step "Take it back: delete the binding, then the instance"
  delete_rds
}

# The stand-in ends when its input is closed; open for reading and writing, the input stays open as long as it runs.
start_alibaba() {
  mkdir -p "$alibaba"
  expect "the stand-in is built"
  cargo build --quiet --locked --package bindery-test-support --bin alibaba
  expect "the stand-in starts"
  mkfifo "$alibaba/input"
  inside "${CARGO_TARGET_DIR:-target}/debug/alibaba" "$(machine_address)" charts/alibabacloud-servicebroker/ram-policy.json \
    <> "$alibaba/input" > "$alibaba/output" 2> "$log/alibaba.log" &
  await 60 "the stand-in listens" test -s "$alibaba/output"
  alibaba_url=$(started url)
  say "a stand-in at $alibaba_url, written from the documentation: it verifies signatures, enforces RAM policies,"
  say "and has a real MariaDB behind each instance of RDS. Nothing here has met the real cloud."
  say "a RAM user for the broker, with charts/alibabacloud-servicebroker/ram-policy.json and nothing else: $(started accessKeyId)"
}

# A field of what the stand-in printed when it started.
started() { head -n 1 "$alibaba/output" | grep -o "\"$1\":\"[^\"]*" | cut -d '"' -f 4; }

# What exists on the account, a line each.
on_the_account() {
  local before
  before=$(wc -l < "$alibaba/output")
  echo > "$alibaba/input"
  await 10 "the stand-in answers" eval "[ \$(wc -l < '$alibaba/output') -gt $before ]"
  tail -n 1 "$alibaba/output" | grep -o '"[^"]*"' | tr -d '"' || true
}

install_alibabacloud_servicebroker() {
  local image=${BINDERY_DEMO_IMAGE:-bindery:demo} archive=$BINDERY_DEMO_DIR/images/mariadb.tar service values
  expect "the image of the application is made and loaded"
  tests/cluster/image "$archive" docker.io/library/mariadb:11.4 /usr/bin/mariadb
  load_images "$archive"
  values=$alibaba/values.yaml
  cat > "$values" << YAML
alibaba:
  region: $(started region)
  securityIps: [10.0.0.0/8]
  secretName: alibaba-key
  secretKeys: [accessKeyId, accessKeySecret]
  endpoints: {$(for service in rds ram sts oss; do printf '%s: "%s", ' $service "$alibaba_url"; done)}
image: {repository: "${image%:*}", tag: "${image##*:}"}
YAML
  started accessKeySecret | tr -d '\n' > "$alibaba/accessKeySecret"
  show kubectl create namespace catalog
  show kubectl --namespace catalog create secret generic alibaba-key \
    --from-literal "accessKeyId=$(started accessKeyId)" --from-file "$alibaba/accessKeySecret"
  say "values.yaml: the region, the Secret of the key, who may connect, and the address of the stand-in"
  expect "helm installs the chart and its pods become ready within three minutes"
  show helm install alibabacloud-servicebroker --namespace catalog charts/alibabacloud-servicebroker --values "$values" --wait --timeout 180s
  await 60 "the broker is registered and Ready" \
    kubectl wait --for=condition=Ready clusterservicebroker/alibabacloud-servicebroker --timeout=1s
  show kubectl get clusterservicebroker
  show kubectl get clusterserviceclass
  show kubectl get clusterserviceplan
}

apply_rds() {
  expect "the manifests are applied"
  show kubectl create -f $alibaba_example/rds-app.yaml
  show kubectl create -f $alibaba_example/rds-mysql-instance.yaml
  show kubectl get serviceinstance
  show kubectl create -f $alibaba_example/rds-binding.yaml
  await 120 "the instance is Ready" kubectl wait --for=condition=Ready serviceinstance/rds-mysql-1 --timeout=1s
  await 60 "the binding is Ready" kubectl wait --for=condition=Ready servicebinding/rds-binding --timeout=1s
  show kubectl get serviceinstance
  show kubectl get servicebindings
  show kubectl get secret
  show kubectl describe secret rds-instance-credentials
  say "on the account:"
  on_the_account | indent
  same "accounts of databases" 1 "$(on_the_account | grep -c '^rds account ')"
}

# SQL from inside the pod, with the credentials that it finds as files.
# shellcheck disable=SC2016 # the pod's variables
client='cd /var/secrets/rds-binding && MYSQL_PWD=$(cat password) mariadb --host "$(cat host)" --port "$(cat port)" --user "$(cat username)" "$(cat database)"'

use_rds() {
  await 60 "the pod runs" kubectl wait --for=condition=Ready pod/rds-app --timeout=1s
  say "in the pod rds-app, which has the annotation bindery.dev/bind: rds-binding:"
  expect "the pod connects with its credentials"
  show kubectl exec rds-app -- ls /var/secrets/rds-binding
  sql_in_pod "CREATE TABLE orders (id INT, item TEXT); INSERT INTO orders VALUES (1, 'tea'); SELECT CURRENT_USER(), orders.* FROM orders"
  database_host=$(kubectl get secret rds-instance-credentials -o jsonpath='{.data.host}' | base64 --decode)
  database_port=$(kubectl get secret rds-instance-credentials -o jsonpath='{.data.port}' | base64 --decode)
  same "the rows that the pod reads" "1 tea" \
    "$(kubectl exec rds-app -- sh -c "$client --batch --skip-column-names --execute 'SELECT id, item FROM orders'" | tr '\t' ' ')"
}

sql_in_pod() { # statements
  say "sql> $1"
  kubectl exec rds-app -- sh -c "$client --table --execute \"$1\"" 2>&1 | indent
}

delete_rds() {
  local refused
  expect "the binding is deleted within a minute"
  show kubectl delete -f $alibaba_example/rds-binding.yaml --timeout 60s
  say "the credentials that the pod has had, from the manifest of the binding; the server refuses them:"
  refused=$(kubectl exec rds-app -- sh -c "MYSQL_PWD=replace-Me-1 mariadb --host $database_host --port $database_port --user orders --execute 'SELECT 1'" 2>&1 || true)
  indent <<< "$refused"
  same "the refusal" 1 "$(grep -c 'ERROR 1045' <<< "$refused")"
  same "accounts of databases" "" "$(on_the_account | grep '^rds account ' || true)"
  expect "the instance is deleted within two minutes"
  show kubectl delete -f $alibaba_example/rds-mysql-instance.yaml --timeout 120s
  same "what is left on the account" "" "$(on_the_account)"
  expect "bindery sweep finds nothing"
  show kubectl --namespace catalog exec statefulset/alibabacloud-servicebroker-broker -- bindery sweep --config /etc/bindery/bindery.yaml
  same "external resources" "" "$(kubectl get extres --output name)"
}
