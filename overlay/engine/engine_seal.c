/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets become datagrams here: cut into the batch's memory, with their counters, sealed where
 * they stand, all of one session together, and sent from there, a run with one call where the
 * kernel can. Small packets that follow each other to one peer and are of one length become a run,
 * too.
 */
#include "overlay/engine/engine_inside.h"

#include <string.h>

int
engine_sealer_init(struct engine_sealer *s, const struct engine *e, struct engine_counts *c,
		   struct engine_sums *sums, struct err *err)
{
	s->counts = c;
	s->sums = sums;
	return aead_init(&s->aead, e->way, err);
}

void
engine_sealer_fini(struct engine_sealer *s)
{
	aead_fini(&s->aead);
}

/* ---- sums ---- */

static bool
of_same(const struct engine_sum *a, const struct engine_sum *b)
{
	return a->peer == b->peer && a->session == b->session &&
	       (!a->session || addr_equal(&a->from, &b->from));
}

void
engine_sums_add(struct engine *e, struct engine_sums *s, const struct engine_sum *more)
{
	unsigned i = 0;

	while (i < s->count && !of_same(&s->items[i], more))
		i++;
	if (i == ENGINE_SUMS) {
		engine_sums_tell(e, s);
		i = 0;
	}
	if (i == s->count) {
		if (s->count++ == 0)
			s->since_ns = engine_now(e);
		s->items[i] = *more;
		engine_peer_ref(more->peer);
		if (more->session)
			session_ref(more->session);
		return;
	}
	s->items[i].bytes += more->bytes;
	s->items[i].data |= more->data;
	s->items[i].to = more->to;
}

/* The time is asked each time: what waited may have been sent within, at a later one. */
static void
tell(struct engine *e, const struct engine_sum *sum)
{
	struct engine_peer *p = sum->peer;
	struct world w;

	if (!p->peer)
		return;
	engine_world(e, &w);
	if (!sum->session) {
		device_sent(e->device, p->peer, &w, sum->bytes, sum->data);
		return;
	}
	e->heard_from = &sum->from;
	e->heard_at = &sum->to;
	if (device_received(e->device, sum->session, &w, &sum->from, sum->bytes, sum->data))
		engine_peer_sync(e, p);
	e->heard_from = NULL;
}

/* With the lock held; leaves it. */
static void
tell_all(struct engine *e, struct engine_sums *s)
{
	for (unsigned i = 0; i < s->count; i++)
		tell(e, &s->items[i]);
	engine_unlock(e);
	for (unsigned i = 0; i < s->count; i++) {
		engine_peer_unref(s->items[i].peer);
		session_unref(s->items[i].session);
	}
	s->count = 0;
}

void
engine_sums_tell(struct engine *e, struct engine_sums *s)
{
	if (s->count == 0)
		return;
	engine_lock(e);
	tell_all(e, s);
}

void
engine_sums_try(struct engine *e, struct engine_sums *s)
{
	static const uint64_t ms = 1000000;
	uint64_t kept_ns = s->count > 0 ? engine_now(e) - s->since_ns : 0;

	if (kept_ns < ENGINE_SUMS_MS * ms)
		return;
	if (pthread_mutex_trylock(&e->lock) == 0)
		tell_all(e, s);
	else if (kept_ns >= ENGINE_SUMS_LATE_MS * ms)
		engine_sums_tell(e, s);
}

/* ---- adding ---- */

struct numbers { /* counters that are reserved */
	struct session *session;
	uint64_t next, now_ns;
	uint32_t left;
};

static bool
reserve(struct numbers *n, uint32_t count)
{
	n->left = count < SESSION_BLOCK_MAX ? count : SESSION_BLOCK_MAX;
	return session_reserve(n->session, n->left, n->now_ns, &n->next);
}

/* Whether one more datagram goes on with the last run. */
static bool
goes_on(const struct engine_sealer *s, const struct engine_route *route, uint32_t bytes)
{
	const struct engine_run *run = &s->runs[s->runs_count - 1];
	const struct udp_send *send = &s->sends[s->runs_count - 1];

	return run->session == route->session && run->peer == route->peer &&
	       run->count < UDP_SEGMENTS_MAX && send->bytes == run->count * send->stride &&
	       bytes <= send->stride && send->bytes + bytes <= UDP_SEND_MAX &&
	       addr_equal(&send->to, &route->to);
}

static void
add_run(struct engine_sealer *s, const struct engine_route *route, const struct segment_run *run)
{
	uint32_t bytes = segment_run_bytes(run);

	if (s->runs_count > 0 && run->count == 1 && goes_on(s, route, bytes)) {
		s->runs[s->runs_count - 1].count++;
		s->sends[s->runs_count - 1].bytes += bytes;
		s->used += bytes;
		return;
	}
	s->runs[s->runs_count] = (struct engine_run){
		.peer = engine_peer_ref(route->peer),
		.session = session_ref(route->session),
		.first = s->jobs_count - run->count,
		.count = run->count,
	};
	s->sends[s->runs_count] = (struct udp_send){
		.to = route->to,
		.data = s->data + s->used,
		.bytes = bytes,
		.stride = run->stride,
	};
	/* One of the other family is from before the peer moved. */
	if (addr_is_v4(&route->from.address) == addr_is_v4(&route->to))
		s->sends[s->runs_count].from = route->from;
	s->runs_count++;
	s->used += bytes;
}

/* Counters and jobs of a run's datagrams. What there are no counters for is left out. */
static bool
number(struct engine_sealer *s, struct numbers *n, struct segment_run *run, uint32_t behind)
{
	for (uint32_t i = 0; i < run->count; i++) {
		uint8_t *at = s->data + s->used + (size_t)i * run->stride;

		if (n->left == 0 && !reserve(n, run->count - i + behind)) {
			engine_count(s->counts, ENGINE_DROP_UNREACHABLE, run->count - i + behind);
			if (i > 0)
				run->last = run->stride;
			run->count = i;
			return false;
		}
		session_head(n->session, n->next++, at);
		n->left--;
		s->jobs[s->jobs_count++] = (struct aead_job){
			.data = at + SEGMENT_HEAD,
			.length = segment_bytes(run, i) - SEGMENT_HEAD - SEGMENT_TAIL,
			.counter = n->next - 1,
		};
	}
	return true;
}

bool
engine_seal(struct engine *e, struct engine_sealer *s, const struct engine_route *route,
	    struct segment *segment)
{
	struct udp *udp = engine_socket(e, &route->to);
	struct numbers n = {.session = route->session, .now_ns = engine_now(e)};
	struct segment_run run;
	bool more = true;

	if (!udp) {
		engine_count(s->counts, ENGINE_DROP_UNREACHABLE, segment_left(segment));
		return true;
	}
	if (!reserve(&n, segment_left(segment)))
		return false;
	if (s->udp != udp)
		engine_seal_flush(e, s);
	s->udp = udp;
	while (more) {
		if (s->runs_count == ENGINE_RUNS || s->jobs_count + SEGMENT_RUN_MAX > ENGINE_JOBS ||
		    s->used + SEGMENT_RUN_BYTES > ENGINE_SEALED_BYTES)
			engine_seal_flush(e, s);
		if (!segment_next(segment, s->data + s->used, &run))
			break;
		more = number(s, &n, &run, segment_left(segment));
		if (run.count > 0)
			add_run(s, route, &run);
	}
	return true;
}

/* ---- sending ---- */

static void
seal_all(struct engine_sealer *s)
{
	for (unsigned i = 0, j; i < s->runs_count; i = j) {
		unsigned first = s->runs[i].first, count = 0;

		for (j = i; j < s->runs_count && s->runs[j].session == s->runs[i].session; j++)
			count += s->runs[j].count;
		aead_seal_batch(&s->aead, s->runs[i].session->keys.send, s->jobs + first, count);
	}
}

/* For want of memory a packet may not have been sealed: its run is left out. */
static void
leave_out(struct engine_sealer *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->runs_count; i++) {
		const struct engine_run run = s->runs[i];
		bool ok = true;

		for (unsigned j = 0; j < run.count; j++)
			ok = ok && s->jobs[run.first + j].ok;
		if (ok) {
			s->runs[kept] = run;
			s->sends[kept++] = s->sends[i];
			continue;
		}
		engine_count(s->counts, ENGINE_DROP_SOCKET, run.count);
		engine_peer_unref(run.peer);
		session_unref(run.session);
	}
	s->runs_count = kept;
}

/* Those that seal what was staged have the lock. */
static void
tell_sent(struct engine *e, struct engine_sealer *s, struct engine_peer *peer, uint64_t bytes)
{
	const struct engine_sum sum = {.peer = peer, .bytes = bytes, .data = true};

	if (s->sums)
		engine_sums_add(e, s->sums, &sum);
	else
		tell(e, &sum);
}

static void
lose_source(struct engine *e, const struct engine_sealer *s, struct engine_peer *peer)
{
	if (s->sums)
		engine_lock(e);
	engine_peer_lose_source(e, peer);
	if (s->sums)
		engine_unlock(e);
}

void
engine_seal_flush(struct engine *e, struct engine_sealer *s)
{
	seal_all(s);
	leave_out(s);
	if (s->runs_count > 0)
		udp_send(s->udp, s->sends, s->runs_count);
	for (unsigned i = 0; i < s->runs_count; i++) {
		const struct engine_run *run = &s->runs[i];

		engine_count(s->counts, s->sends[i].error ? ENGINE_DROP_SOCKET : ENGINE_OUT_PACKETS,
			     run->count);
		if (s->sends[i].source_gone)
			lose_source(e, s, run->peer);
		tell_sent(e, s, run->peer, s->sends[i].bytes);
		engine_peer_unref(run->peer);
		session_unref(run->session);
	}
	s->runs_count = s->jobs_count = 0;
	s->used = 0;
}
