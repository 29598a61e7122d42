/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLUSTER_VOTERS_H
#define SCHEDULER_CLUSTER_VOTERS_H

/*
 * The store's etcd, as a part of the cluster (cluster.h): rows VOTER and what is done about them
 * (voting.h), what this node says of itself, what it orders of its own node, the move of the store
 * of a writing node into etcd, and connections to its members.
 * Threading: the loop's thread.
 */

#include "scheduler/etcd_members.h"
#include "scheduler/store_etcd.h"
#include "scheduler/tidings.h"
#include "scheduler/voting.h"

struct cluster;
struct cluster_move;

struct cluster_endpoints {
	char urls[ETCD_RPC_ENDPOINTS_MAX][ETCD_RPC_URL_BYTES];
	size_t count;
};

/* A row, as it was. */
struct voters_row {
	uint64_t id, version;
};

/* A part of struct cluster. */
struct cluster_voters {
	struct store_voter rows[VOTING_ROWS_MAX];
	size_t rows_count;
	bool unread; /* they may be others, or this node's makes no sense to it */
	/* connections */
	struct etcd_rpc *rpc;   /* NULL: none yet */
	struct etcd_rpc *own;   /* to this node's member alone */
	struct etcd_rpc *chief; /* to the member that leads, to have it pass that on */
	struct cluster_endpoints endpoints;
	uint64_t tls, own_tls; /* numbers of what they show */
	char own_url[ETCD_RPC_URL_BYTES];
	/* etcd's list */
	struct etcd_members list;
	bool has_list;
	struct err list_err;
	uint64_t list_since_ns;
	bool busy; /* one question or change of etcd, or of the rows, is under way */
	uint64_t look_at_ns;
	/* the step that is wanted */
	struct voting_step step;
	uint64_t step_since_ns;
	struct voters_row made_of[VOTING_ROWS_MAX]; /* rows that it was decided from */
	size_t made_of_count;
	bool taken;          /* by the last transaction */
	struct err step_err; /* why it was not possible last time */
	/* this node's member */
	struct etcd_member_status status;
	bool has_status, asking;
	uint64_t ask_at_ns;
	uint64_t heard_ns;    /* since when others say that the store is etcd's; 0: they do not */
	bool writable;        /* the store, as it was shown last; */
	struct err why;       /* why it was not */
	uint64_t writable_ns; /* since when it is so, or is not */
	bool stuck;           /* it has not been for a while; others conduct */
	int64_t stuck_wall_ns;
	char none[256]; /* what was told why no member is known */
	/* the move */
	struct cluster_move *move;
	uint64_t hold_until_ns; /* changes wait; 0: no reason was seen yet */
	bool was_writable;      /* the store, when it was asked last whether they wait */
};

/* ---- cluster_voters.c ---- */

void cluster_voters_tick(struct cluster *c, uint64_t now_ns);
void cluster_voters_end(struct cluster *c);

/* ---- cluster_voters_rows.c ---- */

/* The rows may be different. */
void cluster_voters_read(struct cluster *c);
/* That node's row; NULL. */
const struct store_voter *cluster_voters_row(const struct cluster *c, uint32_t node);
/* The wanted step, as work of a transaction (cluster_store_change): sets voters.taken. arg: struct
 * cluster. */
int cluster_voters_change(void *arg, struct store *s, struct err *err) MUST_CHECK;

/* ---- cluster_voters_view.c ---- */

struct cluster_voters_view {
	struct voting_view v;
	struct voters_node *nodes;
	struct voting_place *places;
};

/* -1: no memory, and there is nothing to end. */
int cluster_voters_view(struct cluster *c, uint64_t now_ns,
			struct cluster_voters_view *w) MUST_CHECK;
void cluster_voters_view_fini(struct cluster_voters_view *w);

/* ---- cluster_voters_say.c ---- */

/* What is under way, or wanting, for people; "" nothing. */
void cluster_voters_note(struct cluster *c, char *out, size_t cap);

/* Puts what this node says of itself, if that is different. */
void cluster_voters_say(struct cluster *c);
void cluster_voters_of(struct cluster *c, struct tidings_voter *out);
/* It has a certificate to speak to the members with. */
bool cluster_voters_can(struct cluster *c);
/* What node is to run. */
void cluster_voters_order(struct cluster *c);
/* Asks this node's member how it is. */
void cluster_voters_ask(struct cluster *c, uint64_t now_ns);

/* ---- cluster_move.c ---- */

/* A writer whose store is sealed takes no change, from the first moment on. */
void cluster_move_begin(struct cluster *c);
/* The move goes on, or begins. */
void cluster_move_go(struct cluster *c);
/* A move under way ends where it is. */
void cluster_move_end(struct cluster *c);
/* Everything is in etcd, and the others are being told. */
bool cluster_move_is_done(const struct cluster *c);
/* A follower that missed the move hears of it. */
void cluster_move_hear(struct cluster *c, uint64_t now_ns);
/* The store's own callback (store_follow_options). */
void cluster_move_told(void *arg);
/* What a founder was counts no more: its store is not the one any longer. */
int cluster_move_settle_keep(struct cluster *c, struct err *err) MUST_CHECK;

/* ---- cluster_etcd.c ---- */

/* Of all keys of the store. */
void cluster_etcd_prefix(const struct cluster *c, char out[STORE_ETCD_PREFIX_BYTES]);
void cluster_etcd_endpoints(struct cluster *c, struct cluster_endpoints *out);
/* Opens *rpc, or gives it these members and this node's certificates as they are now. */
int cluster_etcd_rpc(struct cluster *c, struct etcd_rpc **rpc, const struct cluster_endpoints *e,
		     struct err *err) MUST_CHECK;
/* copy, rows: taken over, also on failure. */
/* existing: there is a store to be found. */
int cluster_etcd_open(struct cluster *c, const struct cluster_endpoints *e, bool existing,
		      struct store *copy, struct store **out, struct err *err) MUST_CHECK;
int cluster_etcd_store(struct cluster *c, struct store *rows, struct store **out,
		       struct err *err) MUST_CHECK;
void cluster_etcd_renew(struct cluster *c);

#endif
