# Usage: dev/vm/run --disk ... (five of them) --program ... (four of them) dev/vm/guest-power.sh
# A whole migration inside of the guest, each of whose disks keeps a log of its writes and flushes (dm-log-writes): the
# disk of the source with its volume and its records, that of the destination, and the client's device with an ext4.
#   disks      vda source, vdb its log, vdc destination, vdd its log, vde the client's log; all of zeroes
#   programs   target-src, target-dst, switch-proxy, controller
#   VOLUME_BYTES  size of the volume; 16 MiB when not given
#   SIDES         folder of the sides' mount points, /disk when not given: records name files by their whole path, so
#                 the host finds them where it takes them from the disks
# Each log holds these marks: fsynced-N when everything up to round N was flushed by the client, and migrating, held,
# committing, committed, end when the migration has come so far. What stands in a log before a mark had happened by then.
# Round N writes file-N of SIZE bytes, lines of 'file N', and overwrites the head of the file 'last' with a line 'last N'.
# The host replays the logs. The guest itself passes when nothing in it failed and its kernel log holds no I/O error.
# shellcheck shell=sh

: "${VOLUME_BYTES:=16777216}" "${SIDES:=/disk}"

round=0
parties="--from unix:/run/source/control --to unix:/run/destination/control --switch unix:/run/switch/control"

main() {
    modprobe -a nbd ext4 virtio_blk dm-log-writes
    # Writes of the client's page cache reach its device long before it flushes them.
    echo 10 >/proc/sys/vm/dirty_writeback_centisecs
    echo 20 >/proc/sys/vm/dirty_expire_centisecs
    start_side source /dev/vda /dev/vdb
    start_side destination /dev/vdc /dev/vdd
    truncate -s "$VOLUME_BYTES" "$SIDES/source.left/volume"
    # The options of both are words of their own.
    # shellcheck disable=SC2046
    start target-src --volume "vol=$SIDES/source.left/volume" $(listening source)
    # shellcheck disable=SC2046
    start target-dst --pool "$SIDES/destination.left/pool" $(listening destination)
    start switch-proxy --listen 127.0.0.1:10809 --control unix:/run/switch/control --state /run/switch/state \
        --route "vol=nbd+unix:///vol?socket=/run/source/nbd" --log warn
    attach
    work 3
    mark_logs migrating
    run_beside migrate --chunk 1M --bandwidth 6M --hold-at-ready
    mark_logs held
    work 3
    mark_logs committing
    run_beside commit
    mark_logs committed
    work 4
    mark_logs end
    check_dmesg
    mark pass
}

# A disk with a log, a file system on it and a folder for sockets: name, disk, log.
start_side() {
    mkdir -p "$SIDES/$1.left" "/run/$1"
    log_writes "$1" "$2" "$3"
    mkfs.ext4 -q -F -b 4096 -J size=8 -E lazy_itable_init=0,lazy_journal_init=0 "/dev/mapper/$1" || fail "mkfs.ext4 of $1 failed"
    mount -t ext4 "/dev/mapper/$1" "$SIDES/$1.left" || fail "mount of $1 failed"
}

log_writes() {
    dmsetup create "$1" --noudevsync --table "0 $(cat "/sys/block/${2##*/}/size") log-writes $2 $3" ||
        fail "dmsetup create $1 failed"
    # There is no udev that would name it.
    minor=$(dmsetup info -c --noheadings -o minor "$1")
    ln -sf "/dev/dm-$minor" "/dev/mapper/$1"
    [ -b "/dev/mapper/$1" ] || fail "there is no /dev/mapper/$1: $(dmsetup table; ls -l /dev/mapper /dev/dm*)"
}

listening() {
    echo "--nbd unix:/run/$1/nbd --control unix:/run/$1/control --state $SIDES/$1.left/state --log warn"
}

start() {
    "$@" 2>"/tmp/$1.log" &
}

attach() {
    mkdir -p /run/switch
    tries=0
    until nbd-client 127.0.0.1 10809 /dev/nbd0 -N vol -C 1 >/tmp/nbd-client.log 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 30 ] || fail "nbd-client could not attach: $(cat /tmp/*.log)"
        sleep 1
    done
    log_writes client /dev/nbd0 /dev/vde
    mkfs.ext4 -q -F -b 4096 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/client || fail "mkfs.ext4 failed"
    mount -t ext4 -o errors=remount-ro /dev/mapper/client /mnt || fail "mount failed"
    mark "attached, cache $(cat /sys/block/nbd0/queue/write_cache)"
}

mark_logs() {
    for log in source destination client; do
        dmsetup message "$log" 0 mark "$1" || fail "cannot mark the log of $log"
    done
    mark "mark $1"
}

work() {
    last=$((round + $1))
    while [ "$round" -lt "$last" ]; do
        work_round
    done
}

work_round() {
    round=$((round + 1))
    yes "never flushed $round" | head -c 30000 >"/mnt/noise-$((round % 3))"
    yes "file $round" | head -c $(((round * 7 % 13 + 1) * 4096 + 123)) >"/mnt/file-$round"
    sync "/mnt/file-$round" /mnt || fail "fsync failed in round $round"
    yes "last $round" | head -c 4096 | dd of=/mnt/last bs=4096 conv=notrunc,fsync 2>/tmp/dd.log || fail "$(cat /tmp/dd.log)"
    mark_logs "fsynced-$round"
}

# Runs the controller's command to its end, and works meanwhile.
run_beside() {
    # What all commands are told are words of their own.
    # shellcheck disable=SC2086
    (cd /tmp && controller "$@" vol $parties --json >/tmp/controller.log 2>&1; echo "$?" >"/tmp/$1.status") &
    until [ -s "/tmp/$1.status" ]; do
        work_round
    done
    [ "$(cat "/tmp/$1.status")" -eq 0 ] || fail "controller $1 failed: $(tail -n 3 /tmp/controller.log)"
}

check_dmesg() {
    ! dmesg | grep -E 'I/O error|EXT4-fs (error|warning)|JBD2:.*(error|abort)|log-writes.*[Ee]rror' || fail "the kernel log holds errors"
}

main
