/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is in the cluster, as this node knows it: rows of the store first. What has no row here yet
 * is taken from the list that came with the admission, and from entries of gossip about nodes that
 * were admitted just now, if the cluster's authority has signed them. A row that says "removed" is
 * above all of these. How a node is comes from the gossip core, as it tells it.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/event.h"
#include "scheduler/placing.h"

enum { LISTEN_MS = 3000, KNOW_MS = 15000 };

struct cluster_node *
cluster_roster_find(const struct cluster *c, uint32_t id)
{
	return map_get_u64(&c->nodes, id);
}

struct cluster_node *
cluster_roster_named(const struct cluster *c, const char *name)
{
	struct map_iter it = {0};
	struct cluster_node *found = NULL;
	uint64_t id;

	while (map_next(&c->nodes, &it)) {
		struct cluster_node *n = it.value;

		if (text_equal(n->row.name, name) && (!found || found->row.removed))
			found = n;
	}
	if (!found && text_u64(name, UINT32_MAX, &id))
		found = cluster_roster_find(c, (uint32_t)id);
	return found;
}

static struct cluster_node *
find_or_add(struct cluster *c, uint32_t id)
{
	struct cluster_node *n = cluster_roster_find(c, id);

	if (n || map_count(&c->nodes) >= ADMISSION_NODES_MAX)
		return n;
	n = mem_zalloc(MEM_SCHEDULER, sizeof(*n));
	if (!n || map_put_u64(&c->nodes, id, n) < 0) {
		mem_free(n);
		return NULL;
	}
	n->row.node = id;
	n->since_wall_ns = world_wall_ns();
	return n;
}

size_t
cluster_roster_count(const struct cluster *c)
{
	struct map_iter it = {0};
	size_t count = 0;

	while (map_next(&c->nodes, &it))
		count += !((const struct cluster_node *)it.value)->row.removed;
	return count;
}

static bool
is_alive(const struct cluster_node *n)
{
	return n->state == GOSSIP_ALIVE || n->state == GOSSIP_SUSPECT;
}

size_t
cluster_roster_live(const struct cluster *c)
{
	struct map_iter it = {0};
	size_t count = 0;

	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		count += n->peer && is_alive(n);
	}
	return count;
}

/* ---- events ---- */

static void
tell_join(struct cluster *c, struct cluster_node *n)
{
	if (n->announced || n->row.removed)
		return;
	n->announced = true;
	/* Who was there before this process is no news. */
	if (c->listed && map_get_u64(c->listed, n->row.node))
		return;
	if (world_mono_ns() - c->started_ns > 2 * (uint64_t)CLUSTER_SECOND_NS ||
	    n->row.admitted_wall_ns > c->keep.since_s * CLUSTER_SECOND_NS)
		event_node(c->m, "node.joined", LOG_INFO, NULL, "%s is a node of the cluster now",
			   n->row.name);
}

static void
tell_state(struct cluster *c, const struct cluster_node *n, enum gossip_state before)
{
	const struct cluster_node *accuser = cluster_roster_find(c, n->accuser);
	const char *by = accuser ? accuser->row.name : c->keep.name;

	switch (n->state) {
	case GOSSIP_ALIVE:
		if (before != GOSSIP_SUSPECT)
			event_node(c->m, "node.ready", LOG_INFO, NULL, "%s is there", n->row.name);
		break;
	case GOSSIP_SUSPECT:
		event_node(c->m, "node.suspect", LOG_INFO, NULL, "%s did not answer %s",
			   n->row.name, by);
		break;
	case GOSSIP_DEAD:
		event_node(c->m, "node.dead", LOG_WARN, NULL,
			   "%s does not answer any more (%s said so)", n->row.name, by);
		break;
	case GOSSIP_LEFT:
		event_node(c->m, "node.left", LOG_INFO, NULL, "%s has left the cluster",
			   n->row.name);
		break;
	case GOSSIP_UNKNOWN:
		break;
	}
}

static void
tell_removed(struct cluster *c, const struct cluster_node *n)
{
	if (n->row.removed == STORE_NODE_LEFT) {
		if (n->state != GOSSIP_LEFT)
			tell_state(c, &(struct cluster_node){.row = n->row, .state = GOSSIP_LEFT},
				   n->state);
		return;
	}
	event_node(c->m, "node.removed", LOG_WARN, NULL, "%s was removed from the cluster",
		   n->row.name);
}

/* ---- rows ---- */

/* Any node may write any row: one that no node can have been admitted with is passed over. */
static bool
row_holds(const struct store_node *row)
{
	return row->node != 0 && admission_name_fits(row->name);
}

static void
take_row(struct cluster *c, const struct store_node *row)
{
	struct cluster_node *n = row_holds(row) ? find_or_add(c, row->node) : NULL;

	if (!n) {
		log_event(LOG_ERROR, "a node of the cluster cannot be taken in",
			  log_u("node", row->node), LOG_END);
		return;
	}
	bool gone = row->removed && !n->row.removed && n->announced;
	bool late = n->row.id == 0 && !n->announced;
	bool trusted = row->keeper && !row->removed && n->row.id != 0 && !n->row.keeper;

	n->row = *row;
	n->mark = c->looks;
	if (gone)
		tell_removed(c, n);
	if (row->removed) {
		n->announced = true;
		n->has_pair = false;
		mem_wipe(n->pair, sizeof(n->pair));
		cluster_link_part(c, n);
		if (row->node == c->keep.node && !c->leave) {
			err_set(&c->renewal_err, ERR_DENIED,
				"this node was removed from the cluster");
			err_fix(&c->renewal_err, "zlayer leave; then join with a new ticket");
		}
		return;
	}
	if (late)
		tell_join(c, n);
	if (trusted)
		event_node(c->m, "node.keeper", LOG_INFO, NULL,
			   "%s is to have the authority's key, and to admit others", n->row.name);
	cluster_link_meet(c, n);
}

static void
read_nodes(struct cluster *c, struct buf *rows)
{
	const struct store_node *row = (const void *)rows->data;
	struct map_iter it = {0};

	c->looks++;
	for (size_t i = 0; i < rows->length / sizeof(*row); i++)
		take_row(c, &row[i]);
	/* A row that is gone was never meant to: the store has become another one. */
	while (map_next(&c->nodes, &it)) {
		struct cluster_node *n = it.value;

		if (n->row.id == 0 || n->mark == c->looks || n->row.node == c->keep.node)
			continue;
		cluster_link_part(c, n);
		map_remove(&c->nodes, it.key, it.key_bytes);
		mem_free_zero(n);
	}
}

static void
keep_cluster(void *arg, const void *row)
{
	struct cluster *c = arg;

	c->row = *(const struct store_cluster *)row;
}

void
cluster_roster_read(struct cluster *c)
{
	struct err err = {0};
	struct buf rows;

	c->rows_changed = false;
	c->dirty = true;
	buf_init(&rows, MEM_SCHEDULER, ADMISSION_NODES_MAX * sizeof(struct store_node));
	memset(&c->row, 0, sizeof(c->row));
	if (store_each(c->m->store, STORE_CLUSTER, 0, 0, keep_cluster, c, &err) < 0 ||
	    cluster_store_rows(c->m->store, STORE_NODE, &rows, &err) < 0)
		log_err(LOG_ERROR, "the nodes of the cluster cannot be read", &err);
	else
		read_nodes(c, &rows);
	buf_fini(&rows);
	cluster_list_keep(c);
	cluster_voters_read(c);
	cluster_move_begin(c);
}

/* ---- without a row ---- */

int
cluster_roster_self(struct cluster *c, struct err *err)
{
	struct cluster_node *n = find_or_add(c, c->keep.node);

	if (!n)
		return err_set(err, ERR_NO_MEMORY, "no memory for the list of nodes");
	text_copy(n->row.name, sizeof(n->row.name), c->keep.name);
	memcpy(n->row.sign_public, c->keep.keys.sign_public, IDENTITY_KEY);
	memcpy(n->row.gossip_public, c->keep.keys.gossip_public, IDENTITY_KEY);
	n->row.admitted_wall_ns = c->keep.since_s * CLUSTER_SECOND_NS;
	n->announced = true;
	return 0;
}

static void
take_other(struct cluster *c, uint32_t id, const char *name, const uint8_t *sign_public,
	   const uint8_t *gossip_public, const struct addr *address)
{
	struct cluster_node *n = cluster_roster_find(c, id);

	if (n || id == c->keep.node)
		return; /* its row, or what came first, stands */
	n = find_or_add(c, id);
	if (!n)
		return;
	text_copy(n->row.name, sizeof(n->row.name), name);
	memcpy(n->row.sign_public, sign_public, IDENTITY_KEY);
	memcpy(n->row.gossip_public, gossip_public, IDENTITY_KEY);
	if (address->port != 0 && !addr_is_zero(address))
		addr_put(address, n->row.address, sizeof(n->row.address));
	c->dirty = true;
	tell_join(c, n);
	cluster_link_meet(c, n);
}

void
cluster_roster_listed(struct cluster *c)
{
	struct admission_answer list;
	struct err err = {0};
	struct buf bytes;

	buf_init(&bytes, MEM_SCHEDULER, CLUSTER_KEEP_NODES_MAX);
	if (cluster_keep_get_nodes(c->folder, &bytes, &list, &err) == 0) {
		for (size_t i = 0; i < list.nodes_count; i++) {
			const struct admission_node *n = &list.nodes[i];

			take_other(c, n->id, n->name, n->sign_public, n->gossip_public,
				   &n->address);
		}
	}
	admission_answer_fini(&list);
	buf_fini(&bytes);
}

static void
take_admitted(struct cluster *c, const struct gossip_entry *e)
{
	const struct addr unknown = {0}; /* it will call */
	struct identity who;
	size_t bytes = 0;
	const void *leaf = tidings_take_admitted(e->value, e->bytes, &bytes);

	if (!leaf || cluster_judge(c, leaf, bytes, &who) != IDENTITY_GOOD || who.node != e->id ||
	    !admission_name_fits(who.name))
		return;
	take_other(c, who.node, who.name, who.sign_public, who.gossip_public, &unknown);
}

void
cluster_roster_admitted(struct cluster *c)
{
	struct gossip_walk walk = {0};
	struct gossip_entry e;

	c->admitted_changed = false;
	while (gossip_each(c->gossip, &walk, &e))
		if (e.type == TIDINGS_ADMITTED && e.id <= UINT32_MAX && e.node != c->keep.node &&
		    !cluster_roster_find(c, (uint32_t)e.id))
			take_admitted(c, &e);
}

/* ---- what gossip tells ---- */

static void
take_state(struct cluster *c, const void *data, size_t bytes)
{
	struct gossip_tell_member told;

	if (bytes < sizeof(told))
		return;
	memcpy(&told, data, sizeof(told));
	struct cluster_node *n = cluster_roster_find(c, told.node);
	enum gossip_state state = (enum gossip_state)told.state;
	if (!n || told.node == c->keep.node || n->state == state)
		return;
	enum gossip_state before = n->state;
	n->state = state;
	n->accuser = told.accuser;
	n->since_wall_ns = world_wall_ns();
	n->since_ns = world_mono_ns();
	c->dirty = c->nodes_changed = true;
	if (state == GOSSIP_ALIVE)
		cluster_feed_back(c, told.node, before == GOSSIP_DEAD);
	/* That it is there, heard for the first time by a process that has just begun, is no news
	 * of a node that was there before. */
	if (before == GOSSIP_UNKNOWN && state == GOSSIP_ALIVE &&
	    n->row.admitted_wall_ns < world_wall_ns() - 60 * (int64_t)CLUSTER_SECOND_NS &&
	    world_mono_ns() - c->started_ns < 30 * (uint64_t)CLUSTER_SECOND_NS)
		return;
	tell_state(c, n, before);
}

static void
take_voter(struct cluster_node *n, const uint8_t *value, size_t bytes)
{
	bool wrote = n->voter.flags & TIDINGS_VOTER_WRITES;

	n->has_voter = tidings_take_voter(value, bytes, &n->voter);
	if (wrote && !(n->voter.flags & TIDINGS_VOTER_WRITES))
		n->wrote_ns = world_mono_ns();
	cluster_stuck_heard(n);
}

/* value NULL: no more. */
static void
take_twin(struct cluster_node *n, const uint8_t *value, size_t bytes)
{
	if (!value || !tidings_take_twin(value, bytes, &n->twin))
		n->twin = (struct addr){0};
}

static void
take_entry(struct cluster *c, const void *data, size_t bytes)
{
	struct gossip_tell_entry told;

	if (bytes < sizeof(told))
		return;
	memcpy(&told, data, sizeof(told));
	const uint8_t *value = (const uint8_t *)data + sizeof(told);
	struct cluster_node *n = cluster_roster_find(c, told.node);
	if (bytes - sizeof(told) < told.bytes && !told.dropped)
		return;
	cluster_place_entry(c, &told, value);
	c->dirty = true;
	if (n && told.type == TIDINGS_TWIN && told.id == TIDINGS_ONE)
		take_twin(n, told.dropped ? NULL : value, told.bytes);
	if (told.dropped || !n)
		return;
	if (told.type == TIDINGS_FACTS && told.id == 1) {
		n->has_facts = tidings_take_facts(value, told.bytes, &n->facts);
		c->nodes_changed = true;
		if (n->peer)
			cluster_link_meet(c, n); /* its address may be another one */
	} else if (told.type == TIDINGS_LOAD && told.id == 1) {
		(void)tidings_take_load(value, told.bytes, &n->load);
	} else if (told.type == TIDINGS_VOTER && told.id == 1) {
		take_voter(n, value, told.bytes);
	} else if (told.type == TIDINGS_ADMITTED) {
		c->admitted_changed = true;
	} else if (told.type == TIDINGS_WRITER && told.id == TIDINGS_ONE) {
		cluster_recover_heard(c, told.node, value, told.bytes);
	}
}

static void
read_entries(struct cluster *c)
{
	struct gossip_walk walk = {0};
	struct gossip_entry e;

	while (gossip_each(c->gossip, &walk, &e)) {
		struct cluster_node *n = cluster_roster_find(c, e.node);

		if (n && e.id == 1 && e.type == TIDINGS_FACTS)
			n->has_facts = tidings_take_facts(e.value, e.bytes, &n->facts);
		else if (n && e.id == 1 && e.type == TIDINGS_LOAD)
			(void)tidings_take_load(e.value, e.bytes, &n->load);
		else if (n && e.id == 1 && e.type == TIDINGS_VOTER)
			take_voter(n, e.value, e.bytes);
		else if (n && e.id == 1 && e.type == TIDINGS_TWIN)
			take_twin(n, e.value, e.bytes);
	}
	c->admitted_changed = c->rows_changed = c->dirty = c->nodes_changed = true;
}

static void
forget_twin(struct cluster *c, uint32_t node)
{
	struct cluster_node *n = cluster_roster_find(c, node);

	if (n)
		take_twin(n, NULL, 0);
}

void
cluster_roster_tell(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data,
		    size_t bytes)
{
	struct cluster *c = arg;

	(void)node;
	(void)token;
	switch ((enum gossip_tell_kind)what) {
	case GOSSIP_MEMBER:
		take_state(c, data, bytes);
		break;
	case GOSSIP_ENTRY:
		take_entry(c, data, bytes);
		break;
	case GOSSIP_LOST:
		read_entries(c);
		cluster_place_lost(c);
		break;
	case GOSSIP_LEAVING:
		cluster_leave_said(c);
		break;
	case GOSSIP_RESET: /* what it said last stands until it says otherwise */
		forget_twin(c, node);
		cluster_place_reset(c, node);
		break;
	}
}

/* ---- what a process that has just begun does not know ---- */

static bool
was_heard(const struct cluster *c, const struct cluster_node *n)
{
	if (n->row.removed || n->row.node == c->keep.node)
		return true;
	switch (n->state) {
	case GOSSIP_UNKNOWN:
		return false;
	case GOSSIP_ALIVE:
	case GOSSIP_SUSPECT:
		return n->has_facts; /* and what it put before those */
	case GOSSIP_DEAD:
	case GOSSIP_LEFT:
		break;
	}
	return true;
}

static uint64_t
listened_ms(const struct cluster *c)
{
	return (world_mono_ns() - c->started_ns) / UINT64_C(1000000);
}

/*
 * What others have, and what they changed while no process was here, is known when they were heard.
 * A node may be gone for good: it is not waited for long; longer with what would be taken away from
 * containers that speak with those of a node that only gossip does not reach.
 */
void
cluster_roster_listen(struct cluster *c)
{
	const uint64_t since_ms = listened_ms(c);
	struct map_iter it = {0};
	struct store_status status;

	store_status(c->m->store, &status);
	bool all = status.writable, each = all;
	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		all &= was_heard(c, n);
		each &= was_heard(c, n) &&
			(n->state != GOSSIP_DEAD || n->has_facts || n->row.removed);
	}
	c->heard |= all || since_ms >= LISTEN_MS;
	c->known |= each || since_ms >= KNOW_MS;
	c->dirty |= c->heard;
	if (c->known)
		model_stir(c->m); /* the table identity is whole now */
}

/* What they said is in the model, too; what never makes sense is not waited for either. */
bool
cluster_heard(const struct cluster *c)
{
	return !c->member || (c->known && (!c->placing || placing_entries_taken(c->placing) ||
					   listened_ms(c) >= KNOW_MS));
}
