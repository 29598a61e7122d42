#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Many agents on one machine, beside as many of serf: what they cost, and how fast news travels.
. "$(dirname "$0")/../tools/lib.sh"
need bench
exec unshare -n -- /usr/bin/python3 -B "$(dirname "$0")/gossip.py" "$@"
