/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_MODEL_H
#define SCHEDULER_MODEL_H

/*
 * What the scheduler knows: the store's rows as objects, each with its core, and where to read and
 * publish. Everything hangs in lists; replicas are also found by id. Small deployments are walked,
 * not indexed.
 *
 * The copy in memory leads: a change marks its object dirty and save_all() writes all of them in
 * one transaction. When the store cannot be written (disk full), containers are still kept alive
 * and the rows are written later; what a user asks for is refused instead (apply.c, request.c).
 *
 * In a store that is shared other nodes change rows, too: memory follows them (news.h), and where
 * both have changed something the store's row counts. What a node does with its own replicas
 * depends on its own rows only (store_local): it goes on without the others.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"
#include "base/map.h"
#include "ring/ring.h"
#include "ring/role.h"
#include "scheduler/figures.h"
#include "scheduler/lifecycle.h"
#include "scheduler/rollout.h"
#include "scheduler/scaling.h"
#include "scheduler/store.h"
#include "spec/config.h"
#include "spec/doc.h"

enum {
	MODEL_DEPLOYMENTS_MAX = 256,
	MODEL_SERVICES_MAX = 1024,
	MODEL_REPLICAS_MAX = 4096,
	MODEL_OPERATIONS_MAX = 64,                /* published; the store keeps more */
	MODEL_EVENTS_KEPT = 100000,               /* in the store */
	MODEL_EVENTS_WAITING = 4096,              /* for a store that cannot be written */
	MODEL_CHECKS_MAX = MSG_ENDPOINTS_MAX + 1, /* the service's, and one of each endpoint */
	MODEL_COMMAND_CHECK = 255,                /* n of a command's result */
};

struct cronjob;
struct deployment;
struct unique;

struct revision {
	struct list link;
	struct store_revision row;
	bool dirty;
	struct doc *doc; /* NULL until it is needed */
	struct store_pin *pins;
	size_t pins_count;
	bool pins_dirty;
	bool going; /* a transaction that drops it is under way */
	uint32_t mark;
};

struct service {
	struct list link;
	struct deployment *deployment;
	struct store_service row;
	bool dirty;
	struct list replicas;
	struct store_route *routes;
	size_t routes_count;
	uint64_t depends_over;   /* bit per dependency: it was late, and that was said */
	struct msg_reason waits; /* for a dependency; kind 0: it does not (depend.c) */
	uint32_t slot;           /* in the view of this pass */
	uint32_t mark;
	struct scaling *scaling; /* NULL: its size does not follow its load */
	/* placing.c: the revision and operation of which the fleet knows it, and why some of its
	 * replicas have no node (kind 0: all have one). */
	uint32_t placed_revision;
	uint64_t placed_epoch;
	struct msg_reason unplaced;
	const char *unplaced_name; /* of the metric's label; static */
	struct cronjob *cron;      /* cronjob.h; NULL: it has never been one */
	uint64_t *epochs;          /* of leases, the highest seen of each index (unique.h) */
	size_t epochs_count;
};

struct replica {
	struct list link;
	struct service *service;
	struct store_replica row;
	bool dirty;
	struct lifecycle life;
	struct msg_container container; /* last seen */
	bool has_container;
	struct msg_container ended; /* as it was when it ended last */
	bool has_ended;
	uint64_t created_ns;
	uint64_t ready_ns;
	int64_t since_wall_ns;
	uint64_t draining_version; /* of the backend table that says so; 0: not published */
	uint64_t kept_ns;          /* since when it is kept in balancing as the last one; 0 */
	struct msg_reason reason;
	struct figures_container figures;
	uint32_t init_attempt; /* whose init steps were told */
	uint32_t init_told;    /* how many of them */
	uint32_t init_running; /* number of the one that was told to run; 0 none */
	/* depend.c */
	bool released; /* does not wait, or not any more */
	bool held;     /* claimed, and not to be started yet */
	uint64_t held_since_ns;
	uint64_t depends_over; /* as the service's */
	struct msg_reason waits;
	/* In a cluster: placing.c, remote.c. */
	bool remote;           /* another node's: in memory only, its life is that node's affair */
	uint32_t node_id;      /* whose it is; 0: this node's */
	uint32_t life_of_node; /* in which it was heard of */
	char node[MSG_NAME];   /* its name, of a remote one */
	uint64_t claim;        /* its number on that node; 0: has none */
	uint32_t claim_state;  /* as was said last, of an own one: enum claim_state */
	bool retiring;         /* its node was asked to let it leave */
	bool misfit;           /* is not to stay where it is: */
	bool loser;            /* another node has the same one */
	struct unique *unique; /* unique.h; NULL: it needs no lease, or is remote */
	uint64_t lease_epoch;  /* that it lives with; 0: needs none */
	uint32_t exit;         /* of another node's: as in struct msg_replica */
	uint64_t
		told_memory_bytes; /* placing_own.c: of an own one, to the others; 0: nothing yet */
	uint64_t told_memory_ns;
};

struct operation {
	struct list link;
	struct store_operation row;
	bool dirty;
};

struct deployment {
	struct list link;
	struct store_deployment row;
	bool dirty;
	struct list services;
	struct list revisions;
	struct rollout rollout;
	struct operation *operation; /* under way, or NULL */
	bool gone;                   /* its rows are to be dropped */
	bool going;                  /* a transaction that does so is under way */
	bool lost;         /* another node dropped its rows: what runs of it here leaves */
	bool unread;       /* not all of its rows could be read yet */
	bool changing;     /* a transaction that was asked for is under way: it waits */
	bool start_again;  /* what was stopped by hand: a deploy was asked for */
	bool prune;        /* old revisions may have become too many */
	uint64_t followed; /* operation whose beginning was seen */
};

struct event {
	struct list link;
	struct store_event row;
};

struct tidings_guest;
typedef void (*model_guest_fn)(void *arg, uint32_t node, uint64_t id,
			       const struct tidings_guest *guest);

/* All with the same arg; each may be NULL. */
struct model_hooks {
	void *arg;
	void (*stir)(void *arg);         /* from the loop: time passed, and a pass is needed */
	void (*pass)(void *arg);         /* now: before somebody is answered; or NULL */
	void (*cluster_rows)(void *arg); /* of nodes, tickets or the cluster, by other nodes */
	bool (*conducts)(void *arg, const struct deployment *d);
	/* Packets of this node come to the containers of that one. */
	bool (*reaches)(void *arg, uint32_t node);
	/* That node does not answer just now. */
	bool (*doubts)(void *arg, uint32_t node);
	/* It is an address of that node's containers. */
	bool (*owns)(void *arg, uint32_t node, const struct addr *a);
	/* Containers of others on other nodes, as these say; addresses only of a node's own. */
	void (*guests)(void *arg, model_guest_fn visit, void *visit_arg);
	/* What the others run has been heard. */
	bool (*heard)(void *arg);
};

struct placing;
struct drains;

/* Heard of, not read yet. */
struct model_news {
	struct map deployments; /* ids */
	struct map operations;
	bool all;
	bool cluster;
	uint32_t mark;
};

struct model {
	struct store *store;
	struct model_hooks hooks;
	struct model_news news;
	uint32_t node_id;        /* in its cluster; 0: in none */
	struct placing *placing; /* NULL: all replicas are here */
	struct drains *drains;   /* NULL: no other node is asked */
	const struct config *config;
	const char *node;
	const char *boot; /* of the machine: addresses of another one mean nothing */
	uint32_t generation;
	uint32_t node_cpu_milli; /* what this machine has; 0 unknown */
	uint64_t node_memory_bytes;
	struct list deployments;
	size_t deployments_count;
	struct map replicas;     /* id -> struct replica */
	struct list uniques;     /* struct unique: leases of this node */
	uint64_t unique_from_ns; /* no lease is taken before; 0: not known yet */
	bool unique_noted;       /* that time is over, and noted */
	struct list operations;
	size_t operations_count;
	struct list events; /* not in the store yet */
	size_t events_count;
	uint64_t events_lost;
	uint64_t next_event;
	bool store_failing;
	uint64_t retry_ns;   /* when to try the store again */
	bool shared_failing; /* the same of rows that are shared, where they are apart */
	uint64_t shared_retry_ns;
	uint32_t conflicts; /* of them in turn */
	uint64_t now_ns;    /* of this pass */
	int64_t wall_ns;
	/* How far the middle of the nodes' clocks is ahead of that; 0: this one is right. Times
	 * that other nodes wrote, or go by, are read by their sum. */
	int64_t base_wall_ns;
	uint64_t due_ns; /* when to look again; 0: never */
	/* where to publish and to read; NULL: not there */
	struct ring_writer *writer;
	struct metric_page *metrics;
	struct ring_reader *runtime;
	struct ring_reader *probe;
	struct ring_reader *supervisor; /* node's own tables */
	struct ring_reader *proxies[ROLE_PROXIES_MAX];
	struct ring_reader *dataplane;
	struct map published[MSG_TABLES_]; /* keys of each table, see publish_table.c */
	uint64_t passes;
	bool settled; /* backends and routes have been published */
	uint64_t settle_by_ns;
	size_t nameless;        /* replicas that found no place in the table identity */
	bool identity_whole;    /* that table names all, and so does what is served */
	size_t guests_left_out; /* of table guest */
};

/* The store becomes the model's, also on failure. */
int model_open(struct model *m, struct store *store, const struct config *config, const char *node,
	       const char *boot, uint64_t now_ns, int64_t wall_ns, struct err *err) MUST_CHECK;
void model_close(struct model *m);

/* Whether this node decides what becomes of a deployment. Alone: always. */
bool model_conducts(const struct model *m, const struct deployment *d);
/* Other nodes have a part in what is wanted: shared rows are written apart from local ones. */
bool model_is_shared(const struct model *m);
/* The runtime has said what runs: before that nothing is known of it. */
bool model_knows_runtime(const struct model *m);
/* From the loop: something has changed. */
void model_stir(struct model *m);

/* By name or id; NULL when absent. Those that are lost have no name any more. */
struct deployment *model_deployment(struct model *m, const char *name);
struct service *model_service(struct deployment *d, const char *name);
struct replica *model_replica(struct model *m, uint64_t id);
struct revision *model_revision(struct deployment *d, uint32_t number);
struct operation *model_operation(struct model *m, uint64_t id);

struct deployment *model_deployment_by_id(struct model *m, uint64_t id);
struct service *model_service_by_id(struct model *m, uint64_t id);
struct revision *model_revision_by_id(struct model *m, uint64_t id);

/* The revision with its document parsed. NULL with err. */
struct revision *model_document(struct model *m, struct deployment *d, uint32_t number,
				struct err *err);
/* The newest one that served before what serves now, and is something else; NULL: there is none. */
struct revision *model_last_good(struct deployment *d);
const struct store_pin *model_pin(const struct revision *r, const char *service);
/* What a replica is made of, in words: the newest of the documents in force that has the same make,
 * else its own revision's. NULL when there is none. */
const struct doc_service *model_spec(struct model *m, struct replica *p);
/* The service as a revision has it, or NULL. number 0 is no revision. */
const struct doc_service *model_service_doc(struct model *m, struct service *s, uint32_t number);
/* The service as the revision in force has it: the one that serves, or, as long as there is none,
 * the one that is being deployed. NULL: it is not in that one. */
const struct doc_service *model_in_force(struct model *m, struct service *s);
bool model_made_as(struct model *m, const struct replica *p, uint32_t revision);

/* New objects for rows that are in the store (or will be). Freed with the model. */
struct deployment *model_add_deployment(struct model *m, const struct store_deployment *row);
struct service *model_add_service(struct deployment *d, const struct store_service *row);
struct revision *model_add_revision(struct deployment *d, const struct store_revision *row);
struct replica *model_add_replica(struct model *m, struct service *s,
				  const struct store_replica *row);
struct operation *model_add_operation(struct model *m, const struct store_operation *row);
int model_add_route(struct service *s, const struct store_route *row);
int model_add_pin(struct revision *r, const struct store_pin *row);
void model_drop_replica(struct model *m, struct replica *p);
/* Of all services of d; fn may drop the replica that it is given. */
typedef void (*model_replica_fn)(void *arg, struct service *s, struct replica *p);
void model_each_replica(struct deployment *d, model_replica_fn fn, void *arg);
void model_drop_service(struct model *m, struct service *s);
void model_drop_operation(struct model *m, struct operation *o);
/* Only so many have a row on the ring; the store keeps the older ones. */
void model_forget_operations(struct model *m);
void model_drop_revision(struct revision *r);
void model_drop_deployment(struct model *m, struct deployment *d);

/* Of the attempt under way; false: not known (yet). */
bool model_address(const struct replica *p, struct addr *out);
/* "deployment/service", for logs and metrics. */
void model_label(const struct service *s, char out[MSG_TARGET]);

/* The longest that all init steps may take, with their retries. */
uint64_t model_init_ms(const struct doc_service *s);
/* The policy of a replica's life, from its document. */
void model_policy(struct model *m, struct replica *p, struct lifecycle_policy *out);

/* Looks again no later than this. */
void model_wake_at(struct model *m, uint64_t at_ns);

#endif
