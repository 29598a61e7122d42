/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/cells/choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { UNITS = 8, SERVICES = 4000 };

struct world {
	struct summary summaries[UNITS];
	struct choice_unit units[UNITS];
};

/* Cells of 10 nodes, of which the last has as much as all others. */
static void
make(struct world *w)
{
	for (uint32_t i = 0; i < UNITS; i++) {
		const struct record record = {.unit = i + 1, .round = 1, .gates = {i + 1}};
		struct facts f = {
			.cpu_milli = i + 1 == UNITS ? 112000 : 16000,
			.cpu_free_milli = i + 1 == UNITS ? 112000 : 16000,
			.memory_mib = i + 1 == UNITS ? 7 * 32768 : 32768,
			.memory_free_mib = i + 1 == UNITS ? 7 * 32768 : 32768,
			.open = true,
			.labels_count = 1,
			.labels = {i % 2},
		};

		summary_begin(&w->summaries[i], &record);
		for (unsigned n = 0; n < 10; n++)
			summary_add_node(&w->summaries[i], &f);
		w->units[i] = (struct choice_unit){i + 1, false, &w->summaries[i]};
	}
}

static struct choice_ask
ask_of(uint64_t service)
{
	return (struct choice_ask){
		.service = service, .replicas = 3, .cpu_milli = 500, .memory_mib = 512};
}

static uint32_t
chosen(const struct world *w, const struct choice_ask *ask)
{
	long at = choice_make(w->units, UNITS, ask);

	return at < 0 ? 0 : w->units[at].unit;
}

static void
test_by_capacity(void **state)
{
	unsigned counts[UNITS + 1] = {0};
	struct world w;

	(void)state;
	make(&w);
	for (uint64_t s = 0; s < SERVICES; s++) {
		struct choice_ask ask = ask_of(s);

		counts[chosen(&w, &ask)]++;
	}
	assert_int_equal(counts[0], 0);
	/* Weights are powers of the square root of 2: 7 times as much counts as 5.7 or 8 times. */
	assert_in_range(counts[UNITS], SERVICES * 40 / 100, SERVICES * 60 / 100);
	for (unsigned i = 1; i < UNITS; i++)
		assert_in_range(counts[i], SERVICES * 4 / 100, SERVICES * 11 / 100);
}

/* When a unit is lost, only what it had goes elsewhere. */
static void
test_least_moves(void **state)
{
	struct world w;

	(void)state;
	make(&w);
	for (uint64_t s = 0; s < SERVICES; s++) {
		struct choice_ask ask = ask_of(s);
		uint32_t before = chosen(&w, &ask), after;

		w.units[2].lost = true;
		after = chosen(&w, &ask);
		w.units[2].lost = false;
		if (before == 3)
			assert_int_not_equal(after, 3);
		else
			assert_int_equal(after, before);
	}
}

static void
test_order_is_nothing(void **state)
{
	struct world w, turned;

	(void)state;
	make(&w);
	turned = w;
	for (size_t i = 0; i < UNITS; i++)
		turned.units[i] = w.units[UNITS - 1 - i];
	for (uint64_t s = 0; s < 100; s++) {
		struct choice_ask ask = ask_of(s);

		assert_int_equal(chosen(&w, &ask), chosen(&turned, &ask));
	}
}

static void
test_stays(void **state)
{
	struct choice_ask ask = ask_of(77);
	struct facts full = {.cpu_milli = 1, .open = true, .services_count = 1, .services = {77}};
	struct world w;
	uint32_t first, other;

	(void)state;
	make(&w);
	first = chosen(&w, &ask);
	other = first == 1 ? 2 : 1;
	/* Another one runs it: there it stays, also when it has no room for more. */
	summary_add_node(&w.summaries[other - 1], &full);
	assert_int_equal(chosen(&w, &ask), other);
	for (size_t i = 0; i < SUMMARY_STEPS; i++)
		w.summaries[other - 1].cpu_steps[i] = 0;
	assert_int_equal(chosen(&w, &ask), other);
	assert_int_equal(choice_reasons(&w.units[other - 1], &ask), CHOICE_ROOM);
	w.units[other - 1].lost = true;
	assert_int_equal(chosen(&w, &ask), first);
}

static void
test_reasons(void **state)
{
	struct choice_ask ask = ask_of(5);
	struct world w;

	(void)state;
	make(&w);
	assert_int_equal(choice_reasons(&w.units[0], &ask), 0);
	ask.labels_count = 1;
	ask.labels[0] = 1;
	assert_int_equal(choice_reasons(&w.units[0], &ask), CHOICE_LABEL);
	assert_int_equal(choice_reasons(&w.units[1], &ask), 0);
	assert_int_equal(chosen(&w, &ask) % 2, 0);
	ask.replicas = 1000000;
	assert_int_equal(choice_reasons(&w.units[0], &ask), CHOICE_LABEL | CHOICE_ROOM);
	assert_int_equal(chosen(&w, &ask), 0);
	w.units[0].summary = NULL;
	assert_int_equal(choice_reasons(&w.units[0], &ask), CHOICE_LOST);
	assert_int_equal(choice_make(NULL, 0, &ask), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_capacity),      cmocka_unit_test(test_least_moves),
		cmocka_unit_test(test_order_is_nothing), cmocka_unit_test(test_stays),
		cmocka_unit_test(test_reasons),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
