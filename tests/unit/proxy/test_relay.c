/* SPDX-License-Identifier: Apache-2.0 */
/* Relayed endpoints: the table, who may come, and which replica a udp client has. */
#include "proxy/relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "tests/support/sweep.h"

static struct msg_stream
row(uint64_t id, uint32_t protocol, uint16_t port)
{
	struct msg_stream out = {
		.id = id,
		.service = 1,
		.protocol = protocol,
		.port = port,
		.flags = MSG_STREAM_PUBLIC,
		.session_timeout_ms = 1000,
	};

	text_copy(out.service_label, sizeof(out.service_label), "shop/db");
	return out;
}

static int
round_of(struct relay *r, const struct msg_stream *rows, size_t count)
{
	int rc = 0;

	relay_begin(r);
	for (size_t i = 0; i < count; i++)
		rc |= relay_change(r, rows[i].id, &rows[i]);
	relay_commit(r);
	return rc;
}

static void
test_table(void **state)
{
	struct msg_stream rows[4] = {row(1, MSG_STREAM_TCP, 5432), row(2, MSG_STREAM_UDP, 5432),
				     row(3, MSG_STREAM_TCP, 80), row(4, MSG_STREAM_TCP, 81)};
	struct relay r;

	(void)state;
	rows[3].flags = 0; /* internal */
	relay_init(&r);
	assert_int_equal(round_of(&r, rows, 4), 0);
	assert_int_equal(relay_find(&r, false, 5432)->row.id, 1);
	assert_int_equal(relay_find(&r, true, 5432)->row.id, 2);
	assert_null(relay_find(&r, true, 80));
	assert_null(relay_find(&r, false, 81));
	/* A connection keeps its endpoint, the table does not. */
	struct relay_endpoint *e = relay_ref(relay_find(&r, false, 80));
	rows[0].port = 6000;
	assert_int_equal(round_of(&r, rows, 2), 0);
	assert_null(relay_find(&r, false, 80));
	assert_null(relay_find(&r, false, 5432));
	assert_int_equal(relay_find(&r, false, 6000)->row.id, 1);
	assert_true(e->gone);
	relay_unref(e);
	relay_fini(&r);
}

static void
test_rows_that_lie(void **state)
{
	struct msg_stream rows[8];
	struct relay r;

	(void)state;
	for (size_t i = 0; i < 8; i++)
		rows[i] = row(i + 1, MSG_STREAM_TCP, (uint16_t)(100 + i));
	rows[0].protocol = 1;
	rows[1].port = 0;
	rows[2].endpoint_index = MSG_ENDPOINTS_MAX;
	rows[3].prefixes_allow = 9;
	rows[4].prefixes_deny = UINT32_MAX;
	memset(rows[5].host, 'x', sizeof(rows[5].host));
	rows[6].session_timeout_ms = 0;
	relay_init(&r);
	assert_int_equal(round_of(&r, rows, 8), 0);
	for (uint16_t port = 100; port < 107; port++)
		assert_null(relay_find(&r, false, port));
	assert_non_null(relay_find(&r, false, 107));
	/* A row that no longer holds ends what was there. */
	rows[7].service = 0;
	assert_int_equal(round_of(&r, rows, 8), 0);
	assert_null(relay_find(&r, false, 107));
	relay_fini(&r);
}

static void
test_admits(void **state)
{
	struct relay_endpoint e = {.row = row(1, MSG_STREAM_TCP, 1)};
	struct addr inside, outside, denied;

	(void)state;
	assert_true(addr_parse("10.1.2.3:1", &inside));
	assert_true(addr_parse("10.6.6.6:1", &denied));
	assert_true(addr_parse("[::1]:1", &outside));
	assert_true(relay_admits(&e, &outside));
	e.row.prefixes_deny = 1;
	assert_true(addr_parse_prefix("10.6.6.0/24", &e.row.deny[0]));
	assert_false(relay_admits(&e, &denied));
	assert_true(relay_admits(&e, &outside));
	e.row.prefixes_allow = 1;
	assert_true(addr_parse_prefix("10.0.0.0/8", &e.row.allow[0]));
	assert_true(relay_admits(&e, &inside));
	assert_false(relay_admits(&e, &denied));
	assert_false(relay_admits(&e, &outside));
}

enum { REPLICAS = 5, CLIENTS = 2000 };

static struct backend backends[REPLICAS];
static struct service service;

static void
make_replicas(void)
{
	memset(backends, 0, sizeof(backends));
	memset(&service, 0, sizeof(service));
	service.count = REPLICAS;
	for (size_t i = 0; i < REPLICAS; i++) {
		backends[i].row.replica = 100 + i;
		backends[i].row.ports_count = 1;
		backends[i].row.ports[0] = 53;
		service.backends[i] = &backends[i];
		service.loads[i] = &backends[i].load;
	}
}

static struct addr
client(uint32_t n)
{
	struct addr out = {0};

	addr_from_v4_be(n * 2654435761u, (uint16_t)(1024 + n % 60000), &out);
	return out;
}

static void
test_pick(void **state)
{
	struct relay_endpoint e = {.row = row(1, MSG_STREAM_UDP, 53)};
	const struct backend *first[CLIENTS];
	unsigned share[REPLICAS] = {0};

	(void)state;
	make_replicas();
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct addr from = client(i);

		first[i] = relay_pick(&e, &service, &from, 1000);
		share[first[i] - backends]++;
	}
	for (size_t i = 0; i < REPLICAS; i++)
		assert_in_range(share[i], CLIENTS / REPLICAS / 2, CLIENTS / REPLICAS * 2);
	/* One drains: its clients move, all others stay. */
	backends[2].load.draining = true;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct addr from = client(i);
		const struct backend *b = relay_pick(&e, &service, &from, 1000);

		assert_ptr_not_equal(b, &backends[2]);
		if (first[i] != &backends[2])
			assert_ptr_equal(b, first[i]);
	}
	/* What failed lately is used when there is nothing else; what has no such port never is. */
	for (size_t i = 0; i < REPLICAS; i++)
		backends[i].load.avoid_until_ms = 2000;
	struct addr from = client(7);
	assert_non_null(relay_pick(&e, &service, &from, 1000));
	backends[3].load.avoid_until_ms = 0;
	assert_ptr_equal(relay_pick(&e, &service, &from, 1000), &backends[3]);
	backends[3].row.ports[0] = 0;
	assert_ptr_not_equal(relay_pick(&e, &service, &from, 1000), &backends[3]);
	for (size_t i = 0; i < REPLICAS; i++)
		backends[i].row.ports_count = 0;
	assert_null(relay_pick(&e, &service, &from, 1000));
	assert_null(relay_pick(&e, NULL, &from, 1000));
}

static void
test_memory_runs_out(void **state)
{
	const struct msg_stream rows[3] = {row(1, MSG_STREAM_TCP, 1), row(2, MSG_STREAM_UDP, 2),
					   row(3, MSG_STREAM_TCP, 3)};

	(void)state;
	sweep_each(s)
	{
		struct relay r;

		relay_init(&r);
		if (round_of(&r, rows, 3) == 0 && !sweep_failed())
			assert_non_null(relay_find(&r, false, 3));
		relay_fini(&r);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),           cmocka_unit_test(test_rows_that_lie),
		cmocka_unit_test(test_admits),          cmocka_unit_test(test_pick),
		cmocka_unit_test(test_memory_runs_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
