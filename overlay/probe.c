/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The search. From a size that passes, one step more is tried first: most paths end there, and
 * then it is over. If that passes the largest is tried, and then what lies half-way between what
 * passes and what does not, in steps of PROBE_STEP. Sizes are tried from below, so that what is in
 * use grows while the search goes on.
 *
 * The time that an attempt waits follows the round trip; silence doubles it, so that a path that is
 * slower than was thought is found out, too.
 */
#include "overlay/probe.h"

#include <assert.h>
#include <string.h>

static const uint64_t ms = 1000000;

static uint32_t
default_of(const struct probe *p)
{
	return p->max < PROBE_DEFAULT ? p->max : PROBE_DEFAULT;
}

/* ---- states ---- */

static void
begin(struct probe *p, enum probe_state state, uint32_t size, uint64_t now_ns)
{
	p->state = state;
	p->size = size;
	p->tries = 0;
	p->flying = false;
	p->due_ns = now_ns;
}

static void
begin_base(struct probe *p, uint64_t now_ns)
{
	p->floor = PROBE_MIN;
	begin(p, PROBE_BASE, default_of(p), now_ns);
}

static void
complete(struct probe *p, uint64_t now_ns)
{
	begin(p, PROBE_COMPLETE, p->mtu, now_ns + PROBE_CONFIRM_MS * ms);
	p->raise_ns = now_ns + PROBE_RAISE_MS * ms;
}

/* WireGuard's padding makes all sizes up to this one the same. */
static uint32_t
padded(uint32_t size)
{
	return (size + PROBE_STEP - 1) / PROBE_STEP * PROBE_STEP;
}

static uint32_t
half_way(const struct probe *p)
{
	uint32_t low = padded(p->floor);

	return low + padded(p->ceiling - low) / PROBE_STEP / 2 * PROBE_STEP;
}

/* The next size of a search, or its end. */
static void
search(struct probe *p, enum probe_state state, uint64_t now_ns)
{
	if (p->floor >= p->max || p->ceiling <= padded(p->floor) + PROBE_STEP)
		complete(p, now_ns);
	else if (p->ceiling > p->max)
		begin(p, state, p->max, now_ns);
	else
		begin(p, state, half_way(p), now_ns);
}

/* From what passes upwards. */
static void
look_above(struct probe *p, uint64_t now_ns)
{
	uint32_t next = padded(p->floor) + PROBE_STEP;

	p->ceiling = p->max + 1;
	if (p->floor >= p->max)
		complete(p, now_ns);
	else
		begin(p, PROBE_SEARCH, next < p->max ? next : p->max, now_ns);
}

static void
passed(struct probe *p, uint64_t now_ns)
{
	bool first_step = p->state == PROBE_SEARCH && p->ceiling > p->max;

	if (p->size > p->floor)
		p->floor = p->size;
	p->mtu = p->floor;
	switch (p->state) {
	case PROBE_BASE:
		look_above(p, now_ns);
		break;
	case PROBE_SEARCH:
	case PROBE_ERROR:
		if (first_step && p->floor < p->max)
			begin(p, PROBE_SEARCH, p->max, now_ns);
		else
			search(p, p->state, now_ns);
		break;
	case PROBE_COMPLETE:
		if (now_ns >= p->raise_ns)
			look_above(p, now_ns);
		else
			begin(p, PROBE_COMPLETE, p->mtu, now_ns + PROBE_CONFIRM_MS * ms);
		break;
	}
}

static void
too_large(struct probe *p, uint64_t now_ns)
{
	switch (p->state) {
	case PROBE_BASE:
		p->mtu = p->floor = PROBE_MIN;
		p->ceiling = p->size;
		search(p, PROBE_ERROR, now_ns);
		break;
	case PROBE_SEARCH:
	case PROBE_ERROR:
		p->ceiling = p->size;
		search(p, p->state, now_ns);
		break;
	case PROBE_COMPLETE:
		/* A black hole. At PROBE_MIN there is nothing below that could be used. */
		if (p->mtu > PROBE_MIN) {
			p->mtu = PROBE_MIN;
			begin_base(p, now_ns);
		} else {
			complete(p, now_ns);
		}
		break;
	}
}

/* ---- attempts ---- */

static uint64_t
wait_ns(const struct probe *p)
{
	uint64_t wait = p->rtt_ns ? 4 * p->rtt_ns : PROBE_FIRST_MS * ms;
	unsigned doubled = p->quiet < 6 ? p->quiet : 6;

	if (wait < PROBE_WAIT_MS * ms)
		wait = PROBE_WAIT_MS * ms;
	wait <<= doubled;
	return wait < PROBE_SILENT_MS * ms ? wait : PROBE_SILENT_MS * ms;
}

/* The time of an attempt is over, and its size was not answered. */
static void
lost(struct probe *p, uint64_t now_ns)
{
	p->flying = false;
	if (!p->small_came) {
		p->quiet++;
		return;
	}
	p->quiet = 0;
	if (++p->tries >= PROBE_TRIES)
		too_large(p, now_ns);
}

size_t
probe_tick(struct probe *p, const struct world *w, struct probe_send out[PROBE_SENDS])
{
	if (w->mono_ns < p->due_ns)
		return 0;
	if (p->flying)
		lost(p, w->mono_ns);
	if (w->mono_ns < p->due_ns)
		return 0;
	p->token = world_random_u64(w);
	p->flying = true;
	p->small_came = false;
	p->sent_ns = w->mono_ns;
	p->due_ns = w->mono_ns + wait_ns(p);
	out[0] = (struct probe_send){PROBE_SMALL, p->token};
	out[1] = (struct probe_send){p->size, p->token};
	return PROBE_SENDS;
}

static void
learn_rtt(struct probe *p, uint64_t now_ns)
{
	uint64_t rtt = now_ns > p->sent_ns ? now_ns - p->sent_ns : 1;

	p->rtt_ns = p->rtt_ns ? p->rtt_ns - p->rtt_ns / 8 + rtt / 8 : rtt;
	if (p->rtt_ns == 0)
		p->rtt_ns = 1;
}

bool
probe_answered(struct probe *p, uint64_t now_ns, uint64_t token, uint32_t size)
{
	if (!p->flying || token != p->token)
		return false;
	if (size == PROBE_SMALL && !p->small_came) {
		p->small_came = true;
		p->quiet = 0;
		learn_rtt(p, now_ns);
		return true;
	}
	if (size != p->size)
		return false;
	p->quiet = 0;
	passed(p, now_ns);
	return true;
}

/* ---- from outside ---- */

void
probe_init(struct probe *p, uint32_t max, uint64_t now_ns)
{
	assert(max >= PROBE_MIN && max <= PROBE_MAX);
	*p = (struct probe){.max = max, .ceiling = max + 1};
	p->mtu = default_of(p);
	begin_base(p, now_ns);
}

void
probe_set_max(struct probe *p, uint32_t max, uint64_t now_ns)
{
	uint64_t rtt = p->rtt_ns;

	if (max == p->max)
		return;
	probe_init(p, max, now_ns);
	p->rtt_ns = rtt;
}

void
probe_moved(struct probe *p, uint64_t now_ns)
{
	p->rtt_ns = 0;
	p->quiet = 0;
	if (p->state == PROBE_COMPLETE)
		complete(p, now_ns);
	else
		begin_base(p, now_ns);
	p->due_ns = now_ns;
	/* A way that takes more than the last one did is no reason to wait. */
	p->raise_ns = now_ns;
}

uint64_t
probe_deadline(const struct probe *p)
{
	return p->due_ns;
}

uint32_t
probe_mtu(const struct probe *p)
{
	return p->mtu;
}

/* ---- datagrams ---- */

static const uint8_t magic[4] = {'z', 'L', 'p', 'r'};

void
probe_put(const struct probe_message *m, uint8_t out[PROBE_BYTES])
{
	memcpy(out, magic, sizeof(magic));
	out[4] = 1;
	out[5] = (uint8_t)m->kind;
	out[6] = (uint8_t)(m->size >> 8);
	out[7] = (uint8_t)m->size;
	for (unsigned i = 0; i < 8; i++)
		out[8 + i] = (uint8_t)(m->token >> (56 - 8 * i));
}

bool
probe_take(const uint8_t *data, size_t bytes, size_t headers, struct probe_message *out)
{
	struct probe_message m = {0};

	if (bytes < PROBE_BYTES || memcmp(data, magic, sizeof(magic)) != 0 || data[4] != 1 ||
	    data[5] < PROBE_ASKS || data[5] > PROBE_KEY_KNOWN)
		return false;
	m.kind = (enum probe_kind)data[5];
	m.size = (uint32_t)data[6] << 8 | data[7];
	for (unsigned i = 0; i < 8; i++)
		m.token = m.token << 8 | data[8 + i];
	if (m.kind == PROBE_ASKS ? m.size != bytes + headers : bytes != PROBE_BYTES)
		return false;
	if (m.kind >= PROBE_KEY && m.size != 0)
		return false;
	*out = m;
	return true;
}
