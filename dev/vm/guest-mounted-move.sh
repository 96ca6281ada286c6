# Usage: PORT=10809 EXPORT=name CONNECTIONS=1 dev/vm/run dev/vm/guest-mounted-move.sh
# A mounted ext4 on the kernel's own NBD client, kept busy while the host moves the volume to another server.
#   PORT, EXPORT, CONNECTIONS  what nbd-client attaches: on the host's loopback, default export and 1 when not given
#   NBD_OPTIONS                more options for nbd-client, such as -nonetlink; none when not given
#   MOUNT_OPTIONS              for mount -o, such as discard; rw when not given
#   MOVE_SECONDS_MAX           how long the host may take from BF:ready to its word; 60 when not given
#   ROUNDS_AFTER               rounds of work after the host's word; 4 when not given
# Markers: attached, ready (start the move now), round N (each), seen-finished, dmesg-clean, pass.
# The host writes the line 'finished' when the move is over.
# Passes only if every file reads back as written, e2fsck finds nothing, the kernel log holds no error of the device
# and the TCP connections at the end are those of the beginning. One nbd-client is run, once: nothing here reconnects.
# shellcheck shell=sh

: "${PORT:?}" "${EXPORT:=}" "${CONNECTIONS:=1}" "${NBD_OPTIONS:=}" "${MOUNT_OPTIONS:=rw}"
: "${MOVE_SECONDS_MAX:=60}" "${ROUNDS_AFTER:=4}"

device=/dev/nbd0
copies=/tmp/copies
old_files=8
old_file_kib=2048
new_files=6
part_kib=512
longest_round_ms=0
# What the nbd driver, the block layer and ext4 say when a request or a connection was not perfect (Linux 6.1).
trouble='I/O error|EXT4-fs (error|warning)|JBD2:.*(error|abort)|blocked for more than|nbd.*(timed out|[Cc]onnection|dead|reconnect|[Ss]tuck|failed|error|invalid|[Ww]rong|[Uu]nexpected|[Ss]uspicious|[Dd]ouble)'

main() {
    attach
    make_file_system
    mark "ready connections: $(connections)"
    work_until_finished
    mark seen-finished
    last=$((round + ROUNDS_AFTER))
    while [ "$round" -lt "$last" ]; do
        work_round
    done
    verify_all
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

make_file_system() {
    mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$device" || fail "mkfs.ext4 failed"
    mount -t ext4 -o "$MOUNT_OPTIONS,errors=remount-ro" "$device" /mnt || fail "mount failed"
    mkdir "$copies"
    n=0
    while [ "$n" -lt "$old_files" ]; do
        write_part "old-$n" 0 "$old_file_kib"
        n=$((n + 1))
    done
    : >/mnt/log
    : >"$copies/log"
    sync
}

# Writes random bytes into a file, flushed when done, and into its copy outside of the device: name, offset, length.
write_part() {
    dd if=/dev/urandom of=/tmp/data bs=64k count=$(($3 / 64)) 2>/dev/null
    dd if=/tmp/data of="$copies/$1" bs=64k seek=$(($2 / 64)) conv=notrunc 2>/dev/null
    dd if=/tmp/data of="/mnt/$1" bs=64k seek=$(($2 / 64)) conv=notrunc,fsync 2>/tmp/dd.log ||
        fail "writing $1: $(cat /tmp/dd.log)"
}

work_until_finished() {
    round=0
    deadline_ms=$(($(now_ms) + MOVE_SECONDS_MAX * 1000))
    until host_said finished; do
        [ "$(now_ms)" -lt "$deadline_ms" ] || fail "host did not say finished within $MOVE_SECONDS_MAX s"
        work_round
    done
}

# One round: a new file, an old one overwritten in place, a flushed line of the log, and a file read from the device.
work_round() {
    round=$((round + 1))
    started_ms=$(now_ms)
    new=new-$((round % new_files))
    rm -f "/mnt/$new" "$copies/$new"
    write_part "$new" 0 "$part_kib"
    write_part "old-$((round % old_files))" $((round * part_kib % old_file_kib)) "$part_kib"
    append_log
    drop_caches
    verify "old-$(((round + old_files / 2) % old_files))"
    took_ms=$(($(now_ms) - started_ms))
    [ "$took_ms" -le "$longest_round_ms" ] || longest_round_ms=$took_ms
    mark "round $round $took_ms ms"
}

append_log() {
    echo "round $round at $started_ms" >/tmp/line
    cat /tmp/line >>"$copies/log"
    dd if=/tmp/line of=/mnt/log oflag=append conv=notrunc,fsync 2>/tmp/dd.log || fail "appending to the log: $(cat /tmp/dd.log)"
}

# Without its cached pages the kernel must read from the device.
drop_caches() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
}

verify() {
    cmp "$copies/$1" "/mnt/$1" || fail "$1 does not read back as written"
}

verify_all() {
    drop_caches
    for path in "$copies"/*; do
        verify "${path##*/}"
    done
    mark "verified $(find "$copies" -type f | wc -l) files after $round rounds"
}

# Before the disconnect, which the driver reports in the same words.
check_dmesg() {
    show_dmesg
    ! dmesg | grep -E "$trouble" || fail "the kernel log holds errors"
    mark dmesg-clean
}

main
