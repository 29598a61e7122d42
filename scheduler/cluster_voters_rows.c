/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows VOTER, read and written. A row is written only while all of them are still those that the
 * step was decided from.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"

/* ---- reading ---- */

const struct store_voter *
cluster_voters_row(const struct cluster *c, uint32_t node)
{
	const struct cluster_voters *v = &c->voters;

	for (size_t i = 0; i < v->rows_count; i++) {
		if (v->rows[i].node == node)
			return &v->rows[i];
	}
	return NULL;
}

static bool
row_holds(const struct store_voter *row)
{
	struct addr a;

	return row->node && row->phase >= STORE_VOTER_BEGINS && row->phase <= STORE_VOTER_GOES &&
	       row->life && addr_parse(row->client, &a) && addr_parse(row->peer, &a);
}

/* Any node may write any row: one that makes no sense is passed over. When they cannot be read
 * nothing of what is known changes. self_out: whether one of that node was passed over. */
static int
read_rows(struct store *s, uint32_t self, struct store_voter out[VOTING_ROWS_MAX],
	  size_t *count_out, bool *self_out, struct err *err)
{
	struct buf rows;
	size_t count = 0;

	buf_init(&rows, MEM_SCHEDULER, 1 << 20);
	if (cluster_store_rows(s, STORE_VOTER, &rows, err) < 0) {
		buf_fini(&rows);
		return -1;
	}
	const struct store_voter *row = (const void *)rows.data;
	*self_out = false;
	for (size_t i = 0; i < rows.length / sizeof(*row); i++) {
		if (row_holds(&row[i]) && count < VOTING_ROWS_MAX)
			out[count++] = row[i];
		else
			*self_out |= row[i].node == self;
	}
	*count_out = count;
	buf_fini(&rows);
	return 0;
}

void
cluster_voters_read(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	struct err err = {0};
	bool passed_over = false;

	v->unread = read_rows(c->m->store, c->keep.node, v->rows, &v->rows_count, &passed_over,
			      &err) < 0;
	if (v->unread)
		log_err(LOG_ERROR, "who keeps the store cannot be read", &err);
	v->unread |= passed_over;
	v->look_at_ns = 0;
	cluster_etcd_renew(c);
	cluster_voters_order(c);
}

/* ---- writing ---- */

/* As when the step was decided: what this node has read since may be others already. */
static bool
same_rows(struct cluster *c, struct store *s, int *rc, struct err *err)
{
	struct store_voter now[VOTING_ROWS_MAX];
	const struct cluster_voters *v = &c->voters;
	bool passed_over;
	size_t count;

	*rc = read_rows(s, c->keep.node, now, &count, &passed_over, err);
	if (*rc < 0 || count != v->made_of_count)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (now[i].id != v->made_of[i].id || now[i].version != v->made_of[i].version)
			return false;
	}
	return true;
}

static int
put_cluster(struct cluster *c, struct store *s, bool seal, struct err *err)
{
	struct store_cluster row;

	if (c->row.id == 0 || store_get(s, STORE_CLUSTER, c->row.id, &row, err) < 0)
		return c->row.id ? -1 : 1;
	if (seal ? row.moving : !row.moving && !row.writer)
		return 1;
	if (seal)
		row.outside = cluster_outside_is(c);
	row.moving = seal;
	if (!seal)
		row.writer = 0;
	return store_put(s, STORE_CLUSTER, &row, err);
}

/* Who is to have a member has the authority's key first, for its certificates. */
static int
make_keeper(struct cluster *c, struct store *s, uint32_t node, struct err *err)
{
	const struct cluster_node *n = cluster_roster_find(c, node);
	struct store_node row;

	if (!n || n->row.id == 0)
		return err_set(err, ERR_CONFLICT, "a node that is to keep the store has no row");
	if (store_get(s, STORE_NODE, n->row.id, &row, err) < 0)
		return -1;
	if (row.keeper)
		return 0;
	row.keeper = 1;
	return store_put(s, STORE_NODE, &row, err);
}

/* So that two changes of voters meet: one that was beaten is else done again upon rows that it was
 * not decided from, if they are other ones than its own. */
static int
touch_cluster(struct cluster *c, struct store *s, struct err *err)
{
	struct store_cluster row;

	if (c->row.id == 0)
		return err_set(err, ERR_CONFLICT, "this node has no row of the cluster yet");
	if (store_get(s, STORE_CLUSTER, c->row.id, &row, err) < 0)
		return -1;
	return store_put(s, STORE_CLUSTER, &row, err);
}

static int
put_step(struct cluster *c, struct store *s, struct err *err)
{
	const struct voting_step *step = &c->voters.step;
	struct store_voter row = step->row;

	if ((step->verb == VOTING_PUT || step->verb == VOTING_DROP) && touch_cluster(c, s, err) < 0)
		return -1;
	switch (step->verb) {
	case VOTING_PUT:
		if (row.id == 0 && make_keeper(c, s, row.node, err) < 0)
			return -1;
		return store_put(s, STORE_VOTER, &row, err);
	case VOTING_DROP:
		return store_drop(s, STORE_VOTER, row.id, row.version, err);
	case VOTING_SEAL:
	case VOTING_SETTLE:
		return put_cluster(c, s, step->verb == VOTING_SEAL, err);
	default:
		return 1;
	}
}

int
cluster_voters_change(void *arg, struct store *s, struct err *err)
{
	struct cluster *c = arg;
	int rc;

	c->voters.taken = false;
	/* Decided from other rows than there are now: it is decided again. */
	if (!same_rows(c, s, &rc, err))
		return rc < 0 ? -1 : 1;
	rc = put_step(c, s, err);
	c->voters.taken = rc == 0;
	return rc;
}
