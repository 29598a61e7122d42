/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_TICKET_H
#define SCHEDULER_TICKET_H

/*
 * The word that lets a node join, printed by an invitation. It names the
 * cluster by its id, so that the joining node can tell the right one from everybody else before it
 * says anything, some addresses of nodes that can admit it, and a secret that the cluster has
 * promised to honour (for a while, for some uses: scheduler keeps that, not the word).
 *
 * Form: "zl1-", then base64url (RFC 4648 5, without padding) of
 *   cluster 32, id u64, secret 16, count u8, count * {family u8 (4, 6), address 4 or 16, port u16},
 *   the first 4 bytes of the SHA-256 of all that; numbers little-endian.
 * No I/O, no allocation.
 */

#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"

enum {
	TICKET_CLUSTER = 32,
	TICKET_SECRET = 16,
	TICKET_ADDRESSES_MAX = 5,
	TICKET_TEXT_BYTES = 256, /* of the longest, with NUL */
};

struct ticket {
	uint8_t cluster[TICKET_CLUSTER];
	uint64_t id;
	uint8_t secret[TICKET_SECRET];
	struct addr addresses[TICKET_ADDRESSES_MAX];
	size_t addresses_count; /* at least 1 */
};

void ticket_write(const struct ticket *t, char out[TICKET_TEXT_BYTES]);
/* ERR_INVALID says what is wrong with it: not a ticket, cut short, of a newer version. Spaces and
 * line ends around it are ignored. */
int ticket_read(const char *text, struct ticket *out, struct err *err) MUST_CHECK;

#endif
