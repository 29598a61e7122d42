/* SPDX-License-Identifier: Apache-2.0 */
/* Differences of the engine's counters, which begin at 0 with each engine, into metrics that do
 * not. What goes in the clear is counted by the data path. */
#include "overlay/sealed_count.h"

#include <string.h>
#include "base/mem.h"
#include "base/world.h"
#include "ring/metrics.h"

enum { LIVE_S = 180, SECOND = 1000000000 };

struct seen {
	uint64_t rx, tx;
	int64_t handshake_s;
	uint32_t handshake_ns;
	bool stays;
};

/* NULL: these are no packets that went somewhere. */
static const char *
direction_of(enum engine_count which)
{
	return which == ENGINE_IN_PACKETS    ? "receive"
	       : which == ENGINE_OUT_PACKETS ? "transmit"
	       : which == ENGINE_RELAYED     ? "relay"
					     : NULL;
}

static struct metric_series *
series_of(struct metric_page *page, enum engine_count which)
{
	struct metric_labels labels = {0};

	if (which == ENGINE_HANDSHAKES)
		return metrics_get(page, METRICS_OVERLAY_HANDSHAKES, NULL);
	if (which == ENGINE_COOKIES)
		return metrics_get(page, METRICS_OVERLAY_COOKIES, NULL);
	if (which == ENGINE_RELAYED)
		return metrics_get(page, METRICS_OVERLAY_RELAYED, NULL);
	if (direction_of(which)) {
		metric_label(&labels, "direction", direction_of(which));
		return metrics_get(page, METRICS_OVERLAY_PACKETS, &labels);
	}
	metric_label(&labels, "reason", engine_count_name(which));
	return metrics_get(page, METRICS_OVERLAY_DROPS, &labels);
}

void
sealed_count_init(struct sealed_count *c, struct metric_page *page)
{
	memset(c, 0, sizeof(*c));
	c->page = page;
	map_init(&c->bytes, MEM_OVERLAY);
	for (unsigned i = 0; i < ENGINE_COUNTS; i++)
		metric_add(series_of(page, (enum engine_count)i), 0);
}

void
sealed_count_reset(struct sealed_count *c)
{
	map_sweep(&c->bytes, NULL, mem_free);
	memset(c->counted, 0, sizeof(c->counted));
	c->begun = false;
	c->live = 0;
}

void
sealed_count_fini(struct sealed_count *c)
{
	sealed_count_reset(c);
	map_fini(&c->bytes);
}

/* ---- peers ---- */

/* By their keys. Of what has no memory nothing is counted this time. */
static void
index_rows(const struct peers *peers, struct map *out)
{
	map_init(out, MEM_OVERLAY);
	for (size_t i = 0; i < peers->mesh_count; i++) {
		const struct msg_mesh *row = &peers->mesh[i];
		void *place = (void *)(uintptr_t)(i + 1);

		if (map_put(out, row->key, SETUP_KEY, place, NULL) < 0 ||
		    (!setup_key_is_zero(row->next_key) &&
		     map_put(out, row->next_key, SETUP_KEY, place, NULL) < 0))
			return;
	}
}

static void
add_bytes(struct sealed_count *c, const char *name, const char *direction, uint64_t bytes)
{
	struct metric_labels labels = {0};

	if (!bytes && c->many)
		return;
	metric_label(&labels, "peer", name);
	metric_label(&labels, "direction", direction);
	metric_add(metrics_get(c->page, METRICS_OVERLAY_BYTES, &labels), bytes);
}

static uint64_t
added(uint64_t before, uint64_t now)
{
	return now > before ? now - before : 0;
}

static void
count_engine(struct sealed_count *c, const struct engine *e)
{
	uint64_t now[ENGINE_COUNTS];

	engine_counts(e, now);
	for (unsigned i = 0; i < ENGINE_COUNTS; i++)
		metric_add(series_of(c->page, (enum engine_count)i), added(c->counted[i], now[i]));
	memcpy(c->counted, now, sizeof(now));
}

/* The kernel tells of the last one only. */
static void
count_handshake(struct sealed_count *c, const struct setup_peer *p)
{
	struct seen *s = map_make(&c->bytes, p->public_key, SETUP_KEY, sizeof(*s));

	if (!s)
		return;
	if (p->handshake_s && c->begun &&
	    (s->handshake_s != p->handshake_s || s->handshake_ns != p->handshake_ns))
		metric_add(series_of(c->page, ENGINE_HANDSHAKES), 1);
	if (!c->begun) {
		s->rx = p->rx_bytes;
		s->tx = p->tx_bytes;
	}
	s->handshake_s = p->handshake_s;
	s->handshake_ns = p->handshake_ns;
	s->stays = true;
}

static void
count_peer(struct sealed_count *c, const struct setup_peer *p, const struct msg_mesh *row)
{
	struct metric_labels labels = {0};
	struct seen *s = map_make(&c->bytes, p->public_key, SETUP_KEY, sizeof(*s));

	if (!s)
		return;
	uint64_t received = added(s->rx, p->rx_bytes);

	add_bytes(c, row->name, "receive", received);
	add_bytes(c, row->name, "transmit", added(s->tx, p->tx_bytes));
	metric_label(&labels, "peer", row->name);
	if (received)
		metric_set(metrics_get(c->page, METRICS_OVERLAY_LAST_SEEN, &labels),
			   world_wall_ns() / SECOND);
	s->rx = p->rx_bytes;
	s->tx = p->tx_bytes;
	s->stays = true;
}

/* Whether it was named since the last time that this was asked. */
static bool
stays(void *value)
{
	struct seen *s = value;
	bool named = s->stays;

	s->stays = false;
	return named;
}

void
sealed_count_take(struct sealed_count *c, const struct setup *is, const struct engine *e,
		  const struct peers *peers)
{
	struct map rows;
	int64_t wall_s = world_wall_ns() / SECOND;

	if (e)
		count_engine(c, e);
	c->live = 0;
	c->many = peers->count > MSG_PEERS_MEASURED;
	index_rows(peers, &rows);
	for (size_t i = 0; i < is->peers_count; i++) {
		const struct setup_peer *p = &is->peers[i];
		uintptr_t place = (uintptr_t)map_get(&rows, p->public_key, SETUP_KEY);
		const struct msg_mesh *row = place ? &peers->mesh[place - 1] : NULL;

		c->live += p->handshake_s && wall_s - p->handshake_s < LIVE_S;
		if (!e)
			count_handshake(c, p);
		if (row)
			count_peer(c, p, row);
	}
	map_fini(&rows);
	map_sweep(&c->bytes, stays, mem_free);
	c->begun = true;
}
