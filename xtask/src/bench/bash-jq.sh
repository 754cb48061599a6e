#!/bin/bash
# The usual FlexVolume driver, after the pattern of Kubernetes' own lvm example: bash, jq,
# findmnt, losetup, blkid, fsck and mount. It takes no lock, keeps no record and undoes nothing.
#
#   bash-jq.sh mountdevice DIR JSON    bash-jq.sh mount DIR JSON
#   bash-jq.sh unmount DIR             bash-jq.sh unmountdevice DIR

fail() {
    jq -nc --arg message "$1" '{status: "Failure", message: $message}'
    exit 1
}

succeed() {
    echo '{"status":"Success"}'
    exit 0
}

option() {
    echo "$json" | jq -r --arg key "$1" '.[$key] // ""'
}

ismounted() {
    findmnt -n "$1" >/dev/null 2>&1
}

device_of() {
    losetup -n -O NAME -j "$1" | head -n 1 | tr -d ' '
}

op=$1
dir=$2
json=$3

case "$op" in
mountdevice)
    ismounted "$dir" && succeed
    image=$(option imagePath)
    fstype=$(option kubernetes.io/fsType)
    readwrite=$(option kubernetes.io/readwrite)
    [ -f "$image" ] || fail "no image"
    device=$(device_of "$image")
    if [ -z "$device" ]; then
        device=$(losetup -f --show "$image" 2>/dev/null) || fail "losetup failed"
    fi
    present=$(blkid -o udev "$device" 2>/dev/null | grep '^ID_FS_TYPE=' | cut -d= -f2)
    if [ -z "$present" ]; then
        mkfs -t "$fstype" "$device" >/dev/null 2>&1 || fail "mkfs failed"
    fi
    "fsck.$fstype" -p "$device" >/dev/null 2>&1 || fail "fsck failed"
    mkdir -p "$dir"
    mount -t "$fstype" -o "$readwrite" "$device" "$dir" >/dev/null 2>&1 || fail "mount failed"
    succeed
    ;;
mount)
    ismounted "$dir" && succeed
    staged=$(option stagedPath)
    readwrite=$(option kubernetes.io/readwrite)
    ismounted "$staged" || fail "not staged"
    mkdir -p "$dir"
    mount --bind "$staged" "$dir" >/dev/null 2>&1 || fail "mount failed"
    if [ "$readwrite" = ro ]; then
        mount -o remount,bind,ro "$dir" >/dev/null 2>&1 || fail "mount failed"
    fi
    succeed
    ;;
unmount)
    ismounted "$dir" && { umount "$dir" >/dev/null 2>&1 || fail "umount failed"; }
    succeed
    ;;
unmountdevice)
    device=$(findmnt -n -o SOURCE "$dir")
    ismounted "$dir" && { umount "$dir" >/dev/null 2>&1 || fail "umount failed"; }
    [ -z "$device" ] || losetup -d "$device" >/dev/null 2>&1 || fail "losetup failed"
    succeed
    ;;
*)
    echo '{"status":"Not supported"}'
    exit 1
    ;;
esac
