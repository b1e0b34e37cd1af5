#!/bin/bash
# Before kind's own entrypoint. The kubelet insists on these settings, which are the whole machine's: it reads plain files
# that lie over them, is content, and writes nothing.
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
