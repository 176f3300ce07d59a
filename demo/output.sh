# The output of the demo: numbered steps, indented output of the commands, and the duration of each step.
# shellcheck shell=bash

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
log=$BINDERY_DEMO_DIR/log
steps=6 step_number=0 step_title='' step_began=0 attempt=''

indent() { sed -u 's/^/      /'; }

step() { # title
  if [ $step_number != 0 ]; then step_done; fi
  step_number=$((step_number + 1)) step_title=$1 step_began=$SECONDS attempt=$1
  printf '\n%s[%d/%d] %s%s\n' "$bold" $step_number "$steps" "$1" "$plain"
}

step_done() { printf '    done in %d s, %d s since the start\n' $((SECONDS - step_began)) $SECONDS; }

say() { printf '    %s\n' "$*"; }

# The name of the current check, for the message if it fails.
expect() { attempt=$*; }

# Prints a command and its output, and returns its exit code.
show() {
  printf '    $ %s\n' "$(quoted "$@")"
  "$@" 2>&1 | indent
}

# The same for SQL as the server's own administrator.
show_sql() {
  printf '    sql> %s\n' "$1"
  admin_sql "$1" 2>&1 | indent
}

# The words of a command as a user would type them.
quoted() {
  local word words=()
  for word; do
    if [[ $word =~ ^[-A-Za-z0-9_./:=,@%+]+$ ]]; then words+=("$word"); else words+=("'${word//\'/\'\\\'\'}'"); fi
  done
  echo "${words[*]}"
}

# Starts a long command in the background, with its output in a log.
begin() { # what command...
  begun_what=$1 begun_log=$log/$(tr -c 'a-zA-Z0-9\n' '-' <<< "$1").log
  shift
  "$@" > "$begun_log" 2>&1 &
  begun_job=$!
}

# Waits for a background command, and prints every 15 s that it still runs.
await_begun() {
  local what=$begun_what name=$begun_log job=$begun_job waited=0
  expect "$what"
  say "$what"
  while kill -0 "$job" 2> /dev/null; do
    sleep 1
    waited=$((waited + 1))
    if [ $((waited % 15)) = 0 ]; then say "... still, after $waited s: $(tail -n 1 "$name" | cut -c 1-100)"; fi
  done
  if ! wait "$job"; then
    tail -n 20 "$name" | indent
    return 1
  fi
}

# Waits until a command succeeds.
await() { # seconds what command...
  local seconds=$1 what=$2 began=$SECONDS
  shift 2
  expect "$what"
  until "$@" > "$log/await.log" 2>&1; do
    if [ $((SECONDS - began)) -ge "$seconds" ]; then
      say "not within $seconds s: $what"
      indent < "$log/await.log"
      return 1
    fi
    sleep 0.2
  done
}

# Fails unless two values are equal.
same() { # what expected found
  expect "$1"
  if [ "$2" = "$3" ]; then return; fi
  say "$1: expected"
  indent <<< "$2"
  say "but found"
  indent <<< "$3"
  return 1
}

finished() {
  step_done
  printf '\n%sEverything was as it should be.%s\n' "$bold" "$plain"
}

differed() { # exit code
  if [ $step_number = 0 ]; then return; fi
  printf '\n%sStep %d differed: %s%s\n    at: %s (exit code %d)\n    logs: %s\n' \
    "$bold" $step_number "$step_title" "$plain" "$attempt" "$1" "$log" >&2
}
