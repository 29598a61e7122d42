/* SPDX-License-Identifier: Apache-2.0 */
/* A holder's side of a lease. One question is under way at a time: each is answered, if only with
 * an error when the store has waited long enough. Whatever comes in, time is looked at first: an
 * answer that arrives after the end does not bring the tenure back. */

#include "scheduler/tenure.h"

#include <assert.h>
#include <string.h>
#include "base/mutant.h"

#define MS UINT64_C(1000000)

void
tenure_init(struct tenure *t, uint32_t ttl_ms)
{
	assert(ttl_ms >= TENURE_TTL_MIN_MS);
	memset(t, 0, sizeof(*t));
	t->ttl_ns = ttl_ms * MS;
	t->state = TENURE_NONE;
}

void
tenure_resume(struct tenure *t, uint32_t ttl_ms, uint64_t epoch, uint64_t until_ns)
{
	tenure_init(t, ttl_ms);
	t->state = TENURE_HELD;
	t->wanted = true;
	t->epoch = epoch;
	t->until_ns = until_ns;
}

static void
say(const struct tenure *t, struct tenure_actions *out, enum tenure_verb verb)
{
	assert(out->count < TENURE_ACTIONS_MAX);
	out->items[out->count].verb = verb;
	out->items[out->count].question = t->question;
	out->items[out->count].epoch = t->epoch;
	out->items[out->count].until_ns = t->until_ns;
	out->count++;
}

static void
ask(struct tenure *t, uint64_t now_ns, struct tenure_actions *out, enum tenure_verb verb)
{
	t->question = ++t->questions;
	t->asked_ns = now_ns;
	t->next_ns = MUTANT(206, UINT64_MAX, now_ns + TENURE_RETRY_MS * MS);
	say(t, out, verb);
}

static void
lose(struct tenure *t, struct tenure_actions *out)
{
	t->state = TENURE_ENDING;
	t->question = 0;
	say(t, out, TENURE_LOSE);
	if (MUTANT(203, true, false))
		say(t, out, TENURE_ASK_DROP);
}

/* Two clocks that are each 1 % wrong come apart by 2 % of the time to live; what is left of the
 * margin is for what has to stop. */
static uint64_t
margin_ns(const struct tenure *t)
{
	uint64_t drift = t->ttl_ns / TENURE_MARGIN_PART;

	return MUTANT(202, 0, drift > TENURE_MARGIN_MS * MS ? drift : TENURE_MARGIN_MS * MS);
}

static uint64_t
end_ns(const struct tenure *t)
{
	return t->asked_ns + t->ttl_ns - margin_ns(t);
}

/* From when it was asked, not from the answer. */
static void
hold(struct tenure *t, struct tenure_actions *out)
{
	t->question = 0;
	t->state = TENURE_HELD;
	t->until_ns = end_ns(t);
	t->next_ns = t->asked_ns + t->ttl_ns * 3 / 10;
	say(t, out, TENURE_HOLD);
}

static void
taken(struct tenure *t, const struct tenure_input *in, struct tenure_actions *out)
{
	t->question = 0;
	if (in->error != ERR_NONE)
		return;
	t->epoch = MUTANT(204, 1, in->epoch);
	/* It took so long that the time is over, or nobody wants it now. */
	if (!t->wanted || in->now_ns >= end_ns(t)) {
		say(t, out, TENURE_ASK_DROP);
		t->state = t->wanted ? TENURE_TAKING : TENURE_NONE;
		return;
	}
	hold(t, out);
}

static void
kept(struct tenure *t, const struct tenure_input *in, struct tenure_actions *out)
{
	t->question = 0;
	if (in->error == ERR_NONE && in->epoch)
		t->epoch = in->epoch;
	if (MUTANT(205, true, in->error == ERR_NONE))
		hold(t, out);
	else if (in->error == ERR_CONFLICT || in->error == ERR_NOT_FOUND)
		lose(t, out);
}

static void
stopped(struct tenure *t, struct tenure_actions *out)
{
	say(t, out, TENURE_ASK_DROP);
	t->epoch = 0;
	t->state = t->wanted ? TENURE_TAKING : TENURE_NONE;
}

static void
take_in(struct tenure *t, const struct tenure_input *in, struct tenure_actions *out)
{
	switch (in->kind) {
	case TENURE_WANT:
		t->wanted = in->wanted;
		if (t->wanted && t->state == TENURE_NONE)
			t->state = TENURE_TAKING;
		else if (!t->wanted && t->state == TENURE_TAKING)
			t->state = TENURE_NONE; /* an answer that is under way gives it back */
		else if (!t->wanted && t->state == TENURE_HELD)
			lose(t, out);
		break;
	case TENURE_TIME:
		break;
	case TENURE_TAKEN:
		if (in->question == t->question && t->state <= TENURE_TAKING)
			taken(t, in, out);
		break;
	case TENURE_KEPT:
		if (in->question == t->question && t->state == TENURE_HELD)
			kept(t, in, out);
		break;
	case TENURE_STOPPED:
		if (t->state == TENURE_ENDING)
			stopped(t, out);
		break;
	}
}

static uint64_t
due(const struct tenure *t)
{
	bool asks = t->question == 0;

	if (t->state == TENURE_TAKING && asks)
		return t->next_ns;
	if (t->state == TENURE_HELD)
		return asks && t->next_ns < t->until_ns ? t->next_ns : t->until_ns;
	return UINT64_MAX;
}

void
tenure_step(struct tenure *t, const struct tenure_input *in, struct tenure_actions *out)
{
	memset(out, 0, sizeof(*out));
	if (t->state == TENURE_HELD && in->now_ns >= t->until_ns)
		lose(t, out);
	if (MUTANT(201, in->kind == TENURE_TAKEN || in->kind == TENURE_KEPT, false))
		t->asked_ns = in->now_ns;
	take_in(t, in, out);
	if (t->question == 0 && in->now_ns >= t->next_ns) {
		if (t->state == TENURE_TAKING)
			ask(t, in->now_ns, out, TENURE_ASK_TAKE);
		else if (t->state == TENURE_HELD)
			ask(t, in->now_ns, out, TENURE_ASK_KEEP);
	}
	out->due_ns = due(t);
}
