/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLUSTER_H
#define SCHEDULER_CLUSTER_H

/*
 * This node's part of the cluster: who it is, who else is there, and what is asked about that. It
 * owns the sockets of `listen.gossip`, the shell and the gossip core upon it, and the folder of the
 * identity; rows it reads from the store and writes through store_submit.
 *
 * Founding, joining, leaving and the move into etcd change what kind of store the process works on.
 * They become durable in one step (scheduler/cluster_keep.h), and then the process ends
 * (cluster_over): its successor starts as what the node is then. The request that began it stays
 * unanswered until then: the successor is given it again, finds that it is done, and answers.
 *
 * Order: cluster_open, the store, cluster_prepare, the model, cluster_start.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "ring/station.h"
#include "scheduler/model.h"

struct cluster;
struct gossip;
struct shell;
struct channel_rules;

/* Reads who this node is. config must stay where it is. */
/* boot: the machine's, as text. */
int cluster_open(struct station *st, const struct config *config, const char *boot,
		 struct cluster **out, struct err *err) MUST_CHECK;
/* NULL is fine. The loop must run once more. */
void cluster_free(struct cluster *c);

/* rows: the embedded store, just opened; taken over, also on failure. Brings it into line with what
 * the node is, and gives the store of the engine that it is for: the node's own, the one that the
 * others follow, or one that follows. To be freed after cluster_free. */
int cluster_prepare(struct cluster *c, struct store *rows, struct store **out,
		    struct err *err) MUST_CHECK;
/* Opening or preparing failed: what is a copy of another node's store and damaged is set aside, so
 * that the next process copies it again; err says what becomes of it. */
void cluster_damaged(struct cluster *c, struct err *err);
/* The model is open: opens sockets (or tries again later), and speaks. */
int cluster_start(struct cluster *c, struct model *m, struct err *err) MUST_CHECK;

/* 0: in no cluster. */
uint32_t cluster_self(const struct cluster *c);
/* As the cluster knows it; NULL when it is in none. */
const char *cluster_name(const struct cluster *c);
/* It may be a copy of another node, or is (cluster_twin.c): nothing is begun, nothing is served
 * that was not before. works: it has run here as a member, so what runs here is its own. */
bool cluster_held(const struct cluster *c, bool *works);
/* Why nothing may be deployed here now: it is about to join. */
int cluster_may_change(const struct cluster *c, struct err *err) MUST_CHECK;

/* Changes wait a little: the store is about to move, to open, or to have another leader, or this
 * process to end. */
bool cluster_holds(struct cluster *c);

/* Rows NODE, TICKET, VOTER or CLUSTER may be different. */
void cluster_rows_changed(struct cluster *c);
/* The configuration was taken over anew. */
void cluster_configured(struct cluster *c);
/* LEASH_STORE_FILES. */
void cluster_outside_files(struct cluster *c, const struct leash_message *m, const int *fds,
			   size_t count);
/* INVITE, JOIN, LEAVE, MEMBER, ADMIT, BACKUP, RESTORE, RECOVER; FAR_LOGS, FAR_EXEC, WHY. fds as in
 * ring/station.h. */
bool cluster_asked(uint16_t op);
void cluster_request(struct cluster *c, const struct station_request *q, const void *body,
		     size_t bytes, int *fds, size_t count);
/* A run (MSG_OP_RUN) that has its place on that node. */
void cluster_run_ask(struct cluster *c, const struct station_request *q, const void *body,
		     size_t bytes, const int *fds, size_t count, uint32_t node);
/* At the end of each turn of the loop: what callbacks put off, and tables. */
void cluster_turn(struct cluster *c);
/* True: the process is to end, so that its successor begins as what the node is now. */
bool cluster_over(const struct cluster *c);
/* And the store is not what the model knows: nothing of that may be written any more. */
bool cluster_stale(const struct cluster *c);

/* ---- for what stands upon it ---- */

/* NULL: not there now (in no cluster, no socket yet). They stay until the process ends. */
struct gossip *cluster_gossip(struct cluster *c);
struct shell *cluster_shell(struct cluster *c);
struct channel_rules *cluster_rules(struct cluster *c);
/* After gossip_put or gossip_drop: it is let out at the end of the turn. */
void cluster_told(struct cluster *c);
/* Where a node can be reached now; false: not known. */
bool cluster_address(struct cluster *c, uint32_t node, struct addr *out);
/* Who takes the store's changes; 0: nobody is known, or (the store is etcd's) everybody does. */
uint32_t cluster_writer(const struct cluster *c);
/* Containers of that node can be reached from here. */
bool cluster_reaches(const struct cluster *c, uint32_t node);
/* Its containers have that address, as it says, and no other node has it. */
bool cluster_owns(const struct cluster *c, uint32_t node, const struct addr *a);
/* Visits the containers of others on the other nodes: struct model_hooks. */
void cluster_guests(const struct cluster *c, model_guest_fn visit, void *visit_arg);
/* All others have said what they run, or were waited for long enough. */
bool cluster_heard(const struct cluster *c);
/* It gave no answer when it was asked last, and is not given up yet. */
bool cluster_doubts(const struct cluster *c, uint32_t node);
/* Admitted and not sent away. */
bool cluster_has(const struct cluster *c, uint32_t node);

/* Gives overlay the preshared keys of all pairs, when it has not got them. */
void cluster_seal_pairs(struct cluster *c);
/* What the data path has told (ring/flow.h) since the last time. */
void cluster_flows_take(struct cluster *c, struct ring_reader *dataplane);

/* ---- etcd ---- */

/* With what this node calls the cluster's etcd (etcd_rpc.h), PEM. Borrowed until the loop's next
 * turn; another number: it was renewed, what is open goes on with the old one until it ends. */
struct cluster_tls {
	const char *authorities, *certificate, *key;
	uint64_t number;
};
/* From cluster_open on. ERR_NOT_FOUND: it has none yet, and asks for one by itself. */
int cluster_tls(struct cluster *c, struct cluster_tls *out, struct err *err) MUST_CHECK;

/* What this node's etcd is to do; turn and files are filled in here, and files renewed. It goes on
 * until something else is ordered, also over the end of this process: as soon as it is known what
 * it is to be (life 0: nothing), say so in each process. A node in no cluster has none. */
void cluster_etcd_order(struct cluster *c, const struct msg_etcd_order *order);
/* What node says of it; NULL: nothing yet. */
const struct msg_etcd *cluster_etcd_state(const struct cluster *c);
/* This node has the authority's key: it admits others, and its etcd can have certificates. It gets
 * the key when its row of the store says that it is a keeper. */
bool cluster_keeper(const struct cluster *c);

enum {
	/* Rows of the tables of members and mesh. Those of nodes that go are removed at the end of
	 * a pass: there is room for some that come in it. */
	CLUSTER_ROWS_MAX = MSG_PEERS_MAX + 1024,
};

#endif
