/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody asks about a lost writer: to go on from this node's copy (SINGLE), or to follow who
 * does (FOLLOW). Only what nobody can change any more is recovered: while the writer, or a majority
 * of etcd's members, or a newer copy is there, the answer says where. What is decided becomes
 * durable (cluster_recover.c), and the next process answers.
 */
#include "scheduler/cluster_inside.h"

#include <inttypes.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum { NOTE_BYTES = 64, ANSWER_S = 30, LOOK_S = 10, KEYS_BYTES = 16 << 10 };

static bool
is_alive(const struct cluster_node *n)
{
	return n && !n->row.removed && (n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT);
}

/* Its last change was that the store moves into etcd, and it has not come there. */
static bool
is_sealed(const struct cluster *c)
{
	return c->serve && !c->fenced && c->row.moving && c->recover_term <= c->row.term;
}

/* Its row is written, or on the way. */
static bool
is_writing(const struct cluster *c)
{
	return c->serve && !c->fenced && !is_sealed(c);
}

static bool
is_writer(const struct cluster *c)
{
	return is_writing(c) && c->recover_term <= c->row.term && c->row.writer == c->keep.node;
}

/* 0: there is none after the one that is. */
static uint32_t
next_term(const struct cluster *c)
{
	return cluster_recover_term(c) + 1;
}

static void
describe(struct cluster *c, struct msg_recovered *out)
{
	struct store_status status;
	char name[CLUSTER_RECOVER_NAME];
	uint32_t writer = cluster_writer(c);
	size_t nodes = cluster_roster_count(c);

	store_status(c->m->store, &status);
	*out = (struct msg_recovered){
		.term = next_term(c),
		.sequence = status.sequence,
		.keeper = cluster_keeper(c),
		.others = nodes ? (uint32_t)nodes - 1 : 0,
		.alive = (uint32_t)cluster_roster_live(c),
		.not_after_s = c->not_after_s,
	};
	if (writer && !is_sealed(c))
		text_copy(out->writer, sizeof(out->writer), cluster_recover_name(c, writer, name));
	else
		text_copy(out->writer, sizeof(out->writer), "etcd");
}

static int
refuse_newer(struct cluster *c, uint64_t sequence, struct err *err)
{
	struct map_iter it = {0};
	const struct cluster_node *best = NULL;

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.node != c->keep.node && is_alive(n) && n->load.sequence > sequence &&
		    (!best || n->load.sequence > best->load.sequence))
			best = n;
	}
	if (!best)
		return 0;
	err_set(err, ERR_CONFLICT, "%s has a newer copy of the store than this node",
		best->row.name);
	err_why(err, "that is at change %" PRIu64 ", this one at %" PRIu64, best->load.sequence,
		sequence);
	return err_fix(err, "on %s: zlayer recover --force-single", best->row.name);
}

/* It reached etcd when it was heard last, and that was a moment ago. */
static bool
has_just_gone(const struct cluster_node *n, uint64_t now_ns)
{
	return !n->row.removed && n->state == GOSSIP_DEAD && n->since_ns &&
	       now_ns - n->since_ns < (uint64_t)LOOK_S * CLUSTER_SECOND_NS &&
	       n->voter.flags & TIDINGS_VOTER_WRITES;
}

/*
 * What another node still reaches is not lost; nor what one reached a moment ago: an etcd that is
 * slow for a while is none that is gone, and a node that is not heard for some seconds may be
 * there.
 */
static int
refuse_reached(struct cluster *c, struct err *err)
{
	const uint64_t now = world_mono_ns(), look = (uint64_t)LOOK_S * CLUSTER_SECOND_NS;
	const struct cluster_node *late = NULL;
	struct map_iter it = {0};

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.node == c->keep.node)
			continue;
		if (has_just_gone(n, now))
			late = n;
		if (!is_alive(n))
			continue;
		if (n->wrote_ns && now - n->wrote_ns < look)
			late = n;
		if (!(n->voter.flags & TIDINGS_VOTER_WRITES))
			continue;
		err_set(err, ERR_CONFLICT, "%s reaches the etcd that keeps the store", n->row.name);
		return err_fix(err, "nothing is to be recovered: zlayer cluster show says why this "
				    "node does not reach it");
	}
	if (!late)
		return 0;
	err_set(err, ERR_CONFLICT, "%s reached the etcd that keeps the store until a moment ago",
		late->row.name);
	return err_fix(err, "if it stays away, try again in %d s", LOOK_S);
}

/* With etcd: by gossip, which needs no etcd. What cannot be reached from here alone is not lost. */
static int
refuse_majority(struct cluster *c, struct err *err)
{
	size_t voters = 0, there = 0;

	if (world_mono_ns() - c->started_ns < (uint64_t)LOOK_S * CLUSTER_SECOND_NS) {
		err_set(err, ERR_UNREACHABLE, "this node has just begun to look for the others");
		return err_fix(err, "try again in %d s", LOOK_S);
	}
	if (c->etcd_outside)
		return refuse_reached(c, err);
	for (size_t i = 0; i < c->voters.rows_count; i++) {
		const struct store_voter *row = &c->voters.rows[i];

		if (row->phase != STORE_VOTER_VOTES && row->phase != STORE_VOTER_BEGINS)
			continue;
		voters++;
		there += row->node != c->keep.node && is_alive(cluster_roster_find(c, row->node));
	}
	if (voters == 0 || 2 * there <= voters)
		return 0;
	err_set(err, ERR_CONFLICT, "%zu of the %zu nodes that keep the store are there", there,
		voters);
	return err_fix(err, "nothing is to be recovered: zlayer cluster show says why they are not "
			    "reached; if etcd is broken on them, end zlayer there first");
}

/* A move takes a moment, and is given it; after that its members do not come up. */
static int
refuse_moment(struct cluster *c, struct err *err)
{
	if (!is_sealed(c) || !(cluster_holds(c) || cluster_move_is_done(c)))
		return 0;
	err_set(err, ERR_CONFLICT, "the store is moving into etcd");
	return err_fix(err, "try again in a moment");
}

/* Only what nobody can change any more is recovered. */
static int
may_take_over(struct cluster *c, struct err *err)
{
	struct store_status status;
	uint32_t writer = cluster_writer(c);
	/* Of a sealed store the writer is this node itself. */
	const struct cluster_node *n = is_sealed(c) ? NULL : cluster_roster_find(c, writer);
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);
	char name[CLUSTER_RECOVER_NAME], expected[NOTE_BYTES];

	if (self && self->row.removed) {
		err_set(err, ERR_DENIED, "this node was sent away from the cluster");
		return err_fix(err, "recover on one that was not; here: zlayer leave");
	}
	if (next_term(c) == 0) {
		err_set(err, ERR_LIMIT, "the store's term cannot be raised any more");
		err_why(err, "a node of the cluster has written one that is none");
		return err_fix(err, "begin a new cluster out of a backup (docs/cluster.md)");
	}
	if ((c->etcd && refuse_majority(c, err) < 0) || refuse_moment(c, err) < 0)
		return -1;
	if (is_alive(n)) {
		err_set(err, ERR_CONFLICT, "%s takes the changes of the store, and is there",
			cluster_recover_name(c, writer, name));
		return err_fix(err,
			       "nothing is to be recovered: zlayer cluster show; if %s is "
			       "broken, end zlayer there first",
			       name);
	}
	if (n && !n->row.removed && n->state == GOSSIP_UNKNOWN &&
	    world_mono_ns() - c->started_ns < (uint64_t)LOOK_S * CLUSTER_SECOND_NS) {
		err_set(err, ERR_UNREACHABLE, "this node has just begun to look for %s",
			cluster_recover_name(c, writer, name));
		return err_fix(err, "try again in %d s", LOOK_S);
	}
	store_status(c->m->store, &status);
	if (status.writable) {
		err_set(err, ERR_CONFLICT, "the store takes changes");
		return err_fix(err, "nothing is to be recovered: zlayer cluster show");
	}
	if (store_get_note(store_local(c->m->store), "copy.expected", expected, sizeof(expected),
			   err) < 0)
		return -1;
	if (!status.sequence || expected[0]) {
		err_set(err, ERR_CONFLICT, "this node has no copy of the store");
		return err_fix(err, "recover on a node that has one; or restore a backup on a node "
				    "in no cluster (docs/cluster.md)");
	}
	return refuse_newer(c, status.sequence, err);
}

static int
take_keys(struct cluster *c, int fd, struct err *err)
{
	struct buf pem;

	buf_init(&pem, MEM_SCHEDULER, KEYS_BYTES);
	int rc = fd_read_all(fd, &pem, err);
	if (rc == 0 && !cluster_keeper(c))
		rc = cluster_keepers_take(c, pem.data, pem.length, err);
	if (pem.data)
		mem_wipe(pem.data, pem.capacity);
	buf_fini(&pem);
	return rc;
}

static void
answer(struct cluster *c, const struct station_request *q, bool done)
{
	struct msg_recovered out;

	describe(c, &out);
	out.done = done;
	if (done)
		out.term = cluster_recover_term(c);
	cluster_answer(c, q, &out, sizeof(out), NULL, 0);
}

static int
single(struct cluster *c, const struct station_request *q, const struct msg_recover *asked, int fd,
       struct err *err)
{
	bool going = is_writing(c);

	if (!going && may_take_over(c, err) < 0)
		return -1;
	if (asked->dry_run) {
		answer(c, q, is_writer(c));
		return 0;
	}
	if (fd >= 0 && take_keys(c, fd, err) < 0)
		return -1;
	if (is_writer(c)) {
		answer(c, q, true);
		return 0;
	}
	if (going) { /* its row is on the way */
		c->asked = *q;
		c->asked_until_ns = world_mono_ns() + (uint64_t)ANSWER_S * CLUSTER_SECOND_NS;
		return 0;
	}
	cluster_move_end(c);
	if (cluster_recover_take_over(c, next_term(c), err) < 0)
		return -1;
	cluster_renew_process(c); /* the next one writes the row, and answers */
	return 0;
}

static int
rejoin(struct cluster *c, const struct station_request *q, const struct msg_recover *asked,
       struct err *err)
{
	if (c->follow) {
		answer(c, q, true);
		return 0;
	}
	if (!c->fenced) {
		err_set(err, ERR_CONFLICT, "no other node takes the changes of this node's store");
		return err_fix(err, "zlayer cluster show");
	}
	if (asked->dry_run) {
		answer(c, q, false);
		return 0;
	}
	if (cluster_recover_begin_anew(c, err) < 0)
		return -1;
	log_event(LOG_WARN, "this node follows the node that takes the changes now", LOG_END);
	cluster_renew_process(c); /* the next one answers */
	return 0;
}

static int
ask(struct cluster *c, const struct station_request *q, const struct msg_recover *asked, int fd,
    struct err *err)
{
	if (!c->member) {
		err_set(err, ERR_CONFLICT, "this node is in no cluster");
		return err_fix(err, "nothing is to be recovered; zlayer restore brings a backup "
				    "back");
	}
	if (cluster_may_change(c, err) < 0)
		return -1;
	if (c->asked_until_ns)
		return err_set(err, ERR_CONFLICT, "the store is being recovered already");
	return asked->how == MSG_RECOVER_SINGLE ? single(c, q, asked, fd, err)
						: rejoin(c, q, asked, err);
}

void
cluster_recover_request(struct cluster *c, const struct station_request *q, const void *body,
			size_t bytes, const int *fds, size_t count)
{
	struct msg_recover asked = {0};
	struct err err = {0};
	int rc;

	if (bytes == sizeof(asked))
		memcpy(&asked, body, sizeof(asked));
	if (asked.how < MSG_RECOVER_SINGLE || asked.how > MSG_RECOVER_FOLLOW || count > 1)
		rc = err_set(&err, ERR_INVALID, "the request is malformed");
	else
		rc = ask(c, q, &asked, count ? fds[0] : -1, &err);
	if (rc < 0)
		cluster_refuse(c, q, &err);
}

void
cluster_recover_answer(struct cluster *c, uint64_t now_ns)
{
	struct err err = {0};

	if (!c->asked_until_ns)
		return;
	if (is_writer(c)) {
		answer(c, &c->asked, true);
	} else if (now_ns > c->asked_until_ns) {
		err_set(&err, ERR_TIMEOUT, "this node does not write the store yet");
		err_fix(&err, "zlayer cluster show says why; it goes on trying");
		cluster_refuse(c, &c->asked, &err);
	} else {
		return;
	}
	c->asked_until_ns = 0;
}
