/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a node begins with: its file is made what its membership says (alone, a member's copy, the
 * store that the others follow), whatever it was when the process before this one ended.
 *
 * Rows that a founder must have (its own, and the cluster's) are written when they are missing: the
 * identity came first, and the process may have ended in between.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_role.h"

/* ---- the file ---- */

static int
drop_cluster(struct store *s, struct err *err)
{
	static const enum store_kind kinds[] = {STORE_NODE, STORE_TICKET, STORE_CLUSTER,
						STORE_VOTER};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (store_drop_through(s, kinds[i], INT64_MAX, err) < 0)
			return -1;
	return 0;
}

static int
drop_deployments(struct store *s, struct err *err)
{
	static const enum store_kind kinds[] = {STORE_REPLICA, STORE_DEPLOYMENT, STORE_OPERATION};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (store_drop_through(s, kinds[i], INT64_MAX, err) < 0)
			return -1;
	return 0;
}

static int
become(struct store *rows, enum store_role role, bool deployments, struct err *err)
{
	if (store_begin(rows, err) < 0)
		return -1;
	if (drop_cluster(rows, err) < 0 || (deployments && drop_deployments(rows, err) < 0) ||
	    store_copy_forget(rows, err) < 0 || store_role_put(rows, role, err) < 0) {
		store_abort(rows);
		return -1;
	}
	return store_commit(rows, err);
}

/* What the file was before this node joined counts no more, but for its local kinds. */
static int
become_follower(struct store *rows, struct err *err)
{
	if (store_begin(rows, err) < 0)
		return -1;
	if (store_copy_expect(rows, err) < 0 || store_role_put(rows, STORE_ROLE_FOLLOW, err) < 0) {
		store_abort(rows);
		return -1;
	}
	return store_commit(rows, err);
}

/* It is a member, and its file says nothing of that. */
static int
become_member(struct cluster *c, struct store *rows, struct err *err)
{
	bool others = false;

	cluster_anew_begun(c);
	if (c->keep.founder && cluster_list_others(c, &others, err) < 0)
		return -1;
	if (c->keep.founder && !others)
		return become(rows, STORE_ROLE_SERVE, false, err);
	if (c->keep.founder)
		log_event(LOG_ERROR, "this node's store is gone: its file was not there", LOG_END);
	return become_follower(rows, err);
}

static int
bring_into_line(struct cluster *c, struct store *rows, struct err *err)
{
	enum cluster_keep_left left = cluster_keep_left(c->folder);
	enum store_role role;

	if (left != CLUSTER_KEEP_STAYED) {
		if (become(rows, STORE_ROLE_ALONE, left == CLUSTER_KEEP_LEFT_ALL, err) < 0)
			return -1;
		cluster_keep_not_joining(c->folder);
		return cluster_keep_clear(c->folder, err);
	}
	if (store_role_get(rows, &role, err) < 0)
		return -1;
	if (!c->member)
		return role == STORE_ROLE_ALONE ? 0 : become(rows, STORE_ROLE_ALONE, false, err);
	return role == STORE_ROLE_ALONE ? become_member(c, rows, err) : 0;
}

int
cluster_prepare(struct cluster *c, struct store *rows, struct store **out, struct err *err)
{
	if (bring_into_line(c, rows, err) < 0 || cluster_recover_read(c, rows, err) < 0) {
		store_free(rows);
		return -1;
	}
	return cluster_feed_open(c, rows, out, err);
}

/* ---- rows of a founder ---- */

static int
put_first_rows(void *arg, struct store *s, struct err *err)
{
	struct cluster *c = arg;
	struct store_cluster cluster = {
		.admission = MSG_ADMISSION_TOKEN,
		.writer = c->keep.node,
		.created_wall_ns = c->keep.since_s * CLUSTER_SECOND_NS,
	};
	struct store_node node = {
		.node = c->keep.node,
		.keeper = 1,
		.admitted_wall_ns = c->keep.since_s * CLUSTER_SECOND_NS,
	};
	struct addr address;

	text_copy(node.name, sizeof(node.name), c->keep.name);
	memcpy(node.sign_public, c->keep.keys.sign_public, IDENTITY_KEY);
	memcpy(node.gossip_public, c->keep.keys.gossip_public, IDENTITY_KEY);
	if (cluster_link_addresses(c, &address, 1) == 1)
		addr_put(&address, node.address, sizeof(node.address));
	if (store_put(s, STORE_CLUSTER, &cluster, err) < 0)
		return -1;
	return store_put(s, STORE_NODE, &node, err);
}

static void
first_rows_kept(void *arg, const struct err *err)
{
	struct cluster *c = arg;

	if (err)
		log_err(LOG_ERROR, "the cluster's first rows were not written", err);
	c->rows_changed = true;
}

void
cluster_begin_rows(struct cluster *c)
{
	struct err err = {0};

	if (!c->member || !c->keep.founder || !c->serve || c->row.id != 0 ||
	    !list_empty(&c->changes))
		return;
	if (cluster_store_change(c, put_first_rows, first_rows_kept, c, &err) < 0)
		log_err(LOG_ERROR, "the cluster's first rows were not written", &err);
}
