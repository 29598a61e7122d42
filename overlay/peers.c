/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers from node.yaml and of the cluster into the table and the book of names. A peer's id is made
 * of its name, so that counters and maps of the data path stay with it when the list changes.
 */
#include "overlay/peers.h"

#include <stdlib.h>
#include <string.h>
#include "base/map.h"
#include "base/text.h"
#include "overlay/prefix.h"
#include "ring/msg.h"

struct ring_table_layout
peers_layout(void)
{
	return (struct ring_table_layout){
		.table = MSG_TABLE_PEER,
		.version = 1,
		.row_bytes = sizeof(struct msg_peer),
		.rows_max = PEERS_MAX,
	};
}

uint64_t
peers_id(const char *name)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 5};

	return map_siphash(key, name, strlen(name)) | 1;
}

static void
row_of(const struct config_peer *from, struct msg_peer *out)
{
	memset(out, 0, sizeof(*out));
	out->id = peers_id(from->name);
	text_copy(out->name, sizeof(out->name), from->name);
	out->address = from->address;
	out->v4 = from->prefix4;
	out->v6 = from->prefix6;
	out->ways = MSG_WAY_PLAIN | MSG_WAY_TRUSTED;
}

struct gathering {
	const struct peers *before;
	struct peers *out;
};

/* By hand. */
static bool
named(const struct peers *p, const char *name)
{
	for (uint32_t i = 0; i < p->by_hand; i++) {
		if (text_equal(p->all[i].name, name))
			return true;
	}
	return false;
}

/* A /24 and a /64, as node asks of its own. */
bool
peers_row_holds(const struct msg_mesh *row)
{
	return MSG_OK(row->name) && row->name[0] && !addr_is_zero(&row->address) &&
	       addr_is_v4(&row->v4.base) && row->v4.bits == 120 && !addr_is_v4(&row->v6.base) &&
	       row->v6.bits == 64;
}

static void
peer_of(const struct msg_mesh *row, struct config_peer *out)
{
	memset(out, 0, sizeof(*out));
	text_copy(out->name, sizeof(out->name), row->name);
	out->address = row->address;
	out->address.port = 0;
	out->prefix4 = row->v4;
	out->prefix6 = row->v6;
}

static bool
overlap(const struct msg_mesh *a, const struct msg_mesh *b)
{
	return a->node != b->node &&
	       (addr_prefix_overlap(&a->v4, &b->v4) || addr_prefix_overlap(&a->v6, &b->v6));
}

/* What was known of one may have become another's since: the lower id has it, as the scheduler
 * judges. False: this row is not the one that has. */
static bool
make_room(struct peers *p, const struct msg_mesh *row)
{
	size_t stay = 0;
	bool any = false;

	for (size_t i = 0; i < p->mesh_count; i++) {
		if (!overlap(&p->mesh[i], row))
			continue;
		if (p->mesh[i].node < row->node)
			return false;
		any = true;
	}
	for (size_t i = 0; i < p->mesh_count && any; i++)
		if (!overlap(&p->mesh[i], row))
			p->mesh[stay++] = p->mesh[i];
	if (any)
		p->mesh_count = stay;
	return true;
}

/* Of too many the later names are left out. */
static void
add_row(struct peers *p, const struct msg_mesh *row)
{
	size_t last = 0;

	if (!make_room(p, row))
		return;
	if (p->mesh_count < PEERS_MAX - p->by_hand) {
		p->mesh[p->mesh_count++] = *row;
		return;
	}
	for (size_t i = 1; i < p->mesh_count; i++)
		if (strcmp(p->mesh[i].name, p->mesh[last].name) > 0)
			last = i;
	if (p->mesh_count > 0 && strcmp(row->name, p->mesh[last].name) < 0)
		p->mesh[last] = *row;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct msg_mesh *)a)->name, ((const struct msg_mesh *)b)->name);
}

static void
take_self(struct peers *p, const struct msg_mesh *row)
{
	p->self = row->node;
	p->rotate_wall_s = row->rotate_wall_s;
}

/* One of whom the scheduler has not heard yet. */
static void
keep_row(struct gathering *g, uint32_t node)
{
	const struct peers *before = g->before;

	for (size_t i = 0; i < before->mesh_count; i++)
		if (before->mesh[i].node == node && !named(g->out, before->mesh[i].name))
			add_row(g->out, &before->mesh[i]);
}

static bool
add_mesh(void *arg, uint64_t key, const void *data)
{
	struct gathering *g = arg;
	const struct msg_mesh *row = data;

	(void)key;
	if (row->self)
		take_self(g->out, row);
	else if (row->v4.bits == 0)
		keep_row(g, row->node);
	else if (peers_row_holds(row) && !named(g->out, row->name))
		add_row(g->out, row);
	return true;
}

/* What was said before, beside what the configuration has now. */
static void
keep_mesh(const struct peers *before, struct peers *out)
{
	out->rotate_wall_s = before->rotate_wall_s;
	out->self = before->self;
	for (size_t i = 0; i < before->mesh_count; i++)
		if (!named(out, before->mesh[i].name))
			add_row(out, &before->mesh[i]);
}

void
peers_gather(const struct config *config, const struct ring_reader *scheduler, struct peers *out)
{
	static struct peers made;
	struct gathering g = {.before = out, .out = &made};

	memset(&made, 0, sizeof(made));
	if (config) {
		made.by_hand = config->overlay.peers_count;
		memcpy(made.all, config->overlay.peers, made.by_hand * sizeof(made.all[0]));
	}
	if (scheduler && ring_table_version(scheduler, MSG_TABLE_MESH) > 1)
		ring_table_each(scheduler, MSG_TABLE_MESH, add_mesh, &g);
	else
		keep_mesh(out, &made);
	/* So that the same peers are the same list. */
	qsort(made.mesh, made.mesh_count, sizeof(made.mesh[0]), by_name);
	made.count = made.by_hand;
	for (size_t i = 0; i < made.mesh_count; i++)
		peer_of(&made.mesh[i], &made.all[made.count++]);
	*out = made;
}

static bool
find_wish(void *arg, uint64_t key, const void *data)
{
	const struct msg_mesh *row = data;

	(void)key;
	if (!row->self)
		return true;
	*(struct addr_prefix *)arg = row->v4;
	return false;
}

bool
peers_wish(const struct ring_reader *scheduler, struct addr_prefix *out)
{
	memset(out, 0, sizeof(*out));
	ring_table_each(scheduler, MSG_TABLE_MESH, find_wish, out);
	return addr_is_v4(&out->base) && out->bits == 120;
}

static void
forget(struct ring_writer *w, const struct peers *p, const uint64_t *published, uint32_t count)
{
	static uint64_t now[PEERS_MAX];

	for (uint32_t k = 0; k < p->count; k++)
		now[k] = peers_id(p->all[k].name);
	for (uint32_t i = 0; i < count; i++) {
		bool stays = false;

		for (uint32_t k = 0; k < p->count && !stays; k++)
			stays = now[k] == published[i];
		if (!stays)
			ring_table_remove(w, MSG_TABLE_PEER, published[i]);
	}
}

bool
peers_probed_sealed(uint32_t ways)
{
	return (ways & MSG_WAY_SEALED) && !(ways & MSG_WAY_TRUSTED);
}

/* Peers by hand are reached as the network is, and say that it is trusted. */
static uint32_t
ways_of(const struct peers *p, uint32_t i, bool (*sealed)(uint32_t node))
{
	if (i < p->by_hand)
		return MSG_WAY_PLAIN | MSG_WAY_TRUSTED;
	const struct msg_mesh *row = &p->mesh[i - p->by_hand];

	if ((row->ways & MSG_WAY_SEALED) && !sealed(row->node))
		return row->ways & ~(uint32_t)MSG_WAY_SEALED;
	return row->ways;
}

bool
peers_publish(struct ring_writer *w, const struct peers *p, bool (*sealed)(uint32_t node),
	      uint32_t (*mtu)(uint64_t id))
{
	static uint64_t published[PEERS_MAX];
	static uint32_t published_count;
	uint64_t version = ring_table_own_version(w, MSG_TABLE_PEER);
	struct msg_peer row;

	ring_table_begin(w, MSG_TABLE_PEER);
	forget(w, p, published, published_count);
	for (uint32_t i = 0; i < p->count; i++) {
		row_of(&p->all[i], &row);
		row.ways = ways_of(p, i, sealed);
		row.mtu = peers_probed_sealed(row.ways) ? mtu(row.id) : 0;
		(void)ring_table_set(w, MSG_TABLE_PEER, row.id, &row, NULL);
		published[i] = row.id;
	}
	published_count = p->count;
	ring_table_commit(w, MSG_TABLE_PEER);
	return ring_table_own_version(w, MSG_TABLE_PEER) != version;
}

void
peers_add_names(const struct peers *p, struct names *names)
{
	for (uint32_t i = 0; i < p->count; i++) {
		const struct config_peer *one = &p->all[i];
		struct addr own4 = prefix_own(&one->prefix4), own6 = prefix_own(&one->prefix6);

		names_add_node(names, one->name, &own4, &own6);
		names_add_prefix(names, &one->prefix4);
		names_add_prefix(names, &one->prefix6);
	}
}
