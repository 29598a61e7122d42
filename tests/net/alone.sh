#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# alone.sh PROGRAM [ARGUMENT ...]: in a network and a mount namespace of its own, so that ports are nobody else's.
exec unshare --net --mount sh -c 'ip link set lo up && exec "$@"' sh "$@"
