/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every peer says something each 25 s at the latest (keepalives of both ends, where one of them
 * only dials out), so one from whom nothing came for longer than RELAY_CHOICE_SILENT_MS is not
 * there, or not by the way that was taken.
 */
#include "overlay/relayed.h"

#include <string.h>
#include "base/mem.h"
#include "overlay/relay_choice.h"

enum { CANDIDATES_MAX = 64 }; /* enough to find one: rows of a large cluster are many */

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
	struct map_iter it = {0};

	while (map_next(&r->nodes, &it))
		mem_free(it.value);
	map_fini(&r->nodes);
}

/* NULL: no memory. */
static struct node *
node_of(struct relayed *r, uint32_t id)
{
	struct node *n = map_get_u64(&r->nodes, id);

	if (n)
		return n;
	n = mem_zalloc(MEM_OVERLAY, sizeof(*n));
	if (n && map_put_u64(&r->nodes, id, n) < 0) {
		mem_free(n);
		n = NULL;
	}
	return n;
}

static uint64_t
received(const struct setup *is, const uint8_t key[MSG_KEY])
{
	const struct setup_peer *p = setup_key_is_zero(key) ? NULL : setup_find(is, key);

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

static void
forget_others(struct relayed *r)
{
	struct map_iter it = {0};

	while (map_next(&r->nodes, &it)) {
		struct node *n = it.value;

		if (!n->stays) {
			map_remove(&r->nodes, it.key, it.key_bytes);
			mem_free(n);
		} else {
			n->stays = false;
		}
	}
}

void
relayed_note(struct relayed *r, const struct setup *is, const struct msg_mesh *rows, size_t count,
	     uint64_t now_ns)
{
	for (size_t i = 0; i < count; i++) {
		struct node *n = rows[i].self ? NULL : node_of(r, rows[i].node);

		if (n)
			note(n, received(is, rows[i].key) + received(is, rows[i].next_key), now_ns);
	}
	forget_others(r);
}

static bool
may_relay(const struct msg_mesh *row, const struct msg_mesh *for_row)
{
	return !row->self && row->node != for_row->node && row->port &&
	       row->ways & MSG_WAY_SEALED && row->backend != MSG_BACKEND_KERNEL &&
	       !addr_is_zero(&row->address);
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

bool
relayed_place(struct relayed *r, uint32_t self, const struct msg_mesh *rows, size_t count,
	      const struct msg_mesh *row, uint64_t now_ns, struct addr *out)
{
	struct relay_candidate list[CANDIDATES_MAX];
	struct node *n = node_of(r, row->node);
	size_t candidates = 0;

	if (row->port) {
		*out = endpoint_of(row);
		return true;
	}
	for (size_t i = 0; i < count && candidates < CANDIDATES_MAX; i++) {
		if (may_relay(&rows[i], row) && is_present(r, rows[i].node, now_ns))
			list[candidates++] = (struct relay_candidate){rows[i].node, true};
	}
	uint64_t relay = n ? relay_choice_take(&n->choice, self, row->node, list, candidates,
					       n->heard_ns, now_ns)
			   : 0;
	for (size_t i = 0; i < count && relay; i++) {
		if (rows[i].node == relay) {
			*out = endpoint_of(&rows[i]);
			return true;
		}
	}
	return false;
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
