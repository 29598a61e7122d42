/* SPDX-License-Identifier: Apache-2.0 */
/* What peers have received and sent, as the kernel's device tells it, into series of a page. */
#include "overlay/sealed_count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/metrics.h"
#include "tests/support/wg_setup.h"

enum { NODES = 3, SERIES = 64 };

static struct peers peers;
static struct setup is;
static struct sealed_count count;
static void *memory;
static struct metric_page *page;

static int
set_up(void **state)
{
	size_t bytes = metric_page_bytes(SERIES);

	(void)state;
	memory = mem_zalloc(MEM_BASE, bytes + 64);
	assert_non_null(memory);
	page = metric_page_init((void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63), bytes);
	setup_init(&is);
	peers.count = NODES;
	peers.mesh_count = NODES;
	for (uint32_t i = 0; i < NODES; i++) {
		struct msg_mesh *row = &peers.mesh[i];

		*row = (struct msg_mesh){.node = i + 1};
		text_format(row->name, sizeof(row->name), "n%u", i + 1);
		wg_setup_key(row->key, i + 1, 1);
		wg_setup_peer(&is, row->key)->rx_bytes = 1000;
	}
	sealed_count_init(&count, page);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	sealed_count_fini(&count);
	setup_fini(&is);
	mem_free(memory);
	assert_int_equal(mem_used_all(), 0);
	return 0;
}

/* What the page says was received from that node; -1: it says nothing. */
static int64_t
received(uint32_t node)
{
	struct metric_series s;
	char peer[32];

	text_format(peer, sizeof(peer), "peer=\"n%u\"", node);
	for (uint32_t i = 0; i < SERIES; i++)
		if (metric_read(page, i, &s) && s.metric == METRICS_OVERLAY_BYTES &&
		    strstr(s.labels, peer) && strstr(s.labels, "receive"))
			return (int64_t)s.values[0];
	return -1;
}

static void
comes(uint32_t node, uint64_t bytes)
{
	is.peers[node - 1].rx_bytes += bytes;
	sealed_count_take(&count, &is, NULL, &peers);
}

/* What was there at first was counted by whoever was there before. */
static void
test_what_is_new(void **state)
{
	(void)state;
	comes(1, 0);
	for (uint32_t node = 1; node <= NODES; node++)
		assert_int_equal(received(node), 0);
	comes(1, 70);
	comes(2, 5);
	comes(1, 30);
	assert_int_equal(received(1), 100);
	assert_int_equal(received(2), 5);
	sealed_count_reset(&count);
	comes(1, 4000);
	assert_int_equal(received(1), 100);
	comes(1, 1);
	assert_int_equal(received(1), 101);
	is.peers[0].rx_bytes = 0; /* it is another peer of the same key */
	comes(1, 9);
	assert_int_equal(received(1), 101);
	comes(1, 9);
	assert_int_equal(received(1), 110);
}

/* Of so many only those that say something have figures. */
static void
test_many(void **state)
{
	(void)state;
	peers.count = MSG_PEERS_MEASURED + 1;
	comes(2, 0);
	comes(2, 8);
	assert_int_equal(received(2), 8);
	assert_int_equal(received(1), -1);
	peers.count = MSG_PEERS_MEASURED;
	comes(2, 0);
	assert_int_equal(received(1), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_is_new, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
