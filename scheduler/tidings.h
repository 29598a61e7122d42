/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_TIDINGS_H
#define SCHEDULER_TIDINGS_H

/*
 * What a node says of itself to the others, as values of gossip's entries (gossip/gossip.h). Each
 * value but that of a claim begins with a version; a later version may add fields at the end, which
 * an older one passes over. Little endian; a text is its length as u8 and the bytes, without NUL.
 *
 *   FACTS     id 1: 0 version u8  1 flags u8 (1 cordoned, 2 draining)  2 labels u8  3 taints u8
 *             4 cpu_milli u32  8 memory u64  16 started i64  24 address (16 bytes, then u16 port)
 *             42 texts: name, zone, platform, version; key and value of each label; each taint
 *             then, from version 7 on: u8 version of callback.h that it passes on by; 0: it does
 * not LOAD      id 1: 0 version u8  1 cpu_free_milli u32  5 memory_free u64  13 store sequence u64
 *   CLAIM     id: its number. 40 bytes, place/claim.h; what follows them is of a later version
 *   REPLICA   id: the replica's. 0 version u8  1 state u8  2 flags u16  4 index u32  8 revision u32
 *             12 attempt u32  16 ready_attempt u32  20 restarts u32  24 conditions u32
 *             28 service u64  36 operation u64  44 claim u64  52 created i64  60 since i64
 *             68 ready i64  76 make (32)  108 addr4 (16)  124 addr6 (16)
 *             140 reason's kind u8, and if that is not 0: u32 code, texts what, why, why2, fix
 *             then, from version 2 on: u64 epoch of its lease, from version 3 on: exit u32, from
 *             version 6 on: u64 memory that it uses
 *   ADMITTED  id: node. 0 version u8, then its certificate (DER, the leaf alone)
 *   THING     id: rendezvous_text() of it. 0 version u8, then a text: what of it a service may need
 *             ("volume:shop/data", "device:/dev/kvm")
 *
 *   VOTER     id 1: 0 version u8  1 flags u8 (enum tidings_voter_flag)  2 life u64
 *             10 client (16 bytes, then u16 port)  28 texts: version of etcd, reason
 *             then term u32; from version 4 on: u8 more of the flags, those from 256 on
 *
 *   ADDRESSES id 1: the prefixes of its containers, scheduler/ipam.h
 *   FIGURES   id: a service's. 0 version u8  1 flags u8 (1 whole)  2 ready u32  6 waiting u32
 *             10 in_flight u32  14 asks u32  18 beat u32  22 sums (u64 each: cpu, memory, requests)
 *             id 0: what is not named has nothing; the rest of it is 0
 *   SCALE     id: a service's, by its conductor. 0 version u8  1 decision u8  2 known u8 (bits)
 *             3 from u32  7 to u32  11 changed i64  19 means (u64 each)  43 why (a text)
 *             reason as of REPLICA
 *   GUEST     id: of a container of others (ring/msg_attachment.h). 0 version u8  1 addr4 (16)
 *             17 addr6 (16)  33 its network (a text); from version 5 on: its name (a text, empty:
 * none) WRITER    id 1: 0 version u8  1 term u32: it takes the store's changes since a recovery
 *   TWIN      id 1: 0 version u8  1 address (16): this node runs there, too, from a copy
 *   WAITS     id: a service's, by its conductor. 0 version u8  1 missing u32  5 reasons u32 (bits
 * of place/fit.h, of all nodes together), reason as of REPLICA; only while some wait
 *
 * Everything is bounded, texts are UTF-8 without control characters; what is not so is refused as a
 * whole. No I/O, no clock, no allocation.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"
#include "ring/msg_base.h"
#include "scheduler/autoscale.h"
#include "scheduler/gossip/gossip.h"
#include "scheduler/place/claim.h"

enum tidings_type {
	TIDINGS_FACTS = 1,
	TIDINGS_LOAD,
	TIDINGS_CLAIM,
	TIDINGS_REPLICA,
	TIDINGS_ADMITTED,
	TIDINGS_THING,
	TIDINGS_ADDRESSES,
	TIDINGS_FIGURES,
	TIDINGS_SCALE,
	TIDINGS_WRITER,
	TIDINGS_VOTER,
	TIDINGS_GUEST,
	TIDINGS_WAITS,
	TIDINGS_TWIN,
};

enum {
	TIDINGS_VERSION = 7,
	TIDINGS_ONE = 1, /* the id of FACTS, LOAD, VOTER and ADDRESSES */
	TIDINGS_LABELS_MAX = 32,
	TIDINGS_TAINTS_MAX = 32,
	TIDINGS_WORD = 64,       /* a label's key or value, a taint; with NUL */
	TIDINGS_THING_MAX = 256, /* with NUL */
	TIDINGS_LOAD_BYTES = 21,
	TIDINGS_FIGURES_BYTES = 46,
	TIDINGS_WRITER_BYTES = 5,
};

/* A value on its way to gossip_put. */
struct tidings_value {
	uint8_t data[GOSSIP_VALUE_MAX];
	size_t bytes;
};

struct tidings_label {
	char key[TIDINGS_WORD];
	char value[TIDINGS_WORD];
};

/* Labels and taints are those of its own configuration; others stand in its row of the store. */
struct tidings_facts {
	bool cordoned;
	bool draining;
	uint32_t cpu_milli; /* what replicas may reserve in all; 0: not known */
	uint64_t memory_bytes;
	int64_t started_wall_ns;
	struct addr address; /* port 0: as the store has it */
	bool passes_said;    /* false: it is of a version that says nothing of this */
	uint8_t passes;
	char name[MSG_NAME];
	char zone[MSG_NAME];
	char platform[32]; /* "linux/amd64" */
	char version[32];
	struct tidings_label labels[TIDINGS_LABELS_MAX];
	size_t labels_count;
	char taints[TIDINGS_TAINTS_MAX][TIDINGS_WORD];
	size_t taints_count;
};

struct tidings_load {
	uint32_t cpu_free_milli;
	uint64_t memory_free_bytes;
	uint64_t sequence; /* of the store's last transaction that it has */
};

enum tidings_flag {
	TIDINGS_LEAVING = 1 << 0, /* ordered to be removed */
	TIDINGS_STARTED = 1 << 1, /* the process of this attempt runs */
	TIDINGS_PASSED = 1 << 2,  /* and has passed its gate */
	TIDINGS_TROUBLE = 1 << 3, /* ended, and not to be expected back soon */
	TIDINGS_JOB = 1 << 4,     /* a run of a job */
	TIDINGS_STOPPED = 1 << 5, /* ordered to stop */
};

/* What the others must know of a replica that is not theirs. */
struct tidings_replica {
	uint64_t service;
	uint64_t operation; /* that made it; 0: none */
	uint64_t claim;     /* its number on that node; 0: has none */
	uint32_t index;
	uint32_t revision;
	uint32_t attempt;
	uint32_t ready_attempt;
	uint32_t restarts;
	uint32_t conditions; /* of msg_replica */
	uint32_t state;      /* enum msg_replica_state */
	uint32_t flags;      /* enum tidings_flag */
	int64_t created_wall_ns;
	int64_t since_wall_ns;
	int64_t ready_wall_ns; /* since when it is ready; 0: it is not */
	uint8_t make[32];
	struct addr addr4, addr6; /* without port, zero: none (yet) */
	struct msg_reason reason;
	uint64_t lease_epoch;  /* 0: it has none */
	uint32_t exit;         /* how a run ended: as in struct msg_replica */
	uint64_t memory_bytes; /* that it uses, about; 0: not known */
};

/* What a service uses on a node, and what is asked of it there (figures.h). */
struct tidings_figures {
	bool whole;         /* nothing is missing */
	uint32_t ready;     /* replicas of that node */
	uint32_t waiting;   /* requests at that node's proxies, for a replica */
	uint32_t in_flight; /* of them open now */
	uint32_t asks;      /* another number: something was asked since */
	uint32_t beat;      /* another number: it is as old as that */
	uint64_t sum[AUTOSCALE_METRICS_];
};

/* What its conductor decided about the size of a service, and by what. */
struct tidings_scale {
	uint32_t decision; /* enum msg_scale_reason */
	uint32_t known;    /* bits: the mean is, by enum autoscale_metric */
	uint32_t from, to; /* the last change; equal: none is known */
	int64_t changed_wall_ns;
	uint64_t mean[AUTOSCALE_METRICS_];
	char why[MSG_TEXT];     /* of that change */
	struct msg_reason held; /* why it cannot grow; kind 0: nothing holds it */
};

/* Replicas of a service that have no node, as its conductor has it. */
struct tidings_waits {
	uint32_t missing; /* not 0 */
	uint32_t reasons; /* enum fit_reason, of all nodes */
	struct msg_reason reason;
};

enum tidings_voter_flag {
	TIDINGS_VOTER_ABLE = 1 << 0,    /* could run a member of the store's etcd, and would */
	TIDINGS_VOTER_CAN = 1 << 1,     /* is able to speak to one */
	TIDINGS_VOTER_UP = 1 << 2,      /* its member answers */
	TIDINGS_VOTER_LEADS = 1 << 3,   /* that one leads the others */
	TIDINGS_VOTER_LEVEL = 1 << 4,   /* it has all that is known to be decided */
	TIDINGS_VOTER_ETCD = 1 << 5,    /* the store that this node works on is etcd's */
	TIDINGS_VOTER_LEAVING = 1 << 6, /* it is about to leave the cluster */
	TIDINGS_VOTER_VOTES = 1 << 7,   /* its member is no learner (any more) */
	TIDINGS_VOTER_NAMES =
		1 << 8, /* its node.yaml names an etcd, and what that takes is there */
	TIDINGS_VOTER_OUTSIDE = 1 << 9, /* with ETCD: it is one that node.yaml names */
	TIDINGS_VOTER_WRITES = 1 << 10, /* with ETCD: it takes this node's changes now */
	TIDINGS_VOTER_RUINED = 1 << 11, /* the data of its member is damaged */
	/* The store, whichever its engine, has taken none of this node's changes for some seconds.
	 */
	TIDINGS_VOTER_STUCK = 1 << 12,
	/* With ABLE: a member that was to begin there never came up; another node is better. */
	TIDINGS_VOTER_FAILS = 1 << 13,
};

/* What has to do with the store's etcd, of one node. */
struct tidings_voter {
	uint32_t flags;
	uint64_t life;      /* of the member that it has; 0: none */
	uint32_t term;      /* of the store that this node works on (struct store_cluster) */
	struct addr client; /* where a member of its is, or would be; port 0: nowhere */
	char version[32];   /* of etcd; "": not installed */
	char reason[160];   /* why it is not able, or its member is not up */
};

/* Who a container of others on that node is. */
struct tidings_guest {
	struct addr addr4, addr6; /* without port, zero: none */
	char network[MSG_NAME];
	char name[MSG_NAME]; /* "": it has none */
};

/* ERR_LIMIT when the texts take more than an entry may: labels and taints are to be fewer. */
int tidings_put_facts(const struct tidings_facts *f, struct tidings_value *out,
		      struct err *err) MUST_CHECK;
void tidings_put_load(const struct tidings_load *l, struct tidings_value *out);
void tidings_put_claim(const struct claim *c, struct tidings_value *out);
/* Texts of the reason are cut to what has room. */
void tidings_put_replica(const struct tidings_replica *r, struct tidings_value *out);
/* False: it is empty, too large for an entry, or has control characters. */
bool tidings_put_admitted(const void *der, size_t bytes, struct tidings_value *out);
bool tidings_put_thing(const char *thing, struct tidings_value *out);
void tidings_put_guest(const struct tidings_guest *g, struct tidings_value *out);
void tidings_put_writer(uint32_t term, struct tidings_value *out); /* not 0 */
void tidings_put_twin(const struct addr *at, struct tidings_value *out);
void tidings_put_figures(const struct tidings_figures *f, struct tidings_value *out);
/* Texts are cut as those of a replica. */
void tidings_put_scale(const struct tidings_scale *s, struct tidings_value *out);
void tidings_put_waits(const struct tidings_waits *w, struct tidings_value *out);
/* Its reason is cut to what can be printed. */
void tidings_put_voter(const struct tidings_voter *v, struct tidings_value *out);

/* False: not what a node writes; *out is then without meaning. */
bool tidings_take_facts(const void *value, size_t bytes, struct tidings_facts *out);
bool tidings_take_load(const void *value, size_t bytes, struct tidings_load *out);
/* It must be of that node and number: nobody speaks for others. */
bool tidings_take_claim(const void *value, size_t bytes, uint32_t node, uint64_t number,
			struct claim *out);
bool tidings_take_replica(const void *value, size_t bytes, struct tidings_replica *out);
/* The certificate, borrowed; NULL. */
const void *tidings_take_admitted(const void *value, size_t bytes, size_t *bytes_out);
bool tidings_take_voter(const void *value, size_t bytes, struct tidings_voter *out);
bool tidings_take_thing(const void *value, size_t bytes, uint64_t id, char out[TIDINGS_THING_MAX]);
bool tidings_take_guest(const void *value, size_t bytes, struct tidings_guest *out);
bool tidings_take_writer(const void *value, size_t bytes, uint32_t *term_out);
bool tidings_take_twin(const void *value, size_t bytes, struct addr *at);
bool tidings_take_figures(const void *value, size_t bytes, struct tidings_figures *out);
bool tidings_take_scale(const void *value, size_t bytes, struct tidings_scale *out);
bool tidings_take_waits(const void *value, size_t bytes, struct tidings_waits *out);

#endif
