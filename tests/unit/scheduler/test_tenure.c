/* SPDX-License-Identifier: Apache-2.0 */
/* One holder by hand; then three that share a lease through a store that is slow and forgetful,
 * with clocks of their own that drift and stand still. */
#include "scheduler/tenure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/world.h"

#define MS UINT64_C(1000000)

enum { TTL_MS = 10000 };

static struct tenure_actions out;

static void
input(struct tenure *t, enum tenure_input_kind kind, uint64_t at_ms, uint64_t epoch,
      enum err_kind error)
{
	const struct tenure_input in = {.kind = kind,
					.now_ns = at_ms * MS,
					.wanted = true,
					.question = t->question,
					.epoch = epoch,
					.error = error};

	tenure_step(t, &in, &out);
}

static void
unwant(struct tenure *t, uint64_t at_ms)
{
	const struct tenure_input in = {.kind = TENURE_WANT, .now_ns = at_ms * MS};

	tenure_step(t, &in, &out);
}

static void
expect(enum tenure_verb verb)
{
	assert_int_equal(out.count, 1);
	assert_int_equal(out.items[0].verb, verb);
}

static void
held_since(struct tenure *t, uint64_t at_ms)
{
	tenure_init(t, TTL_MS);
	input(t, TENURE_WANT, at_ms, 0, ERR_NONE);
	expect(TENURE_ASK_TAKE);
	input(t, TENURE_TAKEN, at_ms + 100, 7, ERR_NONE);
	expect(TENURE_HOLD);
	assert_int_equal(out.items[0].epoch, 7);
	assert_int_equal(out.items[0].until_ns, (at_ms + 8000) * MS);
	assert_int_equal(out.due_ns, (at_ms + 3000) * MS);
}

static void
test_taken_and_kept(void **state)
{
	struct tenure t;

	(void)state;
	held_since(&t, 1000);
	input(&t, TENURE_TIME, 4000, 0, ERR_NONE);
	expect(TENURE_ASK_KEEP);
	assert_int_equal(out.due_ns, 9000 * MS);
	input(&t, TENURE_KEPT, 4500, 0, ERR_NONE);
	expect(TENURE_HOLD);
	assert_int_equal(out.items[0].until_ns, 12000 * MS); /* from when it was asked */
}

static void
test_no_answer(void **state)
{
	struct tenure t;

	(void)state;
	held_since(&t, 1000);
	input(&t, TENURE_TIME, 4000, 0, ERR_NONE);
	input(&t, TENURE_KEPT, 6000, 0, ERR_TIMEOUT);
	expect(TENURE_ASK_KEEP); /* again at once: the retry's time has passed */
	input(&t, TENURE_KEPT, 8000, 0, ERR_UNREACHABLE);
	expect(TENURE_ASK_KEEP);
	input(&t, TENURE_TIME, 9000, 0, ERR_NONE);
	expect(TENURE_LOSE);
	assert_int_equal(t.state, TENURE_ENDING);
	/* An answer that comes now changes nothing. */
	input(&t, TENURE_KEPT, 9100, 0, ERR_NONE);
	assert_int_equal(out.count, 0);
	input(&t, TENURE_STOPPED, 9500, 0, ERR_NONE);
	assert_int_equal(out.count, 2);
	assert_int_equal(out.items[0].verb, TENURE_ASK_DROP);
	assert_int_equal(out.items[0].epoch, 7);
	assert_int_equal(out.items[1].verb, TENURE_ASK_TAKE);
}

static void
test_another_has_it(void **state)
{
	struct tenure t;

	(void)state;
	held_since(&t, 1000);
	input(&t, TENURE_TIME, 4000, 0, ERR_NONE);
	input(&t, TENURE_KEPT, 4100, 0, ERR_CONFLICT);
	expect(TENURE_LOSE);
	tenure_init(&t, TTL_MS);
	input(&t, TENURE_WANT, 0, 0, ERR_NONE);
	input(&t, TENURE_TAKEN, 100, 0, ERR_CONFLICT);
	assert_int_equal(out.count, 0);
	assert_int_equal(out.due_ns, 1000 * MS);
	input(&t, TENURE_TIME, 1000, 0, ERR_NONE);
	expect(TENURE_ASK_TAKE);
}

/* What an earlier process was given. */
static void
test_a_successor(void **state)
{
	struct tenure t;

	(void)state;
	tenure_resume(&t, TTL_MS, 7, 9000 * MS);
	input(&t, TENURE_WANT, 5000, 0, ERR_NONE);
	expect(TENURE_ASK_KEEP);
	assert_int_equal(out.items[0].epoch, 7);
	input(&t, TENURE_KEPT, 5100, 7, ERR_NONE);
	expect(TENURE_HOLD);
	assert_int_equal(out.items[0].until_ns, 13000 * MS);
	/* The store gave it anew. */
	tenure_resume(&t, TTL_MS, 7, 9000 * MS);
	input(&t, TENURE_WANT, 5000, 0, ERR_NONE);
	input(&t, TENURE_KEPT, 5100, 9, ERR_NONE);
	expect(TENURE_HOLD);
	assert_int_equal(out.items[0].epoch, 9);
	/* It comes too late. */
	tenure_resume(&t, TTL_MS, 7, 9000 * MS);
	input(&t, TENURE_WANT, 9000, 0, ERR_NONE);
	expect(TENURE_LOSE);
}

static void
test_an_answer_that_took_too_long(void **state)
{
	struct tenure t;

	(void)state;
	tenure_init(&t, TTL_MS);
	input(&t, TENURE_WANT, 0, 0, ERR_NONE);
	input(&t, TENURE_TAKEN, 8000, 7, ERR_NONE); /* the process stood still */
	assert_int_equal(out.count, 2);
	assert_int_equal(out.items[0].verb, TENURE_ASK_DROP);
	assert_int_equal(out.items[1].verb, TENURE_ASK_TAKE);
	assert_int_equal(t.state, TENURE_TAKING);
}

/* Of a long time the clocks' drift is more than the usual margin. */
static void
test_a_long_time_to_live(void **state)
{
	struct tenure t;

	(void)state;
	tenure_init(&t, 400 * 1000);
	input(&t, TENURE_WANT, 0, 0, ERR_NONE);
	input(&t, TENURE_TAKEN, 100, 7, ERR_NONE);
	expect(TENURE_HOLD);
	assert_int_equal(out.items[0].until_ns, 384 * 1000 * MS);
	/* 1 % slow here, 1 % fast there: it still ends first, with time to stop. */
	assert_true(384 * 1000 * 100 / 99 + TENURE_MARGIN_MS < 400 * 1000 * 100 / 101);
	tenure_init(&t, 400 * 1000);
	input(&t, TENURE_WANT, 0, 0, ERR_NONE);
	input(&t, TENURE_TAKEN, 384 * 1000, 7, ERR_NONE);
	assert_int_equal(out.items[0].verb, TENURE_ASK_DROP);
}

static void
test_not_wanted_any_more(void **state)
{
	struct tenure t;

	(void)state;
	held_since(&t, 1000);
	unwant(&t, 2000);
	expect(TENURE_LOSE);
	assert_int_equal(out.due_ns, UINT64_MAX);
	input(&t, TENURE_STOPPED, 2500, 0, ERR_NONE);
	expect(TENURE_ASK_DROP);
	assert_int_equal(t.state, TENURE_NONE);
	/* While it is being taken: what is given is given back. */
	tenure_init(&t, TTL_MS);
	input(&t, TENURE_WANT, 0, 0, ERR_NONE);
	unwant(&t, 50);
	assert_int_equal(out.count, 0);
	input(&t, TENURE_TAKEN, 100, 8, ERR_NONE);
	expect(TENURE_ASK_DROP);
	assert_int_equal(out.items[0].epoch, 8);
	assert_int_equal(t.state, TENURE_NONE);
}

/* ---- three holders ---- */

enum { HOLDERS = 3, STEP_MS = 10, RUN_MS = 120000, SEEDS = 40, FLIGHTS = 16 };

struct holder {
	struct tenure t;
	double rate;        /* of its clock against the world's */
	uint64_t offset_ns; /* of its clock */
	uint64_t frozen_until_ms;
	/* What acts in its name: a monitor with a dead-man timer on the same clock. */
	bool acting;
	uint64_t until_ns, epoch;
	bool told_to_stop;
	uint64_t due_ns;
};

/* A question on its way, or its answer. */
struct flight {
	bool used;
	size_t holder;
	enum tenure_verb verb;
	uint32_t question;
	uint64_t epoch;
	uint64_t at_ms;   /* reaches the store */
	uint64_t back_ms; /* its answer comes back */
	bool lost_there, lost_back, done;
	enum err_kind error;
	uint64_t given;
};

struct place {
	struct world_seeded world;
	struct holder holders[HOLDERS];
	struct flight flights[FLIGHTS];
	/* The store. */
	size_t owner; /* HOLDERS: nobody */
	uint64_t epoch, ends_ms;
	uint64_t greatest; /* epoch that has acted */
	size_t acted, changes;
};

static uint64_t
below(struct place *p, uint64_t bound)
{
	return world_random_below(&p->world.world, bound);
}

static uint64_t
clock_of(const struct holder *h, uint64_t now_ms)
{
	return h->offset_ns + (uint64_t)((double)(now_ms * MS) * h->rate);
}

static void
launch(struct place *p, size_t i, uint64_t now_ms, enum tenure_verb verb, uint32_t question,
       uint64_t epoch)
{
	for (size_t f = 0; f < FLIGHTS; f++) {
		if (p->flights[f].used)
			continue;
		uint64_t slow = below(p, 20) == 0 ? 1500 : 0;
		p->flights[f] = (struct flight){
			.used = true,
			.holder = i,
			.verb = verb,
			.question = question,
			.epoch = epoch,
			.at_ms = now_ms + below(p, 50) + slow,
			.lost_there = below(p, 10) == 0,
			.lost_back = below(p, 10) == 0,
		};
		return;
	}
	fail_msg("too many questions");
}

static void
obey(struct place *p, size_t i, uint64_t now_ms, const struct tenure_actions *a)
{
	struct holder *h = &p->holders[i];

	for (unsigned k = 0; k < a->count; k++) {
		switch (a->items[k].verb) {
		case TENURE_HOLD:
			h->acting = true;
			h->until_ns = a->items[k].until_ns;
			h->epoch = a->items[k].epoch;
			break;
		case TENURE_LOSE:
			h->told_to_stop = true;
			break;
		default:
			launch(p, i, now_ms, a->items[k].verb, a->items[k].question,
			       a->items[k].epoch);
			break;
		}
	}
	h->due_ns = a->due_ns;
}

static void
give(struct place *p, size_t i, uint64_t now_ms, struct tenure_input in)
{
	struct tenure_actions actions;

	in.now_ns = clock_of(&p->holders[i], now_ms);
	in.wanted = true;
	tenure_step(&p->holders[i].t, &in, &actions);
	obey(p, i, now_ms, &actions);
}

static void
store_does(struct place *p, struct flight *f, uint64_t now_ms)
{
	if (p->owner < HOLDERS && now_ms >= p->ends_ms)
		p->owner = HOLDERS;
	switch (f->verb) {
	case TENURE_ASK_TAKE:
		if (p->owner < HOLDERS && p->owner != f->holder) {
			f->error = ERR_CONFLICT;
			break;
		}
		p->changes += p->owner != f->holder;
		p->owner = f->holder;
		f->given = ++p->epoch;
		p->ends_ms = now_ms + TTL_MS;
		break;
	case TENURE_ASK_KEEP:
		if (p->owner != f->holder || p->epoch != f->epoch)
			f->error = ERR_CONFLICT;
		else
			p->ends_ms = now_ms + TTL_MS;
		break;
	default:
		if (p->owner == f->holder && p->epoch == f->epoch)
			p->owner = HOLDERS;
		break;
	}
}

static void
fly(struct place *p, struct flight *f, uint64_t now_ms)
{
	const struct holder *h = &p->holders[f->holder];

	if (!f->done && now_ms >= f->at_ms) {
		f->done = true;
		if (!f->lost_there)
			store_does(p, f, now_ms);
		f->back_ms = now_ms + below(p, 50);
		if (f->lost_there || f->lost_back) {
			f->error = ERR_TIMEOUT;
			f->back_ms = now_ms + 2000;
		}
	}
	if (!f->done || now_ms < f->back_ms || now_ms < h->frozen_until_ms)
		return;
	f->used = false;
	if (f->verb == TENURE_ASK_DROP)
		return;
	give(p, f->holder, now_ms,
	     (struct tenure_input){.kind = f->verb == TENURE_ASK_TAKE ? TENURE_TAKEN : TENURE_KEPT,
				   .question = f->question,
				   .epoch = f->given,
				   .error = f->error});
}

/* Nobody acts beside another, and never under an epoch below one that has acted. */
static void
observe(struct place *p, uint64_t now_ms)
{
	size_t acting = 0;

	for (size_t i = 0; i < HOLDERS; i++) {
		struct holder *h = &p->holders[i];

		if (h->acting && clock_of(h, now_ms) >= h->until_ns)
			h->acting = false; /* the monitor's own timer: it needs nobody */
		if (!h->acting)
			continue;
		acting++;
		assert_true(h->epoch >= p->greatest);
		p->greatest = h->epoch;
	}
	assert_true(acting <= 1);
	p->acted += acting;
}

static void
tick(struct place *p, uint64_t now_ms)
{
	for (size_t i = 0; i < HOLDERS; i++) {
		struct holder *h = &p->holders[i];

		if (now_ms < h->frozen_until_ms)
			continue;
		if (below(p, 3000) == 0) {
			h->frozen_until_ms = now_ms + below(p, 20000);
			continue;
		}
		if (h->told_to_stop && below(p, 20) == 0) { /* stopping takes a while */
			h->told_to_stop = h->acting = false;
			give(p, i, now_ms, (struct tenure_input){.kind = TENURE_STOPPED});
		}
		if (clock_of(h, now_ms) >= h->due_ns)
			give(p, i, now_ms, (struct tenure_input){.kind = TENURE_TIME});
	}
	for (size_t f = 0; f < FLIGHTS; f++)
		if (p->flights[f].used)
			fly(p, &p->flights[f], now_ms);
	observe(p, now_ms);
}

static void
test_never_two_at_once(void **state)
{
	size_t acted = 0, changes = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct place p = {.owner = HOLDERS};

		world_seeded_init(&p.world, seed, 0, 0);
		for (size_t i = 0; i < HOLDERS; i++) {
			tenure_init(&p.holders[i].t, TTL_MS);
			p.holders[i].rate = 0.99 + (double)below(&p, 2001) / 100000;
			p.holders[i].offset_ns = below(&p, 1000000) * MS;
			give(&p, i, 0, (struct tenure_input){.kind = TENURE_WANT});
		}
		for (uint64_t now_ms = 0; now_ms < RUN_MS; now_ms += STEP_MS)
			tick(&p, now_ms);
		acted += p.acted;
		changes += p.changes;
	}
	/* And it was not safe by doing nothing. */
	assert_true(acted > (size_t)SEEDS * RUN_MS / STEP_MS / 2);
	assert_true(changes > SEEDS);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken_and_kept),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_another_has_it),
		cmocka_unit_test(test_a_successor),
		cmocka_unit_test(test_an_answer_that_took_too_long),
		cmocka_unit_test(test_a_long_time_to_live),
		cmocka_unit_test(test_not_wanted_any_more),
		cmocka_unit_test(test_never_two_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
