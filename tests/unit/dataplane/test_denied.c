/* SPDX-License-Identifier: Apache-2.0 */
/* Whose endpoint a client was denied at. */
#include "dataplane/denied.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/support/segment.h"

static struct ring_writer *writer;
static struct ring_reader *reader;

static void
say(uint64_t id, uint64_t service, uint32_t protocol, uint16_t port, uint32_t flags)
{
	const struct msg_stream row = {
		.id = id, .service = service, .protocol = protocol, .port = port, .flags = flags};

	assert_int_equal(ring_table_set(writer, MSG_TABLE_STREAM, id, &row, NULL), RING_OK);
	ring_table_sync(reader, MSG_TABLE_STREAM, sizeof(row), NULL, NULL);
}

static uint64_t
service_of(uint8_t protocol, uint16_t port, uint32_t place)
{
	struct msg_flow flow = {
		.protocol = protocol, .place = place, .destination = {.addr = {.port = port}}};

	denied_name(reader, &flow);
	return flow.destination.service;
}

static void
test_whose(void **state)
{
	const struct ring_layout layout = {
		.role = ROLE_SCHEDULER,
		.generation = 1,
		.tables = {{MSG_TABLE_STREAM, 1, sizeof(struct msg_stream), 8}},
		.tables_count = 1};
	struct msg_flow flow = {.place = MSG_FLOW_EDGE};

	(void)state;
	denied_name(NULL, &flow);
	assert_int_equal(flow.destination.service, 0);
	writer = segment_writer_of(&layout);
	reader = segment_reader(writer);
	assert_int_equal(service_of(IPPROTO_TCP, 5432, MSG_FLOW_EDGE), 0);
	say(1, 10, MSG_STREAM_TCP, 5432, 0);
	say(2, 20, MSG_STREAM_UDP, 5432, MSG_STREAM_PUBLIC);
	/* One that is not public has no port there. */
	assert_int_equal(service_of(IPPROTO_TCP, 5432, MSG_FLOW_EDGE), 0);
	assert_int_equal(service_of(IPPROTO_UDP, 5432, MSG_FLOW_EDGE), 20);
	say(3, 30, MSG_STREAM_TCP, 5432, MSG_STREAM_PUBLIC);
	assert_int_equal(service_of(IPPROTO_TCP, 5432, MSG_FLOW_EDGE), 30);
	assert_int_equal(service_of(IPPROTO_TCP, 5433, MSG_FLOW_EDGE), 0);
	/* What containers send has its service told with it. */
	assert_int_equal(service_of(IPPROTO_TCP, 5432, MSG_FLOW_VETH), 0);
	ring_reader_free(reader);
	ring_writer_free(writer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_whose)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
