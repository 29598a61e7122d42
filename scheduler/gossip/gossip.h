/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_GOSSIP_GOSSIP_H
#define SCHEDULER_GOSSIP_GOSSIP_H

/*
 * Who is there, and what each node says of itself: membership and single-writer state of one cell,
 * without a quorum. A core as scheduler/step.h says: no I/O, no clock, one seed.
 *
 * Membership. The roster (node ids that were admitted; from the store) says who may be a member; a
 * peer outside it is not listened to. Of each the core knows an incarnation, which only that node
 * raises, and a state. (incarnation, state) is totally ordered and the greatest wins everywhere, so
 * the order in which news comes does not matter. A node that hears of itself as suspect, dead or
 * left raises its incarnation. Nobody is ever forgotten for being dead: dead and left members are
 * contacted at a low rate, so partitions of any length merge.
 *
 * Entries. Each node owns a namespace of (type, id) -> value and is its only writer. Each change
 * takes the next sequence; version = (birth, sequence), where birth is the incarnation with which
 * the owner started. Changes of one owner are applied everywhere in their order, with no gap.
 * There are no tombstones and so no horizon after which a dropped entry could come back: a node
 * that holds version v of a namespace has all that the owner had at v and nothing that was dropped
 * before; who is behind gets either each change since, or the entries written since v and the
 * sequences of the older ones that are still there (all others are removed). A restarted owner
 * begins a new namespace, which replaces the former as a whole: put what shall survive again before
 * STEP_START.
 *
 * Inputs. STEP_FILE (config.file, when it exists), then STEP_START; DATAGRAM, STREAM_*, TIMER,
 * DISK_DONE, MORE as they come. Nothing is said to anybody before the incarnation is durable. After
 * gossip_put, gossip_drop, gossip_leave or a change of the roster give a STEP_LOCAL (one for many;
 * nothing in it is read): it lets out what they began. When `more` was set the next input must be
 * STEP_MORE.
 *
 * Actions. SEND, STREAM_*, SET_TIMER (one timer for all), REPLACE of config.file, and STEP_TELL:
 * what is an enum gossip_tell_kind, node the member it is about, and the data as said there. Tells
 * say that something changed and show what is so when they are given out; two changes of one entry
 * may be told as one.
 *
 * Limits: docs/limits.md. Malformed input is counted and ignored. Running out of memory loses
 * nothing for good: what could not be kept comes again by anti-entropy.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "scheduler/step.h"

enum {
	GOSSIP_MEMBERS_MAX = 16384,          /* of a cell, self counted */
	GOSSIP_VALUE_MAX = 1024,             /* of one entry */
	GOSSIP_ENTRIES_MAX = 4096,           /* of one node */
	GOSSIP_SPACE_BYTES_MAX = 256 * 1024, /* of one node's entries, each with its 20 bytes */
	GOSSIP_INCARNATION_MAX = (1 << 24) - 1,
	GOSSIP_RUMOURS_MAX = 2048,     /* membership records to pass on; the most told goes first */
	GOSSIP_PENDING_MAX = 512,      /* changes that wait for an earlier one of the same owner */
	GOSSIP_LOG_MAX = 1024,         /* changes that can be handed on again */
	GOSSIP_LINKS_MAX = 16,         /* neighbours in the broadcast's overlay */
	GOSSIP_RELAYS_MAX = 32,        /* indirect probes done for others at a time */
	GOSSIP_STREAMS_MAX = 16,       /* at a time, ours and others' */
	GOSSIP_FRAME_MAX = 320 * 1024, /* one message on a stream */
	GOSSIP_AGE_BOUNDS = 13,
};

/* Zero times mean the default, given here. */
struct gossip_config {
	uint32_t self;     /* not 0 */
	uint64_t seed;     /* of all random choices; another one for each node and start */
	uint16_t file;     /* the shell's number of the file with the incarnation */
	uint32_t wire;     /* 0: this version of the format. Tests speak as a later one would */
	uint32_t probe_ms; /* 500: one member is probed each, or each second one */
	uint32_t probe_direct_ms;    /* 200: then by others and by stream, too */
	uint32_t gossip_ms;          /* 100: rumours leave each, when there are any */
	uint32_t suspicion_ms;       /* 2000: suspect to dead with 2 confirmations; */
	uint32_t suspicion_alone_ms; /* 8000: with none */
	uint32_t batch_ms;           /* 5: between two packets of changes to a neighbour */
	uint32_t graft_ms;           /* 25, or more on slow links: an announced change is awaited */
	uint32_t sync_ms;            /* 30000: anti-entropy with a random member */
	uint32_t contact_ms; /* 10000: at most, between contacts of lost members; less in small
				cells */
};

struct gossip;

/* 0, or -1 when out of memory. */
int gossip_new(const struct gossip_config *config, struct gossip **out)
	__attribute__((warn_unused_result));
void gossip_free(struct gossip *g); /* NULL is fine */
void gossip_step(struct gossip *g, const struct step_input *in, struct step_actions *out);

enum gossip_result {
	GOSSIP_OK,
	GOSSIP_UNCHANGED, /* it was so already */
	GOSSIP_FULL,      /* a limit is reached: nothing was changed */
	GOSSIP_NO_MEMORY, /* nothing was changed */
};

/* ---- roster: who is admitted. self always is. ---- */

enum gossip_result gossip_roster_add(struct gossip *g, uint32_t node);
/* The member is forgotten with its entries; told as GOSSIP_MEMBER with GOSSIP_UNKNOWN. */
enum gossip_result gossip_roster_remove(struct gossip *g, uint32_t node);

/* Nobody can open a stream to that member: it is not tried, and it opens its own. */
enum gossip_result gossip_roster_dials(struct gossip *g, uint32_t node, bool dials);

/* ---- members ---- */

enum gossip_state {
	GOSSIP_UNKNOWN = 0, /* admitted, never heard of */
	GOSSIP_ALIVE = 1,
	GOSSIP_SUSPECT = 2, /* did not answer; still to be treated as alive */
	GOSSIP_DEAD = 3,
	GOSSIP_LEFT = 4, /* said so itself */
};

struct gossip_member {
	uint32_t node;
	uint32_t incarnation; /* 0: never heard of */
	enum gossip_state state;
	uint64_t version; /* of its namespace; 0: nothing known */
};

size_t gossip_members(const struct gossip *g); /* self and all of the roster */
/* In the order of ids; index below gossip_members(). */
void gossip_member_at(const struct gossip *g, size_t index, struct gossip_member *out);
bool gossip_member(const struct gossip *g, uint32_t node, struct gossip_member *out);
/* Alive and suspect ones, self included. */
size_t gossip_members_live(const struct gossip *g);

/* ---- entries ---- */

static inline uint64_t
gossip_version(uint32_t birth, uint64_t sequence)
{
	return (uint64_t)birth << 40 | sequence;
}

static inline uint32_t
gossip_version_birth(uint64_t version)
{
	return (uint32_t)(version >> 40);
}

static inline uint64_t
gossip_version_sequence(uint64_t version)
{
	return version & ((UINT64_C(1) << 40) - 1);
}

struct gossip_entry {
	uint32_t node; /* the owner */
	uint16_t type;
	uint16_t bytes;
	uint64_t id;
	uint64_t version;  /* of its last change */
	const void *value; /* valid until the next call that is not a read */
};

/* In the own namespace. The same value again is GOSSIP_UNCHANGED and says nothing to anybody; a
 * value above GOSSIP_VALUE_MAX is GOSSIP_FULL. */
enum gossip_result gossip_put(struct gossip *g, uint16_t type, uint64_t id, const void *value,
			      size_t bytes);
enum gossip_result gossip_drop(struct gossip *g, uint16_t type, uint64_t id);

bool gossip_get(const struct gossip *g, uint32_t node, uint16_t type, uint64_t id,
		struct gossip_entry *out);

/* struct gossip_walk w = {.node = n}; while (gossip_each(g, &w, &entry)) ...
 * All entries of n (0: of all nodes, in the order of ids), by type, then id. The entries of dead
 * and left members are among them: their state says what they are worth. No change in between. */
struct gossip_walk {
	uint32_t node;
	uint32_t space_;
	uint32_t entry_;
};
bool gossip_each(const struct gossip *g, struct gossip_walk *w, struct gossip_entry *out);

/* ---- what is told ---- */

enum gossip_tell_kind {
	GOSSIP_MEMBER = 1, /* struct gossip_tell_member */
	GOSSIP_ENTRY,      /* struct gossip_tell_entry, then the value. Not for the own entries */
	GOSSIP_RESET,      /* no data: all entries of node are gone; those of its new life follow */
	GOSSIP_LOST,       /* no data: tells were lost for want of memory; read everything again */
	GOSSIP_LEAVING,    /* no data: the leave has been said; the shell may stop now */
};

struct gossip_tell_member {
	uint32_t node;
	uint32_t incarnation;
	uint32_t state;   /* enum gossip_state */
	uint32_t accuser; /* of a suspect or dead one, as far as known; or 0 */
};

struct gossip_tell_entry {
	uint32_t node;
	uint16_t type;
	uint16_t bytes; /* of the value that follows */
	uint64_t id;
	uint64_t version;
	uint32_t dropped; /* 1: it is gone, no value follows */
	uint32_t pad_;
};

/* ---- leaving, counters, the whole ---- */

/* Says good-bye: the others hold the node as left and do not suspect it. Ends with GOSSIP_LEAVING.
 * Nothing more is put. To come back, start anew. */
void gossip_leave(struct gossip *g);

enum gossip_message {
	GOSSIP_PING,
	GOSSIP_ACK,
	GOSSIP_PING_REQ,
	GOSSIP_NACK,
	GOSSIP_MEMBERS,
	GOSSIP_CHANGES,
	GOSSIP_IHAVE,
	GOSSIP_GRAFT,
	GOSSIP_PRUNE,
	GOSSIP_GONE,
	GOSSIP_SYNC, /* frames on streams */
	GOSSIP_MESSAGES_,
};

struct gossip_counters {
	uint64_t sent[GOSSIP_MESSAGES_];
	uint64_t received[GOSSIP_MESSAGES_];
	uint64_t datagrams_sent, datagram_bytes_sent;
	uint64_t datagrams_received, datagram_bytes_received;
	uint64_t stream_bytes_sent, stream_bytes_received;
	uint64_t suspicions_raised; /* begun here or heard of */
	uint64_t suspicions_refuted;
	uint64_t suspicions_confirmed; /* it was declared dead, here or elsewhere */
	uint64_t probes, probes_failed;
	uint64_t refutations; /* of what was said about this node */
	uint64_t stalls;
	uint64_t malformed;  /* datagrams, and streams that were closed for it */
	uint64_t unknown;    /* message kinds of a newer version, skipped */
	uint64_t strangers;  /* inputs and records of nodes outside the roster */
	uint64_t duplicates; /* changes that were here already */
	uint64_t gaps;       /* changes that came before an earlier one */
	uint64_t syncs_begun, syncs_equal, syncs_done, syncs_failed, streams_refused;
	uint64_t disk_failures;
	uint64_t out_of_memory;
	/* Age of a change when it came here, by datagram: age[i] counts those of at most
	 * gossip_age_bounds_ms[i] (and more than the one before), the last all others. */
	uint64_t age[GOSSIP_AGE_BOUNDS + 1];
	uint64_t age_sum_us;
};
extern const uint32_t gossip_age_bounds_ms[GOSSIP_AGE_BOUNDS];

const struct gossip_counters *gossip_counters(const struct gossip *g);
/* Lifeguard's score of this node's own slowness: 0 well, 8 worst. */
unsigned gossip_health(const struct gossip *g);
/* Of all that is known: every member's incarnation, state and version. Nodes with equal digests
 * hold the same. O(1). */
uint64_t gossip_digest(const struct gossip *g);

#endif
