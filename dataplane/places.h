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

struct places_wanted {
	uint64_t stream, replica;
	const struct msg_veth *veth; /* its device; NULL: not here, or not known yet */
	uint16_t port, mtu;          /* host order */
	bool draining;
};

/* Takes over what a predecessor left in lb (borrowed). NULL: out of memory. */
struct places *places_new(struct lb *lb);
void places_free(struct places *s);

/* From here on what is wanted is said anew. */
void places_begin(struct places *s);
/* Whether there is a place for it: it has one, or one is free. */
bool places_room(const struct places *s, uint64_t stream, uint64_t replica);
/* Takes a place (there is room) or keeps it, and writes what stands there. */
int places_take(struct places *s, const struct places_wanted *w, uint64_t now_ms,
		uint16_t *index_out, struct err *err) MUST_CHECK;
/* Frees those that nobody has wanted since places_begin; any: there were some. */
int places_drop(struct places *s, bool *any, struct err *err) MUST_CHECK;

const struct edge_backend *places_row(const struct places *s, uint16_t index);
size_t places_count(const struct places *s);
/* Draining ones: whether packets went to them within PLACES_IDLE_MS. */
void places_drains(struct places *s, uint64_t now_ms,
		   void (*visit)(void *arg, uint64_t replica, bool busy), void *arg);

#endif
