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

enum {
	SOON_MS = 5, /* changes that come together are one */
	TICK_MS = 1000,
	COUNT_TICKS = 3,
};

/* ---- what is wanted ---- */

static const struct config *
settings(const struct balancer *b)
{
	size_t bytes;
	const struct config *config = station_config(b->st, &bytes);

	return bytes >= sizeof(*config) ? config : NULL;
}

const struct config_dataplane *
balancer_settings(const struct balancer *b)
{
	const struct config *config = settings(b);

	return config ? &config->dataplane : NULL;
}

struct addr_prefix
balancer_network(const struct balancer *b)
{
	static const struct config_overlay usual;
	const struct config *config = settings(b);

	return config_network(config ? &config->overlay : &usual);
}

static bool
any_public(const struct balancer_tables *t)
{
	for (size_t i = 0; i < t->streams.count; i++) {
		const struct msg_stream *s = t->streams.items[i];

		if (s->flags & MSG_STREAM_PUBLIC &&
		    !(s->flags & (MSG_STREAM_TLS | MSG_STREAM_PROXY_PROTOCOL)))
			return true;
	}
	return false;
}

/* What clients of other nodes bring needs no interface of this one. */
static bool
is_for_others(const struct balancer *b, const struct balancer_tables *t)
{
	const struct config_dataplane *d = balancer_settings(b);

	return t->meshed && d && d->mode != CONFIG_XDP_OFF && any_public(t);
}

/* Why nothing is balanced; false when there is something and a way to do it. */
static bool
is_idle(struct balancer *b, const struct balancer_tables *t)
{
	const struct config_dataplane *d = balancer_settings(b);
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
follow_mesh(struct balancer *b, const struct balancer_tables *t, uint32_t uplink)
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
	const struct config_dataplane *d = balancer_settings(b);

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

static void
publish_applied(struct balancer *b, const struct balancer_tables *t)
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
uplink_of(const struct balancer_tables *t)
{
	const struct msg_uplink *uplink = ring_table_get(t->node, MSG_TABLE_UPLINK, 1);

	return uplink ? uplink->fabric_ifindex : 0;
}

static void
work(struct balancer *b, const struct balancer_tables *t)
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
	balancer_input_fill(b, t, &in);
	/* Node says where we are attached only after it knows that there is something to attach;
	 * until then a predecessor's addresses stay. */
	if (b->attaches && (!ring_table_get(t->node, MSG_TABLE_EDGE, 1) || !in.config.uplink))
		return;
	if (balancer_input_apply(b, t, &in, &err) < 0) {
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
	struct balancer_tables t;

	if (balancer_input_collect(b, &t)) {
		work(b, &t);
		b->changed();
	}
	balancer_input_release(&t);
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
