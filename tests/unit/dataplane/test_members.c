/* SPDX-License-Identifier: Apache-2.0 */
/* Peers against the scheduler's table of members. */
#include "dataplane/members.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/text.h"

enum { ROWS = 8192 };

static struct ring_writer *writer;
static struct ring_reader *reader;

static int
prepare(void **state)
{
	struct ring_layout layout = {.role = ROLE_SCHEDULER,
				     .generation = 1,
				     .tables = {{MSG_TABLE_MESH, 1, sizeof(struct msg_mesh), ROWS}},
				     .tables_count = 1};
	struct err err = {0};

	(void)state;
	assert_int_equal(ring_writer_new(&layout, &writer, &err), 0);
	assert_int_equal(ring_reader_new(dup(ring_writer_fd(writer)), &reader, &err), 0);
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	ring_reader_free(reader);
	ring_writer_free(writer);
	assert_int_equal(mem_used_all(), 0);
	return 0;
}

static struct addr_prefix
prefix(uint32_t number)
{
	struct addr_prefix p = {.bits = 120};

	addr_from_v4_be(__builtin_bswap32(0x0a000000u | number << 8), 0, &p.base);
	return p;
}

static void
put(uint32_t node, bool self, bool as_before)
{
	struct msg_mesh row = {.node = node, .self = self, .v4 = prefix(node)};

	if (as_before)
		row.v4 = (struct addr_prefix){0};
	text_format(row.name, sizeof(row.name), "n%u", node);
	assert_int_equal(ring_table_set(writer, MSG_TABLE_MESH, node, &row, NULL), RING_OK);
}

static enum members_answer
is(const struct members *m, uint32_t node, uint32_t number)
{
	struct msg_peer peer = {.id = node, .v4 = prefix(number)};

	text_format(peer.name, sizeof(peer.name), "n%u", node);
	return members_is(m, &peer);
}

static void
look(struct members *m)
{
	ring_table_sync(reader, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	members_init(m, reader);
}

static void
test_who(void **state)
{
	struct members m;

	(void)state;
	members_init(&m, NULL);
	assert_int_equal(is(&m, 1, 1), MEMBERS_AS_BEFORE);
	members_fini(&m);
	look(&m); /* it has said nothing yet */
	assert_int_equal(is(&m, 1, 1), MEMBERS_AS_BEFORE);
	members_fini(&m);
	put(9, true, false);
	put(1, false, false);
	put(2, false, true);
	look(&m);
	assert_int_equal(is(&m, 1, 1), MEMBERS_YES);
	assert_int_equal(is(&m, 7, 1), MEMBERS_YES); /* the prefix says it */
	assert_int_equal(is(&m, 1, 3), MEMBERS_NO);  /* its name does not */
	assert_int_equal(is(&m, 2, 3), MEMBERS_YES); /* but where nothing else is said */
	assert_int_equal(is(&m, 9, 9), MEMBERS_NO);  /* this node is no peer */
	struct msg_peer wide = {.v4 = prefix(1)};
	wide.v4.bits = 112;
	assert_int_equal(members_is(&m, &wide), MEMBERS_NO);
	members_fini(&m);
}

static void
test_many(void **state)
{
	struct members m;

	(void)state;
	ring_table_begin(writer, MSG_TABLE_MESH);
	for (uint32_t i = 1; i <= ROWS; i++)
		put(i, false, false);
	ring_table_commit(writer, MSG_TABLE_MESH);
	put(1, false, false);
	put(1, false, true);
	look(&m);
	for (uint32_t i = 1; i <= ROWS; i++)
		assert_int_equal(is(&m, i, i), MEMBERS_YES);
	assert_int_equal(is(&m, ROWS + 1, ROWS + 1), MEMBERS_NO);
	members_fini(&m);
}

/* Who cannot be told from a member is as before: nothing passes because there was no memory. */
static void
test_without_memory(void **state)
{
	bool done = false;

	(void)state;
	put(1, false, false);
	put(2, false, true);
	ring_table_sync(reader, MSG_TABLE_MESH, sizeof(struct msg_mesh), NULL, NULL);
	for (int64_t n = 0; !done; n++) {
		struct members m;

		assert_true(n < 32);
		mem_fail_after(n);
		members_init(&m, reader);
		mem_fail_after(-1);
		done = m.said;
		assert_int_equal(is(&m, 5, 5), done ? MEMBERS_NO : MEMBERS_AS_BEFORE);
		members_fini(&m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_who, prepare, finish),
		cmocka_unit_test_setup_teardown(test_many, prepare, finish),
		cmocka_unit_test_setup_teardown(test_without_memory, prepare, finish),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("members", tests, NULL, NULL);
}
