/* SPDX-License-Identifier: Apache-2.0 */
/* Two marks a node: when its bytes last grew, and when its last handshake was another one. A device
 * that counts anew is heard when it counts up again. */
#include "overlay/heard.h"

#include "base/mem.h"
#include "overlay/sealed_known.h"
#include "overlay/wg/setup_index.h"

enum { MS = 1000000 };

struct node {
	uint64_t rx_bytes;
	int64_t handshake_s;
	uint32_t handshake_ns;
	bool stays;
	uint64_t heard_ns, shaken_ns; /* monotonic; at first: since it is expected */
	bool came, shook;             /* something by it, and a session for that, since then */
	int64_t silent_wall_ns;       /* 0: it is not */
};

void
heard_init(struct heard *h)
{
	map_init(&h->nodes, MEM_OVERLAY);
}

void
heard_forget(struct heard *h)
{
	map_sweep(&h->nodes, NULL, mem_free);
}

void
heard_fini(struct heard *h)
{
	heard_forget(h);
	map_fini(&h->nodes);
}

/* Whom there is something to be looked at of; NULL: there is not, or no memory. */
static struct node *
how_is(struct heard *h, uint32_t id, enum heard_how how)
{
	struct node *n = map_get_u64(&h->nodes, id);

	switch (how) {
	case HEARD_SPOKEN:
		return n ? n : map_make_u64(&h->nodes, id, sizeof(*n));
	case HEARD_IDLE:
		return n && n->silent_wall_ns ? n : NULL;
	case HEARD_NOT:
		break;
	}
	return NULL;
}

static void
add(struct node *sum, const struct setup_peer *p)
{
	sum->rx_bytes += p->rx_bytes;
	if (p->handshake_s > sum->handshake_s ||
	    (p->handshake_s == sum->handshake_s && p->handshake_ns > sum->handshake_ns)) {
		sum->handshake_s = p->handshake_s;
		sum->handshake_ns = p->handshake_ns;
	}
}

/* What the device has counted says nothing of now; a session that is still good does. */
static void
begin(struct node *n, const struct node *sum, const struct heard_now *now)
{
	int64_t age_s = now->wall_ns / 1000000000 - sum->handshake_s;

	n->heard_ns = n->shaken_ns = now->mono_ns;
	n->shook = sum->handshake_s && age_s < SEALED_KNOWN_LIVE_S;
}

static void
look(struct node *n, const struct node *sum, const struct heard_now *now)
{
	if (sum->rx_bytes > n->rx_bytes) {
		n->heard_ns = now->mono_ns;
		n->came = true;
	}
	if (sum->handshake_s != n->handshake_s || sum->handshake_ns != n->handshake_ns) {
		n->shaken_ns = now->mono_ns;
		n->shook = true;
	}
}

static void
judge(struct node *n, const struct node *sum, const struct heard_now *now)
{
	if (!n->heard_ns)
		begin(n, sum, now);
	else
		look(n, sum, now);
	n->rx_bytes = sum->rx_bytes;
	n->handshake_s = sum->handshake_s;
	n->handshake_ns = sum->handshake_ns;
	uint64_t quiet_ns = now->mono_ns - n->heard_ns, stale_ns = now->mono_ns - n->shaken_ns;
	bool is_silent = quiet_ns >= (uint64_t)HEARD_SILENT_MS * MS ||
			 stale_ns >= (uint64_t)HEARD_STALE_MS * MS;
	if (!is_silent)
		n->silent_wall_ns = 0;
	else if (!n->silent_wall_ns)
		n->silent_wall_ns =
			now->wall_ns - (int64_t)(quiet_ns > stale_ns ? quiet_ns : stale_ns);
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

static void
note(struct node *n, const struct setup_index *is, const struct msg_mesh *row,
     const struct heard_now *now)
{
	const struct setup_peer *peer = setup_index_find(is, row->key);
	const struct setup_peer *next =
		setup_key_is_zero(row->next_key) ? NULL : setup_index_find(is, row->next_key);
	struct node sum = {0};

	n->stays = true;
	if (peer)
		add(&sum, peer);
	if (next && next != peer)
		add(&sum, next);
	judge(n, &sum, now);
}

void
heard_note(struct heard *h, const struct setup *is, const struct msg_mesh *rows, size_t count,
	   const enum heard_how *how, const struct heard_now *now)
{
	struct setup_index by_key;

	bool able = setup_index_init(&by_key, is) == 0;
	for (size_t i = 0; i < count && able; i++) {
		struct node *n = how_is(h, rows[i].node, how[i]);

		if (n)
			note(n, &by_key, &rows[i], now);
	}
	setup_index_fini(&by_key);
	if (able)
		map_sweep(&h->nodes, stays, mem_free);
}

int64_t
heard_silent_since(const struct heard *h, uint32_t node)
{
	const struct node *n = map_get_u64(&h->nodes, node);

	return n ? n->silent_wall_ns : 0;
}

bool
heard_is_unsure(const struct heard *h, uint32_t node)
{
	const struct node *n = map_get_u64(&h->nodes, node);

	return n && !n->silent_wall_ns && !(n->came && n->shook);
}
