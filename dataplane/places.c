/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Place 0 is nobody's: slots of tables that hold it belong to the relay. The others are given in
 * turn. One that is free says EDGE_BACKEND_DEAD: a pin to it holds no more.
 */
#include "dataplane/places.h"

#include <arpa/inet.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"

struct place {
	bool used, seen, parked;
	uint64_t leaving;       /* its counter, when it was last seen to move */
	uint64_t leaving_at_ms; /* and when that was; 0: does not drain */
	struct edge_backend row;
};

struct place_key {
	uint64_t stream, replica, is_away;
};

struct places {
	struct lb *lb;
	struct map by_key; /* -> struct place */
	struct place *all; /* EDGE_BACKENDS_MAX */
	uint32_t cursor;
};

static struct place_key
key_of(const struct place *p)
{
	return (struct place_key){p->row.stream, p->row.replica,
				  (p->row.flags & EDGE_BACKEND_AWAY) != 0};
}

static int
adopt(struct places *s)
{
	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++) {
		struct place *p = &s->all[i];
		struct place_key key;

		if (!lb_adopt_backend(s->lb, i, &p->row))
			continue;
		if (p->row.stream == 0 || p->row.flags & EDGE_BACKEND_DEAD)
			continue;
		key = key_of(p);
		if (map_put(&s->by_key, &key, sizeof(key), p, NULL) < 0)
			return -1;
		p->used = true;
	}
	return 0;
}

struct places *
places_new(struct lb *lb)
{
	struct places *s = mem_zalloc(MEM_DATAPLANE, sizeof(*s));

	if (!s)
		return NULL;
	s->lb = lb;
	s->cursor = 1;
	map_init(&s->by_key, MEM_DATAPLANE);
	s->all = mem_array(MEM_DATAPLANE, EDGE_BACKENDS_MAX, sizeof(s->all[0]));
	if (s->all && adopt(s) == 0)
		return s;
	places_free(s);
	return NULL;
}

void
places_free(struct places *s)
{
	if (!s)
		return;
	map_fini(&s->by_key);
	mem_free(s->all);
	mem_free(s);
}

void
places_begin(struct places *s)
{
	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++)
		s->all[i].seen = false;
}

bool
places_room(const struct places *s, uint64_t stream, uint64_t replica, bool is_away)
{
	return map_count(&s->by_key) < EDGE_BACKENDS_MAX - 1 ||
	       places_has(s, stream, replica, is_away);
}

bool
places_has(const struct places *s, uint64_t stream, uint64_t replica, bool is_away)
{
	const struct place_key key = {stream, replica, is_away};

	return map_get(&s->by_key, &key, sizeof(key)) != NULL;
}

bool
places_is_parked(const struct places *s, uint64_t stream, uint64_t replica, bool is_away)
{
	const struct place_key key = {stream, replica, is_away};
	const struct place *p = map_get(&s->by_key, &key, sizeof(key));

	return p && p->parked;
}

static struct place *
place_take(struct places *s, const struct place_key *key)
{
	struct place *p = map_get(&s->by_key, key, sizeof(*key));

	if (p)
		return p;
	for (uint32_t turn = 1; turn < EDGE_BACKENDS_MAX; turn++) {
		uint32_t at = s->cursor;

		s->cursor = at + 1 < EDGE_BACKENDS_MAX ? at + 1 : 1;
		p = &s->all[at];
		if (p->used)
			continue;
		if (map_put(&s->by_key, key, sizeof(*key), p, NULL) < 0)
			return NULL;
		uint16_t generation = (uint16_t)(p->row.generation + 1);
		*p = (struct place){.used = true};
		p->row.generation = generation ? generation : 1;
		return p;
	}
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

static void
fill_away(struct edge_backend *row, const struct places_away *away)
{
	row->mtu = away->mtu;
	if (addr_is_v4(&away->addr4) && !addr_is_zero(&away->addr4)) {
		row->flags |= EDGE_BACKEND_V4;
		row->addr4 = addr_v4_be(&away->addr4);
	}
	if (!addr_is_v4(&away->addr6) && !addr_is_zero(&away->addr6)) {
		row->flags |= EDGE_BACKEND_V6;
		memcpy(row->addr6, away->addr6.ip, sizeof(row->addr6));
	}
}

static void
keep_away(struct edge_backend *row, const struct edge_backend *old)
{
	row->flags |= old->flags & (EDGE_BACKEND_V4 | EDGE_BACKEND_V6);
	row->mtu = old->mtu;
	row->addr4 = old->addr4;
	memcpy(row->addr6, old->addr6, sizeof(row->addr6));
}

static void
fill(struct edge_backend *row, const struct places_wanted *w, const struct edge_backend *old)
{
	if (w->is_away) {
		row->flags |= EDGE_BACKEND_AWAY;
		if (w->away)
			fill_away(row, w->away);
		else
			keep_away(row, old);
	} else if (w->veth) {
		fill_local(row, w->veth);
	} else if (old->flags & EDGE_BACKEND_LOCAL) {
		keep_local(row, old);
	}
}

int
places_take(struct places *s, const struct places_wanted *w, uint64_t now_ms, uint16_t *index_out,
	    struct err *err)
{
	struct place_key key = {w->stream, w->replica, w->is_away};
	struct place *p = place_take(s, &key);

	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for a replica in the balancer");
	struct edge_backend row = {
		.stream = w->stream,
		.replica = w->replica,
		.port = htons(w->port),
		.generation = p->row.generation,
		.mtu = w->mtu,
		.flags = (w->draining ? EDGE_BACKEND_DRAINING : 0) |
			 (p->row.flags & EDGE_BACKEND_CLOSED),
		.next = p->row.next,
	};
	fill(&row, w, &p->row);
	p->seen = true;
	p->parked = w->parked;
	if (!w->draining)
		p->leaving_at_ms = 0;
	else if (!p->leaving_at_ms)
		p->leaving_at_ms = now_ms;
	*index_out = (uint16_t)(p - s->all);
	if (memcmp(&row, &p->row, sizeof(row)) == 0)
		return 0;
	p->row = row;
	return lb_backend(s->lb, *index_out, &row, err);
}

static bool
is_brought_packets(const struct place *p)
{
	return p->row.flags & (EDGE_BACKEND_LOCAL | EDGE_BACKEND_AWAY);
}

int
places_ring(struct places *s, const struct plan_member *members, size_t count, struct err *err)
{
	uint32_t next = 0;

	for (size_t i = 0; i < count && !next; i++)
		if (is_brought_packets(&s->all[members[i].index]))
			next = members[i].index;
	/* From the last one: it leads to the first. */
	for (size_t i = count; i-- > 0;) {
		struct place *p = &s->all[members[i].index];
		uint32_t to = is_brought_packets(p) ? next : 0;
		bool closed = members[i].draining || members[i].parked;

		if (to)
			next = members[i].index;
		if (p->row.next == to && !(p->row.flags & EDGE_BACKEND_CLOSED) == !closed)
			continue;
		p->row.next = to;
		p->row.flags = (uint16_t)((p->row.flags & ~EDGE_BACKEND_CLOSED) |
					  (closed ? EDGE_BACKEND_CLOSED : 0));
		if (lb_backend(s->lb, members[i].index, &p->row, err) < 0)
			return -1;
	}
	return 0;
}

bool
places_unsaid(const struct places *s, uint64_t stream, uint32_t *cursor, struct places_wanted *out)
{
	for (uint32_t i = *cursor + 1; i < EDGE_BACKENDS_MAX; i++) {
		const struct place *p = &s->all[i];

		if (!p->used || p->seen || p->row.stream != stream ||
		    !(p->row.flags & EDGE_BACKEND_AWAY))
			continue;
		*cursor = i;
		*out = (struct places_wanted){
			.stream = stream,
			.replica = p->row.replica,
			.is_away = true,
			.port = ntohs(p->row.port),
			.draining = p->row.flags & EDGE_BACKEND_DRAINING,
			.parked = p->parked,
		};
		return true;
	}
	return false;
}

int
places_drop(struct places *s, bool *any, struct err *err)
{
	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++) {
		struct place *p = &s->all[i];
		struct place_key key = key_of(p);

		if (!p->used || p->seen)
			continue;
		map_remove(&s->by_key, &key, sizeof(key));
		*p = (struct place){
			.row = {.generation = p->row.generation, .flags = EDGE_BACKEND_DEAD}};
		*any = true;
		if (lb_backend(s->lb, i, &p->row, err) < 0)
			return -1;
	}
	return 0;
}

const struct edge_backend *
places_row(const struct places *s, uint16_t index)
{
	return &s->all[index].row;
}

size_t
places_count(const struct places *s)
{
	return map_count(&s->by_key);
}

void
places_drains(struct places *s, uint64_t now_ms,
	      void (*visit)(void *arg, uint64_t replica, bool busy), void *arg)
{
	for (uint32_t i = 1; i < EDGE_BACKENDS_MAX; i++) {
		struct place *p = &s->all[i];

		if (!p->used || !p->leaving_at_ms)
			continue;
		uint64_t now = lb_leaving_count(s->lb, i);
		if (now != p->leaving) {
			p->leaving = now;
			p->leaving_at_ms = now_ms;
		}
		visit(arg, p->row.replica, now_ms < p->leaving_at_ms + PLACES_IDLE_MS);
	}
}
