/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order of an update: backends, devices, replies' sources, tables, prefixes, addresses; then in
 * reverse what no longer holds. So no packet finds an address without a table, or a table whose
 * backends have no device or no way back yet.
 *
 * A backend's number is not used again soon, and then with another generation.
 */
#include "dataplane/services.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"

/* What tables lead to is put before them, what leads to tables after. */
enum { FIRST_AFTER_TABLES = LB_DENIED };

struct service {
	uint64_t stream;
	uint32_t number;
	bool seen, dirty;
	bool denies, allows, remember; /* of this update */
	uint16_t port;
	struct plan plan;
	struct plan_member *members;
	size_t members_count;
	const struct msg_stream *row; /* of this update */
	char label[MSG_TARGET], endpoint[MSG_NAME];
	struct edge_count counted;
};

struct place { /* a backend's number */
	bool used, seen;
	uint64_t leaving;       /* its counter, when it was last seen to move */
	uint64_t leaving_at_ms; /* and when that was; 0: does not drain */
	struct edge_backend row;
};

struct services {
	struct lb *lb;
	struct map streams; /* -> struct service */
	struct map places;  /* {stream, replica} -> number, as a pointer */
	struct place *all;  /* EDGE_BACKENDS_MAX */
	uint32_t cursor;
	uint64_t now_ms;
	size_t vips;
	bool attached;
	struct err refused; /* the first one of this update */
	bool numbers[EDGE_SERVICES_MAX];
};

struct place_key {
	uint64_t stream, replica;
};

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
	v->number = number;
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
adopt(struct services *s)
{
	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++) {
		struct place *p = &s->all[i];
		struct place_key key;

		if (!lb_adopt_backend(s->lb, i, &p->row))
			continue;
		if (p->row.stream == 0 || p->row.flags & EDGE_BACKEND_DEAD)
			continue;
		key = (struct place_key){p->row.stream, p->row.replica};
		if (map_put(&s->places, &key, sizeof(key), p, NULL) < 0)
			return -1;
		p->used = true;
	}
	for (uint32_t i = 0; i < EDGE_SERVICES_MAX; i++) {
		struct edge_service_count count;
		struct plan plan;
		uint64_t stream;

		if (!lb_adopt_table(s->lb, i, &stream, &plan, s->now_ms))
			continue;
		struct service *v =
			map_get_u64(&s->streams, stream) ? NULL : service_add(s, stream, i);
		if (!v) {
			plan_fini(&plan);
			return -1;
		}
		v->plan = plan;
		if (lb_service_count(s->lb, i, &count))
			v->counted = (struct edge_count){count.packets, count.bytes};
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
	s->cursor = 1;
	map_init(&s->streams, MEM_DATAPLANE);
	map_init(&s->places, MEM_DATAPLANE);
	s->all = mem_array(MEM_DATAPLANE, EDGE_BACKENDS_MAX, sizeof(s->all[0]));
	if (!s->all || adopt(s) < 0) {
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
	map_fini(&s->places);
	mem_free(s->all);
	mem_free(s);
}

/* The relay serves it on the node's own addresses; the others go on. */
static void
refuse(struct services *s, const struct msg_stream *r, const char *why)
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
		v->row = NULL;
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
			refuse(s, r, "there are as many balanced endpoints as can be");
			continue;
		}
		v->seen = true;
		v->row = r;
		v->remember = false;
		v->port = r->port;
		v->plan.connections = r->protocol == MSG_STREAM_TCP;
		v->denies = r->prefixes_deny > 0;
		v->allows = r->prefixes_allow > 0;
		text_copy(v->label, sizeof(v->label), r->service_label);
		text_copy(v->endpoint, sizeof(v->endpoint), r->endpoint);
	}
	return 0;
}

/* ---- backends ---- */

static struct place *
place_take(struct services *s, const struct place_key *key)
{
	struct place *p = map_get(&s->places, key, sizeof(*key));

	if (p)
		return p;
	for (uint32_t turn = 1; turn < EDGE_BACKENDS_MAX; turn++) {
		uint32_t at = s->cursor;

		s->cursor = at + 1 < EDGE_BACKENDS_MAX ? at + 1 : 1;
		p = &s->all[at];
		if (p->used)
			continue;
		if (map_put(&s->places, key, sizeof(*key), p, NULL) < 0)
			return NULL;
		uint16_t generation = (uint16_t)(p->row.generation + 1);
		*p = (struct place){.used = true};
		p->row.generation = generation ? generation : 1;
		return p;
	}
	return NULL;
}

static const struct msg_veth *
veth_of(const struct services_input *in, uint64_t replica)
{
	for (size_t i = 0; i < in->veths_count; i++)
		if (in->veths[i]->replica == replica && in->veths[i]->ifindex)
			return in->veths[i];
	return NULL;
}

static void
fill_local(struct edge_backend *row, const struct msg_veth *veth)
{
	row->flags |= EDGE_BACKEND_LOCAL;
	row->ifindex = veth->ifindex;
	memcpy(row->mac, veth->mac, sizeof(row->mac));
	memcpy(row->host_mac, veth->host_mac, sizeof(row->host_mac));
	if (addr_is_v4(&veth->addr4) && !addr_is_zero(&veth->addr4)) {
		row->flags |= EDGE_BACKEND_V4;
		row->addr4 = addr_v4_be(&veth->addr4);
	}
	if (!addr_is_v4(&veth->addr6) && !addr_is_zero(&veth->addr6)) {
		row->flags |= EDGE_BACKEND_V6;
		memcpy(row->addr6, veth->addr6.ip, sizeof(row->addr6));
	}
}

/* A runtime that came back names its devices bit by bit. */
static void
keep_local(struct edge_backend *row, const struct edge_backend *old)
{
	row->flags |= old->flags & (EDGE_BACKEND_LOCAL | EDGE_BACKEND_V4 | EDGE_BACKEND_V6);
	row->ifindex = old->ifindex;
	row->addr4 = old->addr4;
	memcpy(row->addr6, old->addr6, sizeof(row->addr6));
	memcpy(row->mac, old->mac, sizeof(row->mac));
	memcpy(row->host_mac, old->host_mac, sizeof(row->host_mac));
}

static int
take_member(struct services *s, struct service *v, const struct msg_backend *b,
	    const struct services_input *in, struct err *err)
{
	struct place_key key = {v->stream, b->replica};
	const struct msg_veth *veth = veth_of(in, b->replica);
	bool draining = b->state == MSG_BACKEND_DRAINING;
	struct place *p;

	if (v->members_count == PLAN_MEMBERS_MAX ||
	    (!map_get(&s->places, &key, sizeof(key)) &&
	     map_count(&s->places) == EDGE_BACKENDS_MAX - 1)) {
		refuse(s, v->row, "there are as many replicas as can be balanced");
		return 0;
	}
	p = place_take(s, &key);
	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for a replica in the balancer");
	struct edge_backend row = {
		.stream = v->stream,
		.replica = b->replica,
		.port = htons(b->ports[v->row->endpoint_index]),
		.generation = p->row.generation,
		.mtu = (uint16_t)in->mtu,
		.flags = draining ? EDGE_BACKEND_DRAINING : 0,
	};
	if (veth)
		fill_local(&row, veth);
	else if (p->row.flags & EDGE_BACKEND_LOCAL)
		keep_local(&row, &p->row);
	p->seen = true;
	if (!draining)
		p->leaving_at_ms = 0;
	else if (!p->leaving_at_ms)
		p->leaving_at_ms = s->now_ms;
	v->members[v->members_count++] = (struct plan_member){
		.id = b->replica, .index = (uint16_t)(p - s->all), .draining = draining};
	if (memcmp(&row, &p->row, sizeof(row)) == 0)
		return 0;
	p->row = row;
	return lb_backend(s->lb, (uint32_t)(p - s->all), &row, err);
}

static int
take_backends(struct services *s, const struct services_input *in, struct err *err)
{
	struct map_iter it = {0};

	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++)
		s->all[i].seen = false;
	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;

		for (size_t i = 0; v->seen && i < in->backends_count; i++) {
			const struct msg_backend *b = in->backends[i];

			if (b->service != v->row->service || !b->replica ||
			    b->ports_count > MSG_ENDPOINTS_MAX ||
			    v->row->endpoint_index >= b->ports_count ||
			    (b->state != MSG_BACKEND_ACTIVE && b->state != MSG_BACKEND_DRAINING))
				continue;
			if (take_member(s, v, b, in, err) < 0)
				return -1;
		}
	}
	return 0;
}

/* After the tables: nothing leads to them any more but pins. */
static int
drop_backends(struct services *s, bool *any, struct err *err)
{
	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++) {
		struct place *p = &s->all[i];
		struct place_key key = {p->row.stream, p->row.replica};

		if (!p->used || p->seen)
			continue;
		map_remove(&s->places, &key, sizeof(key));
		*p = (struct place){
			.row = {.generation = p->row.generation, .flags = EDGE_BACKEND_DEAD}};
		*any = true;
		if (lb_backend(s->lb, i, &p->row, err) < 0)
			return -1;
	}
	return 0;
}

static int
make_plans(struct services *s, struct err *err)
{
	struct map_iter it = {0};

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;
		bool failed = false;

		if (!v->seen)
			continue;
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

		if (!v->seen || !v->dirty)
			continue;
		if (lb_table(s->lb, v->number, v->stream, &v->plan, err) < 0)
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
		lb_table_remove(s->lb, v->number);
		s->numbers[v->number] = false;
		map_remove_u64(&s->streams, v->stream);
		service_free(v);
		*any = true;
	}
}

/* ---- sets ---- */

struct all_rows {
	struct lb_rows of[LB_SETS];
	struct map speakers; /* container, port, protocol -> the service that came first */
};

static void
add_prefixes(struct lb_rows *rows, const struct service *v, const struct addr_prefix *list,
	     uint32_t count)
{
	const uint32_t yes = 1;

	for (uint32_t i = 0; i < count; i++) {
		struct edge_prefix key = {.bits = 32u + list[i].bits, .service = v->number};

		if (list[i].bits > 128)
			continue;
		memcpy(key.addr, list[i].base.ip, sizeof(key.addr));
		lb_rows_add(rows, &key, &yes);
	}
}

/* What clients most likely came by: a dedicated address, else the first of the node's own. */
static const struct addr *
usual_address(const struct services_input *in, bool v4)
{
	for (size_t i = 0; i < in->addresses_count; i++) {
		size_t at = (i + in->own_count) % in->addresses_count;

		if (addr_is_v4(&in->addresses[at]) == v4)
			return &in->addresses[at];
	}
	return NULL;
}

static size_t
addresses_of(const struct services_input *in, bool v4)
{
	size_t count = 0;

	for (size_t i = 0; i < in->addresses_count; i++)
		count += addr_is_v4(&in->addresses[i]) == v4;
	return count;
}

/* The same container and port for another endpoint: replies of the second one are noted. */
static bool
is_second(struct all_rows *rows, const void *key, size_t bytes, struct service *v)
{
	const struct service *first = map_get(&rows->speakers, key, bytes);

	if (!first)
		rows->of[LB_PORTS].failed |= map_put(&rows->speakers, key, bytes, v, NULL) < 0;
	else
		v->remember |= first != v;
	return first != NULL;
}

static void
add_speaker4(struct all_rows *rows, struct service *v, const struct edge_backend *b,
	     const struct services_input *in)
{
	const struct addr *usual = usual_address(in, true);
	struct edge_speaker4 key = {
		.addr = b->addr4, .port = b->port, .protocol = (uint8_t)v->row->protocol};
	struct edge_voice voice = {.port = htons(v->row->port), .many = 1};

	if (!usual || !(b->flags & EDGE_BACKEND_V4) || is_second(rows, &key, sizeof(key), v))
		return;
	uint32_t addr = addr_v4_be(usual);
	memcpy(voice.addr, &addr, sizeof(addr));
	lb_rows_add(&rows->of[LB_SPEAKERS4], &key, &voice);
}

static void
add_speaker6(struct all_rows *rows, struct service *v, const struct edge_backend *b,
	     const struct services_input *in)
{
	const struct addr *usual = usual_address(in, false);
	struct edge_speaker6 key = {.port = b->port, .protocol = (uint8_t)v->row->protocol};
	struct edge_voice voice = {.port = htons(v->row->port), .many = 1};

	memcpy(key.addr, b->addr6, sizeof(key.addr));
	if (!usual || !(b->flags & EDGE_BACKEND_V6) || is_second(rows, &key, sizeof(key), v))
		return;
	memcpy(voice.addr, usual->ip, sizeof(voice.addr));
	lb_rows_add(&rows->of[LB_SPEAKERS6], &key, &voice);
}

/* Clients have only the usual way: replies need no look at flows. */
static void
settle_speakers(struct lb_rows *rows, bool many)
{
	size_t each = rows->key_bytes + rows->value_bytes;

	for (size_t i = 0; !many && i < rows->count; i++) {
		struct edge_voice *voice = (void *)(rows->bytes + i * each + rows->key_bytes);
		uint32_t none = 0;

		memcpy(&voice->many, &none, sizeof(none));
	}
}

static bool
add_vip(struct all_rows *rows, const struct addr *a, uint16_t port, uint8_t protocol,
	const struct edge_vip *vip)
{
	if (rows->of[addr_is_v4(a) ? LB_VIPS4 : LB_VIPS6].count == EDGE_VIPS_MAX)
		return false;
	if (addr_is_v4(a)) {
		struct edge_vip4 key = {
			.addr = addr_v4_be(a), .port = htons(port), .protocol = protocol};

		lb_rows_add(&rows->of[LB_VIPS4], &key, vip);
	} else {
		struct edge_vip6 key = {.port = htons(port), .protocol = protocol};

		memcpy(key.addr, a->ip, sizeof(key.addr));
		lb_rows_add(&rows->of[LB_VIPS6], &key, vip);
	}
	return true;
}

static void
add_vips(struct services *s, struct all_rows *rows, const struct service *v,
	 const struct services_input *in, bool second)
{
	uint32_t flags = (v->plan.slots_count == EDGE_SLOTS_BIG ? EDGE_VIP_BIG : 0) |
			 (v->denies ? EDGE_VIP_DENY : 0) | (v->allows ? EDGE_VIP_ALLOW : 0);

	for (size_t i = 0; i < in->addresses_count; i++) {
		const struct addr *a = &in->addresses[i];
		bool v4 = addr_is_v4(a), usual = a == usual_address(in, v4) && !v->remember;
		bool many = second || addresses_of(in, v4) > 1;
		struct edge_vip vip = {.service = v->number, .flags = flags};

		if (!usual)
			vip.flags |= EDGE_VIP_REMEMBER;
		else if (many)
			vip.flags |= EDGE_VIP_CORRECT;
		if (!add_vip(rows, a, v->row->port, (uint8_t)v->row->protocol, &vip))
			refuse(s, v->row, "there are as many addresses with ports as can be");
	}
}

static void
add_echoes(struct all_rows *rows, const struct services_input *in)
{
	struct edge_vip vip = {0};

	for (size_t i = in->own_count; i < in->addresses_count; i++)
		(void)add_vip(rows, &in->addresses[i], 0,
			      addr_is_v4(&in->addresses[i]) ? IPPROTO_ICMP : IPPROTO_ICMPV6, &vip);
}

static void
collect(struct services *s, const struct services_input *in, struct all_rows *rows)
{
	struct map_iter it = {0}, again = {0};
	bool second = false;

	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;

		if (!v->seen)
			continue;
		add_prefixes(&rows->of[LB_DENIED], v, v->row->deny, v->row->prefixes_deny);
		add_prefixes(&rows->of[LB_ALLOWED], v, v->row->allow, v->row->prefixes_allow);
		for (size_t i = 0; i < v->members_count; i++) {
			const struct edge_backend *b = &s->all[v->members[i].index].row;

			if (b->flags & EDGE_BACKEND_LOCAL)
				lb_rows_add(&rows->of[LB_PORTS], &b->ifindex, &b->ifindex);
			add_speaker4(rows, v, b, in);
			add_speaker6(rows, v, b, in);
		}
		second |= v->remember;
	}
	settle_speakers(&rows->of[LB_SPEAKERS4], second || addresses_of(in, true) > 1);
	settle_speakers(&rows->of[LB_SPEAKERS6], second || addresses_of(in, false) > 1);
	while (map_next(&s->streams, &again))
		if (((struct service *)again.value)->seen)
			add_vips(s, rows, again.value, in, second);
	if (map_count(&s->streams))
		add_echoes(rows, in);
}

static int
put_sets(struct services *s, struct all_rows *rows, struct err *err)
{
	for (unsigned set = 0; set < LB_SETS; set++) {
		if (set == FIRST_AFTER_TABLES && put_tables(s, err) < 0)
			return -1;
		if (lb_put(s->lb, (enum lb_set)set, &rows->of[set], err) < 0)
			return -1;
	}
	for (unsigned set = LB_SETS; set-- > 0;)
		if (lb_prune(s->lb, (enum lb_set)set, &rows->of[set], err) < 0)
			return -1;
	s->vips = rows->of[LB_VIPS4].count + rows->of[LB_VIPS6].count;
	return 0;
}

static int
write_sets(struct services *s, const struct services_input *in, struct err *err)
{
	struct all_rows rows;

	for (unsigned set = 0; set < LB_SETS; set++)
		lb_rows_init(&rows.of[set], (enum lb_set)set);
	map_init(&rows.speakers, MEM_DATAPLANE);
	collect(s, in, &rows);
	int rc = put_sets(s, &rows, err);
	for (unsigned set = 0; set < LB_SETS; set++)
		lb_rows_fini(&rows.of[set]);
	map_fini(&rows.speakers);
	return rc;
}

static int
update(struct services *s, const struct services_input *in, bool *freed, struct err *err)
{
	*freed = false;
	err_clear(&s->refused);
	if (lb_config(s->lb, &in->config, err) < 0 || take_streams(s, in, err) < 0 ||
	    take_backends(s, in, err) < 0 || make_plans(s, err) < 0 || write_sets(s, in, err) < 0)
		return -1;
	drop_services(s, freed);
	return drop_backends(s, freed, err);
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

		if (!lb_service_count(s->lb, v->number, &now))
			continue;
		if (s->attached)
			v->dirty |= plan_tick(&v->plan, now.kept, now_ms);
		else
			plan_wait(&v->plan, now_ms);
		if (!v->dirty)
			continue;
		if (lb_table(s->lb, v->number, v->stream, &v->plan, &err) < 0)
			log_err(LOG_WARN, "a table of the balancer is not up to date", &err);
		else
			v->dirty = false;
	}
}

void
services_drains(struct services *s, void (*visit)(void *arg, uint64_t replica, bool busy),
		void *arg)
{
	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++) {
		struct place *p = &s->all[i];

		if (!p->used || !p->leaving_at_ms)
			continue;
		uint64_t now = lb_leaving_count(s->lb, i);
		if (now != p->leaving) {
			p->leaving = now;
			p->leaving_at_ms = s->now_ms;
		}
		visit(arg, p->row.replica, s->now_ms < p->leaving_at_ms + SERVICES_DRAIN_IDLE_MS);
	}
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

		if (!v->label[0] || !lb_service_count(s->lb, v->number, &now))
			continue;
		struct edge_count more = {now.packets - v->counted.packets,
					  now.bytes - v->counted.bytes};
		v->counted = (struct edge_count){now.packets, now.bytes};
		visit(arg, v->label, v->endpoint, &more);
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
		.backends = map_count(&s->places),
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
