#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Traffic between two nodes: the bare cable, the kernel's VXLAN and our programs with it, WireGuard
# of others and our engine.
. "$(dirname "$0")/../tools/lib.sh"
need bench
[ "$(id -u)" = 0 ] || die "needs root: namespaces and TUN devices"
ninja -C "$1" bench/bench-wg >/dev/null || die "the build of bench-wg failed"
exec unshare -n -m -- /usr/bin/python3 -B "$(dirname "$0")/overlay.py" "$@"
