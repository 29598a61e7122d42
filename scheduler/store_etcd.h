/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_STORE_ETCD_H
#define SCHEDULER_STORE_ETCD_H

/*
 * The shared engine of the store: a cluster of etcd (3.4 or later) over its JSON gateway. Every
 * node that opens it keeps a verified copy (store_copy.h); all reading is from that, so it goes on
 * whatever happens to the cluster. Changing needs a majority of the members: without one it is
 * refused at once, with the reason (store_status() says it before).
 *
 * Transactions of all nodes are one sequence. Each is worked out on the copy and committed only if
 * nothing else was meanwhile; if something was, it is worked out again on what the store is then,
 * and only a real contradiction is ERR_CONFLICT. Ids of new rows come from blocks that each node
 * reserves. docs/store.md says what the keys are.
 *
 * Threading: the loop's thread. Nothing here waits for the network; a transaction begins and is
 * submitted or aborted within one turn of the loop.
 */

#include <uv.h>
#include "scheduler/etcd_rpc.h"
#include "scheduler/store.h"

enum {
	STORE_ETCD_PREFIX_BYTES = 112,
	STORE_ETCD_OPS_MAX = 100,               /* of one request to etcd, which takes 128 */
	STORE_ETCD_REQUEST_BYTES_MAX = 1 << 20, /* etcd takes 1.5 MiB */
	STORE_ETCD_LOG_KEPT = 256,              /* entries */
	STORE_ETCD_LOOK_MS = 2000,              /* between looks at the cluster */
};

/* Libraries; before confinement. store_sqlite_load() came before, or comes after. */
int store_etcd_load(struct err *err) MUST_CHECK;

struct store_etcd_options {
	struct etcd_rpc_options rpc;
	const char *prefix; /* of all keys: "/zlayer/NAME/" */
	/* There is one: what is not there is not made. */
	bool existing;
};

/* copy: an embedded store that is empty or was a copy before; taken over, also on failure. The
 * cluster need not be there. */
int store_etcd_open(const struct store_etcd_options *options, struct store *copy,
		    struct store **out, struct err *err) MUST_CHECK;
/* No member can be known, and why: nothing is read from those that were, either. Comes after a
 * renewal without endpoints. */
void store_etcd_none(struct store *s, const struct err *why);
/* Other members or certificates from now on. s: one of store_etcd_open. */
int store_etcd_renew(struct store *s, const struct etcd_rpc_options *rpc,
		     struct err *err) MUST_CHECK;

#endif
