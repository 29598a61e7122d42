/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the balancer says of packets to scheduler. A replica that drains holds connections that no
 * proxy knows of: its row in table drain says so as long as packets still go to it, also those that
 * other nodes send.
 */
#include "dataplane/balancer_private.h"

bool
balancer_report_sees(const struct balancer *b)
{
	return b->links.count > 0 || across_runs(b->across);
}

/* ---- drains ---- */

struct draining {
	struct msg_drain rows[BALANCER_DRAINS_MAX];
	size_t count;
};

/* A replica at several endpoints: one that is busy is enough. */
static void
see_drain(void *arg, uint64_t replica, bool busy)
{
	struct draining *d = arg;

	for (size_t i = 0; i < d->count; i++) {
		if (d->rows[i].replica != replica)
			continue;
		d->rows[i].in_flight |= busy;
		return;
	}
	if (d->count < BALANCER_DRAINS_MAX)
		d->rows[d->count++] = (struct msg_drain){.replica = replica, .in_flight = busy};
}

void
balancer_report_drains(struct balancer *b)
{
	static struct draining now;
	struct ring_writer *w = station_writer(b->st);

	now.count = 0;
	if (b->services && balancer_report_sees(b))
		services_drains(b->services, see_drain, &now);
	for (size_t i = 0; i < b->drains_count; i++) {
		bool still = false;

		for (size_t n = 0; n < now.count; n++)
			still |= now.rows[n].replica == b->drains[i];
		if (!still)
			ring_table_remove(w, MSG_TABLE_DRAIN, b->drains[i]);
	}
	b->drains_count = now.count;
	for (size_t i = 0; i < now.count; i++) {
		b->drains[i] = now.rows[i].replica;
		(void)ring_table_set(w, MSG_TABLE_DRAIN, now.rows[i].replica, &now.rows[i], NULL);
	}
	station_kick(b->st);
}

/* ---- demand ---- */

/* A service may have several endpoints. */
static void
see_demand(void *arg, uint64_t service, uint64_t packets)
{
	struct demand *d = arg;

	for (size_t i = 0; i < d->count; i++) {
		if (d->rows[i].service != service)
			continue;
		d->rows[i].packets += packets;
		return;
	}
	if (d->count < MSG_STREAM_PORTS_MAX)
		d->rows[d->count++] = (struct msg_demand){.service = service, .packets = packets};
}

static bool
is_demanded(const struct demand *d, uint64_t service)
{
	for (size_t i = 0; i < d->count; i++) {
		if (d->rows[i].service == service)
			return true;
	}
	return false;
}

void
balancer_report_demand(struct balancer *b)
{
	struct ring_writer *w = station_writer(b->st);
	struct demand now = {.count = 0};
	bool any = false;

	if (b->services && b->links.count)
		services_demand(b->services, see_demand, &now);
	for (size_t i = 0; i < b->demand.count; i++) {
		if (!is_demanded(&now, b->demand.rows[i].service))
			any |= ring_table_remove(w, MSG_TABLE_DEMAND, b->demand.rows[i].service);
	}
	for (size_t i = 0; i < now.count; i++) {
		bool changed = false;

		(void)ring_table_set(w, MSG_TABLE_DEMAND, now.rows[i].service, &now.rows[i],
				     &changed);
		any |= changed;
	}
	b->demand = now;
	if (any)
		station_kick(b->st);
}
