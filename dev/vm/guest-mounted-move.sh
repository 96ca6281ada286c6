# Usage: PORT=10809 EXPORT=name CONNECTIONS=1 dev/vm/run dev/vm/guest-mounted-move.sh
# A mounted ext4 on the kernel's own NBD client, kept busy while the host moves the volume to another server.
#   PORT, EXPORT, CONNECTIONS  what nbd-client attaches: on the host's loopback, default export and 1 when not given
#   NBD_OPTIONS                more options for nbd-client, such as -nonetlink; none when not given
#   and what guest-work.sh takes
# Markers: attached, ready (start the move now), round N (each), seen-finished, dmesg-clean, pass.
# The host writes the line 'finished' when the move is over.
# Passes only if every file reads back as written, e2fsck finds nothing, the kernel log holds no error of the device
# and the TCP connections at the end are those of the beginning. One nbd-client is run, once: nothing here reconnects.
# shellcheck shell=sh

. /bf/work.sh
: "${PORT:?}" "${EXPORT:=}" "${CONNECTIONS:=1}" "${NBD_OPTIONS:=}"

device=/dev/nbd0
# What the nbd driver, the block layer and ext4 say when a request or a connection was not perfect (Linux 6.1).
trouble='I/O error|EXT4-fs (error|warning)|JBD2:.*(error|abort)|blocked for more than|nbd.*(timed out|[Cc]onnection|dead|reconnect|[Ss]tuck|failed|error|invalid|[Ww]rong|[Uu]nexpected|[Ss]uspicious|[Dd]ouble)'

main() {
    attach
    make_file_system "$device"
    mark "ready connections: $(connections)"
    work_through_the_move
    same_connections
    umount /mnt || fail "umount failed"
    e2fsck -fn "$device" || fail "e2fsck found errors"
    same_connections
    check_dmesg
    mark "longest-round $longest_round_ms ms"
    nbd-client -d "$device" || fail "disconnect failed"
    mark pass
}

attach() {
    modprobe -a nbd ext4
    # Keeps the kernel from logging each drop of its caches.
    echo 4 >/proc/sys/vm/drop_caches
    # The options are words of their own.
    # shellcheck disable=SC2086
    nbd-client 10.0.2.2 "$PORT" "$device" -N "$EXPORT" -C "$CONNECTIONS" $NBD_OPTIONS || fail "nbd-client could not attach"
    first_connections=$(connections)
    first_pid=$(cat /sys/block/nbd0/pid)
    opened=$(echo "$first_connections" | wc -w)
    [ "$opened" -eq "$CONNECTIONS" ] || fail "$opened connections instead of $CONNECTIONS"
    mark "attached by process $first_pid, $(cat /sys/block/nbd0/size) sectors, cache $(cat /sys/block/nbd0/queue/write_cache)"
}

# The guest's established connections to the server, as port/inode: a connection made anew has another of each.
connections() {
    awk -v server="$(printf '0202000A:%04X' "$PORT")" \
        '$3 == server && $4 == "01" { sub(/.*:/, "", $2); print $2 "/" $10 }' /proc/net/tcp | sort | tr '\n' ' '
}

same_connections() {
    [ "$(connections)" = "$first_connections" ] || fail "connections were $first_connections and are $(connections)"
    [ "$(cat /sys/block/nbd0/pid)" = "$first_pid" ] || fail "device was attached anew: process $(cat /sys/block/nbd0/pid)"
}

# Before the disconnect, which the driver reports in the same words.
check_dmesg() {
    show_dmesg
    ! dmesg | grep -E "$trouble" || fail "the kernel log holds errors"
    mark dmesg-clean
}

main
