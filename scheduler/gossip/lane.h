/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_LANE_H
#define SCHEDULER_GOSSIP_LANE_H

/*
 * Streams: which are open, and the frames on them: u8 kind, u8 flags, u16 0, u32 bytes, and so
 * many bytes. What frames say is in sync.c.
 */

#include "scheduler/gossip/packet.h"

enum {
	LANE_HEAD = 8,
	LANE_OWN_PROBES_MAX = 4,
	LANE_PEERS_MAX = GOSSIP_STREAMS_MAX - LANE_OWN_PROBES_MAX - 1,
	LANE_OF_PEER_MAX = 3, /* that one member may open */
	LANE_OPEN_MS = 3000,  /* until it is up */
	LANE_IDLE_MS = 10000, /* without a byte or room for one */
};

enum lane_frame {
	LANE_HELLO = 1, /* u8 version, u8 oldest, u16 0, u32 0, u64 digest */
	LANE_PING,      /* u32 number, u32 0 */
	LANE_ACK,       /* the same */
	LANE_BUCKETS,   /* 1,024 x u64 */
	LANE_VECTOR,    /* n x (u32 node, u32 status, u64 version); the last has LANE_LAST */
	LANE_MEMBERS,   /* n x 12 bytes as in a datagram */
	LANE_WANT,      /* n x (u32 node, u32 0, u64 version) */
	LANE_SPACE,     /* a namespace, or what is new in it: delta.h */
	LANE_END,
};

enum { LANE_LAST = 1 };

enum lane_purpose { LANE_PEER, LANE_PROBE, LANE_SYNC };

enum lane_todo_kind { LANE_TODO_MEMBER, LANE_TODO_PUSH, LANE_TODO_WANT };

struct lane_todo {
	uint32_t node;
	uint32_t kind;
	uint64_t version; /* that the other side has, or we have */
};

struct lane {
	uint32_t stream;
	uint32_t node;
	enum lane_purpose purpose;
	bool up;
	bool writing; /* until ROOM */
	bool ours_ended;
	bool theirs_ended;
	bool vector;   /* it is being sent */
	bool compared; /* the other's vector was read: the work list stands */
	bool greeted;
	uint32_t number;    /* of the probe */
	uint32_t vector_at; /* the next node to list */
	uint64_t idle_ns;
	struct buf in, out;
	size_t out_at;
	size_t frame; /* the one being written begins here in out */
	struct lane_todo *todo;
	size_t todo_at, todo_count, todo_capacity;
	uint8_t differs[CORE_BUCKETS / 8];
};

/* Inputs. */
void lane_up(struct gossip *g, uint32_t stream, uint32_t node);
void lane_data(struct gossip *g, uint32_t stream, const void *data, size_t bytes);
void lane_room(struct gossip *g, uint32_t stream);
void lane_down(struct gossip *g, uint32_t stream);
/* Reads frames that could not be read yet and writes what can be written; sets `more`. */
void lane_work(struct gossip *g);
uint64_t lane_due(const struct gossip *g);
void lane_timer(struct gossip *g);

/* Tries to reach a member by a stream; its answer is given to the prober. */
void lane_probe(struct gossip *g, uint32_t node, uint32_t number);
/* Opens a stream for anti-entropy; false when it cannot be now. */
bool lane_sync(struct gossip *g, uint32_t node);

/* For sync.c. A frame is begun, appended to, and ended, in l->out. */
struct buf *lane_begin(struct lane *l, enum lane_frame kind, uint8_t flags);
void lane_end(struct lane *l);
/* Adds to the work list; false when it cannot be kept. */
bool lane_todo(struct lane *l, uint32_t node, enum lane_todo_kind kind, uint64_t version);
void lane_close(struct gossip *g, struct lane *l);
void lane_fini(struct gossip *g);

#endif
