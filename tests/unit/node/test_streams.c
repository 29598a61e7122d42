/* SPDX-License-Identifier: Apache-2.0 */
/* Which ports node takes from the scheduler's table. */
#include "node/streams.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct ring_writer *writer;
static struct ring_reader *reader;
static struct streams streams;

static int
set_up(void **state)
{
	struct ring_layout layout = {
		.role = ROLE_SCHEDULER,
		.generation = 1,
		.tables = {{MSG_TABLE_STREAM, 1, sizeof(struct msg_stream), 256}},
		.tables_count = 1,
	};
	struct err err = {0};

	(void)state;
	memset(&streams, 0, sizeof(streams));
	if (ring_writer_new(&layout, &writer, &err) < 0)
		return -1;
	return ring_reader_new(fcntl(ring_writer_fd(writer), F_DUPFD_CLOEXEC, 0), &reader, &err);
}

static int
tear_down(void **state)
{
	(void)state;
	ring_reader_free(reader);
	ring_writer_free(writer);
	return 0;
}

static void
put(uint64_t id, uint32_t protocol, uint16_t port, uint32_t flags)
{
	struct msg_stream row = {.id = id, .protocol = protocol, .port = port, .flags = flags};

	assert_int_equal(ring_table_set(writer, MSG_TABLE_STREAM, id, &row, NULL), RING_OK);
}

static void
test_ports(void **state)
{
	(void)state;
	/* Nothing was said: what is open stays. */
	assert_false(streams_sync(&streams, reader));
	assert_false(streams.known);
	put(1, MSG_STREAM_UDP, 53, MSG_STREAM_PUBLIC);
	assert_true(streams_sync(&streams, reader));
	assert_true(streams.known);
	assert_false(streams_sync(&streams, reader));
	put(2, MSG_STREAM_TCP, 53, MSG_STREAM_PUBLIC | MSG_STREAM_TLS);
	put(3, MSG_STREAM_TCP, 25, MSG_STREAM_PUBLIC);
	put(4, MSG_STREAM_TCP, 26, 0);
	put(5, MSG_STREAM_TCP, 0, MSG_STREAM_PUBLIC);
	put(6, 99, 27, MSG_STREAM_PUBLIC);
	put(7, MSG_STREAM_TCP, 25, MSG_STREAM_PUBLIC);
	assert_true(streams_sync(&streams, reader));
	assert_int_equal(streams.count, 3);
	assert_int_equal(streams.ports[0].port, 25);
	assert_int_equal(streams.ports[1].port, 53);
	assert_false(streams.ports[1].udp);
	assert_true(streams.ports[2].udp);
	/* Another row, the same ports. */
	ring_table_remove(writer, MSG_TABLE_STREAM, 7);
	assert_false(streams_sync(&streams, reader));
	ring_table_remove(writer, MSG_TABLE_STREAM, 3);
	assert_true(streams_sync(&streams, reader));
	assert_int_equal(streams.count, 2);
}

static void
test_there_is_an_end(void **state)
{
	(void)state;
	for (uint16_t i = 1; i <= 200; i++)
		put(i, MSG_STREAM_TCP, i, MSG_STREAM_PUBLIC);
	assert_true(streams_sync(&streams, reader));
	assert_int_equal(streams.count, MSG_STREAM_PORTS_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ports, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_there_is_an_end, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
