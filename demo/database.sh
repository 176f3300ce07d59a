# The database of the demo: a PostgreSQL created for the run, which replaces CockroachDB at the address in the example,
# or the server in BINDERY_DEMO_DATABASE_URL. The chart gets it through the Secret cockroachdb-admin and
# `database_values`.
# shellcheck shell=bash

database=$BINDERY_DEMO_DIR/database
postgresql=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1)" 2> /dev/null || true)
host=cockroachdb-public.default.svc.cluster.local port=26257
database_values=()

start_database() {
  mkdir -p "$database"
  if [ -n "${BINDERY_DEMO_DATABASE_URL:-}" ]; then
    use_database
  else
    make_certificates
    make_server
    say "as its administrator bindery gets a role that may make databases and roles, and is no superuser:"
    show_sql "select rolname, rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = 'bindery'"
  fi
  if [ $kind_of_cluster != other ]; then publish_database; fi
}

# The address of this machine as seen from pods.
machine_address() {
  case $kind_of_cluster in
    own) echo 10.99.0.1 ;;
    kind) docker network inspect kind --format '{{range .IPAM.Config}}{{println .Gateway}}{{end}}' | grep -m 1 -F . ;;
  esac
}

make_certificates() {
  expect "certificates are made"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=CA of this demo" \
    -keyout "$database/ca.key" -out "$database/ca.crt" 2> /dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$host" \
    -keyout "$database/server.key" -out "$database/server.csr" 2> /dev/null
  openssl x509 -req -in "$database/server.csr" -CA "$database/ca.crt" -CAkey "$database/ca.key" -CAcreateserial -days 2 \
    -out "$database/server.crt" -extfile <(echo "subjectAltName=DNS:$host,DNS:cockroachdb-public") 2> /dev/null
}

make_server() {
  local data=$database/data
  openssl rand -hex 24 | tr -d '\n' > "$database/password"
  chown -R postgres "$database"
  expect "PostgreSQL starts"
  as_postgres "$postgresql/initdb" --pgdata "$data" --auth-local peer --auth-host reject --encoding UTF8 --locale C.UTF-8 \
    --no-sync > "$log/initdb.log" 2>&1
  cat >> "$data/postgresql.conf" << CONF
listen_addresses = '$(machine_address)'
port = $port
unix_socket_directories = '$database'
ssl = on
ssl_cert_file = '$database/server.crt'
ssl_key_file = '$database/server.key'
fsync = off
CONF
  # Network access requires TLS and a password.
  printf '%s\n' 'local all postgres peer' 'hostssl all all 0.0.0.0/0 scram-sha-256' > "$data/pg_hba.conf"
  as_postgres "$postgresql/pg_ctl" start --wait --silent --pgdata "$data" --log "$database/server.log"
  admin_sql "create role bindery login createrole createdb password '$(cat "$database/password")'" > /dev/null
  show_sql "select split_part(version(), ' on ', 1) as version"
}

as_postgres() { inside runuser --user postgres -- "$@"; }

# Takes user, password, database and CA from the URL; the address remains the example's, from which connections are
# forwarded.
use_database() {
  local part
  declare -gA url=()
  while IFS== read -r part value; do url[$part]=$value; done < <(demo/forward --parts "$BINDERY_DEMO_DATABASE_URL")
  say "using the database at ${url[host]}:${url[port]} (BINDERY_DEMO_DATABASE_URL)"
  printf '%s' "${url[password]}" > "$database/password"
  database_values=(--set "backends.cockroachdb.user=${url[user]}" --set "backends.cockroachdb.database=${url[database]}")
  if [ -n "${url[sslrootcert]}" ]; then
    cp "${url[sslrootcert]}" "$database/ca.crt"
    # The certificate has the database's own name, not the example's.
    if [ $kind_of_cluster != other ]; then database_values+=(--set backends.cockroachdb.sslmode=verify-ca); fi
  else
    database_values+=(--set backends.cockroachdb.sslmode=require --set 'backends.cockroachdb.secretKeys={password}')
  fi
  if [ $kind_of_cluster = other ]; then
    database_values+=(--set "backends.cockroachdb.host=${url[host]}" --set "backends.cockroachdb.port=${url[port]}")
  else
    forward_database "${url[host]}" "${url[port]}"
  fi
  show_sql "select split_part(version(), ' on ', 1) as version"
}

# The cluster has its own network. Only a socket file is accessible from both networks.
forward_database() { # host port
  demo/forward --unix-to "$database/forward" "$1" "$2" > "$log/forward-outside.log" 2>&1 &
  echo $! > "$database/forward.pid"
  await 10 "the forwarder listens" test -S "$database/forward"
  inside demo/forward --tcp-to "$(machine_address)" $port "$database/forward" > "$log/forward-inside.log" 2>&1 &
}

# The name and port of the example's plan, as a Service without pods.
publish_database() {
  say "publishing it under the name that the example uses: $host:$port"
  show kubectl apply -f - << YAML
apiVersion: v1
kind: Service
metadata: {name: cockroachdb-public, namespace: default}
spec: {ports: [{name: sql, port: $port}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cockroachdb-public, namespace: default, labels: {kubernetes.io/service-name: cockroachdb-public}}
addressType: IPv4
ports: [{name: sql, port: $port}]
endpoints: [{addresses: ["$(machine_address)"]}]
YAML
}

# Runs SQL as the server's own administrator, without bindery.
admin_sql() {
  if [ -n "${BINDERY_DEMO_DATABASE_URL:-}" ]; then
    psql "$BINDERY_DEMO_DATABASE_URL" --quiet --command "$1" "${@:2}"
  else
    as_postgres "$postgresql/psql" --host "$database" --port $port --quiet --command "$1" "${@:2}"
  fi
}

admin_value() { admin_sql "$1" --tuples-only --no-align; }

end_database() {
  if [ -e "$database/forward.pid" ]; then kill "$(cat "$database/forward.pid")" 2> /dev/null || true; fi
  # In a cluster created for the run, the server is one of its processes and ends with it.
  if [ -e "$database/data/postmaster.pid" ] && [ $kind_of_cluster != own ]; then
    as_postgres "$postgresql/pg_ctl" stop --mode immediate --silent --pgdata "$database/data" || true
  fi
  if [ -e "$database/server.log" ]; then cp "$database/server.log" "$log/postgresql.log"; fi
}
