/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_FLEET_H
#define SCHEDULER_PLACE_FLEET_H

/*
 * What placement knows of its cell, as last heard: the nodes with what they are and have, the
 * services with what they want, the claims. Whoever hears of a change (gossip, the store's copy)
 * writes it here; coordinator and ledger only read, but for what a node answers them directly.
 *
 * Texts are kept for explanations; what is compared are their hashes. Order is by id everywhere.
 * Threading: one owner. Every call that can fail leaves all as it was when it does (-1: out of
 * memory or a limit).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"
#include "scheduler/place/claim.h"
#include "scheduler/place/rendezvous.h"

enum {
	FLEET_NODES_MAX = 16384,
	FLEET_SERVICES_MAX = 1 << 20,
	FLEET_REPLICAS_MAX = 10000,
	FLEET_RATHER_MAX = 8,
	FLEET_WORDS_MAX = 64, /* labels, taints, things of one node or service, each */
};

enum fleet_status {
	FLEET_ALIVE = 1,
	FLEET_SUSPECT, /* did not answer: gets nothing new, loses nothing */
	FLEET_DEAD,    /* or left: its claims do not count */
};

struct fleet_pair {
	const char *key;
	const char *value;
};

/* Facts of a node, for fleet_node_set: borrowed. */
struct fleet_facts {
	uint32_t node;
	const char *name;
	const char *zone;     /* "": none */
	const char *platform; /* "linux/amd64" */
	uint32_t cpu_milli;   /* what promises may use in all; 0: not known, nothing is refused */
	uint64_t memory_bytes;
	const struct fleet_pair *labels;
	size_t labels_count;
	const char *const *taints;
	size_t taints_count;
	/* Devices ("device:/dev/kvm") and volumes with data ("volume:shop/data") that are there. */
	const char *const *things;
	size_t things_count;
	bool cordoned; /* nothing new */
	bool draining; /* nothing new, and what is there moves away */
};

enum fleet_mode { FLEET_SHARED, FLEET_DEDICATED, FLEET_EXCLUSIVE };
enum fleet_spread { FLEET_SPREAD_NODE, FLEET_SPREAD_ZONE, FLEET_SPREAD_NONE };

/* What a service wants, for fleet_service_set: borrowed. */
struct fleet_spec {
	uint64_t id;
	const char *name; /* "shop/web" */
	/* Grows with each change of what is to run, also on the way back to something older. */
	uint32_t revision;
	uint32_t same; /* another revision that is the same in content; 0: none */
	uint32_t replicas;
	uint32_t cpu_milli; /* 0: reserves none */
	uint64_t memory_bytes;
	enum fleet_mode mode;
	enum fleet_spread spread;
	const char *platform; /* "": any */
	const struct fleet_pair *labels;
	size_t labels_count;
	const struct fleet_pair *prefer;
	size_t prefer_count;
	const char *const *tolerate; /* taints */
	size_t tolerate_count;
	const char *const *needs; /* things that must be on the node */
	size_t needs_count;
	/* Things with data: where some node has it, only that node will do, even if it is away. */
	const char *const *keeps;
	size_t keeps_count;
	const char *const *takes; /* things that one claim of a node has at a time: "port:tcp/53" */
	size_t takes_count;
	uint32_t surge;
	uint32_t unavailable;
	bool stop_first;
	bool paused; /* nothing of it is replaced; what is missing is still placed */
	uint64_t monitor_ns;
	uint64_t epoch; /* of its lease; 0: needs none */
	bool leased;    /* what runs of it lives with a lease of the store */
};

struct fleet_word {
	uint64_t hash; /* of the word, or of key and value */
	const char *text;
	const char *value; /* of a label; else NULL */
};

struct fleet_words {
	struct fleet_word *items;
	size_t count;
};

struct fleet_node {
	uint32_t id;
	enum fleet_status status;
	const char *name;
	const char *zone_name;
	const char *platform_name;
	uint64_t zone; /* hashes; 0: none */
	uint64_t platform;
	uint64_t seed; /* rendezvous */
	unsigned exponent;
	uint32_t cpu_milli;
	uint64_t memory_bytes;
	uint32_t cpu_free_milli; /* as last heard */
	uint64_t memory_free_bytes;
	bool cordoned;
	bool draining;
	bool stuck;        /* it cannot write the store */
	bool barred;       /* and others can: fleet_bar() */
	uint64_t stuck_ns; /* and others not: since when, as fleet_bar() saw it */
	struct fleet_words labels;
	struct fleet_words taints;
	struct fleet_words things;
	uint64_t label_bits; /* two of 64 for each: most misses are seen here */
	struct list claims;
	uint32_t claims_count; /* that are not leaving */
	size_t index;          /* in fleet.nodes */
	size_t position;       /* in fleet.hot, when that is not stale */
	struct arena memory;   /* of the texts and words */
	/* What this node's own coordinator has asked of it and has no answer to yet. */
	uint64_t cpu_asked_milli;
	uint64_t memory_asked_bytes;
};

/* What the search reads of each node, one after the other in the memory: by group, then by id. */
struct fleet_hot {
	uint64_t seed;
	uint64_t label_bits;
	uint64_t memory_free_bytes; /* less what is asked; UINT64_MAX: not known */
	uint32_t cpu_free_milli;    /* likewise; UINT32_MAX */
	uint32_t same;              /* claims of the marked service; good when mark is fleet's */
	uint32_t mark;
	uint32_t platform; /* lower half of the hash */
	uint16_t zone;     /* in fleet.zones */
	uint8_t exponent;
	bool open;   /* alive, and takes what is new */
	bool simple; /* no taints */
	struct fleet_node *node;
};

struct fleet_zone {
	uint64_t hash;
	uint32_t same;
	uint32_t mark;
};

struct fleet_service {
	struct list link; /* in the coordinator's list of what to look at */
	struct list all;
	uint64_t id;
	bool known;   /* its spec has been given */
	bool removed; /* and taken back: its claims leave */
	const char *name;
	struct fleet_spec spec; /* texts are the fleet's own */
	uint64_t platform;
	struct fleet_words labels;
	struct fleet_words prefer;
	struct fleet_words tolerate;
	struct fleet_words needs;
	struct fleet_words keeps;
	struct fleet_words takes;
	uint64_t label_bits;
	struct list claims; /* as they came */
	size_t claims_count;
	size_t failed;        /* of those, given up by their nodes */
	uint32_t coordinator; /* node; 0: none lives */
	bool inherited;       /* another one was it before */
	struct arena memory;
	/* Nodes that are to have one before all others, where they fit and have none; soft, and
	 * whoever asks for slots sets it. */
	uint32_t rather[FLEET_RATHER_MAX];
	size_t rather_count;
	void *work; /* the coordinator's */
};

struct fleet_claim {
	struct list of_service;
	struct list of_node;
	struct fleet_service *service;
	struct fleet_node *node; /* NULL: not heard of */
	struct claim claim;
	/* The coordinator's own notes: when it first saw it so, and when it last told it to leave.
	 */
	uint64_t ready_ns;
	uint64_t rival_ns;
	uint64_t asked_ns;
	uint8_t asked; /* enum claim_retire */
	/* Of who asks for slots: another one is to come for it, so it does not count where replicas
	 * are spread. */
	bool old;
	/* Of who fills the fleet: when it was heard of first, and in which life of its node. */
	uint64_t seen_ns;
	uint32_t life;
	/* Known from its node's answer only: gossip has not told of it, so it need not tell of its
	 * end. Its node was asked (or answered) then. */
	bool direct;
	uint64_t heard_ns;
};

/* A service whose claims, spec or nodes changed. NULL: nodes changed that may give room to what
 * waits for it. Called during the change: take note, do nothing. */
typedef void (*fleet_changed_fn)(void *arg, struct fleet_service *service);

struct fleet {
	struct fleet_node **nodes; /* by id */
	size_t nodes_count;
	size_t nodes_room;
	/* Made by fleet_refresh; not valid while stale. */
	bool stale;
	struct fleet_hot *hot;
	struct fleet_zone *zones;
	size_t zones_count;
	size_t leaf_begin[(1u << RENDEZVOUS_DEPTH_MAX) + 1];
	struct rendezvous_tree tree;
	size_t writers;               /* nodes that are neither dead nor stuck */
	struct fleet_service *marked; /* whose claims `same` counts */
	uint32_t mark;
	uint32_t marked_count;
	struct map services_by_id;
	struct map claims_by_id;
	struct list services;
	size_t services_count;
	size_t exclusives; /* services that want a node for themselves */
	size_t live;       /* nodes that are not dead */
	bool complete;     /* every service of the store has been given: others are no more */
	uint64_t version;  /* grows with each change of a node's facts or status */
	fleet_changed_fn changed;
	void *changed_arg;
};

void fleet_init(struct fleet *f);
void fleet_fini(struct fleet *f);
void fleet_on_change(struct fleet *f, fleet_changed_fn changed, void *arg);

/* Adds, or replaces the facts; a new node is alive and has all of its capacity free. */
int fleet_node_set(struct fleet *f, const struct fleet_facts *facts)
	__attribute__((warn_unused_result));
/* Harmless for a node that is not known. */
void fleet_node_status(struct fleet *f, uint32_t node, enum fleet_status status);
/* It cannot write the store (any more): it coordinates nothing while another node can. */
void fleet_node_stuck(struct fleet *f, uint32_t node, bool stuck);
/* What lives with leases leaves nodes that have been stuck for wait_ns, while others are not: those
 * who lose the store together do not say so in the same moment. Gives when to call it again; 0: not
 * before something changes. Of the caller's clock, never 0. */
uint64_t fleet_bar(struct fleet *f, uint64_t now_ns, uint64_t wait_ns);
void fleet_node_load(struct fleet *f, uint32_t node, uint32_t cpu_free_milli,
		     uint64_t memory_free_bytes);
void fleet_node_remove(struct fleet *f, uint32_t node);              /* and its claims */
struct fleet_node *fleet_node(const struct fleet *f, uint32_t node); /* NULL when unknown */

int fleet_service_set(struct fleet *f, const struct fleet_spec *spec)
	__attribute__((warn_unused_result));
/* It is kept, marked as removed, as long as it has claims. */
void fleet_service_remove(struct fleet *f, uint64_t service);
struct fleet_service *fleet_service(const struct fleet *f, uint64_t service);

/* Of (claim.node, claim.number), as gossip tells: adds or replaces. */
int fleet_claim_set(struct fleet *f, const struct claim *claim) __attribute__((warn_unused_result));
/* As its node answered. */
int fleet_claim_answered(struct fleet *f, const struct claim *claim, uint64_t now_ns)
	__attribute__((warn_unused_result));
void fleet_claim_remove(struct fleet *f, uint32_t node, uint64_t number);
struct fleet_claim *fleet_claim(const struct fleet *f, uint32_t node, uint64_t number);
/* It counts: its node is not dead. */
bool fleet_claim_lives(const struct fleet_claim *c);

/* After changes of nodes and before candidates are looked for: groups, and who coordinates each
 * service. -1: out of memory, as before. */
int fleet_refresh(struct fleet *f) __attribute__((warn_unused_result));
/* First of the live nodes for a service, of those that can write the store where there are some; 0
 * none. Refreshed. */
uint32_t fleet_coordinator(const struct fleet *f, uint64_t service);
/* First of the live nodes, whether it can write or not. */
uint32_t fleet_coordinator_first(const struct fleet *f, uint64_t service);

/* From now on hot.same and zone.same count this service's claims that are not leaving, and follow
 * their changes. False when they did so already. */
bool fleet_mark(struct fleet *f, struct fleet_service *s);
/* One more or less of the marked service on a node. */
void fleet_mark_add(struct fleet *f, const struct fleet_node *n, bool more);
uint32_t fleet_marked_on(const struct fleet *f, const struct fleet_hot *hot);
uint32_t fleet_marked_in(const struct fleet *f, const struct fleet_hot *hot); /* its zone */
/* The coordinator asks a node for so much, or has its answer (negative): the search sees it. */
void fleet_ask(struct fleet *f, struct fleet_node *n, int64_t cpu_milli, int64_t memory_bytes);

/* It is removed or unknown, has no claims, and nobody works on it: then it is forgotten (true). */
bool fleet_service_forget(struct fleet *f, struct fleet_service *s);

/* ---- words ---- */

bool fleet_words_have(const struct fleet_words *w, uint64_t hash);
/* The value of a label; NULL when there is none of that key. */
const char *fleet_words_value(const struct fleet_words *w, const char *key);

/* ---- between the files of fleet ---- */

struct fleet_words fleet_words_copy(struct arena *a, const char *const *texts, size_t count);
struct fleet_words fleet_pairs_copy(struct arena *a, const struct fleet_pair *pairs, size_t count);
uint64_t fleet_words_bits(const struct fleet_words *w);
void fleet_touch(struct fleet *f, struct fleet_service *s);
/* All of which it has claims, and what waits for room. */
void fleet_touch_node(struct fleet *f, struct fleet_node *n);
/* What the search reads of a node follows the node. */
void fleet_hot_update(struct fleet *f, struct fleet_node *n);
void fleet_claim_free(struct fleet *f, struct fleet_claim *c);
void fleet_service_free(struct fleet *f, struct fleet_service *s);
#endif
