/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything is computed again from the tables, a moment after any of them has changed. As long as
 * a producer that came back has not said what it has, what serves goes on serving: nothing is done
 * until scheduler, overlay and node have each spoken.
 */
#include "dataplane/balancer.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataplane/balancer_private.h"
#include "dataplane/reach.h"
#include "spec/config.h"

enum {
	SOON_MS = 5, /* changes that come together are one */
	TICK_MS = 1000,
	COUNT_TICKS = 3,
	MTU_DEFAULT = 1420,
	UNSAID = 1, /* the version of a table that its producer has not committed */
};

/* ---- rows as arrays ---- */

struct list_of {
	const void **rows;
	size_t count, capacity;
	bool failed;
};

static bool
take_row(void *arg, uint64_t key, const void *row)
{
	struct list_of *l = arg;

	(void)key;
	if (l->count == l->capacity) {
		size_t more = l->capacity ? l->capacity * 2 : 64;
		void *grown = mem_resize(MEM_DATAPLANE, l->rows, more, sizeof(l->rows[0]));

		l->failed = !grown;
		if (!grown)
			return false;
		l->rows = grown;
		l->capacity = more;
	}
	l->rows[l->count++] = row;
	return true;
}

struct tables {
	struct ring_reader *scheduler, *overlay, *node;
	struct list_of streams, backends, veths;
	bool meshed; /* there are other nodes */
};

static bool
said(struct ring_reader *r, uint16_t table)
{
	return r && ring_table_version(r, table) > UNSAID;
}

static bool
collect(struct balancer *b, struct tables *t)
{
	struct map_iter it = {0};

	*t = (struct tables){
		.scheduler = station_reader(b->st, ROLE_SCHEDULER, 0),
		.overlay = station_reader(b->st, ROLE_OVERLAY, 0),
		.node = station_reader(b->st, ROLE_NODE, 0),
	};
	if (!said(t->scheduler, MSG_TABLE_STREAM) || !said(t->scheduler, MSG_TABLE_BACKEND) ||
	    !said(t->overlay, MSG_TABLE_PREFIX) || !t->node)
		return false;
	/* A scheduler that came back says it late: until then it is as it was. */
	if (ring_table_version(t->scheduler, MSG_TABLE_MESH) > UNSAID)
		b->meshed = reach_others(t->scheduler);
	t->meshed = b->meshed;
	ring_table_each(t->scheduler, MSG_TABLE_STREAM, take_row, &t->streams);
	ring_table_each(t->scheduler, MSG_TABLE_BACKEND, take_row, &t->backends);
	while (map_next(&b->veths, &it) && take_row(&t->veths, 0, it.value))
		continue;
	return !t->streams.failed && !t->backends.failed && !t->veths.failed;
}

static void
release(struct tables *t)
{
	mem_free(t->streams.rows);
	mem_free(t->backends.rows);
	mem_free(t->veths.rows);
}

/* ---- what is wanted ---- */

static const struct config_dataplane *
settings(const struct balancer *b)
{
	size_t bytes;
	const struct config *config = station_config(b->st, &bytes);

	return bytes >= sizeof(*config) ? &config->dataplane : NULL;
}

static bool
any_public(const struct tables *t)
{
	for (size_t i = 0; i < t->streams.count; i++) {
		const struct msg_stream *s = t->streams.rows[i];

		if (s->flags & MSG_STREAM_PUBLIC &&
		    !(s->flags & (MSG_STREAM_TLS | MSG_STREAM_PROXY_PROTOCOL)))
			return true;
	}
	return false;
}

/* What clients of other nodes bring needs no interface of this one. */
static bool
is_for_others(const struct balancer *b, const struct tables *t)
{
	const struct config_dataplane *d = settings(b);

	return t->meshed && d && d->mode != CONFIG_XDP_OFF && any_public(t);
}

/* Why nothing is balanced; false when there is something and a way to do it. */
static bool
is_idle(struct balancer *b, const struct tables *t)
{
	const struct config_dataplane *d = settings(b);
	const struct msg_uplink *uplink = ring_table_get(t->node, MSG_TABLE_UPLINK, 1);

	err_clear(&b->why_not);
	if (!d || d->mode == CONFIG_XDP_OFF)
		err_set(&b->why_not, ERR_UNSUPPORTED, "dataplane.mode is off");
	else if (!d->interfaces_auto && d->interfaces_count == 0)
		err_set(&b->why_not, ERR_UNSUPPORTED, "dataplane.interfaces is empty");
	else if (!any_public(t))
		err_set(&b->why_not, ERR_NOT_FOUND, "there is no public tcp or udp endpoint");
	else if (uplink->state == MSG_UPLINK_OFF ||
		 (!b->lb && (uplink->state != MSG_UPLINK_UP || !uplink->fabric_ifindex)))
		err_set(&b->why_not, ERR_UNSUPPORTED,
			"there is no uplink, by which replies would leave");
	return b->why_not.kind != ERR_NONE;
}

static void
say_nothing(struct balancer *b)
{
	struct ring_writer *w = station_writer(b->st);

	ring_table_remove(w, MSG_TABLE_APPLIED, 1);
	station_kick(b->st);
}

static void
count(struct balancer *b)
{
	counts_look(&b->counts, b->lb, b->services, &b->links, station_metrics(b->st));
}

static void
stop(struct balancer *b)
{
	if (!b->lb)
		return;
	flows_stop(b->flows, station_metrics(b->st));
	services_free(b->services);
	b->services = NULL;
	across_end(b->across);
	lb_remove(b->lb); /* the links with it */
	b->lb = NULL;
	counts_forget(&b->counts);
	log_event(LOG_INFO, "the balancer is off", log_s("why", b->why_not.what), LOG_END);
	balancer_report_drains(b);
	say_nothing(b);
}

/* Without it other nodes' clients come by their relays, and this one's go by its own. */
static void
follow_mesh(struct balancer *b, const struct tables *t, uint32_t uplink)
{
	struct err err = {0};

	if (!t->meshed) {
		if (across_runs(b->across))
			across_end(b->across);
		return;
	}
	if (!across_runs(b->across) && across_begin(b->across, b->lb, &err) < 0)
		log_err(LOG_WARN, "clients of other nodes come by relays", &err);
	else if (uplink && across_uplink(b->across, uplink, &err) < 0)
		log_err(LOG_WARN, "clients go to other nodes by the relay", &err);
}

static bool
is_running(struct balancer *b)
{
	const struct config_dataplane *d = settings(b);

	if (b->services)
		return true;
	const struct lb_calls calls = {veth_chain(b->veth), veth_denied(b->veth)};
	if ((!b->lb &&
	     lb_open(veth_folder(b->veth), d->max_flows, &calls, &b->lb, &b->why_not) < 0) ||
	    services_new(b->lb, uv_now(station_loop(b->st)), &b->services, &b->why_not) < 0) {
		lb_close(b->lb);
		b->lb = NULL;
		log_err(LOG_WARN, "tcp and udp are not balanced by the kernel", &b->why_not);
		return false;
	}
	count(b); /* from here on */
	log_event(LOG_INFO, "the balancer is on", LOG_END);
	return true;
}

/* ---- what is put in ---- */

/* What of an address is the cluster's: /16 of IPv4, /48 of IPv6 (docs/architecture.md). */
static void
fill_cluster(const struct msg_prefix *prefix, struct edge_config *out)
{
	if (addr_is_v4(&prefix->v4.base)) {
		out->cluster4_mask = (uint32_t)(__builtin_bswap32(0xffff0000));
		out->cluster4 = addr_v4_be(&prefix->v4.base) & out->cluster4_mask;
	}
	if (!addr_is_v4(&prefix->v6.base) && !addr_is_zero(&prefix->v6.base)) {
		memcpy(out->cluster6, prefix->v6.base.ip, sizeof(out->cluster6));
		out->cluster6_words = 3;
	}
}

static void
fill_addresses(const struct balancer *b, const struct msg_edge *edge, struct services_input *in)
{
	const struct config_dataplane *d = settings(b);
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

static void
fill(struct balancer *b, const struct tables *t, struct services_input *in)
{
	const struct msg_prefix *prefix = ring_table_get(t->overlay, MSG_TABLE_PREFIX, 1);
	const struct msg_uplink *uplink = ring_table_get(t->node, MSG_TABLE_UPLINK, 1);
	const struct msg_edge *edge = ring_table_get(t->node, MSG_TABLE_EDGE, 1);

	*in = (struct services_input){
		.streams = (const struct msg_stream *const *)t->streams.rows,
		.streams_count = t->streams.count,
		.backends = (const struct msg_backend *const *)t->backends.rows,
		.backends_count = t->backends.count,
		.veths = (const struct msg_veth *const *)t->veths.rows,
		.veths_count = t->veths.count,
		.mtu = prefix && prefix->mtu ? prefix->mtu : MTU_DEFAULT,
	};
	if (prefix)
		fill_cluster(prefix, &in->config);
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
find_aways(const struct tables *t, const struct services_input *in)
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

static int
update_services(struct balancer *b, const struct tables *t, struct services_input *in,
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

static void
publish_applied(struct balancer *b, const struct tables *t)
{
	struct msg_applied row = {
		.scheduler_generation = ring_reader_generation(t->scheduler),
		.backends_version = ring_table_version(t->scheduler, MSG_TABLE_BACKEND),
	};

	if (!balancer_report_sees(b)) {
		say_nothing(b);
		return;
	}
	(void)ring_table_set(station_writer(b->st), MSG_TABLE_APPLIED, 1, &row, NULL);
	station_kick(b->st);
}

/* ---- doing ---- */

/* Said once, shown as long as it is so. */
static void
tell_refused(struct balancer *b)
{
	struct err refused = {0};

	if (services_refused(b->services, &refused)) {
		if (strcmp(refused.what, b->refused) != 0)
			log_err(LOG_WARN, "an endpoint is left to the relay", &refused);
		if (!b->why_not.kind)
			b->why_not = refused;
	}
	text_copy(b->refused, sizeof(b->refused), refused.what);
}

static uint32_t
uplink_of(const struct tables *t)
{
	const struct msg_uplink *uplink = ring_table_get(t->node, MSG_TABLE_UPLINK, 1);

	return uplink ? uplink->fabric_ifindex : 0;
}

static void
work(struct balancer *b, const struct tables *t)
{
	static struct services_input in;
	struct err err = {0};

	/* A node that came back looks around first: what stands goes on. */
	if (!ring_table_get(t->node, MSG_TABLE_UPLINK, 1))
		return;
	b->attaches = !is_idle(b, t);
	if (!b->attaches)
		b->xdp = b->links.count = 0;
	if (!b->attaches && !is_for_others(b, t)) {
		stop(b);
		return;
	}
	if (!is_running(b))
		return;
	follow_mesh(b, t, uplink_of(t));
	fill(b, t, &in);
	/* Node says where we are attached only after it knows that there is something to attach;
	 * until then a predecessor's addresses stay. */
	if (b->attaches && (!ring_table_get(t->node, MSG_TABLE_EDGE, 1) || !in.config.uplink))
		return;
	if (update_services(b, t, &in, &err) < 0) {
		b->why_not = err;
		log_err(LOG_WARN, "the balancer is not up to date", &err);
		return;
	}
	memcpy(b->addresses, in.addresses, in.addresses_count * sizeof(in.addresses[0]));
	b->addresses_count = in.addresses_count;
	tell_refused(b);
	balancer_report_drains(b);
	publish_applied(b, t);
}

static void
update(uv_timer_t *timer)
{
	struct balancer *b = timer->data;
	struct tables t;

	if (collect(b, &t)) {
		work(b, &t);
		b->changed();
	}
	release(&t);
}

static void
soon(struct balancer *b)
{
	if (!uv_is_active((uv_handle_t *)&b->soon))
		uv_timer_start(&b->soon, update, SOON_MS, 0);
}

void
balancer_wake(struct balancer *b, struct ring_reader *reader)
{
	enum ring_status status = RING_EMPTY;

	switch (ring_reader_role(reader)) {
	case ROLE_SCHEDULER:
		status = ring_table_sync(reader, MSG_TABLE_STREAM, sizeof(struct msg_stream), NULL,
					 NULL);
		if (ring_table_sync(reader, MSG_TABLE_BACKEND, sizeof(struct msg_backend), NULL,
				    NULL) == RING_OK)
			status = RING_OK;
		break;
	case ROLE_OVERLAY:
		/* Others of this process look at that table too. */
		(void)ring_table_sync(reader, MSG_TABLE_PREFIX, sizeof(struct msg_prefix), NULL,
				      NULL);
		status = RING_OK;
		break;
	case ROLE_NODE:
		status = ring_table_sync(reader, MSG_TABLE_UPLINK, sizeof(struct msg_uplink), NULL,
					 NULL);
		if (ring_table_sync(reader, MSG_TABLE_EDGE, sizeof(struct msg_edge), NULL, NULL) ==
		    RING_OK)
			status = RING_OK;
		break;
	default:
		break;
	}
	if (status == RING_OK)
		soon(b);
}

void
balancer_veth(struct balancer *b, uint64_t replica, const struct msg_veth *row)
{
	struct msg_veth *own = map_remove_u64(&b->veths, replica);

	mem_free(own);
	own = row ? mem_dup(MEM_DATAPLANE, row, sizeof(*row)) : NULL;
	if (own && map_put_u64(&b->veths, replica, own) < 0) {
		log_event(LOG_ERROR, "no memory for a container's device", LOG_END);
		mem_free(own);
	}
	soon(b);
}

void
balancer_config(struct balancer *b)
{
	soon(b);
}

void
balancer_mesh(struct balancer *b)
{
	soon(b);
}

void
balancer_tell(const struct balancer *b, struct msg_datapath *row)
{
	row->edge = b->lb && b->attaches;
	row->across = b->lb && across_runs(b->across);
	row->xdp = b->xdp;
	row->links_count = b->links.count;
	memcpy(row->links, b->links.names, sizeof(row->links));
	memcpy(row->modes, b->modes, sizeof(row->modes));
	memcpy(row->shared, b->shared, sizeof(row->shared));
	if (b->why_not.kind)
		msg_reason_from(&b->why_not, &row->edge_reason);
}

/* ---- time ---- */

static void
tick(uv_timer_t *timer)
{
	struct balancer *b = timer->data;

	if (!b->services)
		return;
	services_tick(b->services, uv_now(station_loop(b->st)));
	balancer_report_drains(b);
	balancer_report_demand(b);
	flows_turn(b->flows, b->lb, b->services, b->addresses, b->addresses_count,
		   station_metrics(b->st));
	if (++b->ticks % COUNT_TICKS == 0)
		count(b);
}

struct balancer *
balancer_new(struct station *st, struct veth *veth, struct across *across, struct lb *lb,
	     void (*changed)(void))
{
	struct balancer *b = mem_zalloc(MEM_DATAPLANE, sizeof(*b));

	if (!b)
		return NULL;
	b->flows = flows_new();
	if (!b->flows) {
		mem_free(b);
		return NULL;
	}
	counts_init(&b->counts);
	b->st = st;
	b->veth = veth;
	b->across = across;
	b->lb = lb;
	b->attaches = b->meshed = lb != NULL;
	b->changed = changed;
	map_init(&b->veths, MEM_DATAPLANE);
	uv_timer_init(station_loop(st), &b->soon);
	uv_timer_init(station_loop(st), &b->tick);
	b->soon.data = b->tick.data = b;
	uv_timer_start(&b->tick, tick, TICK_MS, TICK_MS);
	return b;
}
