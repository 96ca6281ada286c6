# Usage: PORT=3260 EXPORT=vol dev/vm/run dev/vm/guest-iscsi-move.sh
# A mounted ext4 on the kernel's own iSCSI initiator, kept busy while the host moves the volume to another server.
#   PORT, EXPORT  the portal that is asked for targets, on the host's loopback, and the volume whose target it tells
#   PORT_AFTER    the port at which the session has to be after the move; PORT when not given
#   and what guest-work.sh takes
# Markers: attached, ready (start the move now), round N (each), seen-finished, moved, dmesg-clean, pass.
# The host writes the line 'finished' when the move is over.
# Passes only if every file reads back as written, e2fsck finds nothing, the kernel log holds no error of the disk or
# its file system, and there was one session and one disk from the beginning to the end, which has come to PORT_AFTER.
# shellcheck shell=sh

. /bf/initiator.sh
. /bf/work.sh
: "${PORT:?}" "${EXPORT:?}" "${PORT_AFTER:=$PORT}"

# Seconds that the session may take to come to the new portal once the host has said that the volume is there.
follow_seconds_max=60
# What the SCSI layer, the block layer and ext4 say when a command failed, or a disk or a session was given up (Linux
# 6.1). A connection that ends and is made anew is none of these.
trouble='I/O error|[Rr]ejecting I/O|EXT4-fs (error|warning)|EXT4-fs.*[Rr]emounting|JBD2:.*([Ee]rror|abort)|Aborting journal'
trouble="$trouble|blocked for more than|offline|Sense Key|FAILED Result|session recovery timed out|ABORT|Synchronize Cache.* failed|Cache data unavailable"

main() {
    log_in
    make_file_system "$device"
    mark "ready $(session) at $(ports)"
    work_through_the_move
    until_moved
    umount /mnt || fail "umount failed"
    e2fsck -fn "$device" || fail "e2fsck found errors"
    same_disk
    check_dmesg
    mark "longest-round $longest_round_ms ms"
    iscsiadm -m node -T "$target" -u || fail "logout failed"
    mark pass
}

log_in() {
    modprobe ext4
    # Keeps the kernel from logging each drop of its caches.
    echo 4 >/proc/sys/vm/drop_caches
    start_iscsid
    iscsiadm -m discovery -t sendtargets -p "$portal" || fail "discovery failed at $portal"
    iscsiadm -m node -T "$target" -l || fail "login failed at $portal"
    find_disk
    first_session=$(session)
    mark "attached $device, $(cat "/sys/block/$disk/size") sectors, $first_session"
}

session() {
    ls /sys/class/iscsi_session
}

# The port where the session is, and the one that it began at.
ports() {
    cat /sys/class/iscsi_connection/connection*/port /sys/class/iscsi_connection/connection*/persistent_port | tr '\n' ' '
}

until_moved() {
    is_moved() { [ "$(cat /sys/class/iscsi_connection/connection*/port)" = "$PORT_AFTER" ]; }
    until_within "$follow_seconds_max" is_moved || fail "the session is at $(ports), not at $PORT_AFTER"
    mark "moved, $(session) is at $(ports)"
}

same_disk() {
    [ "$(session)" = "$first_session" ] || fail "the session was $first_session and is $(session)"
    [ -b "$device" ] && [ "$(cat "/sys/block/$disk/device/state")" = running ] || fail "$device is not running"
}

check_dmesg() {
    show_dmesg
    ! dmesg | grep -E "$trouble" || fail "the kernel log holds errors"
    mark dmesg-clean
}

main
