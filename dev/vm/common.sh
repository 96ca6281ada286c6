# Sourced by fetch, initramfs and run: where things are, how they fail, how they take turns, how programs
# get into the guest.
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

# Copies a program into a guest's root and each library that the loader names for it, links followed.
add_program() {
    local root=$1 program=$2 libraries library
    install -D -m 755 "$program" "$root/sbin/$(basename "$program")"
    libraries=$(LD_LIBRARY_PATH=$cache/guest/usr/lib/x86_64-linux-gnu:$cache/guest/lib/x86_64-linux-gnu ldd "$program") ||
        die "$program is not a dynamic program: remove $cache and try again"
    [[ $libraries != *"not found"* ]] ||
        die "$program lacks$(awk '/not found/ { printf " %s", $1 }' <<<"$libraries"): install the packages that hold them"
    while read -r library; do
        install -D -m 644 "$library" "$root/lib/$(basename "$library")"
    done < <(awk '$2 == "=>" { print $3 }' <<<"$libraries")
    install -D -t "$root/lib64" -m 755 /lib64/ld-linux-x86-64.so.2
}
