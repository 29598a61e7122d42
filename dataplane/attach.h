/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_ATTACH_H
#define DATAPLANE_ATTACH_H

/*
 * Attaching of the balancer's programs to interfaces of the machine. The kernel resolves an
 * interface in the namespace of who asks, and dataplane lives in the fabric: so node sends a
 * process there (node/edge.h) that calls this and ends. Programs are found by dataplane's pins,
 * links are pinned beside them: they stay when everybody dies, and go when their pin goes, or all
 * of it. What is shared with others is left by attach_forget.
 *
 * The working folder is the instance's in the BPF file system. Opens libbpf. Threading: plain
 * calls.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/msg.h"

/* Whether attaching to, or leaving, some of these takes libxdp, and with it CAP_SYS_ADMIN
 * (dataplane/share.h): a program of somebody else is on one, or an interface is shared. */
bool attach_asks(const struct msg_edge *links);
/* xdp_root; an attachment that stands is kept. native, generic: what may be tried, in this order.
 * shared: beside programs of others, whose mode it then is. */
int attach_xdp(uint32_t ifindex, bool native, bool generic, enum msg_xdp *mode_out,
	       bool *shared_out, struct err *err) MUST_CHECK;
/* tc_uplink: replaced when it stands. */
int attach_uplink(uint32_t ifindex, struct err *err) MUST_CHECK;
/* Detaches from all interfaces but these, and from the uplink (0: there is none) unless it is kept.
 * Others' programs stay. -1: a shared interface could not be left. */
int attach_forget(const struct msg_edge *kept, uint32_t uplink, bool keep_uplink,
		  struct err *err) MUST_CHECK;

#endif
