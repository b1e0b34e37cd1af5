#!/bin/bash
# An OCI runtime for a machine whose root lacks CAP_SYS_RESOURCE: takes that capability and the OOM score out of the
# container's configuration (create, run) or of the process (exec), then runs runc.
if ((16#$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status) >> 24 & 1)); then exec /usr/sbin/runc "$@"; fi
bundle=. verb='' process='' previous=''
for word in "$@"; do
  case "$previous" in --bundle | -b) bundle=$word ;; --process | -p) process=$word ;; esac
  case "$word" in
    --bundle=*) bundle=${word#*=} ;;
    --process=*) process=${word#*=} ;;
    create | run | exec) verb=${verb:-$word} ;;
  esac
  previous=$word
done
edit() { # FILE, PATH: the process at PATH in FILE
  local text
  text=$(jq -c "($2) |= (del(.oomScoreAdj)
    | if .capabilities then .capabilities[] -= [\"CAP_SYS_RESOURCE\"] else . end)" "$1")
  echo "$text" > "$1"
}
case "$verb" in
  create | run) edit "$bundle/config.json" .process ;;
  exec) [ -z "$process" ] || edit "$process" . ;;
esac
exec /usr/sbin/runc "$@"
