/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the tables of scheduler, overlay and node, and the devices that are known, to what
 * dataplane/services.h is given. Rows are borrowed: what is collected holds until the tables are
 * read again.
 */
#include <string.h>
#include "base/mem.h"
#include "dataplane/balancer_private.h"
#include "dataplane/reach.h"

enum {
	MTU_DEFAULT = 1420,
	UNSAID = 1, /* the version of a table that its producer has not committed */
};

/* ---- tables ---- */

static bool
said(struct ring_reader *r, uint16_t table)
{
	return r && ring_table_version(r, table) > UNSAID;
}

bool
balancer_input_collect(struct balancer *b, struct balancer_tables *t)
{
	struct map_iter it = {0};

	*t = (struct balancer_tables){
		.scheduler = station_reader(b->st, ROLE_SCHEDULER, 0),
		.overlay = station_reader(b->st, ROLE_OVERLAY, 0),
		.node = station_reader(b->st, ROLE_NODE, 0),
	};
	ring_rows_init(&t->streams, MEM_DATAPLANE);
	ring_rows_init(&t->backends, MEM_DATAPLANE);
	ring_rows_init(&t->veths, MEM_DATAPLANE);
	if (!said(t->scheduler, MSG_TABLE_STREAM) || !said(t->scheduler, MSG_TABLE_BACKEND) ||
	    !said(t->overlay, MSG_TABLE_PREFIX) || !t->node)
		return false;
	/* A scheduler that came back says it late: until then it is as it was. */
	if (ring_table_version(t->scheduler, MSG_TABLE_MESH) > UNSAID)
		b->meshed = reach_others(t->scheduler);
	t->meshed = b->meshed;
	ring_table_each(t->scheduler, MSG_TABLE_STREAM, ring_rows_take, &t->streams);
	ring_table_each(t->scheduler, MSG_TABLE_BACKEND, ring_rows_take, &t->backends);
	while (map_next(&b->veths, &it) && ring_rows_add(&t->veths, it.value))
		continue;
	return !t->streams.failed && !t->backends.failed && !t->veths.failed;
}

void
balancer_input_release(struct balancer_tables *t)
{
	ring_rows_fini(&t->streams);
	ring_rows_fini(&t->backends);
	ring_rows_fini(&t->veths);
}

/* ---- what they come to ---- */

static void
fill_addresses(const struct balancer *b, const struct msg_edge *edge, struct services_input *in)
{
	const struct config_dataplane *d = balancer_settings(b);
	size_t more = 0;

	for (uint32_t i = 0; i < edge->addresses_count && i < SERVICES_OWN_MAX; i++) {
		in->addresses[in->addresses_count] = edge->addresses[i];
		in->addresses[in->addresses_count++].port = 0;
	}
	in->own_count = in->addresses_count;
	if (services_addresses(d->vips, d->vips_count, in->addresses + in->addresses_count,
			       SERVICES_DEDICATED_MAX, &more))
		in->addresses_count += more;
}

static void
take_links(struct balancer *b, const struct msg_edge *edge)
{
	b->xdp = 0;
	b->links.count = 0;
	for (uint32_t i = 0; i < edge->links_count && i < MSG_EDGE_LINKS; i++) {
		if (!MSG_OK(edge->links[i].name))
			continue;
		if (edge->links[i].mode > b->xdp)
			b->xdp = edge->links[i].mode;
		b->links.ifindexes[b->links.count] = edge->links[i].ifindex;
		b->modes[b->links.count] = (uint8_t)edge->links[i].mode;
		b->shared[b->links.count] = edge->links[i].shared != 0;
		memcpy(b->links.names[b->links.count++], edge->links[i].name, 16);
	}
	if (edge->reason.kind)
		msg_reason_to(&edge->reason, &b->why_not);
}

void
balancer_input_fill(struct balancer *b, const struct balancer_tables *t, struct services_input *in)
{
	const struct msg_prefix *prefix = ring_table_get(t->overlay, MSG_TABLE_PREFIX, 1);
	const struct msg_uplink *uplink = ring_table_get(t->node, MSG_TABLE_UPLINK, 1);
	const struct msg_edge *edge = ring_table_get(t->node, MSG_TABLE_EDGE, 1);

	*in = (struct services_input){
		.streams = (const struct msg_stream *const *)t->streams.items,
		.streams_count = t->streams.count,
		.backends = (const struct msg_backend *const *)t->backends.items,
		.backends_count = t->backends.count,
		.veths = (const struct msg_veth *const *)t->veths.items,
		.veths_count = t->veths.count,
		.mtu = prefix && prefix->mtu ? prefix->mtu : MTU_DEFAULT,
	};
	const struct addr_prefix network = balancer_network(b);
	if (prefix)
		reach_cluster(prefix, &network, &in->config);
	in->config.uplink = uplink->fabric_ifindex;
	in->meshed = t->meshed && across_runs(b->across);
	in->partial = in->meshed && reach_is_partial(t->scheduler);
	b->links.count = b->xdp = 0;
	if (!edge || !b->attaches)
		return;
	in->config.outer = in->meshed && uplink->state == MSG_UPLINK_UP ? uplink->ifindex : 0;
	take_links(b, edge);
	fill_addresses(b, edge, in);
	in->attached = b->links.count > 0;
	in->config.out = b->links.count == 1 ? b->links.ifindexes[0] : 0;
}

/* Who of other nodes is brought packets, of all backends: to be freed. NULL: nobody is, or out of
 * memory. */
static struct services_away *
find_aways(const struct balancer_tables *t, const struct services_input *in)
{
	struct services_away *all;
	struct reach reach;

	all = mem_array(MEM_DATAPLANE, in->backends_count, sizeof(*all));
	if (!all)
		return NULL;
	reach_init(&reach, t->scheduler, t->overlay, in->mtu);
	for (size_t i = 0; i < in->backends_count; i++)
		reach_of(&reach, in->backends[i], &all[i]);
	return all;
}

int
balancer_input_apply(struct balancer *b, const struct balancer_tables *t, struct services_input *in,
		     struct err *err)
{
	struct services_away *aways = NULL;

	if (in->config.outer && in->backends_count) {
		aways = find_aways(t, in);
		if (!aways)
			return err_set(err, ERR_NO_MEMORY, "no memory for replicas of other nodes");
	}
	in->aways = aways;
	int rc = services_update(b->services, in, uv_now(station_loop(b->st)), err);
	mem_free(aways);
	return rc;
}
