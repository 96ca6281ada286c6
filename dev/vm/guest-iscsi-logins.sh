# Usage: PORT=3260 EXPORT=vol dev/vm/run --env SECRET=... --env TARGET_SECRET=... dev/vm/guest-iscsi-logins.sh
# The kernel's own iSCSI initiator logs in with CHAP: it has to have the secret, and may ask the target for one, too.
#   PORT, EXPORT           the portal on the host's loopback, and the volume whose target it has
#   SECRET, TARGET_SECRET  of the names 'guest' and 'blockferry'
# Passes only if each login with the secrets succeeds, has a disk that can be read, and each one without is turned away.
# shellcheck shell=sh

. /bf/initiator.sh
: "${SECRET:?}" "${TARGET_SECRET:?}"

main() {
    start_iscsid
    ! discover || fail "targets were told without a secret"
    for key in discovery.sendtargets node.session; do
        secrets "$key" "$SECRET" "$TARGET_SECRET" >>/etc/iscsi/iscsid.conf
    done
    discover || fail "discovery failed with both secrets"
    logs_in "both ways"
    set_node username_in ""
    set_node password_in ""
    logs_in "one way"
    set_node password wrong-horse-battery
    is_turned_away "with a wrong secret"
    set_node password "$SECRET"
    set_node username_in blockferry
    set_node password_in wrong-target-secret
    is_turned_away "by a target that it does not believe"
    mark pass
}

discover() {
    iscsiadm -m discovery -t sendtargets -p "$portal"
}

# Lines for iscsid.conf.
secrets() {
    echo "$1.auth.authmethod = CHAP"
    echo "$1.auth.username = guest"
    echo "$1.auth.password = $2"
    echo "$1.auth.username_in = blockferry"
    echo "$1.auth.password_in = $3"
}

set_node() {
    iscsiadm -m node -T "$target" -o update -n "node.session.auth.$1" -v "$2" || fail "cannot set $1"
}

logs_in() {
    iscsiadm -m node -T "$target" -l || fail "login failed $1"
    find_disk
    dd if="$device" of=/dev/null bs=64k count=16 2>/tmp/dd.log || fail "reading $device: $(cat /tmp/dd.log)"
    iscsiadm -m node -T "$target" -u || fail "logout failed"
    mark "logged in $1"
}

is_turned_away() {
    ! iscsiadm -m node -T "$target" -l || fail "logged in $1"
    mark "turned away $1"
}

main
