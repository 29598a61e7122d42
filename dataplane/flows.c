/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk begins with the places that there are: each address with each TCP port. A pin of an
 * earlier change still lies in the table, but says nothing: only those of the present one count.
 */
#include "dataplane/flows.h"

#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "ring/metrics.h"

struct place {
	struct addr at; /* with the port */
	uint32_t epoch;
	bool changes;
	int64_t count;
};

struct flows {
	struct place now[FLOWS_PLACES_MAX], shown[FLOWS_PLACES_MAX];
	size_t now_count, shown_count;
	struct map index; /* address with port -> place of `now` */
	bool walks, v6;
	struct lb_flows walk;
	struct lb_flow batch[LB_FLOWS_BATCH];
};

struct flows *
flows_new(void)
{
	struct flows *f = mem_zalloc(MEM_DATAPLANE, sizeof(*f));

	if (f)
		map_init(&f->index, MEM_DATAPLANE);
	return f;
}

static struct metric_series *
series_of(struct metric_page *page, const struct place *p)
{
	struct metric_labels labels = {0};
	char text[ADDR_TEXT_BYTES];

	addr_put_ip(&p->at, text, sizeof(text));
	metric_label(&labels, "vip", text);
	metric_label_u(&labels, "port", p->at.port);
	return metrics_get(page, METRICS_DATAPLANE_FLOWS, &labels);
}

static void
add_place(struct flows *f, const struct addr *address, const struct services_port *port)
{
	struct place *p = &f->now[f->now_count];

	*p = (struct place){.epoch = port->epoch, .changes = port->changes};
	memcpy(p->at.ip, address->ip, sizeof(p->at.ip));
	p->at.port = port->port;
	f->walks |= p->changes;
	if (map_put(&f->index, &p->at, sizeof(p->at), p, NULL) == 0)
		f->now_count++;
}

static void
begin(struct flows *f, const struct services *s, const struct addr *addresses, size_t count)
{
	struct services_port ports[FLOWS_PLACES_MAX];
	size_t ports_count = services_ports(s, ports, FLOWS_PLACES_MAX);

	map_fini(&f->index);
	map_init(&f->index, MEM_DATAPLANE);
	f->now_count = 0;
	f->walks = f->v6 = false;
	f->walk = (struct lb_flows){0};
	for (size_t i = 0; i < ports_count; i++)
		for (size_t a = 0; a < count && f->now_count < FLOWS_PLACES_MAX; a++)
			add_place(f, &addresses[a], &ports[i]);
}

static void
take(struct flows *f, const struct lb_flow *flow)
{
	struct addr at = {.port = flow->port};

	memcpy(at.ip, flow->dest, sizeof(at.ip));
	struct place *p = map_get(&f->index, &at, sizeof(at));
	if (p && p->changes && (p->epoch & EDGE_PIN_EPOCH) == flow->epoch)
		p->count++;
}

/* True at the end of both tables. */
static bool
go_on(struct flows *f, struct lb *lb)
{
	for (unsigned turn = 0; turn < FLOWS_BATCHES; turn++) {
		size_t count = lb_flows(lb, f->v6, &f->walk, f->batch);

		for (size_t i = 0; i < count; i++)
			take(f, &f->batch[i]);
		if (!f->walk.ended)
			continue;
		if (f->v6)
			return true;
		f->v6 = true;
		f->walk = (struct lb_flows){0};
	}
	return false;
}

static void
show(struct flows *f, struct metric_page *page)
{
	for (size_t i = 0; i < f->shown_count; i++)
		if (!map_get(&f->index, &f->shown[i].at, sizeof(f->shown[i].at)))
			metric_hide(series_of(page, &f->shown[i]));
	for (size_t i = 0; i < f->now_count; i++)
		metric_set(series_of(page, &f->now[i]), f->now[i].count);
	memcpy(f->shown, f->now, f->now_count * sizeof(f->now[0]));
	f->shown_count = f->now_count;
}

void
flows_turn(struct flows *f, struct lb *lb, const struct services *s, const struct addr *addresses,
	   size_t addresses_count, struct metric_page *page)
{
	if (!f->walks)
		begin(f, s, addresses, addresses_count);
	if (f->walks && !go_on(f, lb))
		return;
	f->walks = false;
	show(f, page);
}

void
flows_stop(struct flows *f, struct metric_page *page)
{
	for (size_t i = 0; i < f->shown_count; i++)
		metric_hide(series_of(page, &f->shown[i]));
	f->shown_count = 0;
	f->walks = false;
}
