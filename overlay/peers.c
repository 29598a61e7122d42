/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers from node.yaml and of the cluster into the table and the book of names. A peer's id is made
 * of its name, so that counters and maps of the data path stay with it when the list changes.
 */
#include "overlay/peers.h"

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

static uint64_t
id_of(const char *name)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 5};

	return map_siphash(key, name, strlen(name)) | 1;
}

static void
row_of(const struct config_peer *from, struct msg_peer *out)
{
	memset(out, 0, sizeof(*out));
	out->id = id_of(from->name);
	text_copy(out->name, sizeof(out->name), from->name);
	out->address = from->address;
	out->v4 = from->prefix4;
	out->v6 = from->prefix6;
	out->ways = MSG_WAY_PLAIN | MSG_WAY_TRUSTED;
}

struct gathering {
	struct config_overlay *out;
	uint32_t by_hand;
};

static bool
named(const struct config_overlay *o, uint32_t count, const char *name)
{
	for (uint32_t i = 0; i < count; i++) {
		if (text_equal(o->peers[i].name, name))
			return true;
	}
	return false;
}

/* A /24 and a /64, as node asks of its own. */
static bool
row_holds(const struct msg_mesh *row)
{
	return MSG_OK(row->name) && row->name[0] && !addr_is_zero(&row->address) &&
	       addr_is_v4(&row->v4.base) && row->v4.bits == 120 && !addr_is_v4(&row->v6.base) &&
	       row->v6.bits == 64;
}

/* In the order of names, so that the same peers are the same list. */
static bool
add_mesh(void *arg, uint64_t key, const void *data)
{
	struct gathering *g = arg;
	const struct msg_mesh *row = data;
	struct config_overlay *o = g->out;
	uint32_t at = g->by_hand;

	(void)key;
	if (row->self || !row_holds(row) || named(o, g->by_hand, row->name))
		return true;
	while (at < o->peers_count && strcmp(o->peers[at].name, row->name) < 0)
		at++;
	if (at == PEERS_MAX)
		return true;
	if (o->peers_count < PEERS_MAX)
		o->peers_count++;
	memmove(&o->peers[at + 1], &o->peers[at], (o->peers_count - at - 1) * sizeof(o->peers[0]));
	memset(&o->peers[at], 0, sizeof(o->peers[at]));
	text_copy(o->peers[at].name, sizeof(o->peers[at].name), row->name);
	o->peers[at].address = row->address;
	o->peers[at].address.port = 0;
	o->peers[at].prefix4 = row->v4;
	o->peers[at].prefix6 = row->v6;
	return true;
}

void
peers_gather(const struct config *config, const struct ring_reader *scheduler,
	     struct config_overlay *out)
{
	struct config_overlay made = {0};
	struct gathering g = {.out = &made};

	if (config)
		made = config->overlay;
	g.by_hand = made.peers_count;
	if (scheduler) {
		ring_table_each(scheduler, MSG_TABLE_MESH, add_mesh, &g);
	} else {
		for (uint32_t i = 0; i < out->peers_count && made.peers_count < PEERS_MAX; i++) {
			if (!named(&made, made.peers_count, out->peers[i].name))
				made.peers[made.peers_count++] = out->peers[i];
		}
	}
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

bool
peers_publish(struct ring_writer *w, const struct config_overlay *overlay)
{
	static uint64_t published[PEERS_MAX];
	static uint32_t published_count;
	uint32_t count = overlay->peers_count;
	uint64_t version = ring_table_own_version(w, MSG_TABLE_PEER);
	struct msg_peer row;

	ring_table_begin(w, MSG_TABLE_PEER);
	for (uint32_t i = 0; i < published_count; i++) {
		bool stays = false;

		for (uint32_t k = 0; k < count && !stays; k++)
			stays = id_of(overlay->peers[k].name) == published[i];
		if (!stays)
			ring_table_remove(w, MSG_TABLE_PEER, published[i]);
	}
	for (uint32_t i = 0; i < count; i++) {
		row_of(&overlay->peers[i], &row);
		(void)ring_table_set(w, MSG_TABLE_PEER, row.id, &row, NULL);
		published[i] = row.id;
	}
	published_count = count;
	ring_table_commit(w, MSG_TABLE_PEER);
	return ring_table_own_version(w, MSG_TABLE_PEER) != version;
}

void
peers_add_names(const struct config_overlay *overlay, struct names *names)
{
	for (uint32_t i = 0; i < overlay->peers_count; i++) {
		const struct config_peer *p = &overlay->peers[i];
		struct addr own4 = prefix_own(&p->prefix4), own6 = prefix_own(&p->prefix6);

		names_add_node(names, p->name, &own4, &own6);
		names_add_prefix(names, &p->prefix4);
		names_add_prefix(names, &p->prefix6);
	}
}
