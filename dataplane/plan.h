/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DATAPLANE_PLAN_H
#define DATAPLANE_PLAN_H

/*
 * The tables of the balancer over time, without I/O and without a clock: who owns a slot, who owned
 * it, and when a change is over. Backends are numbers (indices into the map of backends); 0 is the
 * relay, which is always there.
 *
 * A change begins when a slot gets another owner while the former one is still there. It lasts as
 * long as a member drains; with connections, until no packet has gone to a former owner for
 * PLAN_IDLE_MS or PLAN_OPENED_MS, and without, for PLAN_SETTLE_MS. A member that is gone owns
 * nothing at once. Pins hold for an epoch: what was pinned in one change says nothing in the next.
 * Threading: none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "dataplane/bpf/edge.h"
#include "dataplane/maglev.h"

enum {
	PLAN_MEMBERS_MAX = MAGLEV_MEMBERS_MAX, /* of a service */
	PLAN_SMALL_MEMBERS = 40, /* more of them need a big table: balance within 1 % */
	PLAN_SETTLE_MS = 10000,
	PLAN_IDLE_MS = 300000, /* a connection may be silent for so long */
	/* So may one whose ports were taken at its owner: longer than TCP is without keepalive
	 * (RFC 9293, 3.8.4). When it comes to its owner after all, it ends another one there, too.
	 */
	PLAN_OPENED_MS = 3 * 3600 * 1000,
};

struct plan_member {
	uint64_t id;    /* the replica: the same on every node */
	uint16_t index; /* the backend */
	bool draining;  /* owns no slot, keeps its flows; the change lasts as long */
	bool parked;    /* owns no slot, keeps its flows while a change lasts */
};

struct plan {
	uint32_t *slots; /* slots_count of them, EDGE_CUR and EDGE_PREV */
	size_t slots_count;
	uint32_t epoch; /* grows when a change begins from a steady table, and at its end */
	bool changing;
	bool opened;       /* by the programs: see plan_opened */
	bool draining;     /* a member drains */
	bool connections;  /* of TCP; the owner of the plan says so */
	uint64_t since_ms; /* the last change, or packet to a former owner */
	uint64_t kept;     /* the counter, when it was last seen to move */
};

/* A table that belongs to the relay. 0, or -1 when out of memory. */
int plan_init(struct plan *p) __attribute__((warn_unused_result));
void plan_fini(struct plan *p);

/* Takes over a table that a predecessor left. Slots of backends that are not alive are mended by
 * the next plan_update. 0, or -1 when out of memory. */
int plan_adopt(struct plan *p, const uint32_t *slots, size_t slots_count, uint32_t epoch,
	       uint64_t now_ms) __attribute__((warn_unused_result));

/* The members are these now (any order, distinct). True when the table has changed; false also when
 * out of memory (the table is then as it was, and *failed_out is true). */
bool plan_update(struct plan *p, const struct plan_member *members, size_t count, uint64_t now_ms,
		 bool *failed_out);
/* Time has passed; kept: how many packets went to former owners so far. True when the table has
 * changed: the change is over. */
bool plan_tick(struct plan *p, uint64_t kept, uint64_t now_ms);
/* The programs have opened slots of the table that is in force, `live`: connections of them are
 * somebody else's, as their ports were taken at the owner (dataplane/bpf/edge_asked.h). That is a
 * change of these slots to the same owner, or a part of the one that goes on. */
void plan_opened(struct plan *p, const uint32_t *live, size_t live_count, uint64_t now_ms);
/* Packets do not come by this table yet: its change begins when they do. */
void plan_wait(struct plan *p, uint64_t now_ms);

#endif
