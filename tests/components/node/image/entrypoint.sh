#!/bin/bash
# Runs before kind's own entrypoint. The kubelet insists on these settings, which are the whole machine's: plain files
# are mounted over them, which it reads, so that it writes nothing.
mkdir -p /kind/sysctl
cover() {
  echo "$2" > "/kind/sysctl/$(basename "$1")" && mount --bind "/kind/sysctl/$(basename "$1")" "/proc/sys/$1"
}
cover vm/overcommit_memory 1
cover vm/panic_on_oom 0
cover kernel/panic 10
cover kernel/panic_on_oops 1
cover kernel/keys/root_maxkeys 1000000
cover kernel/keys/root_maxbytes 25000000
exec /usr/local/bin/entrypoint "$@"
