# The life of three feature branches (`make demo-branches`). The first three steps are those of story.sh.
# shellcheck shell=bash

branch_image=docker.io/cockroachdb/cockroach:v2.0.3

branches() {
  steps=8
  step "Check this machine, and have a Kubernetes"
  check_cluster
  begin_build
  start_cluster
  step "Have a database server, with a database that branches start from"
  start_database
  make_template
  step "Build bindery and install it with its chart"
  build_bindery
  database_values+=(--values demo/branches-values.yaml)
  install_bindery
  check_installation
  step "Say what feature branches get: a copy of the shop's data, for two branches at a time"
  show kubectl apply -f demo/branches.yaml
  step "Two branches come: a namespace and a pod each, which say nothing of a database"
  branch login
  branch search
  use_branches
  step "A third one waits for room, and has it when the first is merged"
  third_branch
  step "One is no feature branch any more, the other is kept for longer"
  unlabel_branch
  extend_branch
  step "The rest goes, and nothing is left"
  delete_branch search
  delete_branch checkout
  show kubectl delete namespacebinding feature-branches
  check_nothing_left_of_branches
}

bindery() { inside "$(bindery_binary)" "$@"; }

make_template() {
  expect "the template is made"
  show_sql "create database demo_shop owner bindery"
  as_postgres "$postgresql/psql" --host "$database" --port $port --quiet --dbname demo_shop \
    --command "set role bindery; create table articles (name text); insert into articles values ('a hat'), ('a coat')"
  show_sql "revoke connect on database demo_shop from public"
}

# Applies a namespace and its pod together, with retries: `kubectl apply` does not wait for the default service account.
branch() { # name
  local began=$SECONDS
  say "applying the namespace feature-$1 with a pod"
  await 30 "namespace and pod of feature-$1 are applied" apply_branch "$1"
  if [ "${2:-}" = waits ]; then return; fi
  expect "the database of feature-$1 is ready"
  show bindery wait --namespace "feature-$1" --timeout 1m
  await 60 "the pod of feature-$1 runs" \
    kubectl --namespace "feature-$1" wait --for=condition=Ready pod/app --timeout=1s
  say "feature-$1: from the apply to a running pod with a database in $((SECONDS - began)) s"
}

apply_branch() {
  kubectl apply -f - << YAML
apiVersion: v1
kind: Namespace
metadata: {name: feature-$1, labels: {purpose: feature-branch}}
---
apiVersion: v1
kind: Pod
metadata: {name: app, namespace: feature-$1}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: app, image: '$branch_image', imagePullPolicy: IfNotPresent, command: [sleep, '3600']}]
YAML
}

branch_sql() { # branch url sql
  kubectl --namespace "feature-$1" exec app -- psql --no-psqlrc --tuples-only --no-align "$2" --command "$3"
}

# shellcheck disable=SC2016 # the pod's variable
branch_url() { kubectl --namespace "feature-$1" exec app -- sh -c 'echo "$DATABASE_URL"'; }

use_branches() {
  local login search theirs
  show kubectl get nsb
  show kubectl --namespace feature-login get serviceinstances,servicebindings,secrets
  login=$(branch_url login) search=$(branch_url search)
  same "articles that feature-login starts with" 2 "$(branch_sql login "$login" 'select count(*) from articles')"
  branch_sql login "$login" "delete from articles" > "$log/delete.log"
  same "articles of feature-search, when feature-login has deleted its own" 2 \
    "$(branch_sql search "$search" 'select count(*) from articles')"
  say "both began with 2 articles; feature-login deleted its own, and feature-search still has 2"
  expect "feature-login cannot enter the database of feature-search"
  theirs=${search%%\?*} login=${login%%\?*}
  if branch_sql login "${login%/*}/${theirs##*/}?sslmode=require" "select 1" > "$log/trespass.log" 2>&1; then
    say "feature-login reads the database of feature-search" && return 1
  fi
  say "feature-login in the database of feature-search, with its own credentials:"
  grep -o 'permission denied.*' "$log/trespass.log" | indent
}

third_branch() {
  branch checkout waits
  await 20 "feature-checkout is told that it waits" eval \
    "kubectl get nsb feature-branches --output jsonpath='{.status.waiting[*].reason}' | grep LimitReached"
  show bindery namespaces
  delete_branch login
  expect "feature-checkout gets the room"
  show bindery wait --namespace feature-checkout --timeout 1m
  await 60 "the pod of feature-checkout runs" \
    kubectl --namespace feature-checkout wait --for=condition=Ready pod/app --timeout=1s
}

delete_branch() { # name
  local began=$SECONDS
  expect "the namespace feature-$1 goes within a minute"
  show kubectl delete namespace "feature-$1" --timeout 60s
  await 30 "nothing is held for feature-$1" eval \
    "! kubectl get extres --output jsonpath='{.items[*].spec.namespace}' | grep -w feature-$1"
  say "feature-$1, its pod, its user and its database were gone after $((SECONDS - began)) s"
}

unlabel_branch() {
  show kubectl label namespace feature-search purpose-
  await 20 "feature-search is told what will happen" eval \
    "kubectl --namespace feature-search get events --output jsonpath='{.items[*].reason}' | grep Leaving"
  show kubectl --namespace feature-search get events --field-selector reason=Leaving \
    --output 'custom-columns=REASON:.reason,MESSAGE:.message'
  await 30 "its database is gone" eval "! kubectl --namespace feature-search get serviceinstance db"
  same "databases of branches" 1 "$(admin_value "select count(*) from pg_database where datname like 'cf\\_%'")"
}

extend_branch() {
  await 120 "the end of feature-checkout is announced" eval \
    "kubectl --namespace feature-checkout get serviceinstance db --output jsonpath='{.metadata.annotations}' | grep expires-at"
  show bindery namespaces
  show bindery extend --namespace feature-checkout --for 24h
  await 20 "the end is taken back" eval \
    "! kubectl --namespace feature-checkout get serviceinstance db --output jsonpath='{.metadata.annotations}' | grep expires-at"
  show bindery namespaces
}

check_nothing_left_of_branches() {
  admin_sql "drop database demo_shop" > "$log/drop.log"
  check_nothing_left
}
