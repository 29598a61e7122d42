/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a node's membership within a process: what it is at the start, what is looked after
 * each second, and the end. Callbacks of the gossip core only note what they saw; the turn's end
 * acts on it, so that no step of the core runs inside another one. What its store is to be:
 * cluster_begin.c.
 */
#include "scheduler/cluster_inside.h"

#include <assert.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/placing.h"
#include "scheduler/publish_table.h"

/* ---- what it is ---- */

uint32_t
cluster_self(const struct cluster *c)
{
	return c->member ? c->keep.node : 0;
}

const char *
cluster_name(const struct cluster *c)
{
	return c->member ? c->keep.name : NULL;
}

bool
cluster_keeper(const struct cluster *c)
{
	return c->member && c->keep.authority.key;
}

uint32_t
cluster_writer(const struct cluster *c)
{
	uint32_t recovered = c->member ? cluster_recover_writer(c) : 0;

	if (c->etcd && !recovered)
		return 0;
	if (!c->member || recovered)
		return recovered;
	if (c->row.id != 0)
		return c->row.writer;
	return c->keep.founder ? c->keep.node : c->keep.via;
}

bool
cluster_has(const struct cluster *c, uint32_t node)
{
	const struct cluster_node *n = cluster_roster_find(c, node);

	return n && !n->row.removed;
}

bool
cluster_doubts(const struct cluster *c, uint32_t node)
{
	const struct cluster_node *n = cluster_roster_find(c, node);

	return n && n->state == GOSSIP_SUSPECT;
}

bool
cluster_address(struct cluster *c, uint32_t node, struct addr *out)
{
	const struct cluster_node *n = cluster_roster_find(c, node);

	if (n && c->config->node.advertise_none && cluster_link_hidden(n))
		return false; /* what the shell has is of who passes on */
	if (c->shell && shell_peer_address(c->shell, node, out) && out->port)
		return true;
	return n && addr_parse(n->row.address, out);
}

struct gossip *
cluster_gossip(struct cluster *c)
{
	return c->shell ? c->gossip : NULL;
}

struct shell *
cluster_shell(struct cluster *c)
{
	return c->shell;
}

struct channel_rules *
cluster_rules(struct cluster *c)
{
	return c->rules;
}

void
cluster_told(struct cluster *c)
{
	c->put = true;
}

bool
cluster_held(const struct cluster *c, bool *works)
{
	*works = c->twin.has_run;
	return c->twin.held;
}

int
cluster_may_change(const struct cluster *c, struct err *err)
{
	if (cluster_twin_may(c, err) < 0)
		return -1;
	if (!c->join && !c->leave && !c->restore && !c->over)
		return 0;
	err_set(err, ERR_CONFLICT, "this node is %s",
		c->restore || c->stale ? "restoring a backup"
		: c->leave             ? "leaving its cluster"
				       : "joining a cluster");
	return err_fix(err, "try again in a moment");
}

int
cluster_read_times(struct cluster *c, struct err *err)
{
	struct identity who;
	size_t bytes = 0;
	const void *leaf = cluster_keep_leaf(c->keep.chain.data, c->keep.chain.length, &bytes);
	enum identity_verdict verdict =
		leaf ? identity_judge(&c->keep.authority, leaf, bytes, 0, &who)
		     : IDENTITY_MALFORMED;

	if (verdict != IDENTITY_GOOD && verdict != IDENTITY_OUT_OF_TIME)
		return err_set(err, ERR_CORRUPT, "the certificate of this node is damaged");
	c->not_before_s = who.not_before_s;
	c->not_after_s = who.not_after_s;
	return 0;
}

/* ---- opening ---- */

static int
read_identity(struct cluster *c, struct err *err)
{
	if (cluster_keep_left(c->folder) != CLUSTER_KEEP_STAYED)
		return 0; /* cluster_prepare carries on */
	if (cluster_keep_read(c->folder, &c->keep, err) < 0) {
		if (err->kind != ERR_NOT_FOUND)
			return -1;
		err_clear(err);
		return 0;
	}
	c->member = true;
	cluster_keep_not_joining(c->folder);
	cluster_pass_open(c);
	return cluster_read_times(c, err);
}

int
cluster_open(struct station *st, const struct config *config, const char *boot,
	     struct cluster **out, struct err *err)
{
	struct cluster *c = mem_zalloc(MEM_SCHEDULER, sizeof(*c));
	int state = station_folder(st, 0);

	if (!c)
		return err_set(err, ERR_NO_MEMORY, "no memory for the cluster");
	c->st = st;
	c->config = config;
	c->folder = -1;
	c->started_ns = world_mono_ns();
	cluster_keep_init(&c->keep);
	cluster_outside_open(c);
	map_init(&c->nodes, MEM_SCHEDULER);
	drains_init(&c->drains);
	ipam_init(&c->ipam, 0);
	clocks_init(&c->clocks);
	list_init(&c->changes);
	list_init(&c->admits);
	list_init(&c->feds);
	list_init(&c->asks);
	list_init(&c->serves);
	list_init(&c->twin.asks);
	list_init(&c->twin.guests);
	cluster_callback_init(c);
	uv_timer_init(station_loop(st), &c->again);
	uv_timer_init(station_loop(st), &c->tick);
	c->again.data = c;
	c->tick.data = c;
	c->handles = 2;
	if (cluster_keep_open(state, &c->folder, err) < 0 || read_identity(c, err) < 0 ||
	    cluster_twin_open(c, boot, err) < 0) {
		cluster_free(c);
		return -1;
	}
	*out = c;
	return 0;
}

/* ---- life ---- */

/* Since the last look: nobody else says so when all is still. */
static bool
store_is_different(struct cluster *c)
{
	bool writable = c->seen_writable;
	uint64_t sequence = c->seen_sequence;
	struct store_status status;

	store_status(c->m->store, &status);
	c->seen_writable = status.writable;
	c->seen_sequence = status.sequence;
	return writable != c->seen_writable || sequence != c->seen_sequence;
}

static bool
any_waits(const struct cluster *c)
{
	struct map_iter it = {0};

	while (map_next(&c->nodes, &it)) {
		if (cluster_place_waits(c, it.value))
			return true;
	}
	return false;
}

/* Whoever has just removed something sees that it is gone. How many others have is looked at each
 * second: that takes a walk through what they say. */
static void
look_at_own(struct cluster *c)
{
	uint32_t own = cluster_facts_own_replicas(c);

	c->replicas_count = map_count(&c->m->replicas);
	c->dirty |= own != c->own_replicas;
	c->own_replicas = own;
}

static void
tick(uv_timer_t *timer)
{
	struct cluster *c = timer->data;
	uint64_t now = world_mono_ns();

	cluster_outside_tick(c, now);
	if (c->member)
		cluster_twin_tick(c, now);
	if (c->member && !c->twin.held) {
		cluster_link_try(c, now);
		cluster_link_tick(c);
		cluster_admit_tick(c, now);
		cluster_renew_tick(c, now);
		cluster_recover_tick(c, now);
		cluster_keepers_tick(c, now);
		cluster_pass_tick(c, now);
		cluster_order_tick(c, now);
		cluster_facts_put(c);
		cluster_voters_tick(c, now);
		cluster_clocks_tick(c, now);
		cluster_mesh_look(c);
		cluster_far_tick(c, now);
		cluster_begin_rows(c);
	}
	cluster_publish_metrics(c);
	bool waited = c->waits;
	c->waits = any_waits(c);
	c->dirty |= !c->member || !c->known || store_is_different(c) || waited != c->waits ||
		    c->waits || c->nameless != c->m->nameless;
	c->nameless = c->m->nameless;
	look_at_own(c);
	c->dirty = c->dirty || cluster_publish_is_old(c);
}

int
cluster_start(struct cluster *c, struct model *m, struct err *err)
{
	c->m = m;
	c->listen = c->config->listen.gossip;
	c->suspect_after_ms = c->config->cluster.suspect_after_ms;
	c->dead_after_ms = c->config->cluster.dead_after_ms;
	c->dirty = true;
	uv_timer_start(&c->tick, tick, 0, CLUSTER_TICK_MS);
	if (!c->member) {
		publish_table_mark(m, MSG_TABLE_MESH);
		return 0;
	}
	ipam_init(&c->ipam, c->keep.node);
	if (cluster_roster_self(c, err) < 0 || cluster_link_rules(c, err) < 0)
		return -1;
	if (c->etcd && cluster_move_settle_keep(c, err) < 0)
		return -1;
	cluster_list_begin(c);
	cluster_roster_listed(c);
	cluster_twin_begin(c);
	if (c->twin.held)
		return 0;
	cluster_recover_tick(c, world_mono_ns()); /* before anything is changed */
	cluster_move_begin(c);
	cluster_begin_rows(c);
	cluster_link_try(c, world_mono_ns());
	cluster_admit_announce(c);
	cluster_link_flush(c);
	cluster_anew_tell(c);
	return 0;
}

void
cluster_rows_changed(struct cluster *c)
{
	c->rows_changed = true;
}

void
cluster_configured(struct cluster *c)
{
	const struct config_listen *now = &c->config->listen.gossip;

	c->dirty = true;
	cluster_outside_configured(c);
	if (!c->member || !c->m || c->twin.held)
		return;
	cluster_etcd_renew(c);
	/* Sockets and times are the process's for good: the next one has the new ones. */
	if (now->on != c->listen.on || (now->on && !addr_equal(&now->addr, &c->listen.addr)) ||
	    c->suspect_after_ms != c->config->cluster.suspect_after_ms ||
	    c->dead_after_ms != c->config->cluster.dead_after_ms)
		cluster_renew_process(c);
	cluster_facts_put(c);
}

void
cluster_turn(struct cluster *c)
{
	if (c->twin.held) {
		cluster_twin_turn(c);
		cluster_leave_tick(c, world_mono_ns());
		if (c->dirty)
			cluster_publish(c);
		return;
	}
	/* First: what was told since the last turn is in the tables by now. */
	if (c->member && !(c->heard && c->known))
		cluster_roster_listen(c);
	if (c->member) {
		if (c->rows_changed)
			cluster_roster_read(c);
		if (c->admitted_changed && c->gossip)
			cluster_roster_admitted(c);
		cluster_feed_turn(c, world_mono_ns());
		if (c->dirty)
			cluster_mesh_look(c);
		cluster_link_flush(c);
		cluster_leave_tick(c, world_mono_ns());
	}
	if (c->m && map_count(&c->m->replicas) != c->replicas_count)
		look_at_own(c);
	if (c->dirty) {
		cluster_place_nodes(c);
		cluster_publish(c);
	}
}

void
cluster_renew_process(struct cluster *c)
{
	c->over = true;
}

bool
cluster_over(const struct cluster *c)
{
	return c->over;
}

bool
cluster_stale(const struct cluster *c)
{
	return c->stale;
}

/* ---- requests ---- */

void
cluster_answer(struct cluster *c, const struct station_request *q, const void *body, size_t bytes,
	       const int *fds, size_t count)
{
	if (!c->freed && !c->over)
		station_answer(c->st, q, body, bytes, fds, count);
}

void
cluster_refuse(struct cluster *c, const struct station_request *q, const struct err *err)
{
	if (!c->freed && !c->over)
		station_answer_err(c->st, q, err);
}

bool
cluster_asked(uint16_t op)
{
	return (op >= MSG_OP_INVITE && op <= MSG_OP_ADMIT) ||
	       (op >= MSG_OP_BACKUP && op <= MSG_OP_RECOVER) || op == MSG_OP_FAR_LOGS ||
	       op == MSG_OP_FAR_EXEC || op == MSG_OP_WHY || op == MSG_OP_FAR_EVENTS ||
	       op == MSG_OP_FLOWS;
}

void
cluster_request(struct cluster *c, const struct station_request *q, const void *body, size_t bytes,
		int *fds, size_t count)
{
	struct err err = {0};

	if (c->over)
		return; /* it is given to the next process */
	if (q->op != MSG_OP_LEAVE && cluster_twin_may(c, &err) < 0) {
		cluster_refuse(c, q, &err);
		return;
	}
	switch (q->op) {
	case MSG_OP_INVITE:
		cluster_invite_request(c, q, body, bytes);
		break;
	case MSG_OP_JOIN:
		cluster_join_request(c, q, body, bytes, fds, count);
		break;
	case MSG_OP_LEAVE:
		cluster_leave_request(c, q, body, bytes);
		break;
	case MSG_OP_MEMBER:
		cluster_member_request(c, q, body, bytes);
		break;
	case MSG_OP_ADMIT:
		cluster_invite_mode(c, q, body, bytes);
		break;
	case MSG_OP_BACKUP:
		cluster_backup_request(c, q, body, bytes);
		break;
	case MSG_OP_RESTORE:
		cluster_backup_restore(c, q, body, bytes, fds, count);
		break;
	case MSG_OP_RECOVER:
		cluster_recover_request(c, q, body, bytes, fds, count);
		break;
	case MSG_OP_FAR_LOGS:
	case MSG_OP_FAR_EXEC:
	case MSG_OP_WHY:
	case MSG_OP_FAR_EVENTS:
	case MSG_OP_FLOWS:
		cluster_far_request(c, q, body, bytes, fds, count);
		break;
	default:
		assert(!"one of cluster_asked");
	}
}

/* ---- the end ---- */

static void
closed(uv_handle_t *handle)
{
	struct cluster *c = handle->data;

	if (--c->handles > 0)
		return;
	gossip_free(c->gossip);
	ipam_fini(&c->ipam);
	clocks_fini(&c->clocks);
	placing_free(c->placing);
	drains_fini(&c->drains);
	if (c->has_self)
		envelope_self_fini(&c->self);
	channel_rules_unref(c->rules);
	cluster_outside_end(c);
	cluster_keep_fini(&c->keep);
	flows_fini(&c->flows);
	mem_free(c);
}

void
cluster_free(struct cluster *c)
{
	struct map_iter it = {0};

	if (!c)
		return;
	c->freed = true;
	cluster_join_end(c);
	cluster_renew_end(c);
	cluster_keepers_end(c);
	cluster_pass_end(c);
	if (c->m)
		cluster_store_end(c);
	cluster_admit_end(c);
	cluster_leave_end(c);
	cluster_voters_end(c);
	cluster_feed_end(c);
	cluster_far_end(c);
	cluster_twin_ask_end(c);
	cluster_link_end(c);
	cluster_place_end(c);
	while (map_next(&c->nodes, &it))
		mem_free_zero(it.value);
	map_fini(&c->nodes);
	fd_close(&c->folder);
	uv_close((uv_handle_t *)&c->again, closed);
	uv_close((uv_handle_t *)&c->tick, closed);
}
