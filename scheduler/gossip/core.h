/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_CORE_H
#define SCHEDULER_GOSSIP_CORE_H

/*
 * The whole state of a gossip core, for the files of this folder only. Everything that grows with
 * the cell is a dense array; what is rare (suspicions, streams) is allocated when it comes. The
 * pointer `out` is set while a step runs.
 */

#include "base/buf.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/world.h"
#include "scheduler/gossip/gossip.h"

enum {
	CORE_VERSION = 1, /* of the wire format; also the oldest one that is read */
	CORE_PROBES_MAX = 8,
	CORE_INDIRECT = 3,
	CORE_FAN_OUT = 3,
	CORE_HEALTH_MAX = 8,
	CORE_CONFIRMATIONS = 2,
	CORE_RINGS = 3,
	CORE_BUCKETS = 1024,
	CORE_RUMOUR_BITS = 8192,
	CORE_TELLS_HIGH = 4096, /* with so many waiting, streams wait */
	CORE_TELLS_MAX = 16384,
};

#define CORE_MS UINT64_C(1000000)
#define CORE_NEVER UINT64_MAX

/* incarnation << 8 | enum gossip_state: the greater one is the newer one. 0: nothing known. */
static inline uint32_t
core_status(uint32_t incarnation, enum gossip_state state)
{
	return incarnation << 8 | (uint32_t)state;
}

static inline enum gossip_state
core_state(uint32_t status)
{
	return (enum gossip_state)(status & 0xff);
}

static inline uint32_t
core_incarnation(uint32_t status)
{
	return status >> 8;
}

static inline bool
core_live(uint32_t status)
{
	return core_state(status) == GOSSIP_ALIVE || core_state(status) == GOSSIP_SUSPECT;
}

/* A bijection that leaves no pattern. */
static inline uint64_t
core_mix(uint64_t v)
{
	v = (v ^ v >> 33) * UINT64_C(0xff51afd7ed558ccd);
	v = (v ^ v >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return v ^ v >> 33;
}

struct entry {
	uint64_t id;
	uint64_t sequence;
	uint16_t type;
	uint16_t bytes;
	uint8_t value[];
};

/* What is held of one node's namespace. */
struct space {
	uint32_t node;
	uint32_t bytes;
	uint16_t count;
	uint16_t capacity;
	uint32_t want_from; /* who announced `want` */
	uint64_t version;
	uint64_t dropped; /* version of the last drop that is known of; kept by a new birth as 0 */
	uint64_t want;    /* the greatest version announced by others, when above version */
	struct entry **entries; /* by type, id */
	bool wanted;            /* stands in the queue of wants */
};

enum change_op { CHANGE_NOTE = 0, CHANGE_PUT = 1, CHANGE_DROP = 2, CHANGE_VOID = 3 };

/* One change of a namespace: brings who has at least version - span to version. */
struct change {
	uint32_t node;
	uint16_t type;
	uint16_t bytes;
	uint64_t version;
	uint64_t id;
	uint16_t span;
	uint16_t age; /* in 100 us, when it was sent or came here */
	uint8_t op;
	const uint8_t *value;
};

struct pending {
	struct change change;
	uint32_t from;
	uint8_t value[];
};

/* A change that was applied here and is passed on. */
struct logged {
	uint32_t node;
	uint32_t from;
	uint64_t version;
	uint64_t id;
	uint64_t at_ns;
	uint16_t type;
	uint16_t span;
	uint16_t age; /* in 100 us, when it was sent or came here */
	uint8_t op;
};

struct link {
	uint32_t node;
	bool eager;
	bool guest;       /* grafted itself on; not a neighbour of the mesh */
	uint64_t cursor;  /* into the log */
	uint64_t next_ns; /* not before, the next packet */
	uint64_t pruned_ns;
	uint64_t used_ns;
};

struct want {
	uint32_t node;
	uint8_t tries;
	uint64_t due_ns;
};

struct rumour {
	uint32_t node;
	uint32_t accuser;
	uint32_t status;
	uint32_t told;
};

struct doubt {
	struct heap_item due;
	uint32_t node;
	uint32_t accusers[1 + CORE_CONFIRMATIONS];
	uint32_t count;
	uint64_t since_ns;
	uint64_t heard_ns; /* from itself, since; 0: not */
};

struct probe {
	uint32_t node; /* 0: free */
	uint32_t number;
	uint64_t sent_ns;
	uint64_t widen_ns; /* then also by others and by stream; CORE_NEVER: done */
	uint64_t verdict_ns;
	uint32_t asked;
	uint32_t nacks;
};

struct relay {
	uint32_t asker; /* 0: free */
	uint32_t asker_number;
	uint32_t target;
	uint32_t number;
	uint64_t nack_ns; /* CORE_NEVER: said */
	uint64_t end_ns;
};

struct tell {
	uint32_t node;
	uint16_t kind;
	uint16_t type;
	uint64_t id;
	uint32_t accuser;
};

struct lane;

struct gossip {
	struct gossip_config config;
	struct world_seeded random;
	struct step_actions *out;
	uint64_t now_ns;
	uint64_t timer_ns; /* as last asked for */
	bool started;
	struct gossip_counters counters;

	/* members, by id */
	uint32_t *ids;
	uint32_t *status;
	uint16_t *order;    /* indexes of the others, as they are probed */
	uint16_t *space_at; /* 1 + index in spaces; 0: none */
	size_t count;
	size_t capacity;
	size_t self_at;
	size_t live;
	size_t order_at;
	uint64_t digest;
	uint64_t digest_ns; /* since when it is so */

	struct {
		uint32_t incarnation;
		uint32_t durable; /* incarnations up to this one may be used */
		uint32_t writing;
		uint64_t token; /* of the last write */
		bool found;     /* the file was read */
		bool pending;
		bool failed;
		uint64_t retry_ns;
		uint64_t after; /* what is sent waits for this token; 0: for nothing */
		bool leave;
		bool left;
		uint64_t leave_ns;
	} life;

	struct rumour *rumours;
	size_t rumours_count, rumours_capacity;
	uint64_t rumours_bits[CORE_RUMOUR_BITS / 64]; /* clear: there is none about that node */
	bool rumours_untold; /* the queue was full, and none of it has been told since */
	uint64_t rumours_ns;

	struct map dials; /* members that no stream can be opened to; few, or none */
	struct map doubts;
	struct heap doubts_due;
	uint64_t grace_ns; /* after a stall nobody is declared dead before */

	struct probe probes[CORE_PROBES_MAX];
	struct relay relays[GOSSIP_RELAYS_MAX];
	size_t relays_count;
	uint32_t number; /* the last one given to a ping */
	uint64_t probe_ns;
	bool neighbours_turn;
	uint32_t probe_round; /* while all is well */
	uint64_t alert_ns;    /* until then not all is well */
	uint64_t contact_ns;
	uint64_t contact_wait_ns;
	uint64_t rtt_ns; /* smoothed; 0: not measured yet */
	unsigned health;

	struct space *spaces;
	size_t spaces_count, spaces_capacity;
	struct pending **pending; /* by node, version */
	size_t pending_count;

	struct logged *log; /* a ring; the index is taken modulo log_capacity */
	size_t log_capacity;
	uint64_t log_first, log_next;
	uint64_t log_dated; /* what was put between two steps gets the time of the second */
	struct link links[GOSSIP_LINKS_MAX];
	size_t links_count;
	struct want *wants; /* a queue */
	size_t wants_first, wants_count, wants_capacity;
	struct {
		uint32_t next, previous; /* 0: nobody */
		uint64_t next_gap, previous_gap;
	} rings[CORE_RINGS];
	bool rings_stale; /* to be searched anew */
	bool links_stale; /* links do not follow the rings yet */

	struct lane *lanes[GOSSIP_STREAMS_MAX];
	size_t lanes_count;
	uint32_t stream; /* the last name given to one of ours */
	uint64_t sync_ns;
	uint64_t sync_last_ns;
	uint32_t sync_with; /* 0: anybody */
	unsigned mismatches;
	uint64_t matched_ns; /* when somebody's digest last was ours */
	bool joined;

	struct tell *tells;
	size_t tells_first, tells_count, tells_capacity;
	bool tells_lost;
};

#endif
