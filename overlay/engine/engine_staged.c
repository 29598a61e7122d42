/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets for which there is no session yet, as they were read: a super-packet counts as one. Of
 * too many for a peer the oldest goes; of too many bytes in all, too, but only those of the same
 * peer: who is not there costs others nothing.
 *
 * All of it with the lock held.
 */
#include "overlay/engine/engine_inside.h"

#include <string.h>
#include "base/mem.h"

struct staged {
	struct list list;
	struct virtio_net_hdr header;
	size_t bytes;
	uint8_t packet[];
};

static size_t
cost(size_t bytes)
{
	return sizeof(struct staged) + bytes;
}

static struct staged *
take_first(struct engine *e, struct engine_peer *p)
{
	struct staged *s = container_of(p->staged.next, struct staged, list);

	list_remove(&s->list);
	p->staged_count--;
	e->staged_bytes -= cost(s->bytes);
	return s;
}

void
engine_staged_drop(struct engine *e, struct engine_peer *p, enum engine_count why)
{
	engine_count(&e->counts, why, p->staged_count);
	while (p->staged_count > 0)
		mem_free(take_first(e, p));
}

void
engine_staged_move(struct engine_peer *from, struct engine_peer *to)
{
	while (from->staged_count > 0) {
		struct list *first = from->staged.next;

		list_remove(first);
		list_push(&to->staged, first);
		from->staged_count--;
		to->staged_count++;
	}
}

static void
add(struct engine *e, struct engine_peer *p, const struct virtio_net_hdr *header,
    const uint8_t *packet, size_t bytes)
{
	struct staged *s = NULL;

	while (p->staged_count > 0 && (p->staged_count >= DEVICE_STAGED_MAX ||
				       e->staged_bytes + cost(bytes) > ENGINE_STAGED_BYTES_MAX)) {
		mem_free(take_first(e, p));
		engine_count(&e->counts, ENGINE_DROP_STAGED, 1);
	}
	if (e->staged_bytes + cost(bytes) <= ENGINE_STAGED_BYTES_MAX)
		s = mem_alloc(MEM_OVERLAY, cost(bytes));
	if (!s) {
		engine_count(&e->counts, ENGINE_DROP_STAGED, 1);
		return;
	}
	*s = (struct staged){.header = *header, .bytes = bytes};
	memcpy(s->packet, packet, bytes);
	list_push(&p->staged, &s->list);
	p->staged_count++;
	e->staged_bytes += cost(bytes);
}

void
engine_staged_send(struct engine *e, struct engine_peer *p)
{
	struct session *session = NULL;
	struct segment segment;
	struct engine_route route;
	struct world w;

	engine_peer_sync(e, p);
	while (p->staged_count > 0) {
		engine_world(e, &w);
		if (device_wants_send(e->device, p->peer, &w, &session) != DEVICE_OK)
			break;
		struct staged *s = take_first(e, p);

		engine_route_fill(p, &route);
		session_unref(route.session);
		route.session = session_ref(session);
		/* As it was staged it could be cut. */
		if (segment_begin(&segment, &s->header, s->packet, s->bytes, e->mtu) !=
			    SEGMENT_OK ||
		    !engine_seal(e, e->sealer, &route, &segment))
			engine_count(&e->counts, ENGINE_DROP_UNREACHABLE, 1);
		engine_seal_flush(e, e->sealer);
		engine_route_drop(&route);
		mem_free(s);
	}
	if (p->staged_count == 0 && session)
		engine_peer_publish(e, p, session);
}

bool
engine_stage(struct engine *e, struct engine_counts *counts, struct engine_route *route,
	     const struct virtio_net_hdr *header, const uint8_t *packet, size_t bytes)
{
	struct engine_peer *p = route->peer;
	enum device_result result = DEVICE_UNREACHABLE;
	struct session *session = NULL;
	struct world w;

	engine_lock(e);
	engine_world(e, &w);
	if (p->peer)
		result = device_wants_send(e->device, p->peer, &w, &session);
	if (result == DEVICE_OK)
		engine_staged_send(e, p);
	if (result == DEVICE_WAIT || (result == DEVICE_OK && p->staged_count > 0)) {
		result = DEVICE_WAIT;
		add(e, p, header, packet, bytes);
	} else if (result != DEVICE_OK) {
		engine_count(counts, p->peer ? ENGINE_DROP_UNREACHABLE : ENGINE_DROP_NO_PEER, 1);
	} else {
		engine_peer_publish(e, p, session);
		engine_route_drop(route);
		engine_route_fill(p, route);
	}
	engine_unlock(e);
	return result == DEVICE_OK;
}
