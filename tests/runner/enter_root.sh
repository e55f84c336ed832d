#!/bin/sh
# enter_root.sh ROOT COMMAND...: run a command in another root, which has the project, $TMPDIR and the one file at their
# usual places, and the host's /proc, /dev and /sys; in a mount namespace of its own, so nothing is left. By root.
set -eu
root=$1 project=$(cd "$(dirname "$0")/../.." && pwd)
shift
exec unshare --mount sh -c '
    set -eu
    root=$1 project=$2
    shift 2
    mount -t tmpfs none "$root/tmp"
    for folder in "$project" "${TMPDIR:-/tmp}" /dev /sys; do
        [ "$folder" = /tmp ] || { mkdir -p "$root$folder" && mount --rbind "$folder" "$root$folder"; }
    done
    mount -t proc proc "$root/proc"
    here=$(pwd)
    exec chroot "$root" /bin/sh -c "cd \"\$1\" 2>/dev/null || cd /; shift; exec \"\$@\"" sh "$here" "$@"
' sh "$root" "$project" "$@"
