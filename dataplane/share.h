/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_SHARE_H
#define DATAPLANE_SHARE_H

/*
 * An interface that carries programs of others, under libxdp's dispatcher: the balancer becomes one
 * of them, the last, and leaves the others alone when it goes. libxdp finds programs by their
 * numbers, for which the kernel wants CAP_SYS_ADMIN; it keeps its pins in /sys/fs/bpf/xdp.
 *
 * Ours is known by the map that it calls. The map is pinned as FOLDER/shared1-MAP-IFINDEX before
 * anything is attached: who dies in between leaves what a successor finds, adopts, or takes out.
 *
 * The working folder is the instance's in the BPF file system. Needs libbpf loaded, opens libxdp.
 * Threading: plain calls.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/msg.h"

/* chain: descriptor of the balancer's map, borrowed. native, generic: modes that will do; the
 * dispatcher has one already. ERR_CONFLICT: a program stands there that shares with nobody. */
int share_attach(uint32_t ifindex, int chain, bool native, bool generic, enum msg_xdp *mode_out,
		 struct err *err) MUST_CHECK;
/* Whether anything is shared, by the pins. */
bool share_any(void);
/* Leaves all interfaces but those that are shared in `kept`, and these where it calls another map
 * than `chain` (-1: none). What cannot be left is told. */
int share_forget(const struct msg_edge *kept, int chain, struct err *err) MUST_CHECK;

#endif
