/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of peers' plain packets as metrics. The maps outlive this process: only what was added
 * since the last look is counted, so that node's sum over generations counts every packet once.
 * When a peer was last seen is known to a few seconds: the looks are so far apart.
 */
#include <string.h>
#include "base/world.h"
#include "dataplane/tunnel_private.h"
#include "ring/metrics.h"

static void
add_bytes(struct metric_page *page, const char *peer, const char *direction, uint64_t bytes,
	  bool always)
{
	struct metric_labels labels = {0};

	if (!bytes && !always)
		return;
	metric_label(&labels, "peer", peer);
	metric_label(&labels, "direction", direction);
	metric_add(metrics_get(page, METRICS_OVERLAY_BYTES, &labels), bytes);
}

static uint64_t
added(uint64_t before, uint64_t now)
{
	return now > before ? now - before : 0;
}

static void
count_peer(struct tunnel *t, struct tunnel_peer *p, struct metric_page *page)
{
	bool always = t->peers_count <= MSG_PEERS_MEASURED;
	struct metric_labels labels = {0};
	struct tc_overlay_bytes now;

	if (tunnel_bytes(t, p->id, &now) < 0)
		return;
	if (p->has_counted) {
		uint64_t received = added(p->counted.received, now.received);

		add_bytes(page, p->name, "receive", received, always);
		add_bytes(page, p->name, "transmit", added(p->counted.sent, now.sent), always);
		metric_label(&labels, "peer", p->name);
		if (received)
			metric_set(metrics_get(page, METRICS_OVERLAY_LAST_SEEN, &labels),
				   world_wall_ns() / 1000000000);
	}
	p->counted = now;
	p->has_counted = true;
}

void
tunnel_count(struct tunnel *t, struct metric_page *page)
{
	for (size_t i = 0; i < t->peers_count; i++)
		count_peer(t, &t->peers[i], page);
}
