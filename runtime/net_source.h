/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_NET_SOURCE_H
#define RUNTIME_NET_SOURCE_H

/*
 * Sources of what containers send, checked by the fabric's own stack: needed where no BPF program
 * stands at their links (dataplane.mode: off), because CAP_NET_RAW is among a container's defaults.
 * A rule of nf_tables in the fabric's namespace drops what comes from a container's link and could
 * not be answered through it. Both families.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/* The group that all links of containers are in. */
enum { NET_SOURCE_GROUP = 0x7a6c };

/* fabric: its network namespace. On or off again; either may be so already. -1: this kernel cannot
 * (no nf_tables, or without its fib expression). */
int net_source_check(int fabric, bool on, struct err *err) MUST_CHECK;

#endif
