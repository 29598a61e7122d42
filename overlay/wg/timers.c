/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One short function for each event. A time that is set again is moved, unless it says that the
 * first one counts. Randomness is asked for with handshakes only, not with packets: it may cost a
 * system call.
 */
#include "overlay/wg/timers.h"

static const uint64_t second = 1000000000, millisecond = 1000000;

void
timers_init(struct timers *t)
{
	*t = (struct timers){0};
	for (unsigned i = 0; i < TIMERS_KINDS_; i++)
		t->at[i] = TIMERS_NEVER;
}

static bool
is_set(const struct timers *t, enum timers_kind kind)
{
	return t->at[kind] != TIMERS_NEVER;
}

static void
set(struct timers *t, enum timers_kind kind, uint64_t now_ns, uint64_t seconds)
{
	t->at[kind] = now_ns + seconds * second;
}

static void
unset(struct timers *t, enum timers_kind kind)
{
	t->at[kind] = TIMERS_NEVER;
}

static uint64_t
jitter(const struct world *w)
{
	return world_random_below(w, TIMERS_JITTER_MS * millisecond);
}

uint64_t
timers_next(const struct timers *t)
{
	uint64_t next = TIMERS_NEVER;

	for (unsigned i = 0; i < TIMERS_KINDS_; i++)
		if (t->at[i] < next)
			next = t->at[i];
	return next;
}

/* ---- what is due ---- */

static bool
take(struct timers *t, enum timers_kind kind, uint64_t now_ns)
{
	if (t->at[kind] > now_ns)
		return false;
	unset(t, kind);
	return true;
}

static unsigned
retransmit(struct timers *t, uint64_t now_ns)
{
	if (now_ns - t->trying_ns < TIMERS_REKEY_ATTEMPT_S * second)
		return TIMERS_DO_RETRY;
	unset(t, TIMERS_KEEPALIVE);
	if (!is_set(t, TIMERS_FORGET))
		set(t, TIMERS_FORGET, now_ns, TIMERS_FORGET_S);
	return TIMERS_DO_GIVE_UP;
}

unsigned
timers_expire(struct timers *t, const struct world *w)
{
	const uint64_t now_ns = w->mono_ns;
	unsigned work = 0;

	if (take(t, TIMERS_FORGET, now_ns))
		work |= TIMERS_DO_FORGET;
	if (take(t, TIMERS_RETRANSMIT, now_ns))
		work |= retransmit(t, now_ns);
	if (take(t, TIMERS_KEEPALIVE, now_ns))
		work |= TIMERS_DO_KEEPALIVE;
	if (take(t, TIMERS_NEW_HANDSHAKE, now_ns))
		work |= TIMERS_DO_HANDSHAKE;
	if (take(t, TIMERS_PERSISTENT, now_ns)) {
		work |= TIMERS_DO_KEEPALIVE;
		/* Sending moves it anyhow; this is for a packet that cannot be sent. */
		set(t, TIMERS_PERSISTENT, now_ns, t->persistent_s);
	}
	return work;
}

/* ---- handshakes ---- */

bool
timers_may_initiate(const struct timers *t, uint64_t now_ns)
{
	return !t->initiated || now_ns - t->initiated_ns >= TIMERS_REKEY_TIMEOUT_S * second;
}

void
timers_wanted(struct timers *t, uint64_t now_ns)
{
	t->trying_ns = now_ns;
}

void
timers_initiated(struct timers *t, const struct world *w)
{
	t->initiated = true;
	t->initiated_ns = w->mono_ns;
	set(t, TIMERS_RETRANSMIT, w->mono_ns + jitter(w), TIMERS_REKEY_TIMEOUT_S);
}

void
timers_postponed(struct timers *t, const struct world *w)
{
	if (!is_set(t, TIMERS_RETRANSMIT))
		set(t, TIMERS_RETRANSMIT, t->initiated_ns + jitter(w), TIMERS_REKEY_TIMEOUT_S);
}

void
timers_responded(struct timers *t, uint64_t now_ns)
{
	t->initiated = true;
	t->initiated_ns = now_ns;
}

void
timers_derived(struct timers *t, const struct world *w)
{
	set(t, TIMERS_FORGET, w->mono_ns, TIMERS_FORGET_S);
	t->jitter_ns = jitter(w);
}

void
timers_completed(struct timers *t)
{
	unset(t, TIMERS_RETRANSMIT);
	t->last_minute = false;
}

void
timers_identity_changed(struct timers *t)
{
	t->initiated = false;
}

bool
timers_take_last_minute(struct timers *t)
{
	bool first = !t->last_minute;

	t->last_minute = true;
	return first;
}

/* ---- packets ---- */

static void
passed(struct timers *t, uint64_t now_ns)
{
	if (t->persistent_s)
		set(t, TIMERS_PERSISTENT, now_ns, t->persistent_s);
}

void
timers_sent(struct timers *t, uint64_t now_ns)
{
	unset(t, TIMERS_KEEPALIVE);
	passed(t, now_ns);
}

void
timers_received(struct timers *t, uint64_t now_ns)
{
	unset(t, TIMERS_NEW_HANDSHAKE);
	passed(t, now_ns);
}

void
timers_sent_data(struct timers *t, uint64_t now_ns)
{
	if (!is_set(t, TIMERS_NEW_HANDSHAKE))
		set(t, TIMERS_NEW_HANDSHAKE, now_ns + t->jitter_ns,
		    TIMERS_KEEPALIVE_S + TIMERS_REKEY_TIMEOUT_S);
}

void
timers_received_data(struct timers *t, uint64_t now_ns)
{
	if (!is_set(t, TIMERS_KEEPALIVE))
		set(t, TIMERS_KEEPALIVE, now_ns, TIMERS_KEEPALIVE_S);
}

void
timers_persist(struct timers *t, uint16_t seconds, uint64_t now_ns)
{
	t->persistent_s = seconds;
	unset(t, TIMERS_PERSISTENT);
	passed(t, now_ns);
}
