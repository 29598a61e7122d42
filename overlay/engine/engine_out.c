/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the TUN to the network: a thread for each queue. It reads until there is nothing left or the
 * batch is worth sending; with nothing left to do it hands over its sums and sleeps.
 */
#include "overlay/engine/engine_inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include "overlay/prober.h"

enum { AGAIN_MS = 100 };

/* ---- one packet ---- */

static void
answer_too_big(struct engine_out *o, const struct segment *s, uint32_t mtu)
{
	struct virtio_net_hdr header = {0};
	uint8_t answer[TOO_BIG_BYTES];
	struct iovec iov[] = {{&header, sizeof(header)}, {answer, 0}};

	engine_count(&o->counts, ENGINE_DROP_TOO_BIG, segment_left(s));
	if (!too_big_may(&o->rate, engine_now(o->e)))
		return;
	iov[1].iov_len = too_big_answer(s->packet, &s->inner, mtu, answer);
	if (iov[1].iov_len > 0)
		(void)tun_write(o->tun, iov, 2);
}

/* Sends what is in the batch before packets that waited, or waits with it. */
static bool
find_session(struct engine_out *o, struct engine_route *route, size_t bytes)
{
	engine_seal_flush(o->e, &o->sealer);
	return engine_stage(o->e, &o->counts, route, &o->header, o->packet, bytes);
}

bool
engine_is_probe(const uint8_t *packet, const struct inner *in)
{
	return in->protocol == IPPROTO_UDP && in->payload &&
	       inner_get16(packet + in->l4 + 2) == PROBER_PORT;
}

/* A probe is there to find out whether more passes than was thought; it is no use of a peer. */
static void
carry_to(struct engine_out *o, struct engine_route *route, struct segment *s, size_t bytes)
{
	bool probe = segment_left(s) == 1 && engine_is_probe(s->packet, &s->inner);

	if (route->mtu && segment_longest(s) > route->mtu && !probe) {
		answer_too_big(o, s, route->mtu);
		return;
	}
	if (!probe) {
		engine_peer_use(route->peer, engine_now(o->e));
	} else if (!route->session && atomic_load_explicit(&o->e->lazy, memory_order_relaxed)) {
		engine_count(&o->counts, ENGINE_DROP_UNREACHABLE, 1);
		return;
	}
	if (route->session && engine_seal(o->e, &o->sealer, route, s))
		return;
	if (find_session(o, route, bytes) && !engine_seal(o->e, &o->sealer, route, s))
		engine_count(&o->counts, ENGINE_DROP_UNREACHABLE, 1);
}

static void
carry(struct engine_out *o, size_t bytes)
{
	struct engine_route route;
	struct segment s;

	switch (segment_begin(&s, &o->header, o->packet, bytes, o->e->mtu)) {
	case SEGMENT_OK:
		break;
	case SEGMENT_TOO_LONG:
		engine_count(&o->counts, ENGINE_DROP_TOO_BIG, 1);
		return;
	case SEGMENT_MALFORMED:
	case SEGMENT_UNSUPPORTED:
		engine_count(&o->counts, ENGINE_DROP_NO_PEER, 1);
		return;
	}
	engine_peer_route(o->e, o->packet, &s.inner, &route);
	if (route.peer)
		carry_to(o, &route, &s, bytes);
	else
		engine_count(&o->counts, ENGINE_DROP_NO_PEER, segment_left(&s));
	engine_route_drop(&route);
}

/* ---- the thread ---- */

/* False: the device is gone, or the engine ends. */
static bool
rest(struct engine_out *o, int why)
{
	struct pollfd fds[] = {{.fd = o->e->stop, .events = POLLIN},
			       {.fd = o->tun->fd, .events = POLLIN}};

	if (o->sealer.runs_count > 0) {
		engine_seal_flush(o->e, &o->sealer);
		return true; /* meanwhile something may have come */
	}
	engine_sums_tell(o->e, &o->sums);
	/* A queue that only fails is asked now and then. */
	if (why == EAGAIN)
		(void)poll(fds, 2, -1);
	else
		(void)poll(fds, 1, AGAIN_MS);
	return why != EBADFD && why != EBADF && why != ENODEV;
}

void *
engine_out(void *out)
{
	struct engine_out *o = out;
	bool on = true;

	while (on && !atomic_load_explicit(&o->e->stopping, memory_order_relaxed)) {
		ssize_t n = tun_read(o->tun, &o->header, o->packet);

		if (n < 0) {
			on = rest(o, errno);
			continue;
		}
		carry(o, (size_t)n);
		if (o->sealer.used >= ENGINE_BATCH_BYTES)
			engine_seal_flush(o->e, &o->sealer);
		engine_sums_try(o->e, &o->sums);
	}
	engine_seal_flush(o->e, &o->sealer);
	engine_sums_tell(o->e, &o->sums);
	return NULL;
}
