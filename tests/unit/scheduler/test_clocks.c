/* SPDX-License-Identifier: Apache-2.0 */
/* Wall clocks of others: what is asked and answered, what is believed, and the middle of all. */
#include "scheduler/clocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/mem.h"
#include "tests/support/sweep.h"

#define S INT64_C(1000000000)
#define MS INT64_C(1000000)
#define WALL (INT64_C(1800000000) * S)
#define YEAR (365 * 86400 * S)

enum { NODES = 5 };

/* Nodes whose clocks are so far ahead of the true time; a datagram takes trip_ns / 2. */
static struct clocks nodes[NODES + 1];
static int64_t ahead[NODES + 1];
static uint64_t now_ns, trip_ns;
static unsigned asked;

static void
step(uint32_t node, struct step_input *in, struct step_actions *out)
{
	in->now_ns = now_ns;
	in->wall_ns = WALL + (int64_t)now_ns + ahead[node];
	step_actions_clear(out);
	clocks_step(&nodes[node], in, out);
	assert_false(out->more);
}

static void
give(uint32_t to, uint32_t from, const uint8_t *data, size_t bytes, struct step_actions *out)
{
	step(to,
	     &(struct step_input){
		     .kind = STEP_DATAGRAM, .node = from, .data = data, .bytes = bytes},
	     out);
}

/* The asker's list is copied: answers of the others make lists of their own. */
static void
ask_all(uint32_t node)
{
	static struct step_actions own, other;
	uint8_t said[CLOCKS_BYTES];

	for (uint32_t i = 1; i <= NODES; i++)
		if (i != node)
			clocks_ask(&nodes[node], i, now_ns);
	step(node, &(struct step_input){.kind = STEP_LOCAL}, &own);
	uint64_t sent_ns = now_ns;
	size_t count = own.count;
	asked += (unsigned)count;
	for (size_t i = 0; i < count; i++) {
		uint32_t to = own.items[i].node;
		uint8_t question[CLOCKS_BYTES];

		memcpy(question, step_data(&own, &own.items[i]), CLOCKS_BYTES);
		now_ns = sent_ns + trip_ns / 2;
		give(to, node, question, CLOCKS_BYTES, &other);
		assert_int_equal(other.count, 1);
		assert_int_equal(other.items[0].node, node);
		memcpy(said, step_data(&other, &other.items[0]), CLOCKS_BYTES);
		now_ns = sent_ns + trip_ns;
		static struct step_actions none;
		give(node, to, said, CLOCKS_BYTES, &none);
		assert_int_equal(none.count, 0);
		give(node, to, said, CLOCKS_BYTES, &none); /* twice: once is enough */
	}
	clocks_look(&nodes[node]);
}

static void
begin(const int64_t *clocks, size_t count)
{
	memset(ahead, 0, sizeof(ahead));
	memcpy(ahead + 1, clocks, count * sizeof(*clocks));
	now_ns = 50 * (uint64_t)S;
	trip_ns = 4 * (uint64_t)MS;
	asked = 0;
	for (uint32_t i = 1; i <= NODES; i++)
		clocks_init(&nodes[i]);
}

static void
end(void)
{
	for (uint32_t i = 1; i <= NODES; i++)
		clocks_fini(&nodes[i]);
}

static void
test_one_is_wrong(void **state)
{
	static const int64_t clocks[NODES] = {0, 20 * MS, YEAR, -30 * MS, 0};

	(void)state;
	begin(clocks, NODES);
	for (uint32_t i = 1; i <= NODES; i++) {
		ask_all(i);
		for (uint32_t k = 1; k <= NODES; k++) {
			int64_t wrong = clocks_wrong(&nodes[i], k == i ? 0 : k);

			/* Who is wrong knows it as well as all others. */
			assert_true(k == 3 ? wrong > YEAR - S && wrong < YEAR + S : wrong == 0);
		}
	}
	assert_true(clocks_base(&nodes[3]) < -YEAR + S);
	assert_true(clocks_base(&nodes[1]) < S && clocks_base(&nodes[1]) > -S);
	/* A day behind, after it was set: all is measured anew. */
	ahead[3] = -86400 * S;
	ask_all(3); /* notices it */
	ask_all(3);
	assert_true(clocks_base(&nodes[3]) > 86399 * S && clocks_base(&nodes[3]) < 86401 * S);
	end();
}

/* Of a version without clocks: it is asked less and less often, and not waited for. */
static void
test_no_answers(void **state)
{
	static struct step_actions out;
	static const int64_t clocks[NODES];
	uint64_t began;

	(void)state;
	begin(clocks, NODES);
	began = now_ns;
	for (; now_ns < began + 300 * (uint64_t)S; now_ns += (uint64_t)S) {
		bool awaited = clocks_awaits(&nodes[1], 2);

		clocks_ask(&nodes[1], 2, now_ns);
		step(1, &(struct step_input){.kind = STEP_LOCAL}, &out);
		asked += (unsigned)out.count;
		assert_int_equal(awaited, asked < CLOCKS_TRIES || (out.count && asked == 4));
	}
	/* After 4, 8, 16, 32 s, and then each 32. */
	assert_in_range(asked, 11, 13);
	/* When the own clock is set, it is tried anew. */
	assert_false(clocks_was_set(&nodes[1], now_ns, WALL + (int64_t)now_ns));
	assert_true(clocks_was_set(&nodes[1], now_ns, WALL + YEAR + (int64_t)now_ns));
	ahead[1] = YEAR;
	step(1, &(struct step_input){.kind = STEP_LOCAL}, &out);
	assert_true(clocks_awaits(&nodes[1], 2));
	/* It was upgraded. */
	ask_all(1);
	assert_false(clocks_awaits(&nodes[1], 2));
	assert_int_equal(nodes[1].count, NODES);
	end();
}

static void
test_halves(void **state)
{
	static const int64_t clocks[NODES] = {0, 0, 10 * S, 10 * S, 0};

	(void)state;
	begin(clocks, NODES);
	clocks_ask(&nodes[1], 2, now_ns);
	ask_all(1);
	clocks_forget(&nodes[1], 5);
	clocks_look(&nodes[1]);
	assert_true(clocks_base(&nodes[1]) == 0);
	ask_all(3);
	clocks_forget(&nodes[3], 5);
	clocks_look(&nodes[3]);
	assert_true(clocks_base(&nodes[3]) == 0); /* each half goes by its own */
	assert_true(clocks_wrong(&nodes[1], 3) > 9 * S && clocks_wrong(&nodes[3], 1) < -9 * S);
	end();
}

static void
test_two(void **state)
{
	static const int64_t clocks[NODES] = {0, -7 * S};
	static struct step_actions out;
	uint8_t said[CLOCKS_BYTES];

	(void)state;
	begin(clocks, NODES);
	clocks_ask(&nodes[1], 2, now_ns);
	assert_true(nodes[1].put);
	step(1, &(struct step_input){.kind = STEP_LOCAL}, &out);
	assert_int_equal(out.count, 1);
	uint32_t number = nodes[1].number;
	clocks_encode(CLOCKS_SAY, number, WALL + (int64_t)now_ns - 7 * S, said);
	give(1, 3, said, sizeof(said), &out); /* of another node */
	clocks_look(&nodes[1]);
	assert_true(clocks_other(&nodes[1]) == 0);
	give(1, 2, said, sizeof(said), &out);
	clocks_look(&nodes[1]);
	assert_true(clocks_base(&nodes[1]) == 0 && clocks_other(&nodes[1]) == -7 * S);
	assert_true(clocks_wrong(&nodes[1], 2) == -7 * S && clocks_wrong(&nodes[1], 0) == 0);
	end();
}

static void
test_late_answers(void **state)
{
	static const int64_t clocks[NODES] = {0, 5 * S, 5 * S, 5 * S, 5 * S};

	(void)state;
	begin(clocks, NODES);
	trip_ns = (CLOCKS_TRIP_MS + 1) * (uint64_t)MS;
	ask_all(1);
	assert_true(clocks_base(&nodes[1]) == 0 && clocks_wrong(&nodes[1], 2) == 0);
	/* One that took half a second may be wrong by a quarter. */
	ahead[1] = 3 * S - 200 * MS;
	trip_ns = 500 * (uint64_t)MS;
	now_ns += (uint64_t)(CLOCKS_SOON_MS * MS);
	ask_all(1);
	assert_true(clocks_base(&nodes[1]) > 2 * S && clocks_wrong(&nodes[1], 2) == 0);
	end();
}

static void
test_not_too_often(void **state)
{
	static const int64_t clocks[NODES] = {0};

	(void)state;
	begin(clocks, NODES);
	ask_all(1);
	assert_int_equal(asked, NODES - 1);
	now_ns += (uint64_t)((CLOCKS_AGAIN_MS - 100) * MS);
	ask_all(1);
	assert_int_equal(asked, NODES - 1);
	now_ns += (uint64_t)(100 * MS);
	ask_all(1);
	assert_int_equal(asked, 2 * (NODES - 1));
	end();
}

static void
test_words(void **state)
{
	uint8_t bytes[CLOCKS_BYTES + 4] = {0}, kind;
	uint32_t number;
	int64_t wall;

	(void)state;
	clocks_encode(CLOCKS_SAY, 7, WALL, bytes);
	assert_true(clocks_decode(bytes, CLOCKS_BYTES, &kind, &number, &wall));
	assert_true(kind == CLOCKS_SAY && number == 7 && wall == WALL);
	bytes[0] = CLOCKS_VERSION + 1; /* with more behind */
	assert_true(clocks_decode(bytes, sizeof(bytes), &kind, &number, &wall));
	for (size_t n = 0; n < CLOCKS_BYTES; n++)
		assert_false(clocks_decode(bytes, n, &kind, &number, &wall));
	clocks_encode(CLOCKS_SAY, 0, WALL, bytes);
	assert_false(clocks_decode(bytes, CLOCKS_BYTES, &kind, &number, &wall));
	clocks_encode(CLOCKS_SAY, 1, 0, bytes);
	assert_false(clocks_decode(bytes, CLOCKS_BYTES, &kind, &number, &wall));
	clocks_encode(CLOCKS_SAY, 1, INT64_MAX, bytes);
	assert_false(clocks_decode(bytes, CLOCKS_BYTES, &kind, &number, &wall));
	clocks_encode(CLOCKS_ASK, 1, 1, bytes);
	assert_false(clocks_decode(bytes, CLOCKS_BYTES, &kind, &number, &wall));
	clocks_encode(3, 1, 0, bytes);
	assert_false(clocks_decode(bytes, CLOCKS_BYTES, &kind, &number, &wall));
}

static void
test_without_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct clocks cl;

		clocks_init(&cl);
		clocks_ask(&cl, 2, 1);
		clocks_ask(&cl, 3, 1);
		assert_true(cl.asks_count == 2 || sweep_failed());
		clocks_fini(&cl);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_is_wrong), cmocka_unit_test(test_no_answers),
		cmocka_unit_test(test_halves),       cmocka_unit_test(test_two),
		cmocka_unit_test(test_late_answers), cmocka_unit_test(test_not_too_often),
		cmocka_unit_test(test_words),        cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
