/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/cells/summary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const struct record of_seven = {.unit = 7, .round = 3, .gates = {11, 12}};

static struct facts
node(uint32_t cpu_free, uint32_t memory_free)
{
	return (struct facts){
		.cpu_milli = 8000,
		.cpu_free_milli = cpu_free,
		.memory_mib = 16384,
		.memory_free_mib = memory_free,
		.replicas = 2,
		.open = true,
		.labels_count = 1,
		.labels = {0x1234},
		.services_count = 1,
		.services = {0x5678},
	};
}

static void
test_sums(void **state)
{
	struct facts a = node(4000, 1024), closed = node(8000, 16384);
	struct summary s;

	(void)state;
	closed.open = false;
	closed.labels[0] = 0x9999;
	summary_begin(&s, &of_seven);
	summary_add_node(&s, &a);
	summary_add_node(&s, &a);
	summary_add_node(&s, &closed);
	assert_int_equal(s.nodes, 3);
	assert_int_equal(s.cells, 1);
	assert_int_equal(s.replicas, 6);
	assert_int_equal(s.cpu_milli, 24000);
	assert_int_equal(s.cpu_free_milli, 8000); /* who takes nothing has nothing free */
	assert_int_equal(s.cpu_steps[4], 2);      /* 4000 is 250 << 4 */
	assert_int_equal(s.memory_steps[2], 2);
	assert_true(summary_has_label(&s, 0x1234));
	assert_true(summary_has_label(&s, 0x9999));
	assert_false(summary_has_label(&s, 0x1235));
	assert_true(summary_runs(&s, 0x5678));
	assert_false(summary_runs(&s, 0x1234));
}

static void
test_room(void **state)
{
	struct facts a = node(4000, 16384), b = node(249, 255);
	struct summary s;

	(void)state;
	summary_begin(&s, &of_seven);
	summary_add_node(&s, &b); /* below the first step */
	assert_int_equal(summary_room(&s, 1, 1), 0);
	summary_add_node(&s, &a);
	assert_int_equal(summary_room(&s, 1000, 1024), 4);
	assert_int_equal(summary_room(&s, 4000, 1024), 1);
	assert_int_equal(summary_room(&s, 4001, 1024), 0);
	assert_int_equal(summary_room(&s, 250, 8192), 2); /* memory is what is short */
	assert_int_equal(summary_room(&s, 0, 0), 4000);
}

static void
test_sums_end(void **state)
{
	struct facts a = node(4000, 1024);
	struct summary s;

	(void)state;
	summary_begin(&s, &of_seven);
	summary_add_node(&s, &a);
	for (unsigned i = 0; i < 80; i++) {
		const struct summary twice = s;

		summary_add(&s, &twice);
	}
	assert_true(s.nodes == UINT32_MAX && s.cpu_milli == UINT64_MAX);
	uint8_t data[SUMMARY_BYTES];
	assert_int_equal(summary_encode(&s, data), SUMMARY_BYTES);
	struct summary back;
	assert_true(summary_decode(data, sizeof(data), &back));
	assert_memory_equal(&s, &back, sizeof(s));
}

static void
test_bytes(void **state)
{
	struct facts a = node(4000, 1024);
	uint8_t data[SUMMARY_BYTES_MAX + 1] = {0};
	struct summary s, back;

	(void)state;
	summary_begin(&s, &of_seven);
	summary_add_node(&s, &a);
	assert_int_equal(summary_encode(&s, data), SUMMARY_BYTES);
	assert_true(summary_decode(data, SUMMARY_BYTES, &back));
	assert_memory_equal(&s, &back, sizeof(s));
	for (size_t bytes = 0; bytes < SUMMARY_BYTES; bytes++)
		assert_false(summary_decode(data, bytes, &back));
	assert_false(summary_decode(data, SUMMARY_BYTES + 1, &back));
	/* A later version may say more, if this one can read it. */
	data[0] = 2;
	assert_true(summary_decode(data, SUMMARY_BYTES_MAX, &back));
	assert_false(summary_decode(data, SUMMARY_BYTES_MAX + 1, &back));
	data[1] = 2;
	assert_false(summary_decode(data, SUMMARY_BYTES_MAX, &back));
}

/* What cannot be is not believed. */
static void
test_lies(void **state)
{
	struct facts a = node(4000, 1024);
	uint8_t data[SUMMARY_BYTES];
	struct summary good, s, back;

	(void)state;
	summary_begin(&good, &of_seven);
	summary_add_node(&good, &a);
	s = good;
	s.cpu_free_milli = s.cpu_milli + 1;
	summary_encode(&s, data);
	assert_false(summary_decode(data, sizeof(data), &back));
	s = good;
	s.memory_free_mib = UINT64_MAX;
	summary_encode(&s, data);
	assert_false(summary_decode(data, sizeof(data), &back));
	s = good;
	s.cpu_steps[0] = 1; /* two nodes in the steps, of one */
	summary_encode(&s, data);
	assert_false(summary_decode(data, sizeof(data), &back));
	s = good;
	s.cells = 0;
	summary_encode(&s, data);
	assert_false(summary_decode(data, sizeof(data), &back));
	s = good;
	s.record.gates[1] = s.record.gates[0];
	summary_encode(&s, data);
	assert_false(summary_decode(data, sizeof(data), &back));
}

static void
test_records(void **state)
{
	struct record a = of_seven, b = of_seven, back;
	uint8_t data[SUMMARY_RECORD_BYTES];

	(void)state;
	summary_record_encode(&a, data);
	assert_true(summary_record_decode(data, sizeof(data), &back));
	assert_memory_equal(&a, &back, sizeof(a));
	assert_false(summary_record_decode(data, sizeof(data) - 1, &back));
	assert_false(summary_record_newer(&a, &b));
	b.gates[1] = 13;
	assert_true(summary_record_newer(&a, &b) != summary_record_newer(&b, &a));
	a.round++;
	assert_true(summary_record_newer(&a, &b));
	/* Gates without a first one, twice the same, no round, no unit. */
	b = (struct record){.unit = 7, .round = 3, .gates = {0, 12}};
	summary_record_encode(&b, data);
	assert_false(summary_record_decode(data, sizeof(data), &back));
	b = (struct record){.unit = 7, .round = 3, .gates = {12, 0, 12}};
	summary_record_encode(&b, data);
	assert_false(summary_record_decode(data, sizeof(data), &back));
	b = (struct record){.unit = 7, .gates = {12}};
	summary_record_encode(&b, data);
	assert_false(summary_record_decode(data, sizeof(data), &back));
	b = (struct record){.round = 7, .gates = {12}};
	summary_record_encode(&b, data);
	assert_false(summary_record_decode(data, sizeof(data), &back));
}

static void
test_facts(void **state)
{
	struct facts a = node(4000, 1024), back;
	uint8_t data[FACTS_BYTES_MAX];
	size_t bytes;

	(void)state;
	a.services_count = FACTS_SERVICES_MAX;
	a.labels_count = FACTS_LABELS_MAX;
	assert_int_equal(summary_facts_encode(&a, data), FACTS_BYTES_MAX);
	assert_true(summary_facts_decode(data, FACTS_BYTES_MAX, &back));
	assert_memory_equal(&a, &back, sizeof(a));
	a = node(4000, 1024);
	bytes = summary_facts_encode(&a, data);
	assert_true(summary_facts_decode(data, bytes, &back));
	for (size_t i = 0; i < bytes; i++)
		assert_false(summary_facts_decode(data, i, &back));
	data[20] = 2; /* open */
	assert_false(summary_facts_decode(data, bytes, &back));
	a.cpu_free_milli = 8001;
	summary_facts_encode(&a, data);
	assert_false(summary_facts_decode(data, bytes, &back));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums),     cmocka_unit_test(test_room),
		cmocka_unit_test(test_sums_end), cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_lies),     cmocka_unit_test(test_records),
		cmocka_unit_test(test_facts),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
