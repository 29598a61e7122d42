/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes that live, as gossip says, and from which no sealed packet comes, as overlay says: the port
 * of sealed traffic does not pass between them, and nobody but these two can know. Both say so.
 *
 * Who has just come to life gets as long as overlay waits before it is judged. While overlay is
 * away, and until its successor knows better, all is as it was.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "scheduler/event.h"

enum {
	PATIENCE_S = 60,
	UNSAID = 1, /* the version of a table that its producer has not committed yet */
};

static bool
has_lived(const struct cluster_node *n)
{
	return n->state == GOSSIP_ALIVE &&
	       world_mono_ns() - n->since_ns > (uint64_t)PATIENCE_S * CLUSTER_SECOND_NS;
}

/* Where sealed packets are sent to first: there, or at the one that passes on. Port 0: here. */
static struct addr
first_of(const struct cluster *c, const struct cluster_node *n)
{
	const struct ipam_node *at = ipam_peer(&c->ipam, n->via ? n->via : n->row.node);
	struct addr to = at ? at->address : (struct addr){0};

	to.port = at ? at->ways.port : 0;
	return to;
}

uint16_t
cluster_heard_port(const struct cluster *c, const struct cluster_node *n)
{
	const struct config_listen *own = &c->config->listen.overlay;
	uint16_t port = first_of(c, n).port;

	if (port || !ipam_peer(&c->ipam, n->row.node) || !own->on || c->config->node.advertise_none)
		return port;
	return own->addr.port;
}

static void
say_port(const struct cluster *c, const struct cluster_node *n, struct err *err)
{
	const struct cluster_node *via = n->via ? cluster_roster_find(c, n->via) : NULL;
	const struct addr to = first_of(c, n);
	char text[ADDR_TEXT_BYTES];

	if (!to.port) {
		unsigned port = c->config->listen.overlay.addr.port;

		err_why(err, "%s only dials out: it sends to UDP port %u of this node", n->row.name,
			port);
		err_fix(err,
			"let UDP port %u of this node be reached from %s (firewalls, rules of "
			"the provider), and answers go back",
			port, n->row.name);
		return;
	}
	addr_put(&to, text, sizeof(text));
	if (via)
		err_why(err, "both only dial out: packets go by way of %s, UDP %s", via->row.name,
			text);
	else
		err_why(err, "packets to it go to UDP %s", text);
	err_fix(err,
		"let UDP port %u pass to %s and back (firewalls, rules of the provider; "
		"listen.overlay there)",
		(unsigned)to.port, via ? via->row.name : n->row.name);
}

static void
say(const struct cluster *c, const struct cluster_node *n, size_t others, struct err *err)
{
	char more[48] = "";

	if (others)
		text_format(more, sizeof(more), " and %zu other node%s", others,
			    others == 1 ? "" : "s");
	err_set(err, ERR_UNREACHABLE, "%s%s answers, but no sealed packet comes from there",
		n->row.name, more);
	say_port(c, n, err);
}

/* Once each; of many at once only some: the status names how many there are. */
static void
tell(struct cluster *c, const struct cluster_node *n)
{
	struct msg_reason reason;
	struct err err = {0};

	if (!log_few(&c->unreached_told, world_mono_ns()))
		return;
	if (!n->unreached_wall_ns) {
		event_node(c->m, "node.reached", LOG_INFO, NULL,
			   "sealed packets come from %s again", n->row.name);
		return;
	}
	say(c, n, 0, &err);
	msg_reason_from(&err, &reason);
	event_node(c->m, "node.unreached", LOG_WARN, &reason,
		   "%s answers, but no sealed packet comes from there: %s; %s", n->row.name,
		   err.why[0], err.fix);
}

static void
read_row(struct cluster *c, struct cluster_node *n, const struct msg_heard *row)
{
	int64_t before = n->unreached_wall_ns;
	uint32_t via = row ? row->via : 0;

	if (row && row->silent_wall_ns > 0 && has_lived(n)) {
		if (!before)
			n->unreached_wall_ns = row->silent_wall_ns;
	} else if (!row || !(row->silent_wall_ns || row->unsure) || n->state != GOSSIP_ALIVE) {
		n->unreached_wall_ns = 0;
	}
	c->dirty |= n->via != via || n->unreached_wall_ns != before;
	n->via = via;
	if ((before != 0) != (n->unreached_wall_ns != 0) && n->state == GOSSIP_ALIVE)
		tell(c, n);
}

void
cluster_heard_look(struct cluster *c)
{
	const struct ring_reader *overlay = station_reader(c->st, ROLE_OVERLAY, 0);
	const struct cluster_node *first = NULL;
	struct map_iter it = {0};
	size_t count = 0;

	if (!overlay || ring_table_version(overlay, MSG_TABLE_HEARD) <= UNSAID)
		return;
	while (map_next(&c->nodes, &it)) {
		struct cluster_node *n = it.value;

		if (n->row.node == c->keep.node || n->row.removed)
			continue;
		read_row(c, n, ring_table_get(overlay, MSG_TABLE_HEARD, n->row.node));
		if (!n->unreached_wall_ns)
			continue;
		count++;
		if (!first || strcmp(n->row.name, first->row.name) < 0)
			first = n;
	}
	err_clear(&c->unreached_err);
	if (first)
		say(c, first, count - 1, &c->unreached_err);
	metric_set(metrics_get(c->m->metrics, METRICS_OVERLAY_UNREACHED, NULL), (int64_t)count);
}
