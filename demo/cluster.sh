# The cluster of the demo: one created for it (tests/cluster), kind, or any other that KUBECONFIG names.
# shellcheck shell=bash

cluster=$BINDERY_DEMO_DIR/cluster
case ${KUBECONFIG:+$(kubectl config current-context 2> /dev/null)} in
  '') kind_of_cluster=own ;;
  kind-*) kind_of_cluster=kind ;;
  *) kind_of_cluster=other ;;
esac
if [ -n "${KUBECONFIG:-}" ] && [ $kind_of_cluster = own ]; then kind_of_cluster=other; fi

# Runs a command in the network of the cluster.
inside() {
  if [ $kind_of_cluster = own ]; then tests/cluster/enter "$cluster" "$@"; else "$@"; fi
}
kubectl() { inside kubectl "$@"; }
helm() { inside helm "$@"; }

check_cluster() {
  case $kind_of_cluster in
    own) tests/preflight rust cluster postgresql ;;
    kind) tests/preflight rust postgresql && need_programs kubectl helm kind docker ;;
    other)
      need_programs kubectl helm psql
      need_variable BINDERY_DEMO_IMAGE "an image of bindery that this cluster can pull"
      need_variable BINDERY_DEMO_DATABASE_URL "a CockroachDB or PostgreSQL that its pods can reach"
      ;;
  esac
}

need_programs() {
  local program
  for program; do
    if ! type -P "$program" > /dev/null; then say "KUBECONFIG is set, so $program is needed" && return 1; fi
  done
}

need_variable() { # name meaning
  if [ -n "${!1:-}" ]; then return; fi
  say "KUBECONFIG names a cluster of your own, which is not kind: set $1 to $2,"
  say "or unset KUBECONFIG to have a cluster made for this run."
  return 1
}

start_cluster() {
  if [ $kind_of_cluster != own ]; then
    say "using the cluster of KUBECONFIG=$KUBECONFIG"
  else
    tests/cluster/build 2>&1 | indent
    say "starting a real one-node Kubernetes in namespaces of its own: etcd, API server, kubelet, containerd, CoreDNS ..."
    expect "the cluster starts"
    KEEP=1 CLUSTER_DIR=$cluster tests/cluster/with-cluster true
  fi
  show kubectl get nodes
}

load_images() { # archive...
  local archive
  for archive; do
    case $kind_of_cluster in
      own) inside ctr images import "$archive" > /dev/null ;;
      kind) kind load image-archive --name "$(command kubectl config current-context | sed 's/^kind-//')" "$archive" ;;
    esac
  done
}

save_logs() {
  if ! kubectl version > /dev/null 2>&1; then return; fi
  kubectl get pods,events --all-namespaces -o wide > "$log/objects.txt" 2>&1 || true
  kubectl get clusterservicebrokers,serviceinstances,servicebindings,extres --all-namespaces -o yaml > "$log/catalog.yaml" 2>&1 || true
  kubectl get dynamodbs --all-namespaces -o yaml > "$log/aws-operator.yaml" 2>&1 || true
  kubectl --namespace aws-service-operator logs deployment/aws-service-operator --tail 500 > "$log/aws-operator.log" 2>&1 || true
  local role
  for role in admission catalog broker; do
    kubectl --namespace "${release_namespace:-bindery}" logs --all-containers --prefix --selector "app.kubernetes.io/component=$role" --tail 500 \
      > "$log/bindery-$role.log" 2>&1 || true
  done
}

end_cluster() {
  if [ $kind_of_cluster = own ]; then
    if [ ! -e "$cluster/pid" ]; then return 0; fi
    tests/cluster/stop "$cluster"
    mv "$cluster/log" "$log/cluster"
    return 0
  fi
  # An existing cluster: remove what the demo created. The definitions of bindery's resources remain, as with any
  # uninstall.
  {
    kubectl delete --ignore-not-found --wait -f examples/cockroachdb/clientapp.yaml -f examples/cockroachdb/servicebinding.yaml \
      -f examples/cockroachdb/serviceinstance.yaml
    helm uninstall bindery --namespace bindery
    kubectl delete --ignore-not-found clusterservicebroker bindery
    kubectl delete --ignore-not-found namespace bindery
    kubectl delete --ignore-not-found service/cockroachdb-public endpointslice/cockroachdb-public
  } > "$log/clean-up.log" 2>&1 || true
}

explain_kept() {
  step_done
  mkdir -p target
  ln -sfn "$BINDERY_DEMO_DIR" target/demo-run
  printf '\nEverything was as it should be, and is left up (KEEP=1).\n'
  if [ $kind_of_cluster = own ]; then
    say "use it:   demo/enter kubectl get pods --all-namespaces"
    say "a shell:  demo/enter bash"
  fi
  say "end it:   demo/stop"
}
