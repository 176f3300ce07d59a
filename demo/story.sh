# The six steps. Each prints what it does, shows the result, and checks it.
# shellcheck shell=bash

example=examples/cockroachdb
secret_keys=$'database\nhost\njdbcURL\npassword\nport\nuri\nusername'

story() {
  step "Check this machine, and have a Kubernetes"
  check_cluster
  begin_build
  start_cluster
  step "Have a database server"
  start_database
  step "Build bindery and install it with its chart"
  build_bindery
  install_bindery
  check_installation
  step "Apply the story, back to front: first the pod, then the binding, then the instance"
  apply_story
  step "Use the database from the pod, which names no Secret, no key and no volume"
  use_credentials
  step "Take it back: delete the binding under a live session, then the instance"
  delete_binding
  delete_instance
  check_nothing_left
}

# The build runs while the cluster's programs are built and the cluster starts. It is that of the tests: it is soon there, and
# whoever runs both builds once.
begin_build() {
  if [ -n "${BINDERY_DEMO_IMAGE:-}${BINDERY_DEMO_BINARY:-}" ]; then return; fi
  begin "building bindery (cargo build; minutes on the first run)" cargo build --locked --bin bindery
}

bindery_binary() { echo "${BINDERY_DEMO_BINARY:-${CARGO_TARGET_DIR:-target}/debug/bindery}"; }

build_bindery() {
  local archives binary
  binary=$(bindery_binary)
  if [ -n "${BINDERY_DEMO_IMAGE:-}" ]; then
    say "using the image $BINDERY_DEMO_IMAGE"
    return
  fi
  if [ -z "${BINDERY_DEMO_BINARY:-}" ]; then await_begun; fi
  say "packing it as the image bindery:demo: the binary ($(du -h "$binary" | cut -f1)), the C library, busybox"
  expect "images are made and loaded"
  read -ra archives <<< "$(tests/images "$binary" "$BINDERY_DEMO_DIR/images" demo)"
  load_images "${archives[@]}"
  say "and, since no registry is at hand, images of busybox with psql and with curl under the names that the examples' pods have"
}

install_bindery() {
  local image=${BINDERY_DEMO_IMAGE:-bindery:demo} keys=(--from-file "password=$database/password")
  if [ -e "$database/ca.crt" ]; then keys+=(--from-file "ca.crt=$database/ca.crt"); fi
  show kubectl create namespace bindery
  show kubectl --namespace bindery create secret generic cockroachdb-admin "${keys[@]}"
  expect "helm installs the chart and its pods become ready within two minutes"
  show helm install bindery charts/bindery --namespace bindery --values $example/values.yaml \
    --set "image.repository=${image%:*}" --set "image.tag=${image##*:}" "${database_values[@]}" --wait --timeout 120s
}

check_installation() {
  local user writable bundle
  await 60 "bindery's own broker is registered and Ready" \
    kubectl wait --for=condition=Ready clusterservicebroker/bindery --timeout=1s
  show kubectl --namespace bindery get pods
  show kubectl get clusterservicebrokers
  user=$(kubectl --namespace bindery get pod bindery-broker-0 -o jsonpath='{.spec.securityContext.runAsUser}')
  writable=$(kubectl --namespace bindery get pods --output \
    jsonpath='{range .items[*].spec.containers[*]}{.securityContext.readOnlyRootFilesystem}{"\n"}{end}' | grep -vc true || true)
  same "bindery runs as user" 65532 "$user"
  same "containers whose root file system can be written" 0 "$writable"
  await 30 "bindery set the webhook's caBundle" \
    kubectl get mutatingwebhookconfiguration bindery -o jsonpath-as-json='{.webhooks[*].clientConfig.caBundle}'
  bundle=$(kubectl get mutatingwebhookconfiguration bindery -o jsonpath='{.webhooks[0].clientConfig.caBundle}')
  say "the chart has no caBundle; bindery wrote: $(base64 --decode <<< "$bundle" | openssl x509 -noout -subject -enddate | paste -sd ' ')"
}

apply_story() {
  expect "the example is applied"
  if [ $kind_of_cluster = other ]; then
    say "the pod runs ${BINDERY_DEMO_CLIENT_IMAGE:=postgres:15} instead of CockroachDB's client"
    show kubectl apply -f - < <(sed "s#image: cockroachdb/.*#image: $BINDERY_DEMO_CLIENT_IMAGE#" $example/clientapp.yaml)
  else
    show kubectl apply -f $example/clientapp.yaml
  fi
  show kubectl apply -f $example/servicebinding.yaml
  show kubectl apply -f $example/serviceinstance.yaml
  await 60 "the instance is Ready" kubectl wait --for=condition=Ready serviceinstance/mydb01 --timeout=1s
  await 60 "the binding is Ready" kubectl wait --for=condition=Ready servicebinding/mydb01-binding --timeout=1s
  show kubectl get clusterservicebrokers,clusterserviceclasses,clusterserviceplans,serviceinstances,servicebindings,secrets
  await 10 "bindery says which engine it found" engine
  say "$(engine), says bindery"
  same "type of the Secret mydb01-binding" Opaque "$(kubectl get secret mydb01-binding -o jsonpath='{.type}')"
}

engine() { kubectl --namespace bindery logs bindery-broker-0 | grep -oE 'engine: [^"]+' | tail -n 1; }

use_credentials() {
  await 60 "the pod runs" kubectl wait --for=condition=Ready pod/client-app01 --timeout=1s
  show kubectl get pod client-app01
  expect "the seven keys lie in the pod as files"
  show kubectl exec client-app01 -- ls /var/secrets/mydb01-binding/
  same "files in /var/secrets/mydb01-binding" "$secret_keys" "$(kubectl exec client-app01 -- ls /var/secrets/mydb01-binding/)"
  expect "the pod can use the database of COCKROACH_URL"
  # shellcheck disable=SC2016 # the pod's variable
  show kubectl exec -i client-app01 -- sh -c 'psql --echo-queries --set ON_ERROR_STOP=1 "$COCKROACH_URL"' << 'SQL'
create table mytable (mycolumn varchar(255));
insert into mytable values ('it works');
select current_user, mycolumn from mytable;
SQL
  # shellcheck disable=SC2016 # the pod's variable
  same "what a new session reads" "it works" \
    "$(kubectl exec client-app01 -- sh -c 'psql "$COCKROACH_URL" --tuples-only --no-align -c "select mycolumn from mytable"')"
}

delete_binding() {
  local session output=$log/session.log
  db=$(secret_value database) user=$(secret_value username)
  # shellcheck disable=SC2016 # the pod's variable
  kubectl exec client-app01 -- sh -c \
    'exec psql "$COCKROACH_URL" -c "select '"'a session is open'"' as before" -c "select pg_sleep(300)"' > "$output" 2>&1 &
  session=$!
  await 20 "a session of the pod is open" grep -q 'a session is open' "$output"
  expect "the binding is deleted within a minute"
  show kubectl delete -f $example/servicebinding.yaml --timeout 60s
  await 20 "the session that was open is ended" eval "! kill -0 $session 2> /dev/null"
  indent < "$output"
  if wait $session; then say "the session went on to its end" && return 1; fi
  expect "the user of the deleted binding cannot connect"
  # shellcheck disable=SC2016 # the pod's variable
  if show kubectl exec client-app01 -- sh -c 'psql "$COCKROACH_URL" -c "select 1"'; then return 1; fi
  same "roles called $user" 0 "$(admin_value "select count(*) from pg_roles where rolname = '$user'")"
  await 20 "the Secret is gone" eval "! kubectl get secret mydb01-binding"
}

secret_value() { kubectl get secret mydb01-binding -o jsonpath="{.data.$1}" | base64 --decode; }

delete_instance() {
  same "databases called $db" 1 "$(admin_value "select count(*) from pg_database where datname = '$db'")"
  expect "the instance is deleted within a minute"
  show kubectl delete -f $example/serviceinstance.yaml --timeout 60s
  same "databases called $db" 0 "$(admin_value "select count(*) from pg_database where datname = '$db'")"
  say "database $db is gone"
}

check_nothing_left() {
  expect "bindery sweep finds nothing"
  show kubectl --namespace bindery exec bindery-broker-0 -- bindery sweep --config /etc/bindery/bindery.yaml
  same "external resources" "" "$(kubectl get extres --output name)"
  if [ -z "${BINDERY_DEMO_DATABASE_URL:-}" ]; then
    same "databases that are not PostgreSQL's own" 0 \
      "$(admin_value "select count(*) from pg_database where datname not in ('postgres', 'template0', 'template1')")"
    # One role without a login belongs to the installation: it marks what the installation created.
    same "roles that can log in beside the administrators" 0 \
      "$(admin_value "select count(*) from pg_roles where rolcanlogin and rolname not in ('postgres', 'bindery')")"
    same "roles of databases" 0 "$(admin_value "select count(*) from pg_roles where rolname like 'cf\\_%'")"
  fi
}
