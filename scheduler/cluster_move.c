/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of a writing node becomes etcd's.
 *
 *   1. row CLUSTER says so (`moving`), as the last transaction of this store: from here on, also
 *      after a crash, it takes no change
 *   2. a second store, upon etcd, with a file of its own that is thrown away
 *   3. store_move: everything in one transaction, read back, and this node's file is noted to be a
 *      copy of it
 *   4. the followers are told, and this process ends: its successor opens the file as etcd's
 *
 * After a crash before 3 all of it is done again; after 3 the file says what it is. Who was not
 * told hears it by gossip. Changes that are asked for meanwhile wait (cluster_holds): they are
 * given to the successor.
 */
#include "scheduler/cluster_inside.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_move.h"
#include "scheduler/store_role.h"
#include "scheduler/store_sqlite.h"

enum {
	POLL_MS = 20,
	PATIENCE_MS = 10000, /* for the members to answer; then it is begun again */
	AGAIN_MS = 1000,
	FAREWELL_MS = 2000,
	HOLD_MS = 6000, /* so long changes wait, and are not refused */
	HEARD_MS = 3000,
	BUSY_MS = 2000,
};

#define MS UINT64_C(1000000)
#define FILE_NAME "moving.db"

struct cluster_move {
	struct cluster *c; /* NULL: it is over, and only waits to be freed */
	struct store *to;
	uv_timer_t timer;
	uint64_t until_ns; /* for the members, or the followers, to answer */
	bool moving;       /* store_move has not ended */
	bool ended;        /* it has */
	struct err err;    /* with this */
	bool moved;
};

static void
remove_files(int folder)
{
	static const char *const names[] = {FILE_NAME, FILE_NAME "-wal", FILE_NAME "-shm",
					    FILE_NAME "-journal"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(folder, names[i], 0);
}

static void
close_other(struct cluster_move *m)
{
	store_free(m->to);
	m->to = NULL;
	remove_files(station_folder(m->c->st, 0));
}

/* ---- steps ---- */

static void on_time(uv_timer_t *timer);

static void
again_in(struct cluster_move *m, uint64_t ms)
{
	uv_timer_start(&m->timer, on_time, ms, 0);
}

static void
failed(struct cluster_move *m, const struct err *err)
{
	log_err(LOG_WARN, "the store has not moved into etcd yet", err);
	m->c->voters.step_err = *err;
	m->c->dirty = true;
	close_other(m);
	again_in(m, AGAIN_MS);
}

static void
ended(void *arg, const struct err *err)
{
	struct cluster_move *m = arg;

	/* Both stores may not be freed from within this. */
	m->moving = false;
	m->ended = true;
	if (err)
		m->err = *err;
	if (m->c)
		again_in(m, 0);
}

static int
open_other(struct cluster_move *m, struct err *err)
{
	struct cluster *c = m->c;
	struct store_sqlite_options options = {
		.dirfd = station_folder(c->st, 0), .name = FILE_NAME, .busy_ms = BUSY_MS};
	struct cluster_endpoints e;
	struct store *copy;

	if (cluster_outside_is(c) && !cluster_outside_had(c)) {
		*err = c->outside.why;
		return -1;
	}
	remove_files(options.dirfd);
	cluster_etcd_endpoints(c, &e);
	if (store_sqlite_open(&options, &copy, err) < 0)
		return -1;
	m->until_ns = world_mono_ns() + PATIENCE_MS * MS;
	return cluster_etcd_open(c, &e, false, copy, &m->to, err);
}

static void
farewell(struct cluster_move *m)
{
	struct cluster *c = m->c;
	struct err err = {0};

	log_event(LOG_INFO, "the store has moved into etcd", LOG_END);
	m->moved = true;
	m->until_ns = world_mono_ns() + FAREWELL_MS * MS;
	if (cluster_move_settle_keep(c, &err) < 0)
		log_err(LOG_WARN, "what this node is to its cluster is written later", &err);
	if (store_serve_moved(c->serve, &err) < 0)
		log_err(LOG_WARN, "the other nodes hear later that the store has moved", &err);
	close_other(m);
	again_in(m, 0);
}

static void
wait_for_members(struct cluster_move *m)
{
	struct cluster *c = m->c;
	struct store_status status;

	store_status(m->to, &status);
	if (status.writable && !store_busy(c->m->store)) {
		m->moving = true;
		store_move(c->m->store, m->to, ended, m);
	} else if (world_mono_ns() >= m->until_ns) {
		failed(m, &status.why);
	} else {
		again_in(m, POLL_MS);
	}
}

static void
on_time(uv_timer_t *timer)
{
	struct cluster_move *m = timer->data;
	struct err err = m->err;

	if (!m->c || m->moving)
		return;
	if (m->moved) {
		if (store_serve_peers(m->c->serve) == 0 || world_mono_ns() >= m->until_ns)
			cluster_renew_process(m->c);
		else
			again_in(m, POLL_MS);
	} else if (m->ended) {
		m->ended = false;
		err_clear(&m->err);
		if (err.kind)
			failed(m, &err);
		else
			farewell(m);
	} else if (m->to) {
		wait_for_members(m);
	} else if (open_other(m, &err) < 0) {
		m->to = NULL;
		failed(m, &err);
	} else {
		wait_for_members(m);
	}
}

void
cluster_move_go(struct cluster *c)
{
	struct cluster_move *m;

	if (c->voters.move || !c->serve || c->over || c->fenced || cluster_recover_writer(c))
		return;
	m = mem_zalloc(MEM_SCHEDULER, sizeof(*m));
	if (!m)
		return;
	m->c = c;
	uv_timer_init(station_loop(c->st), &m->timer);
	m->timer.data = m;
	c->voters.move = m;
	again_in(m, 0);
}

static void
closed(uv_handle_t *handle)
{
	mem_free(handle->data);
}

void
cluster_move_end(struct cluster *c)
{
	struct cluster_move *m = c->voters.move;

	if (!m)
		return;
	c->voters.move = NULL;
	close_other(m); /* a move under way ends with it */
	m->c = NULL;
	uv_close((uv_handle_t *)&m->timer, closed);
}

bool
cluster_move_is_done(const struct cluster *c)
{
	return c->voters.move && c->voters.move->moved;
}

/* ---- what waits ---- */

void
cluster_move_begin(struct cluster *c)
{
	struct cluster_voters *v = &c->voters;
	uint64_t now = world_mono_ns();

	if (!c->etcd && !c->row.moving) {
		v->hold_until_ns = 0;
		return;
	}
	/* What was recovered by hand is the store, whatever it was about to become. */
	if (c->serve && c->row.moving && c->recover_term <= c->row.term)
		store_serve_hold(c->serve, true);
	if (!v->hold_until_ns)
		v->hold_until_ns = now + HOLD_MS * MS;
}

/* What was a majority just now is most often one that is about to have another leader. */
static void
see_store(struct cluster *c, bool writable, uint64_t now_ns)
{
	struct cluster_voters *v = &c->voters;

	if (c->etcd && writable)
		v->hold_until_ns = 1; /* a reason that was there is over */
	else if (c->etcd && v->was_writable)
		v->hold_until_ns = now_ns + HOLD_MS * MS;
	v->was_writable = writable;
}

bool
cluster_holds(struct cluster *c)
{
	uint64_t now = world_mono_ns();
	struct store_status status;

	if (!c->member || !c->m || c->over)
		return c->over;
	store_status(c->m->store, &status);
	see_store(c, status.writable || status.unwritten, now);
	bool comes = cluster_feed_comes(c, status.writable || status.unwritten, now);
	return !status.writable && !status.unwritten && (now < c->voters.hold_until_ns || comes);
}

/* ---- the other nodes ---- */

void
cluster_move_told(void *arg)
{
	struct cluster *c = arg;

	log_event(LOG_INFO, "the store has moved into etcd", LOG_END);
	cluster_renew_process(c);
}

/* Of a store that is not older than the one that was recovered: its members may have been given up,
 * and not know it. */
static bool
somebody_says_so(const struct cluster *c, enum store_role *role)
{
	uint32_t term = cluster_recover_term(c);
	struct map_iter it = {0};

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->has_voter && n->voter.flags & TIDINGS_VOTER_ETCD && n->voter.term >= term &&
		    !n->row.removed && (n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT)) {
			*role = n->voter.flags & TIDINGS_VOTER_OUTSIDE ? STORE_ROLE_OUTSIDE
								       : STORE_ROLE_ETCD;
			return true;
		}
	}
	return false;
}

/* What it was told before counts no more; it can be read until etcd's has come. */
static int
give_up_following(struct store *rows, enum store_role role, struct err *err)
{
	if (store_begin(rows, err) < 0)
		return -1;
	if (store_copy_expect(rows, err) == 0 && store_role_put(rows, role, err) == 0)
		return store_commit(rows, err);
	store_abort(rows);
	return -1;
}

void
cluster_move_hear(struct cluster *c, uint64_t now_ns)
{
	struct cluster_voters *v = &c->voters;
	enum store_role role = STORE_ROLE_ETCD;
	struct err err = {0};

	if (!c->follow || c->over || store_follow_is_up(c->follow) || cluster_recover_writer(c) ||
	    !somebody_says_so(c, &role) || (role == STORE_ROLE_ETCD && !cluster_voters_can(c))) {
		v->heard_ns = 0;
		return;
	}
	if (!v->heard_ns)
		v->heard_ns = now_ns;
	if ((c->row.id && now_ns < v->heard_ns + HEARD_MS * MS) || store_busy(c->m->store))
		return;
	if (give_up_following(store_local(c->m->store), role, &err) < 0) {
		log_err(LOG_ERROR, "this node cannot follow the store into etcd", &err);
		return;
	}
	log_event(LOG_INFO, "the store is in etcd, as others say", LOG_END);
	cluster_renew_process(c);
}

int
cluster_move_settle_keep(struct cluster *c, struct err *err)
{
	if (!c->keep.founder)
		return 0;
	c->keep.founder = false;
	if (cluster_keep_write(c->folder, &c->keep, err) == 0)
		return 0;
	c->keep.founder = true;
	return -1;
}
