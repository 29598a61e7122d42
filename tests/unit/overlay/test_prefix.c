/* SPDX-License-Identifier: Apache-2.0 */
/* A node's prefixes are where they belong, survive their file, and a damaged file is refused. */
#include "overlay/prefix.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "spec/config.h"

static void
choose_of(const char *network, uint64_t seed, struct prefix *out)
{
	struct world_seeded w;
	struct addr_prefix cluster;

	assert_true(addr_parse_prefix(network, &cluster));
	world_seeded_init(&w, seed, 1, 1);
	prefix_choose(&w.world, &cluster, out);
}

static void
choose(uint64_t seed, struct prefix *out)
{
	choose_of("10.200.0.0/16", seed, out);
}

static void
test_inside_the_cluster(void **state)
{
	struct addr_prefix cluster, ula;
	struct prefix p;

	(void)state;
	assert_true(addr_parse_prefix("10.200.0.0/16", &cluster));
	assert_true(addr_parse_prefix("fd00::/8", &ula));
	for (uint64_t seed = 0; seed < 2000; seed++) {
		choose(seed, &p);
		assert_true(addr_in_prefix(&p.v4.base, &cluster));
		assert_int_equal(p.v4.bits, 120);
		assert_int_not_equal(p.v4.base.ip[14], 0);
		assert_int_not_equal(p.v4.base.ip[14], 255);
		assert_true(addr_in_prefix(&p.v6.base, &ula));
	}
}

/* Also of one that is wider, or narrower: all but the first and the last. */
static void
test_of_any_network(void **state)
{
	static const struct {
		const char *network, *first, *last;
		unsigned places;
	} cases[] = {
		{"10.128.0.0/9", "10.128.0.0", "10.255.255.0", 32766},
		{"100.64.0.0/10", "100.64.0.0", "100.127.255.0", 16382},
		{"192.168.4.0/22", "192.168.4.0", "192.168.7.0", 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr_prefix network, place;
		struct addr first, last;
		struct prefix p;

		assert_true(addr_parse_prefix(cases[i].network, &network));
		assert_true(addr_parse_ip(cases[i].first, &first));
		assert_true(addr_parse_ip(cases[i].last, &last));
		assert_int_equal(config_network_places(&network), cases[i].places);
		for (uint64_t seed = 0; seed < 2000; seed++) {
			choose_of(cases[i].network, seed, &p);
			assert_true(addr_in_prefix(&p.v4.base, &network));
			assert_int_equal(p.v4.bits, 120);
			assert_int_equal(p.v4.base.ip[15], 0);
			assert_false(addr_equal_ip(&p.v4.base, &first));
			assert_false(addr_equal_ip(&p.v4.base, &last));
		}
		for (uint32_t n = 0; n < cases[i].places; n++) {
			struct addr_prefix before = place;

			config_network_place(&network, n, &place);
			assert_true(n == 0 || memcmp(before.base.ip, place.base.ip, 16) < 0);
			assert_true(addr_in_prefix(&place.base, &network));
		}
	}
}

static void
test_text_round_trip(void **state)
{
	char text[PREFIX_TEXT_BYTES], again[PREFIX_TEXT_BYTES];
	struct prefix p, q;
	struct err err = {0};

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		choose(seed, &p);
		prefix_put(&p, text, sizeof(text));
		assert_int_equal(prefix_parse(text, &q, &err), 0);
		prefix_put(&q, again, sizeof(again));
		assert_string_equal(text, again);
	}
}

static void
test_damaged_text(void **state)
{
	static const char *const bad[] = {
		"",
		"v4 10.200.7.0/24\n",
		"v4 10.200.7.0/24\nv6 fd00::/64",
		"v4 10.200.7.0/25\nv6 fd00::/64\n",
		"v4 fd00::/64\nv6 10.200.7.0/24\n",
		"v4 10.200.7.0/24\nv6 fd00::/64\nmore\n",
		"v4 10.200.7.9/24\nv6 fd00::/64\n",
		"v5 10.200.7.0/24\nv6 fd00::/64\n",
	};
	struct prefix p;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err err = {0};

		assert_int_equal(prefix_parse(bad[i], &p, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
	}
}

static void
test_row(void **state)
{
	struct msg_prefix row;
	struct prefix p;
	char text[ADDR_TEXT_BYTES];
	struct err err = {0};

	(void)state;
	assert_int_equal(prefix_parse("v4 10.200.7.0/24\nv6 fd01:2:3:4::/64\n", &p, &err), 0);
	prefix_row(&p, &row);
	addr_put_ip(&row.service4, text, sizeof(text));
	assert_string_equal(text, "10.200.7.1");
	addr_put_ip(&row.service6, text, sizeof(text));
	assert_string_equal(text, "fd01:2:3:4::1");
	addr_put_ip(&row.gateway4, text, sizeof(text));
	assert_string_equal(text, "169.254.1.1");
	assert_int_equal(row.mtu, 1420);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inside_the_cluster),
		cmocka_unit_test(test_of_any_network),
		cmocka_unit_test(test_text_round_trip),
		cmocka_unit_test(test_damaged_text),
		cmocka_unit_test(test_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
