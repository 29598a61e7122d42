/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replicas of an endpoint, and by which way each is served: its device here, the kernel of its
 * node, or the relay. One that changes from the relay to the kernel, or back, has a place of each
 * way as long as the table changes: connections stay with the way that they began with. One whose
 * node is doubted owns no slot while there are others.
 */
#include "dataplane/services_private.h"

static const struct msg_veth *
veth_of(const struct services_input *in, uint64_t replica)
{
	for (size_t i = 0; i < in->veths_count; i++)
		if (in->veths[i]->replica == replica && in->veths[i]->ifindex)
			return in->veths[i];
	return NULL;
}

/* Not all of it is there for all of its members. */
struct member {
	const struct msg_backend *row;
	struct places_wanted wanted;
	bool doubted;
};

static int
take_place(struct services *s, struct service *v, const struct member *m, struct err *err)
{
	const struct places_wanted *w = &m->wanted;
	uint16_t index;

	if (v->members_count == PLAN_MEMBERS_MAX ||
	    !places_room(s->places, w->stream, w->replica, w->is_away)) {
		services_refuse(s, v->face.row, "there are as many replicas as can be balanced");
		return 0;
	}
	if (places_take(s->places, w, s->now_ms, &index, err) < 0)
		return -1;
	v->members[v->members_count++] = (struct plan_member){.id = w->replica,
							      .index = index,
							      .draining = w->draining,
							      .parked = w->parked || m->doubted};
	return 0;
}

/* By the kernel or by the relay: flows that went the other way until now go on so while the table
 * changes. */
static int
take_other_way(struct services *s, struct service *v, const struct member *m, struct err *err)
{
	struct member other = *m;
	const struct places_wanted *w = &m->wanted;
	bool stood = places_has(s->places, w->stream, w->replica, !w->is_away);

	if (!stood ||
	    (places_is_parked(s->places, w->stream, w->replica, !w->is_away) && !v->plan.changing))
		return 0;
	other.wanted.is_away = !w->is_away;
	other.wanted.away = NULL;
	other.wanted.parked = true;
	other.wanted.draining = false;
	return take_place(s, v, &other, err);
}

static void
choose_way(const struct services *s, const struct services_away *away, struct places_wanted *w)
{
	if (w->veth || !away)
		return;
	switch (away->reach) {
	case SERVICES_BY_KERNEL:
		w->is_away = true;
		w->away = &away->to;
		return;
	case SERVICES_AS_BEFORE:
		w->is_away = places_has(s->places, w->stream, w->replica, true) &&
			     !places_is_parked(s->places, w->stream, w->replica, true);
		return;
	case SERVICES_BY_RELAY:
		return;
	}
}

static int
take_member(struct services *s, struct service *v, struct member *m,
	    const struct services_away *away, const struct services_input *in, struct err *err)
{
	const struct msg_backend *b = m->row;

	m->wanted = (struct places_wanted){
		.stream = v->stream,
		.replica = b->replica,
		.veth = veth_of(in, b->replica),
		.port = b->ports[v->face.row->endpoint_index],
		.mtu = (uint16_t)in->mtu,
		.draining = b->state == MSG_BACKEND_DRAINING,
	};
	choose_way(s, away, &m->wanted);
	if (take_place(s, v, m, err) < 0)
		return -1;
	return m->wanted.veth ? 0 : take_other_way(s, v, m, err);
}

/* A scheduler that has just begun has not heard of all: their connections are not to be lost. */
static int
take_unsaid(struct services *s, struct service *v, struct err *err)
{
	struct member m = {0};
	uint32_t cursor = 0;

	while (places_unsaid(s->places, v->stream, &cursor, &m.wanted))
		if (take_place(s, v, &m, err) < 0)
			return -1;
	return 0;
}

static bool
backend_holds(const struct service *v, const struct msg_backend *b)
{
	return b->service == v->face.row->service && b->replica &&
	       b->ports_count <= MSG_ENDPOINTS_MAX &&
	       v->face.row->endpoint_index < b->ports_count && b->state >= MSG_BACKEND_ACTIVE &&
	       b->state <= MSG_BACKEND_DOUBTED;
}

/* Whether one of its replicas takes connections without doubt. */
static bool
any_sure(const struct service *v, const struct services_input *in)
{
	for (size_t i = 0; i < in->backends_count; i++)
		if (backend_holds(v, in->backends[i]) &&
		    in->backends[i]->state == MSG_BACKEND_ACTIVE)
			return true;
	return false;
}

int
services_members_take(struct services *s, const struct services_input *in, struct err *err)
{
	struct map_iter it = {0};

	places_begin(s->places);
	while (map_next(&s->streams, &it)) {
		struct service *v = it.value;
		bool sure = v->seen && any_sure(v, in);

		for (size_t i = 0; v->seen && i < in->backends_count; i++) {
			struct member m = {.row = in->backends[i]};

			if (!backend_holds(v, m.row))
				continue;
			m.doubted = sure && m.row->state == MSG_BACKEND_DOUBTED;
			if (take_member(s, v, &m, in->aways ? &in->aways[i] : NULL, in, err) < 0)
				return -1;
		}
		if (v->seen && in->partial && take_unsaid(s, v, err) < 0)
			return -1;
		if (places_ring(s->places, v->members, v->members_count, err) < 0)
			return -1;
	}
	return 0;
}
