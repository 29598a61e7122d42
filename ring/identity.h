/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_IDENTITY_H
#define RING_IDENTITY_H

/* Who may send to whom (docs/decisions/016-sealed-and-plain.md), as far as overlays say it, by the
 * rule that the data path judges packets by (ring/identity_rule.h). Pure functions. */

#include <stdbool.h>
#include <stdint.h>
#include "ring/msg_network.h"

enum {
	/* What a document says that says nothing. */
	IDENTITY_USUAL = MSG_IDENTITY_SERVICE_ON | MSG_IDENTITY_SERVICE_SEALED |
			 MSG_IDENTITY_SERVICE_ISOLATED | MSG_IDENTITY_GLOBAL_ON |
			 MSG_IDENTITY_GLOBAL_SEALED,
};

struct identity {
	uint64_t deployment;
	uint64_t service;
	uint32_t flags; /* bits of enum msg_identity_flag */
};

/* Of a network of containers of others (ring/msg_attachment.h): a service of a deployment of its
 * own, with what is usual; the same numbers on all nodes. */
struct identity identity_of_network(const char *network);

/* The same both ways: a packet does not say who began. */
bool identity_reaches(const struct identity *a, const struct identity *b);
/* Whether these flags (bits of enum msg_identity_flag) keep anybody out that the usual ones let in:
 * somebody must judge packets then. */
bool identity_isolates(uint32_t flags);
/* Whether these flags want anything sealed; if not, only what the other end wants is. */
bool identity_seals(uint32_t flags);

#endif
