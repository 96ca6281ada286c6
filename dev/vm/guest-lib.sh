# Functions for guest scenarios, read by a POSIX shell (busybox) in the VM.
# shellcheck shell=sh

# Tells the host something: one line 'BF:<name> [details]'. 'pass' and 'fail' are the verdict of the whole run.
mark() {
    echo "BF:$*"
}

# Gives up: guest-init then prints the kernel log and powers off.
fail() {
    mark "fail $*"
    exit 1
}

# Whether the host has written this word to the standard input of dev/vm/run. Never waits.
host_said() {
    [ -e "/run/host/$1" ]
}

# Waits for the host's word, so many seconds at most.
wait_host() {
    waited=0
    until host_said "$1"; do
        [ "$waited" -lt "$2" ] || fail "host did not say $1 within $2 s"
        sleep 1
        waited=$((waited + 1))
    done
}

show_dmesg() {
    echo "--- dmesg"
    dmesg
    echo "--- end of dmesg"
}

# Milliseconds since boot, in steps of 10.
now_ms() {
    read -r uptime _ </proc/uptime
    seconds=${uptime%.*} hundredths=${uptime#*.}
    echo $((seconds * 1000 + ${hundredths#0} * 10))
}
