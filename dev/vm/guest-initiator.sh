# Linux's own iSCSI initiator, set up as Debian sets it up, for scenarios. Read by a POSIX shell (busybox) in the VM,
# after guest-lib.sh.
#   PORT, EXPORT  a portal on the host's loopback, and the volume whose target it has
# shellcheck shell=sh

: "${PORT:?}" "${EXPORT:?}"

portal=10.0.2.2:$PORT
target=iqn.2026-01.io.blockferry:$EXPORT

start_iscsid() {
    modprobe -a iscsi_tcp sd_mod
    echo "InitiatorName=iqn.2026-01.test:guest" >/etc/iscsi/initiatorname.iscsi
    # It looks up who asks it.
    echo "root:x:0:0::/:/bin/sh" >/etc/passwd
    mkdir -p /run/lock/iscsi
    iscsid -f &
    until_within 30 grep -q ISCSIADM_ABSTRACT_NAMESPACE /proc/net/unix || fail "iscsid does not listen within 30 s"
}

# The disk of the one session: its name, and its device.
find_disk() {
    until_within 30 has_disk || fail "no disk within 30 s of the login"
    device=/dev/$disk
}

has_disk() {
    disk=$(ls /sys/class/iscsi_session/session*/device/target*/*/block 2>/dev/null)
}

# Runs a command until it succeeds, so many seconds at most.
until_within() {
    waited=0 seconds=$1
    shift
    until "$@"; do
        [ "$waited" -lt "$seconds" ] || return 1
        sleep 1
        waited=$((waited + 1))
    done
}
