/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes and timers: one thread. Between two of anything that costs a curve it leaves the lock.
 */
#include "overlay/engine/engine_inside.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

static const uint64_t second = 1000000000;

/* ---- letters ---- */

void
engine_letter_put(struct engine *e, struct engine_counts *counts, const struct udp_received *r,
		  const uint8_t *data, uint32_t bytes)
{
	struct engine_letters *q = &e->letters;
	bool full, first;

	pthread_mutex_lock(&q->lock);
	full = q->count == ENGINE_LETTERS;
	first = q->count == 0;
	if (!full) {
		struct engine_letter *l = &q->items[(q->first + q->count++) % ENGINE_LETTERS];

		l->from = r->from;
		l->to = r->to;
		l->bytes = bytes;
		memcpy(l->data, data, bytes);
	}
	pthread_mutex_unlock(&q->lock);
	if (full)
		engine_count(counts, ENGINE_DROP_LIMITED, 1);
	if (first)
		engine_wake(e);
}

static bool
take_letter(struct engine *e, struct engine_letter *out, size_t *left_out)
{
	struct engine_letters *q = &e->letters;
	bool found;

	pthread_mutex_lock(&q->lock);
	found = q->count > 0;
	if (found) {
		*out = q->items[q->first];
		q->first = (q->first + 1) % ENGINE_LETTERS;
		q->count--;
	}
	*left_out = q->count;
	pthread_mutex_unlock(&q->lock);
	return found;
}

static void
count_result(struct engine *e, enum device_result result)
{
	static const enum engine_count which[] = {
		[DEVICE_UNREACHABLE] = ENGINE_DROP_UNKNOWN, /* there is no key */
		[DEVICE_MALFORMED] = ENGINE_DROP_MALFORMED, [DEVICE_FORGED] = ENGINE_DROP_FORGED,
		[DEVICE_UNKNOWN] = ENGINE_DROP_UNKNOWN,     [DEVICE_EXPIRED] = ENGINE_DROP_UNKNOWN,
		[DEVICE_REPLAYED] = ENGINE_DROP_REPLAYED,   [DEVICE_TOO_SOON] = ENGINE_DROP_LIMITED,
		[DEVICE_COOKIE] = ENGINE_COOKIES,           [DEVICE_LIMITED] = ENGINE_DROP_LIMITED,
		[DEVICE_NO_MEMORY] = ENGINE_DROP_LIMITED,
	};

	if (result < sizeof(which) / sizeof(which[0]) && which[result])
		engine_count(&e->counts, which[result], 1);
}

/* What is not for this end may be for another. */
static bool
passed_on(struct engine *e, const struct engine_letter *l, enum device_result result)
{
	return (result == DEVICE_FORGED || result == DEVICE_UNKNOWN) &&
	       engine_relay_take(e, &e->counts, &l->from, l->data, l->bytes, l->bytes);
}

static bool
read_letters(struct engine *e)
{
	struct engine_letter letter;
	struct world w;
	size_t left = 0;

	for (unsigned i = 0; i < ENGINE_LETTERS_AT_ONCE; i++) {
		if (!take_letter(e, &letter, &left))
			return false;
		engine_lock(e);
		engine_world(e, &w);
		e->heard_from = &letter.from;
		e->heard_at = &letter.to;
		enum device_result r = device_receive(e->device, &w, &letter.from, letter.data,
						      letter.bytes, left);
		e->heard_from = NULL;
		engine_unlock(e);
		if (!passed_on(e, &letter, r))
			count_result(e, r);
	}
	return left > 0;
}

/* ---- what is begun here ---- */

static bool
begin_fresh(struct engine *e)
{
	struct world w;
	bool more, able = true;

	engine_lock(e);
	engine_world(e, &w);
	for (unsigned i = 0; i < ENGINE_FRESH_AT_ONCE && able && !list_empty(&e->fresh); i++) {
		struct engine_peer *p = container_of(e->fresh.next, struct engine_peer, fresh);

		able = device_speak(e->device, p->peer, &w);
		if (able)
			list_remove(&p->fresh);
	}
	more = able && !list_empty(&e->fresh);
	engine_unlock(e);
	return more;
}

/* Gives when the next tick is due. */
static uint64_t
tick(struct engine *e)
{
	struct world w;

	engine_lock(e);
	engine_world(e, &w);
	device_tick(e->device, &w);
	e->sleeps_until_ns = device_deadline(e->device);
	uint64_t deadline = e->sleeps_until_ns;
	engine_unlock(e);
	return deadline;
}

static void
rest(struct engine *e, uint64_t deadline_ns)
{
	struct pollfd fds[] = {{.fd = e->wake, .events = POLLIN},
			       {.fd = e->stop, .events = POLLIN}};
	uint64_t now_ns = engine_now(e), left_ns, woken;
	struct timespec wait;

	left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
	wait.tv_sec = (time_t)(left_ns / second);
	wait.tv_nsec = (long)(left_ns % second);
	if (ppoll(fds, 2, deadline_ns == UINT64_MAX ? NULL : &wait, NULL) > 0 &&
	    fds[0].revents & POLLIN)
		(void)!read(e->wake, &woken, sizeof(woken));
}

void *
engine_control(void *arg)
{
	struct engine *e = arg;

	while (!atomic_load_explicit(&e->stopping, memory_order_relaxed)) {
		bool more = read_letters(e);
		uint64_t deadline_ns = tick(e);

		more |= begin_fresh(e);
		engine_relay_tick(e);
		if (!more)
			rest(e, deadline_ns);
	}
	return NULL;
}
