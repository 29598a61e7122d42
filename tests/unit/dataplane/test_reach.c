/* SPDX-License-Identifier: Apache-2.0 */
/* What of an address is the cluster's, by the prefix that this node has. */
#include "dataplane/reach.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "spec/config.h"

static struct edge_config config;

static void
own_of(const char *of, const char *v4, const char *v6)
{
	struct msg_prefix prefix = {0};
	struct addr_prefix network;

	assert_true(addr_parse_prefix(of, &network));
	assert_true(addr_parse_prefix(v4, &prefix.v4));
	if (v6)
		assert_true(addr_parse_prefix(v6, &prefix.v6));
	memset(&config, 0, sizeof(config));
	reach_cluster(&prefix, &network, &config);
}

static void
own(const char *v4, const char *v6)
{
	own_of(CONFIG_NETWORK, v4, v6);
}

/* As the programs look at it (dataplane/bpf/edge_back.h). */
static bool
is_cluster4(const char *text)
{
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, text, &a), 1);
	return (a.s_addr & config.cluster4_mask) == config.cluster4;
}

static bool
is_cluster6(const char *text)
{
	struct in6_addr a;

	assert_int_equal(inet_pton(AF_INET6, text, &a), 1);
	return config.cluster6_words > 0 &&
	       memcmp(&a, config.cluster6, config.cluster6_words * 2) == 0;
}

static void
test_prefix_of_its_own_choice(void **state)
{
	(void)state;
	own("10.200.7.0/24", "fd11:2233:4455:6677::/64");
	assert_true(is_cluster4("10.200.7.2"));
	assert_true(is_cluster4("10.200.200.2"));
	assert_false(is_cluster4("10.201.7.2"));
	assert_true(is_cluster6("fd11:2233:4455:6677::2"));
	assert_false(is_cluster6("fd11:2233:4455:6678::2"));
}

/* A wider one, or one of the site, as node.yaml names it. */
static void
test_prefix_of_a_network(void **state)
{
	(void)state;
	own_of("10.128.0.0/9", "10.200.7.0/24", NULL);
	assert_true(is_cluster4("10.128.0.2"));
	assert_true(is_cluster4("10.255.7.2"));
	assert_false(is_cluster4("10.127.7.2"));
	own_of("172.16.0.0/12", "172.20.7.0/24", NULL);
	assert_true(is_cluster4("172.31.7.2"));
	assert_false(is_cluster4("10.200.7.2"));
	/* By hand, and not of it. */
	own_of("10.128.0.0/9", "192.168.5.0/24", NULL);
	assert_true(is_cluster4("192.168.5.2"));
	assert_false(is_cluster4("10.200.7.2"));
}

/* Beside it is the site's network, where clients are. */
static void
test_prefix_of_a_site(void **state)
{
	(void)state;
	own("192.168.5.0/24", "fd5a:1:2:7::/64");
	assert_true(is_cluster4("192.168.5.200"));
	assert_false(is_cluster4("192.168.4.200"));
	assert_false(is_cluster4("10.200.7.2"));
	assert_true(is_cluster6("fd5a:1:2:7:1::2"));
	assert_false(is_cluster6("fd5a:1:2:8::2"));
}

static void
test_no_ipv6(void **state)
{
	(void)state;
	own("10.200.7.0/24", NULL);
	assert_false(is_cluster6("::1"));
	assert_false(is_cluster6("fd5a:1:2:8::2"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix_of_its_own_choice),
		cmocka_unit_test(test_prefix_of_a_site),
		cmocka_unit_test(test_prefix_of_a_network),
		cmocka_unit_test(test_no_ipv6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
