# Work on a mounted ext4 whose every block is proved, for scenarios that move the device below it. Read by a POSIX
# shell (busybox) in the VM, after guest-lib.sh.
#   MOUNT_OPTIONS     for mount -o, such as discard; rw when not given
#   MOVE_SECONDS_MAX  how long the host may take from BF:ready to its word; 60 when not given
#   ROUNDS_AFTER      rounds of work after the host's word; 4 when not given
# shellcheck shell=sh

: "${MOUNT_OPTIONS:=rw}" "${MOVE_SECONDS_MAX:=60}" "${ROUNDS_AFTER:=4}"

copies=/tmp/copies
old_files=8
old_file_kib=2048
new_files=6
part_kib=512
longest_round_ms=0

# Makes a file system on a device, mounts it, and fills it.
make_file_system() {
    mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$1" || fail "mkfs.ext4 failed"
    mount -t ext4 -o "$MOUNT_OPTIONS,errors=remount-ro" "$1" /mnt || fail "mount failed"
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

# Works until the host says that the move is over, and some rounds more; then reads all that was ever written.
work_through_the_move() {
    work_until_finished
    mark seen-finished
    last=$((round + ROUNDS_AFTER))
    while [ "$round" -lt "$last" ]; do
        work_round
    done
    verify_all
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
