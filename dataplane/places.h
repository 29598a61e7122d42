/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_PLACES_H
#define DATAPLANE_PLACES_H

/*
 * Which replica of which endpoint is which backend in the kernel's map: its place, and what stands
 * there. A place is not given again soon, and then with another generation, so that a packet or a
 * pin that still names it meets nobody else. Threading: one owner. Time is given.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "dataplane/lb.h"
#include "ring/msg.h"

enum { PLACES_IDLE_MS = 5000 };

struct places;

/* Where a replica of another node is, which takes clients' packets in a header. */
struct places_away {
	struct addr addr4, addr6; /* zero: none */
	uint16_t mtu;             /* of the path, the header included */
};

struct places_wanted {
	uint64_t stream, replica;
	const struct msg_veth *veth; /* its device; NULL: not here, or not known yet */
	bool is_away;
	const struct places_away *away; /* NULL: as it was */
	uint16_t port, mtu;             /* host order */
	bool draining;
	bool parked; /* flows of before are its own still, new ones go another way */
};

/* Takes over what a predecessor left in lb (borrowed). NULL: out of memory. */
struct places *places_new(struct lb *lb);
void places_free(struct places *s);

/* From here on what is wanted is said anew. */
void places_begin(struct places *s);
/* Whether there is a place for it: it has one, or one is free. A replica of another node has two
 * places when its way changes: flows stay with that which they began with. */
bool places_room(const struct places *s, uint64_t stream, uint64_t replica, bool is_away);
/* Whether it has that place, and has had it as the one for new flows. */
bool places_has(const struct places *s, uint64_t stream, uint64_t replica, bool is_away);
bool places_is_parked(const struct places *s, uint64_t stream, uint64_t replica, bool is_away);
/* Takes a place (there is room) or keeps it, and writes what stands there. */
int places_take(struct places *s, const struct places_wanted *w, uint64_t now_ms,
		uint16_t *index_out, struct err *err) MUST_CHECK;
/* The members of an endpoint, each of which has a place: those that packets can be brought to lead
 * to each other. */
int places_ring(struct places *s, const struct plan_member *members, size_t count,
		struct err *err) MUST_CHECK;
/* Of this stream, the next place of a replica of another node that nobody has wanted since
 * places_begin, as it was. cursor: begin with 0. */
bool places_unsaid(const struct places *s, uint64_t stream, uint32_t *cursor,
		   struct places_wanted *out);
/* Frees those that nobody has wanted since places_begin; any: there were some. */
int places_drop(struct places *s, bool *any, struct err *err) MUST_CHECK;

const struct edge_backend *places_row(const struct places *s, uint16_t index);
size_t places_count(const struct places *s);
/* Draining ones: whether packets went to them within PLACES_IDLE_MS. */
void places_drains(struct places *s, uint64_t now_ms,
		   void (*visit)(void *arg, uint64_t replica, bool busy), void *arg);

#endif
