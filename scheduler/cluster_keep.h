/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CLUSTER_KEEP_H
#define SCHEDULER_CLUSTER_KEEP_H

/*
 * What a node keeps of its cluster: the folder `cluster` in the state folder (0700, files 0600).
 *
 *   identity     who it is, its keys, its certificate, the cluster's (and the authority's key on a
 *                node that admits others). The file is there: it is a member. One file, replaced as
 *                a whole, so that there is never half an identity.
 *   joining      the keys that it shows with a ticket, until it is a member or was refused: a
 *                question that is asked again is asked with the same key
 *   nodes        the list that came with the admission, and then that of the store: for a process
 *                that has none of the store (cluster_list.c)
 *   session      number of the envelopes' session (gossip/envelope.h)
 *   incarnation  gossip's own
 *   pass         what it calls the cluster's etcd with (credentials.h)
 *   etcd/        what its own etcd shows (cluster_order.c)
 *   engine       whether the store's file is a copy (cluster_anew.c)
 *   instance     of the folder, and where that runs (twin.h)
 *   twin         the node is somewhere else, too, and this one is held back (cluster_twin.c): where
 *   left         it has left, and what that means for its store has yet to be done
 *
 * Files are durable before a function returns. Threading: one owner.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "scheduler/admission.h"
#include "scheduler/identity.h"
#include "scheduler/ticket.h"

enum {
	CLUSTER_KEEP_MAX = 64 << 10,      /* bytes of an identity */
	CLUSTER_KEEP_NODES_MAX = 4 << 20, /* of the list of nodes */
};

struct cluster_keep {
	uint32_t node;
	bool founder; /* its store is what the cluster's began with */
	char name[IDENTITY_NAME_BYTES];
	int64_t since_s; /* a member */
	uint32_t via;    /* who admitted it; 0: nobody */
	struct addr via_address;
	struct identity_keys keys;
	struct identity_authority authority; /* with its key on a node that admits others */
	struct buf chain;                    /* as identity_issue gives it */
};

/* Files of its etcd, in a folder of that name. */
enum { CLUSTER_KEEP_ETCD = 6 };
extern const char cluster_keep_etcd_folder[];
extern const char *const cluster_keep_etcd[CLUSTER_KEEP_ETCD];

void cluster_keep_init(struct cluster_keep *k);
void cluster_keep_fini(struct cluster_keep *k);

/* The folder itself, made when it is not there. */
int cluster_keep_open(int state, int *folder_out, struct err *err) MUST_CHECK;

/* Whether it has an identity, good or not; without opening anything. state: the state folder. */
bool cluster_keep_is_member(int state);
/* ERR_NOT_FOUND: it is in no cluster. ERR_CORRUPT: somebody has to look. k is empty then. */
int cluster_keep_read(int folder, struct cluster_keep *k, struct err *err) MUST_CHECK;
int cluster_keep_write(int folder, const struct cluster_keep *k, struct err *err) MUST_CHECK;

/* Greater than in each earlier life, also when the file was lost and the clock is right; the last
 * bits are drawn. */
int cluster_keep_session(int folder, int64_t wall_ns, uint64_t *out, struct err *err) MUST_CHECK;

/* The next one is greater than that. */
int cluster_keep_session_above(int folder, uint64_t session, struct err *err) MUST_CHECK;

/* The keys to join the ticket's cluster with: those of the last try, else new ones. */
int cluster_keep_joining(int folder, const struct ticket *t, struct identity_keys *out,
			 struct err *err) MUST_CHECK;
void cluster_keep_not_joining(int folder);

int cluster_keep_put_nodes(int folder, const struct admission_node *nodes, size_t count,
			   struct err *err) MUST_CHECK;
/* An answer that has nothing but nodes; admission_answer_fini in any case. */
int cluster_keep_get_nodes(int folder, struct buf *bytes, struct admission_answer *out,
			   struct err *err) MUST_CHECK;

int cluster_keep_put_pass(int folder, const struct buf *leaf, const struct buf *authority,
			  struct err *err) MUST_CHECK;
/* ERR_NOT_FOUND: there is none. */
int cluster_keep_get_pass(int folder, struct buf *leaf, struct buf *authority,
			  struct err *err) MUST_CHECK;

enum cluster_keep_left {
	CLUSTER_KEEP_STAYED,
	CLUSTER_KEEP_LEFT_ALL, /* nothing of the cluster stays in its store */
	CLUSTER_KEEP_LEFT_OWN, /* it was the only one: what it runs stays its own */
};
/* From here on it is no member, whatever happens to the process. */
int cluster_keep_leave(int folder, enum cluster_keep_left how, struct err *err) MUST_CHECK;
enum cluster_keep_left cluster_keep_left(int folder);
/* Before a new identity, and after what leaving meant was done: nothing of a former one stays. */
int cluster_keep_clear(int folder, struct err *err) MUST_CHECK;

extern const char cluster_keep_instance[], cluster_keep_twin[];

/* The leaf of a chain. NULL: there is none. */
const void *cluster_keep_leaf(const void *chain, size_t chain_bytes, size_t *bytes_out);

#endif
