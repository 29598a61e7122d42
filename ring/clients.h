/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_CLIENTS_H
#define RING_CLIENTS_H

/*
 * Which nodes the kernel brings clients' packets to (docs/decisions/017-clients-across-nodes.md).
 * Pure, and the only place of the rule: dataplane goes by it, and the API says so. ways: bits of
 * enum msg_way, of table peer.
 */

#include <stdbool.h>
#include <stdint.h>
#include "ring/msg.h"

/* As tc_across_out chooses (dataplane/bpf/across_out.h). */
static inline bool
clients_go_plain(uint32_t ways)
{
	return ways & MSG_WAY_TRUSTED && ways & MSG_WAY_PLAIN;
}

static inline bool
clients_are_taken(uint32_t ways)
{
	return ways & MSG_WAY_CLIENTS && (ways & MSG_WAY_SEALED || clients_go_plain(ways));
}

#endif
