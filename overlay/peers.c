/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers into the table and the book of names; who they are: peers_gather.c. A peer's id is made of
 * its name, so that counters and maps of the data path stay with it when the list changes.
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

static int
by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void
forget(struct ring_writer *w, const struct peers *p, const uint64_t *published, uint32_t count)
{
	static uint64_t now[PEERS_MAX];

	for (uint32_t k = 0; k < p->count; k++)
		now[k] = peers_id(p->all[k].name);
	qsort(now, p->count, sizeof(now[0]), by_number);
	for (uint32_t i = 0; i < count; i++)
		if (!bsearch(&published[i], now, p->count, sizeof(now[0]), by_number))
			ring_table_remove(w, MSG_TABLE_PEER, published[i]);
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
