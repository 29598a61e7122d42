/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_VOTING_H
#define SCHEDULER_VOTING_H

/*
 * How the store's etcd comes to be what voters.h wants, step by step, as a pure function: rows
 * VOTER, etcd's list of members, the nodes as they are and the time come in, at most one step comes
 * out. Nothing is remembered between two calls: after a crash at any point, of anybody, the next
 * look goes on.
 *
 *   - What is meant to be is a row before it is done, and done before the row says that it is. A
 *     row is written only if all rows are still those that the decision was made from (whoever
 *     carries it out checks that within the transaction), so two nodes never decide against each
 *     other; what etcd is asked for may be asked twice.
 *   - At most one row is on its way in (BEGINS, ADDED, LEARNS), at most one on its way out.
 *   - A node runs the member that its row says (voting_runs), and may delete the data of a member
 *     only when there is no row of it.
 *   - Before the move the rows are in the writing node's store, and that node does the steps.
 *     With three voters that all live, and all nodes able to speak to them, it *seals* its store
 *     (row CLUSTER, `moving`): from then on, also after a crash, that takes no change any more, and
 *     what it holds is brought into etcd. There is never a moment in which both take changes.
 *
 * No I/O, no clock, no allocation.
 */

#include "scheduler/etcd_members.h"
#include "scheduler/store.h"
#include "scheduler/voters.h"

enum {
	VOTING_ROWS_MAX = 16,
	VOTING_SETTLE_MS = 5000,    /* etcd's list has been so for so long: it is not an old one */
	VOTING_CONNECTED_MS = 5000, /* etcd adds nobody to voters that know each other for less */
};

struct voting_place {                 /* of a node, as it says itself */
	bool caught_up;               /* its learner has what the voters have */
	bool member_up;               /* its member runs, with the life that its row says */
	char client[ADDR_TEXT_BYTES]; /* where a member of its own would be; "" not known */
	char peer[ADDR_TEXT_BYTES];
};

struct voting_view {
	uint32_t self;
	uint32_t writer; /* node with the store that all follow; 0: the store is etcd's */
	bool sealed;     /* row CLUSTER says that it is moving */
	bool unsettled;  /* the store is etcd's, and row CLUSTER does not say so yet */
	bool all_can;    /* every node that lives is able to speak to etcd */
	bool outside;    /* to one that is not kept by these nodes: there are no rows */
	bool empty;      /* that takes changes, and has nothing of this cluster yet */
	/* All of the cluster, in the order of ids, each once. standing, standing_ns and caught_up
	 * are filled in here. places: of the same nodes. */
	struct voters_node *nodes;
	const struct voting_place *places;
	size_t nodes_count;
	const struct store_voter *rows;
	size_t rows_count;
	const struct etcd_members *list; /* NULL: nobody answers */
	uint64_t list_since_ns;          /* since when it names these members */
	uint64_t replace_ms;
	uint64_t now_ns;
	int64_t wall_ns;
	uint64_t random[2];
};

enum voting_verb {
	VOTING_REST,
	VOTING_PUT,     /* `row`; a new one when its id is 0 */
	VOTING_DROP,    /* `row` */
	VOTING_ADD,     /* as a learner: row.peer */
	VOTING_PROMOTE, /* member */
	VOTING_REMOVE,  /* member */
	VOTING_PROBE,   /* looks whether it is `empty` */
	VOTING_SEAL,    /* row CLUSTER is to say that the store moves */
	VOTING_MOVE,    /* the writer's store into etcd */
	VOTING_SETTLE,  /* row CLUSTER is to say that the store is etcd's */
};

struct voting_step {
	enum voting_verb verb;
	struct store_voter row;
	uint64_t member;
	struct voters_decision why; /* as far as it was asked for: for people, and when to look */
	bool asked;
};

void voting_decide(struct voting_view *v, struct voting_step *out);

/* Whether the node of this row is to run its member now. */
bool voting_runs(const struct store_voter *row);
/* A member's name, and its URL for others. */
void voting_name(uint32_t node, char out[ETCD_MEMBER_NAME_BYTES]);
void voting_url(const char *address, char out[ETCD_RPC_URL_BYTES]);
/* False: they are too many. As --initial-cluster has it; the row's own member is among them. */
bool voting_initial(const struct etcd_members *list, const struct store_voter *row,
		    char out[STORE_INITIAL_BYTES]);
const char *voting_phase_text(uint32_t phase);

#endif
