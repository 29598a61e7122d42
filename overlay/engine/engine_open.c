/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams become packets here: found out whose they are, opened where they stand, and, in turn,
 * looked at for whether they are new and from whom they may be, joined and written.
 *
 * Several threads do the first half at once. In turn is done: the second half. A run is written to
 * the queue that its addresses and ports say: the kernel hands the other direction of that flow to
 * the queue at which it last saw it, and a flow that changes its queue may come out of order.
 */
#include "overlay/engine/engine_inside.h"

#include <string.h>
#include "base/map.h"

/* ---- whose ---- */

static bool
of_span(const struct engine_opened *o, const struct udp_received *r, uint32_t number)
{
	const struct engine_span *s = o->spans_count > 0 ? &o->spans[o->spans_count - 1] : NULL;

	return s && s->received == r && s->session->keys.local == number;
}

/* False: of no session. */
static bool
add_data(struct engine_opened *o, const struct udp_received *r, uint8_t *data, uint32_t bytes)
{
	uint32_t number = noise_u32(data + 4);

	if (!of_span(o, r, number)) {
		struct engine_span *s = &o->spans[o->spans_count];

		if (!engine_peer_session(o->e, number, r, s))
			return false;
		s->first = o->jobs_count;
		o->spans_count++;
	}
	o->spans[o->spans_count - 1].count++;
	o->jobs[o->jobs_count++] = (struct aead_job){
		.data = data + NOISE_HEADER,
		.length = bytes - NOISE_OVERHEAD,
		.counter = noise_u64(data + 8),
	};
	return true;
}

/* Of no session: gives how many. */
static unsigned
pass_on(struct engine_opened *o, const struct udp_received *r, unsigned at)
{
	unsigned count = engine_relay_run(o->e, o->counts, r, at);

	if (count == 0)
		engine_count(o->counts, ENGINE_DROP_UNKNOWN, 1);
	return count ? count : 1;
}

unsigned
engine_open_add(struct engine_opened *o, const struct udp_received *r, unsigned at)
{
	for (; at < r->count; at++) {
		uint32_t bytes;
		uint8_t *data = udp_datagram(r, at, &bytes);

		if (o->jobs_count == ENGINE_OPENED || o->spans_count == ENGINE_SPANS)
			break;
		switch (noise_type(data, bytes)) {
		case 0:
			engine_count(o->counts, ENGINE_DROP_MALFORMED, 1);
			break;
		case NOISE_TYPE_DATA:
			if (!add_data(o, r, data, bytes))
				at += pass_on(o, r, at) - 1;
			break;
		default:
			engine_letter_put(o->e, o->counts, r, data, bytes);
		}
	}
	return at;
}

void
engine_open_all(struct engine_opened *o)
{
	for (unsigned i = 0; i < o->spans_count; i++) {
		const struct engine_span *s = &o->spans[i];

		aead_open_batch(&o->aead, s->session->keys.receive, o->jobs + s->first, s->count);
	}
}

/* ---- in turn ---- */

static void
take_new(struct engine_opened *o, struct engine_span *s)
{
	struct engine_sum sum = {.peer = s->peer,
				 .session = s->session,
				 .from = s->received->from,
				 .to = s->received->to};
	uint64_t forged = 0, replayed = 0;

	for (unsigned i = s->first; i < s->first + s->count; i++) {
		struct aead_job *j = &o->jobs[i];

		if (!j->ok) {
			forged++;
		} else if (!session_take(s->session, j->counter)) {
			replayed++;
			j->ok = false;
		} else {
			sum.bytes += j->length + NOISE_OVERHEAD;
			sum.data |= j->length > 0;
		}
	}
	if (forged)
		engine_count(o->counts, ENGINE_DROP_FORGED, forged);
	if (replayed)
		engine_count(o->counts, ENGINE_DROP_REPLAYED, replayed);
	if (sum.bytes == 0)
		return;
	engine_sums_add(o->e, o->sums, &sum);
	if (!s->usual)
		engine_sums_tell(o->e, o->sums);
}

static bool
same_from(const uint8_t *a, const struct inner *in, const uint8_t *b, const struct inner *other)
{
	if (in->version != other->version)
		return false;
	return in->version == 4 ? memcmp(a + INNER_IP4_SOURCE, b + INNER_IP4_SOURCE, 4) == 0
				: memcmp(a + INNER_IP6_SOURCE, b + INNER_IP6_SOURCE, 16) == 0;
}

/* With the table held. What came with the key that the owner of a prefix had before is its own,
 * too. */
static bool
may_be_from(struct engine *e, const struct engine_peer *p, const uint8_t *packet,
	    const struct inner *in)
{
	const struct engine_peer *owner = engine_peer_of(
		in->version == 4 ? device_whose4(e->device, packet + INNER_IP4_SOURCE)
				 : device_whose6(e->device, packet + INNER_IP6_SOURCE));

	return owner && (owner == p || owner->before == p);
}

static void
check_sources(struct engine_opened *o, const struct engine_span *s)
{
	const uint8_t *last = NULL;
	const struct inner *last_inner = NULL;

	pthread_rwlock_rdlock(&o->e->table);
	for (unsigned i = s->first; i < s->first + s->count; i++) {
		struct aead_job *j = &o->jobs[i];
		struct inner *in = &o->inner[i];

		if (!j->ok || j->length == 0)
			continue;
		if (!inner_parse(j->data, j->length, in)) {
			engine_count(o->counts, ENGINE_DROP_MALFORMED, 1);
			j->ok = false;
		} else if (last && same_from(j->data, in, last, last_inner)) {
			continue;
		} else if (may_be_from(o->e, s->peer, j->data, in)) {
			last = j->data;
			last_inner = in;
		} else {
			engine_count(o->counts, ENGINE_DROP_SOURCE, 1);
			j->ok = false;
		}
	}
	pthread_rwlock_unlock(&o->e->table);
}

static const struct tun *
queue_of(const struct engine *e, const struct merge_packet *p)
{
	static const uint64_t key[2] = {0x7a6c617965720001, 0x7a6c617965720002};
	const struct inner *in = &p->inner;
	uint8_t flow[36] = {0};
	size_t bytes = in->version == 4 ? 8 : 32;

	if (e->queues_count == 1)
		return &e->queues[0];
	memcpy(flow, p->data + (in->version == 4 ? INNER_IP4_SOURCE : INNER_IP6_SOURCE), bytes);
	if (in->payload)
		memcpy(flow + bytes, p->data + in->l4, 4);
	return &e->queues[map_siphash(key, flow, sizeof(flow)) % e->queues_count];
}

static void
write_out(struct engine_opened *o)
{
	unsigned n = merge_finish(&o->merge);

	for (unsigned i = 0; i < n; i++) {
		const struct merge_run *r = &o->merge.runs[i];
		const struct tun *tun = queue_of(o->e, &o->merge.packets[r->first]);
		int rc = tun_write(tun, r->iov, r->iov_count);

		engine_count(o->counts, rc < 0 ? ENGINE_DROP_TUN : ENGINE_IN_PACKETS, r->packets);
	}
	merge_reset(&o->merge);
}

static void
join(struct engine_opened *o, const struct engine_span *s)
{
	bool used = false;

	for (unsigned i = s->first; i < s->first + s->count; i++) {
		struct aead_job *j = &o->jobs[i];

		if (!j->ok || j->length == 0)
			continue;
		if (!used && !engine_is_probe(j->data, &o->inner[i])) {
			engine_peer_use(s->peer, engine_now(o->e));
			used = true;
		}
		if (!merge_add(&o->merge, j->data, &o->inner[i])) {
			write_out(o);
			(void)merge_add(&o->merge, j->data, &o->inner[i]);
		}
	}
}

void
engine_open_deliver(struct engine_opened *o)
{
	for (unsigned i = 0; i < o->spans_count; i++) {
		struct engine_span *s = &o->spans[i];

		take_new(o, s);
		check_sources(o, s);
		join(o, s);
		engine_peer_unref(s->peer);
		session_unref(s->session);
	}
	write_out(o);
	o->jobs_count = o->spans_count = 0;
}
