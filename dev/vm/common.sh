# Sourced by fetch, initramfs and run: where things are, how they fail, how they take turns.
# shellcheck shell=bash

vm_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BLOCKFERRY_VM_CACHE:-$(cd "$vm_dir/../.." && pwd)/target/vm}

# Says on one line what failed and what to do about it; 2 is the status of every set-up error.
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 2
}

# Holds the cache for this script alone until it ends, so that tests may start VMs side by side.
lock_cache() {
    mkdir -p "$cache" || die "cannot create $cache: set BLOCKFERRY_VM_CACHE to a folder that can be written"
    exec 9>"$cache/$1.lock"
    flock --timeout 600 9 || die "another $1 has held $cache for 600 s: see whether it hangs"
}
