/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every peer says something each 25 s at the latest (keepalives of both ends, where one of them
 * only dials out), so one from whom nothing came for longer than RELAY_CHOICE_SILENT_MS is not
 * there, or not by the way that was taken.
 */
#include "overlay/relayed.h"

#include <string.h>
#include "base/mem.h"
#include "overlay/wg/setup_index.h"

struct node {
	uint64_t rx_bytes, heard_ns;
	struct relay_choice choice;
	bool stays;
};

void
relayed_init(struct relayed *r)
{
	map_init(&r->nodes, MEM_OVERLAY);
}

void
relayed_fini(struct relayed *r)
{
	map_sweep(&r->nodes, NULL, mem_free);
	map_fini(&r->nodes);
}

/* NULL: no memory. */
static struct node *
node_of(struct relayed *r, uint32_t id)
{
	return map_make_u64(&r->nodes, id, sizeof(struct node));
}

static uint64_t
received(const struct setup_index *is, const uint8_t key[MSG_KEY])
{
	const struct setup_peer *p = setup_key_is_zero(key) ? NULL : setup_index_find(is, key);

	return p ? p->rx_bytes : 0;
}

/* The device counts anew when it is another one. */
static void
note(struct node *n, uint64_t rx_bytes, uint64_t now_ns)
{
	if (rx_bytes > n->rx_bytes)
		n->heard_ns = now_ns;
	n->rx_bytes = rx_bytes;
	n->stays = true;
}

/* Whether it was named since the last time that this was asked. */
static bool
stays(void *value)
{
	struct node *n = value;
	bool named = n->stays;

	n->stays = false;
	return named;
}

void
relayed_note(struct relayed *r, const struct setup *is, const struct msg_mesh *rows, size_t count,
	     uint64_t now_ns)
{
	struct setup_index by_key;

	bool able = setup_index_init(&by_key, is) == 0;
	for (size_t i = 0; i < count && able; i++) {
		const struct msg_mesh *row = &rows[i];
		struct node *n = row->self ? NULL : node_of(r, row->node);

		if (n)
			note(n, received(&by_key, row->key) + received(&by_key, row->next_key),
			     now_ns);
	}
	setup_index_fini(&by_key);
	if (able)
		map_sweep(&r->nodes, stays, mem_free);
}

static bool
may_relay(const struct msg_mesh *row)
{
	return !row->self && row->port && row->ways & MSG_WAY_SEALED &&
	       row->backend != MSG_BACKEND_KERNEL && !addr_is_zero(&row->address);
}

static bool
is_present(const struct relayed *r, uint32_t id, uint64_t now_ns)
{
	const struct node *n = map_get_u64(&r->nodes, id);

	return n && n->heard_ns &&
	       now_ns - n->heard_ns < RELAY_CHOICE_SILENT_MS * UINT64_C(1000000);
}

static struct addr
endpoint_of(const struct msg_mesh *row)
{
	struct addr at = row->address;

	at.port = (uint16_t)row->port;
	return at;
}

void
relayed_find(const struct relayed *r, const struct msg_mesh *rows, size_t count, uint64_t now_ns,
	     struct relayed_third *out)
{
	out->count = 0;
	for (size_t i = 0; i < count && out->count < RELAYED_THIRD_MAX; i++) {
		if (!may_relay(&rows[i]) || !is_present(r, rows[i].node, now_ns))
			continue;
		out->at[out->count] = endpoint_of(&rows[i]);
		out->list[out->count++] = (struct relay_candidate){rows[i].node, true};
	}
}

bool
relayed_place(struct relayed *r, uint32_t self, const struct relayed_third *third,
	      const struct msg_mesh *row, uint64_t now_ns, struct addr *out)
{
	if (row->port) {
		*out = endpoint_of(row);
		return true;
	}
	struct node *n = node_of(r, row->node);
	uint64_t relay = n ? relay_choice_take(&n->choice, self, row->node, third->list,
					       third->count, n->heard_ns, now_ns)
			   : 0;

	for (size_t i = 0; i < third->count && relay; i++) {
		if (third->list[i].id == relay) {
			*out = third->at[i];
			return true;
		}
	}
	return false;
}

uint32_t
relayed_by(const struct relayed *r, uint32_t node)
{
	const struct node *n = map_get_u64(&r->nodes, node);

	return n ? (uint32_t)n->choice.relay : 0;
}

size_t
relayed_keys(const struct msg_mesh *rows, size_t count, uint8_t (*out)[SETUP_KEY])
{
	size_t keys = 0;

	for (size_t i = 0; i < count; i++) {
		if (rows[i].self || rows[i].port || !(rows[i].ways & MSG_WAY_SEALED))
			continue;
		if (!setup_key_is_zero(rows[i].key))
			memcpy(out[keys++], rows[i].key, SETUP_KEY);
		if (!setup_key_is_zero(rows[i].next_key) &&
		    memcmp(rows[i].key, rows[i].next_key, SETUP_KEY) != 0)
			memcpy(out[keys++], rows[i].next_key, SETUP_KEY);
	}
	return keys;
}
