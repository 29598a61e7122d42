#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a node costs that does nothing: memory and CPU of all its processes, with three containers.
exec /usr/bin/python3 -B "$(dirname "$0")/idle.py" "$@"
