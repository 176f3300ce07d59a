# Policies about credentials (`make demo-policy`): what they find, refuse and except, and that they hold while bindery is stopped.
# shellcheck shell=bash

policy_example=demo/policy

policy() {
  steps=8
  step "Check this machine, and have a Kubernetes"
  check_cluster
  begin_build
  start_cluster
  step "Build bindery, and install its webhook and the controller of policies"
  build_bindery
  install_policies
  step "Two teams have workloads, and nobody asked how their credentials reach them"
  make_teams
  step "A policy that refuses nothing tells what it would refuse"
  audit_everything
  step "Enforce it: every way into a pod is refused, at the object that the user wrote"
  enforce
  try_every_way
  step "One team gets an exception, which ends by itself; no team can give itself one"
  except
  step "In an emergency, one command switches the policy off, and back on"
  emergency
  step "Stop bindery altogether: the policies hold"
  stop_bindery
}

install_policies() {
  local image=${BINDERY_DEMO_IMAGE:-bindery:demo}
  say "a definition of the kind PolicyReport, as tools for reports bring it"
  show kubectl apply -f $policy_example/policyreports.yaml
  expect "helm installs the chart and its pods become ready within three minutes"
  show helm install bindery charts/bindery --namespace bindery --create-namespace --set apis.serviceCatalog=false \
    --set enforcement.enabled=true --set "image.repository=${image%:*}" --set "image.tag=${image##*:}" --wait --timeout 180s
  show kubectl --namespace bindery get pods
}

make_teams() {
  local team
  for team in shop bank; do show kubectl create namespace $team; done
  for team in shop bank; do
    await 30 "the default service account of $team exists" kubectl --namespace $team get serviceaccount default
  done
  show kubectl apply -f $policy_example/before.yaml
}

audited() { # policy jsonpath expected
  [ "$(kubectl get credentialpolicy "$1" --output "jsonpath={.status.audit.$2}")" = "$3" ]
}

audit_everything() {
  show kubectl apply -f $policy_example/policy.yaml
  await 60 "the policy is audited" audited credentials violations 3
  show bindery policies
  show kubectl get policyreports --all-namespaces
  show kubectl --namespace shop get policyreport bindery --output \
    'jsonpath={range .results[*]}{.result}{"\t"}{.resources[0].kind}/{.resources[0].name}{"\t"}{.message}{"\n"}{end}'
  expect "no report, no status and no log of bindery contains a credential"
  # shellcheck disable=SC2046 # one word per line
  if { kubectl get policyreports,credentialpolicies --all-namespaces --output yaml &&
    kubectl --namespace bindery logs --selector app.kubernetes.io/component=enforcement; } | grep hunter2; then return 1; fi
  say "none of that contains a password"
}

refuses() { # what rule: the manifest on standard input must be refused because of the rule
  local answer=$log/answer.log
  expect "$1 is refused"
  if kubectl --namespace shop create --filename - > "$answer" 2>&1; then say "$1 was created" && return 1; fi
  grep -q "\[$2\]" "$answer"
  printf '    refused: %s\n' "$1"
  grep -oE '\[[a-zA-Z]+\].*' "$answer" | head -n 1 | cut -c 1-150 | indent
}

enforce() {
  show kubectl patch credentialpolicy credentials --type merge --patch '{"spec": {"mode": "Enforce"}}'
  await 30 "the policy is enforced" eval "! kubectl --namespace shop run probe --image app --env DB_PASSWORD=hunter2 --dry-run=server"
}

pod() { # spec
  printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: try}\nspec: %s\n' "$1"
}

try_every_way() {
  refuses "a password in a variable" noPlainText < <(pod '{containers: [{name: c, image: i, env: [{name: DB_PASSWORD, value: hunter2}]}]}')
  refuses "the same in an init container" noPlainText \
    < <(pod '{containers: [{name: c, image: i}], initContainers: [{name: d, image: i, env: [{name: DB_PASSWORD, value: hunter2}]}]}')
  refuses "a URL with a password in an argument" noPlainText \
    < <(pod '{containers: [{name: c, image: i, args: ["--db=postgres://app:hunter2@db/shop"]}]}')
  refuses "a random signing key, which bindery's webhook judges" noRandomValues \
    < <(pod '{containers: [{name: c, image: i, env: [{name: SIGNING_KEY, value: kq3vz9xw7bm2tj5hx8}]}]}')
  refuses "all keys of a Secret as variables" filesOnly \
    < <(pod '{containers: [{name: c, image: i, envFrom: [{secretRef: {name: db}}]}]}')
  refuses "one key of a Secret as a variable" filesOnly \
    < <(pod '{containers: [{name: c, image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: k}}}]}]}')
  refuses "a Deployment, where its author sees it" filesOnly << 'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: try}
spec:
  selector: {matchLabels: {app: try}}
  template:
    metadata: {labels: {app: try}}
    spec: {containers: [{name: c, image: i, envFrom: [{secretRef: {name: db}}]}]}
YAML
  say "a pod that breaks no rule is created, and a debugger without credentials may enter it:"
  show kubectl --namespace shop apply -f $policy_example/good.yaml
  await 60 "the pod runs" kubectl --namespace shop wait --for=condition=Ready pod/good --timeout=1s
  show kubectl --namespace shop debug good --image "$branch_image" --image-pull-policy IfNotPresent --container fine --quiet -- sleep 1
  expect "a debugger with a password is refused"
  if show kubectl --namespace shop debug good --image "$branch_image" --container bad --env DB_PASSWORD=hunter2 --quiet -- sleep 1; then return 1; fi
  say "what is older than the policy can still be scaled:"
  show kubectl --namespace shop scale deployment web --replicas 0
}

except() {
  local ends
  same "may the admin of the namespace exempt himself?" no \
    "$(kubectl auth can-i create credentialpolicyexceptions --as shop-admin --as-group system:authenticated 2> /dev/null || true)"
  ends=$(date --utc --date '40 seconds' +%FT%TZ)
  show kubectl apply -f - < <(sed "s/ENDS/$ends/" $policy_example/exception.yaml)
  await 30 "the exception counts" legacy
  say "the vendor's pod is admitted; the report shows it as exempt:"
  await 30 "the report has the exception" eval \
    "kubectl --namespace shop get policyreport bindery --output 'jsonpath={.results[*].result}' | grep -w skip"
  show bindery policies
  await 60 "the exception has ended" eval "! legacy"
  say "it has ended, without anybody's doing: the same pod is refused again"
}

legacy() { kubectl --namespace shop run legacy-x --image app --env DB_PASSWORD=hunter2 --dry-run=server; }

emergency() {
  show bindery policies stand-down credentials --reason "the shop is down"
  await 30 "nothing is refused" legacy
  await 30 "the status says so" eval "kubectl get credentialpolicies | grep StoodDown"
  show kubectl get credentialpolicies
  show kubectl --namespace default get events --field-selector reason=PolicyStoodDown --output 'custom-columns=REASON:.reason,MESSAGE:.message'
  show bindery policies resume credentials
  await 30 "the policy holds again" eval "! legacy"
  say "the policy holds again"
}

stop_bindery() {
  show kubectl --namespace bindery scale deployment --all --replicas 0
  await 60 "no pod of bindery is left" eval "[ -z \"\$(kubectl --namespace bindery get pods --output name)\" ]"
  same "pods of bindery" 0 "$(kubectl --namespace bindery get pods --output name | wc -l)"
  refuses "a password in a variable" noPlainText < <(pod '{containers: [{name: c, image: i, env: [{name: DB_PASSWORD, value: hunter2}]}]}')
  refuses "all keys of a Secret as variables" filesOnly \
    < <(pod '{containers: [{name: c, image: i, envFrom: [{secretRef: {name: db}}]}]}')
  say "only noRandomValues does not hold, as the policy's status tells:"
  show kubectl get credentialpolicy credentials --output 'jsonpath={range .status.rules[*]}{.rule}: {.engine}{"\n"}{end}'
  say "pods that break no rule are created as before:"
  show kubectl --namespace shop delete pod good --grace-period 1
  show kubectl --namespace shop apply -f $policy_example/good.yaml
  say "what the API server itself counted:"
  show bindery policies
}
