/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of an update: backends, devices, replies' sources, tables, prefixes, addresses; then what
 * no longer holds: addresses, prefixes, tables, backends, and when no program reads them any more,
 * replies' sources and devices. So no packet finds an address without a table, or a backend without
 * a device or a way back.
 */
#include "dataplane/services.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "dataplane/services_private.h"

/* What tables lead to is put before them, what leads to tables after. */
enum { FIRST_AFTER_TABLES = LB_DENIED };

/* ---- life ---- */

static void
service_free(struct service *v)
{
	plan_fini(&v->plan);
	mem_free(v->members);
	mem_free(v);
}

static struct service *
service_add(struct services *s, uint64_t stream, uint32_t number)
{
	struct service *v = mem_zalloc(MEM_DATAPLANE, sizeof(*v));

	if (!v)
		return NULL;
	v->stream = stream;
	v->face.number = number;
	v->dirty = true;
	v->members = mem_array(MEM_DATAPLANE, PLAN_MEMBERS_MAX, sizeof(v->members[0]));
	if (!v->members || map_put_u64(&s->streams, stream, v) < 0) {
		service_free(v);
		return NULL;
	}
	s->numbers[number] = true;
	return v;
}

static int
adopt_tables(struct services *s)
{
	for (uint32_t i = 0; i < EDGE_SERVICES_MAX; i++) {
		struct edge_service_count count;
		struct plan plan;
		uint64_t stream;
		/* Before the table: what is opened in between is read again. */
		bool counted = lb_service_count(s->lb, i, &count);

		if (!lb_adopt_table(s->lb, i, &stream, &plan, s->now_ms))
			continue;
		struct service *v =
			map_get_u64(&s->streams, stream) ? NULL : service_add(s, stream, i);
		if (!v) {
			plan_fini(&plan);
			return -1;
		}
		v->plan = plan;
		if (!counted)
			continue;
		v->counted = (struct edge_count){count.packets, count.bytes};
		v->taken = count.taken;
	}
	return 0;
}

int
services_new(struct lb *lb, uint64_t now_ms, struct services **out, struct err *err)
{
	struct services *s = mem_zalloc(MEM_DATAPLANE, sizeof(*s));

	if (!s)
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer's services");
	s->lb = lb;
	s->now_ms = now_ms;
	map_init(&s->streams, MEM_DATAPLANE);
	s->places = places_new(lb);
	if (!s->places || adopt_tables(s) < 0) {
		services_free(s);
		return err_set(err, ERR_NO_MEMORY, "no memory for the balancer's services");
	}
	*out = s;
	return 0;
}

void
services_free(struct services *s)
{
	struct map_iter it = {0};

	if (!s)
		return;
	while (map_next(&s->streams, &it))
		service_free(it.value);
	map_fini(&s->streams);
	places_free(s->places);
	mem_free(s);
}

void
services_refuse(struct services *s, const struct msg_stream *r, const char *why)
{
	if (s->refused.kind)
		return;
	err_set(&s->refused, ERR_LIMIT, "the kernel does not balance all of %s, endpoint %s",
		r->service_label, r->endpoint);
	err_why(&s->refused, "%s", why);
}

bool
services_refused(const struct services *s, struct err *out)
{
	if (s->refused.kind)
		*out = s->refused;
	return s->refused.kind != ERR_NONE;
}

/* ---- services ---- */

static bool
row_holds(const struct msg_stream *r)
{
	return r->id && r->service && r->port && MSG_OK(r->service_label) && MSG_OK(r->endpoint) &&
	       (r->protocol == MSG_STREAM_TCP || r->protocol == MSG_STREAM_UDP) &&
	       r->endpoint_index < MSG_ENDPOINTS_MAX && r->prefixes_allow <= 8 &&
	       r->prefixes_deny <= 8;
}

/* TLS and PROXY headers are the relay's alone. */
static bool
is_ours(const struct msg_stream *r)
{
	return r->flags & MSG_STREAM_PUBLIC &&
	       !(r->flags & (MSG_STREAM_TLS | MSG_STREAM_PROXY_PROTOCOL));
}

/* *out NULL: all numbers are taken. */
static int
service_of(struct services *s, const struct msg_stream *r, struct service **out, struct err *err)
{
	uint32_t i = 0;

	*out = map_get_u64(&s->streams, r->id);
	while (!*out && i < EDGE_SERVICES_MAX && s->numbers[i])
		i++;
	if (*out || i == EDGE_SERVICES_MAX)
		return 0;
	struct service *v = service_add(s, r->id, i);
	if (v && plan_init(&v->plan) == 0) {
		/* Pins of an endpoint that had its addresses and port before hold no more. */
		v->plan.epoch = (uint32_t)s->now_ms;
		*out = v;
		return 0;
	}
	if (v) {
		map_remove_u64(&s->streams, r->id);
		s->numbers[i] = false;
		service_free(v);
	}
	return err_set(err, ERR_NO_MEMORY, "no memory for a balanced endpoint");
}

static int
take_streams(struct services *s, const struct services_input *in, struct err *err)
{
	struct map_iter it = {0};

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;

		v->seen = false;
		v->face.row = NULL;
		v->members_count = 0;
	}
	for (size_t i = 0; i < in->streams_count; i++) {
		const struct msg_stream *r = in->streams[i];

		if (!row_holds(r) || !is_ours(r))
			continue;
		struct service *v;
		if (service_of(s, r, &v, err) < 0)
			return -1;
		if (!v) {
			services_refuse(s, r, "there are as many balanced endpoints as can be");
			continue;
		}
		v->seen = true;
		v->face.row = r;
		v->face.remember = false;
		v->port = r->port;
		v->plan.connections = r->protocol == MSG_STREAM_TCP;
		text_copy(v->label, sizeof(v->label), r->service_label);
		v->followed = r->flags & MSG_STREAM_COUNTED ? r->service : 0;
		text_copy(v->endpoint, sizeof(v->endpoint), r->endpoint);
	}
	return 0;
}

/* ---- tables ---- */

/* False: its counters cannot be read. */
static bool
take_opened(struct services *s, struct service *v, struct edge_service_count *now)
{
	if (!lb_service_count(s->lb, v->face.number, now))
		return false;
	if (now->taken != v->taken)
		lb_table_opened(s->lb, v->face.number, &v->plan, s->now_ms);
	v->taken = now->taken;
	return true;
}

static int
make_plans(struct services *s, struct err *err)
{
	struct map_iter it = {0};

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;
		struct edge_service_count now;
		bool failed = false;

		if (!v->seen)
			continue;
		(void)take_opened(s, v, &now);
		v->dirty |= plan_update(&v->plan, v->members, v->members_count, s->now_ms, &failed);
		if (failed)
			return err_set(err, ERR_NO_MEMORY, "no memory for a table");
	}
	return 0;
}

static int
put_tables(struct services *s, struct err *err)
{
	struct map_iter it = {0};

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;
		struct edge_service_count now;

		if (!v->seen || !v->dirty)
			continue;
		/* What was opened since the plan was made, or it is lost with the former table. */
		(void)take_opened(s, v, &now);
		if (lb_table(s->lb, v->face.number, v->stream, &v->plan, err) < 0)
			return -1;
		v->dirty = false;
	}
	return 0;
}

static void
drop_services(struct services *s, bool *any)
{
	struct map_iter it = {0};

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;

		if (v->seen)
			continue;
		lb_table_remove(s->lb, v->face.number);
		s->numbers[v->face.number] = false;
		map_remove_u64(&s->streams, v->stream);
		service_free(v);
		*any = true;
	}
}

/* ---- sets ---- */

static void
collect(struct services *s, struct sets *sets)
{
	struct map_iter it = {0}, again = {0};

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;

		if (!v->seen)
			continue;
		v->face.big = v->plan.slots_count == EDGE_SLOTS_BIG;
		sets_add_service(sets, &v->face);
		for (size_t i = 0; i < v->members_count; i++)
			sets_add_backend(sets, &v->face, places_row(s->places, v->members[i].index),
					 v->members[i].index);
	}
	sets_finish(sets);
	while (map_next(&s->streams, &again)) {
		const struct service *v = again.value;

		if (v->seen && !sets_add_vips(sets, &v->face))
			services_refuse(s, v->face.row,
					"there are as many addresses with ports as can be");
	}
	if (map_count(&s->streams))
		sets_add_echoes(sets);
}

static int
put_sets(struct services *s, struct sets *sets, struct err *err)
{
	for (unsigned set = 0; set < LB_SETS; set++) {
		if (set == FIRST_AFTER_TABLES && put_tables(s, err) < 0)
			return -1;
		if (lb_put(s->lb, (enum lb_set)set, &sets->of[set], err) < 0)
			return -1;
	}
	s->vips = sets->of[LB_VIPS4].count + sets->of[LB_VIPS6].count;
	return 0;
}

/* From set `from` down to set `to`. */
static int
prune_sets(struct services *s, struct sets *sets, unsigned from, unsigned to, struct err *err)
{
	for (unsigned set = from + 1; set-- > to;)
		if (lb_prune(s->lb, (enum lb_set)set, &sets->of[set], err) < 0)
			return -1;
	return 0;
}

/* Tables lead nowhere old any more, but pins do, until their backends are dead; and a program that
 * runs now may have seen one alive. */
static int
write_sets(struct services *s, struct sets *sets, bool *freed, struct err *err)
{
	if (put_sets(s, sets, err) < 0 ||
	    prune_sets(s, sets, LB_SETS - 1, FIRST_AFTER_TABLES, err) < 0)
		return -1;
	drop_services(s, freed);
	if (places_drop(s->places, freed, err) < 0)
		return -1;
	if (*freed)
		lb_wait_programs();
	return prune_sets(s, sets, FIRST_AFTER_TABLES - 1, 0, err);
}

static int
update(struct services *s, const struct services_input *in, bool *freed, struct err *err)
{
	struct sets sets;

	*freed = false;
	err_clear(&s->refused);
	if (lb_config(s->lb, &in->config, err) < 0 || take_streams(s, in, err) < 0 ||
	    services_members_take(s, in, err) < 0 || make_plans(s, err) < 0)
		return -1;
	sets_init(&sets, in->addresses, in->addresses_count, in->own_count, in->meshed);
	collect(s, &sets);
	int rc = write_sets(s, &sets, freed, err);
	sets_fini(&sets);
	return rc;
}

int
services_update(struct services *s, const struct services_input *in, uint64_t now_ms,
		struct err *err)
{
	bool freed;

	s->now_ms = now_ms;
	s->attached = in->attached;
	if (update(s, in, &freed, err) < 0)
		return -1;
	/* What was refused may have the place of what went. */
	return s->refused.kind && freed ? update(s, in, &freed, err) : 0;
}

/* ---- time ---- */

void
services_tick(struct services *s, uint64_t now_ms)
{
	struct map_iter it = {0};
	struct err err = {0};

	s->now_ms = now_ms;
	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;
		struct edge_service_count now;

		if (!take_opened(s, v, &now))
			continue;
		if (s->attached)
			v->dirty |= plan_tick(&v->plan, now.kept, now_ms);
		else
			plan_wait(&v->plan, now_ms);
		if (!v->dirty)
			continue;
		if (lb_table(s->lb, v->face.number, v->stream, &v->plan, &err) < 0)
			log_err(LOG_WARN, "a table of the balancer is not up to date", &err);
		else
			v->dirty = false;
	}
}

void
services_drains(struct services *s, void (*visit)(void *arg, uint64_t replica, bool busy),
		void *arg)
{
	places_drains(s->places, s->now_ms, visit, arg);
}

void
services_counts(struct services *s,
		void (*visit)(void *arg, const char *service, const char *endpoint,
			      const struct edge_count *more),
		void *arg)
{
	struct map_iter it = {0};

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;
		struct edge_service_count now;

		if (!v->label[0] || !lb_service_count(s->lb, v->face.number, &now))
			continue;
		struct edge_count more = {now.packets - v->counted.packets,
					  now.bytes - v->counted.bytes};
		v->counted = (struct edge_count){now.packets, now.bytes};
		visit(arg, v->label, v->endpoint, &more);
	}
}

void
services_demand(struct services *s, void (*visit)(void *arg, uint64_t service, uint64_t packets),
		void *arg)
{
	struct map_iter it = {0};

	while (map_next(&s->streams, &it)) {
		const struct service *v = it.value;
		struct edge_service_count now;

		if (v->followed && lb_service_count(s->lb, v->face.number, &now))
			visit(arg, v->followed, now.packets);
	}
}

size_t
services_ports(const struct services *s, struct services_port *out, size_t capacity)
{
	struct map_iter it = {0};
	size_t count = 0;

	while (count < capacity && map_next(&s->streams, &it)) {
		const struct service *v = it.value;

		if (v->plan.connections)
			out[count++] = (struct services_port){
				.port = v->port,
				.changes = v->plan.changing,
				.epoch = v->plan.epoch,
			};
	}
	return count;
}

void
services_sizes(const struct services *s, struct services_sizes *out)
{
	*out = (struct services_sizes){
		.services = map_count(&s->streams),
		.vips = s->vips,
		.backends = places_count(s->places),
	};
}

bool
services_addresses(const struct addr_prefix *prefixes, size_t count, struct addr *out,
		   size_t capacity, size_t *count_out)
{
	*count_out = 0;
	for (size_t i = 0; i < count; i++) {
		unsigned host_bits = 128u - prefixes[i].bits;

		if (prefixes[i].bits > 128 || host_bits > 6)
			return false;
		for (unsigned n = 0; n < 1u << host_bits; n++) {
			if (*count_out == capacity)
				return false;
			out[*count_out] = prefixes[i].base;
			out[*count_out].port = 0;
			out[(*count_out)++].ip[15] |= (uint8_t)n;
		}
	}
	return true;
}
