/* SPDX-License-Identifier: Apache-2.0 */
/* Who keeps a prefix that two have, who takes another one, and what is said of it on the wire. */
#include "scheduler/ipam.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "spec/config.h"

/* One of 10.200.0.0/13. */
static struct ipam_prefixes
prefixes(unsigned third)
{
	struct ipam_prefixes p = {0};
	char text[ADDR_TEXT_BYTES];

	text_format(text, sizeof(text), "10.%u.%u.0/24", 200 + third / 256, third % 256);
	assert_true(addr_parse_prefix(text, &p.v4));
	text_format(text, sizeof(text), "fd00:0:0:%x::/64", third);
	assert_true(addr_parse_prefix(text, &p.v6));
	return p;
}

static struct addr
address(uint32_t node)
{
	char text[ADDR_TEXT_BYTES];
	struct addr a;

	text_format(text, sizeof(text), "192.0.2.%u", node);
	assert_true(addr_parse_ip(text, &a));
	return a;
}

static void
says(struct ipam *m, uint32_t node, unsigned third)
{
	struct ipam_prefixes p = prefixes(third);
	struct addr a = address(node);

	assert_int_equal(ipam_address(m, node, &a), 0);
	assert_int_equal(ipam_says(m, node, &p, NULL), 0);
}

static struct addr_prefix
network(const char *text)
{
	struct addr_prefix p;

	assert_true(addr_parse_prefix(text, &p));
	return p;
}

static void
own(struct ipam *m, unsigned third, bool fixed, bool containers)
{
	struct ipam_prefixes p = prefixes(third);
	struct addr_prefix usual = network(CONFIG_NETWORK);

	ipam_own(m, &p, &usual, fixed, containers);
}

static uint32_t rival;
static struct addr_prefix wish;

static enum ipam_verdict
judge(struct ipam *m)
{
	return ipam_judge(m, &rival, &wish);
}

static void
test_alone(void **state)
{
	struct ipam m;

	(void)state;
	ipam_init(&m, 2);
	assert_int_equal(judge(&m), IPAM_UNKNOWN);
	own(&m, 7, false, false);
	says(&m, 1, 6);
	assert_int_equal(judge(&m), IPAM_GOOD);
	assert_int_equal(rival, 0);
	ipam_fini(&m);
}

static void
test_two_have_it(void **state)
{
	struct ipam low, high;

	(void)state;
	ipam_init(&low, 1);
	ipam_init(&high, 2);
	own(&low, 7, false, true);
	own(&high, 7, false, false);
	says(&low, 2, 7);
	says(&high, 1, 7);
	assert_int_equal(judge(&low), IPAM_GOOD);
	assert_int_equal(rival, 2);
	assert_null(ipam_peer(&low, 2)); /* its packets must not go there */
	assert_int_equal(judge(&high), IPAM_CHANGE);
	assert_int_equal(rival, 1);
	assert_false(addr_prefix_overlap(&wish, &high.own.v4));
	assert_int_equal(wish.bits, 120);
	assert_non_null(ipam_peer(&high, 1));
	/* With containers, or by node.yaml, it cannot. */
	own(&high, 7, false, true);
	assert_int_equal(judge(&high), IPAM_TROUBLE);
	own(&high, 7, true, false);
	assert_int_equal(judge(&high), IPAM_TROUBLE);
	/* Who is gone for good gives it back. */
	ipam_forget(&high, 1);
	assert_int_equal(judge(&high), IPAM_GOOD);
	ipam_fini(&low);
	ipam_fini(&high);
}

/* Nor does one get another's packets by its IPv6 prefix. */
static void
test_two_have_the_same_v6(void **state)
{
	struct ipam_prefixes own6 = prefixes(7), theirs = prefixes(8);
	struct addr a = address(3);
	struct ipam m;

	(void)state;
	theirs.v6 = own6.v6;
	ipam_init(&m, 2);
	struct addr_prefix usual = network(CONFIG_NETWORK);
	ipam_own(&m, &own6, &usual, false, false);
	says(&m, 1, 6);
	assert_false(ipam_knows(&m, 3));
	assert_int_equal(ipam_address(&m, 3, &a), 0);
	assert_int_equal(ipam_says(&m, 3, &theirs, NULL), 0);
	assert_true(ipam_knows(&m, 3));
	assert_null(ipam_peer(&m, 3)); /* it is this node's */
	assert_int_equal(judge(&m), IPAM_GOOD);
	assert_int_equal(rival, 3);
	assert_false(ipam_rival4(&m, 3));
	theirs.v6 = prefixes(6).v6;
	assert_int_equal(ipam_says(&m, 3, &theirs, NULL), 0);
	assert_null(ipam_peer(&m, 3)); /* it is the first one's */
	assert_non_null(ipam_peer(&m, 1));
	theirs.v6 = own6.v6;
	assert_int_equal(ipam_says(&m, 1, &theirs, NULL), 0);
	assert_int_equal(judge(&m), IPAM_TROUBLE); /* the lower one's, not this node's */
	assert_int_equal(rival, 1);
	ipam_fini(&m);
}

static void
test_many_come(void **state)
{
	enum { NODES = 254 };
	static struct ipam m[NODES];
	unsigned thirds[NODES], changes = 1, rounds = 0;

	(void)state;
	for (unsigned i = 0; i < NODES; i++) {
		ipam_init(&m[i], i + 1);
		thirds[i] = 9; /* all chose the same */
	}
	while (changes && rounds++ < 400) {
		changes = 0;
		for (unsigned i = 0; i < NODES; i++) {
			own(&m[i], thirds[i], false, false);
			for (unsigned k = 0; k < NODES; k++) {
				if (k != i)
					says(&m[i], k + 1, thirds[k]);
			}
		}
		for (unsigned i = 0; i < NODES; i++) {
			if (judge(&m[i]) != IPAM_CHANGE)
				continue;
			thirds[i] = wish.base.ip[14];
			changes++;
		}
	}
	assert_true(rounds < 400);
	for (unsigned i = 0; i < NODES; i++) {
		assert_int_equal(judge(&m[i]), IPAM_GOOD);
		assert_int_equal(rival, 0);
		ipam_fini(&m[i]);
	}
}

static void
test_full(void **state)
{
	struct ipam m;

	(void)state;
	ipam_init(&m, 1000);
	own(&m, 1, false, false);
	for (uint32_t i = 1; i <= 254; i++)
		says(&m, i, i);
	assert_int_equal(judge(&m), IPAM_FULL);
	own(&m, 1, false, true); /* to give its containers up would not help it */
	assert_int_equal(judge(&m), IPAM_FULL);
	own(&m, 1, true, false);
	assert_int_equal(judge(&m), IPAM_TROUBLE);
	/* There are more. */
	struct ipam_prefixes first = prefixes(1);
	struct addr_prefix wide = network("10.128.0.0/9");
	ipam_own(&m, &first, &wide, false, false);
	assert_int_equal(judge(&m), IPAM_CHANGE);
	assert_true(addr_in_prefix(&wish.base, &wide));
	assert_int_equal(wish.bits, 120);
	ipam_own(&m, &first, &wide, false, true);
	assert_int_equal(judge(&m), IPAM_TROUBLE);
	own(&m, 1, false, false);
	assert_int_equal(ipam_says(&m, 77, NULL, NULL), 0);
	assert_int_equal(judge(&m), IPAM_CHANGE);
	assert_int_equal(wish.base.ip[14], 77);
	ipam_fini(&m);
}

/* ---- a cluster of more nodes than there are prefixes ---- */

enum { CROWD = 300, CROWD_ROUNDS = 400, CROWD_PLACES = 254 };

static struct crowd {
	struct ipam m;
	struct ipam_prefixes has;
	bool untold[CROWD]; /* by whom */
} crowd[CROWD];
static struct addr_prefix crowd_network;
static uint64_t crowd_seed;

static uint32_t
draw(uint32_t below)
{
	crowd_seed = crowd_seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
	return (uint32_t)(crowd_seed >> 33) % below;
}

static void
take(struct crowd *c, const struct addr_prefix *v4)
{
	c->has.v4 = *v4;
	ipam_own(&c->m, &c->has, &crowd_network, false, false);
	for (unsigned i = 0; i < CROWD; i++)
		crowd[i].untold[c - crowd] = &crowd[i] != c;
}

static void
begin_crowd(uint64_t seed, const char *text)
{
	struct addr_prefix v4;

	crowd_seed = seed;
	crowd_network = network(text);
	for (unsigned i = 0; i < CROWD; i++) {
		crowd[i] = (struct crowd){.has = prefixes(i)};
		ipam_init(&crowd[i].m, i + 1);
	}
	for (unsigned i = 0; i < CROWD; i++) {
		uint32_t places = config_network_places(&crowd_network);

		config_network_place(&crowd_network, draw(places), &v4);
		take(&crowd[i], &v4);
	}
}

/* Each hears some of what it has not heard yet; all of it with one_in 1. */
static void
hear(uint32_t one_in)
{
	for (unsigned i = 0; i < CROWD; i++) {
		for (unsigned k = 0; k < CROWD; k++) {
			struct addr a = address(k % 250 + 1);

			if (!crowd[i].untold[k] || draw(one_in) != 0)
				continue;
			crowd[i].untold[k] = false;
			assert_int_equal(ipam_address(&crowd[i].m, k + 1, &a), 0);
			assert_int_equal(ipam_says(&crowd[i].m, k + 1, &crowd[k].has, NULL), 0);
		}
	}
}

/* False: nobody takes another one. */
static bool
settle(void)
{
	bool any = false;

	for (unsigned i = 0; i < CROWD; i++) {
		if (judge(&crowd[i].m) != IPAM_CHANGE)
			continue;
		struct addr_prefix next = wish;
		take(&crowd[i], &next);
		any = true;
	}
	return any;
}

static void
run_crowd(void)
{
	unsigned rounds = 0;
	bool any = true;

	while (any && rounds++ < CROWD_ROUNDS) {
		hear(2 + draw(6));
		any = settle();
		if (!any) {
			hear(1);
			any = settle();
		}
	}
	assert_true(rounds < CROWD_ROUNDS);
}

static size_t
count_crowd(enum ipam_verdict verdict)
{
	size_t count = 0;

	for (unsigned i = 0; i < CROWD; i++)
		count += judge(&crowd[i].m) == verdict;
	return count;
}

/* Whoever looks: nodes of which each has its own; and where it looks from does not matter. */
static void
check_crowd(size_t placed)
{
	for (unsigned i = 0; i < CROWD; i++) {
		bool own_good = judge(&crowd[i].m) == IPAM_GOOD;
		size_t count = own_good;

		for (unsigned k = 0; k < CROWD; k++)
			count += k != i && ipam_peer(&crowd[i].m, k + 1) != NULL;
		assert_int_equal(count, placed);
	}
}

static void
test_crowd(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct addr_prefix kept[CROWD] = {0};

		begin_crowd(seed, CONFIG_NETWORK);
		run_crowd();
		assert_int_equal(count_crowd(IPAM_GOOD), CROWD_PLACES);
		assert_int_equal(count_crowd(IPAM_FULL), CROWD - CROWD_PLACES);
		check_crowd(CROWD_PLACES);
		/* Each node.yaml names a wider one, one after the other: who has one keeps it. */
		crowd_network = network("10.128.0.0/9");
		for (unsigned i = 0; i < CROWD; i++) {
			if (judge(&crowd[i].m) == IPAM_GOOD)
				kept[i] = crowd[i].has.v4;
			ipam_own(&crowd[i].m, &crowd[i].has, &crowd_network, false, false);
			if (draw(3) == 0)
				(void)settle();
		}
		run_crowd();
		assert_int_equal(count_crowd(IPAM_GOOD), CROWD);
		check_crowd(CROWD);
		for (unsigned i = 0; i < CROWD; i++) {
			assert_true(!kept[i].bits ||
				    addr_equal_ip(&kept[i].base, &crowd[i].has.v4.base));
			ipam_fini(&crowd[i].m);
		}
	}
	assert_int_equal(mem_used_all(), 0);
}

static void
test_value(void **state)
{
	struct ipam_prefixes p = prefixes(7), q;
	struct ipam_ways none = {0}, w;
	uint8_t value[IPAM_VALUE_BYTES + 1] = {0};

	(void)state;
	ipam_put(&p, &none, value);
	assert_true(ipam_take(value, IPAM_VALUE_BYTES, &q, &w));
	assert_memory_equal(&p, &q, sizeof(p));
	assert_true(ipam_take(value, sizeof(value), &q, &w)); /* a later version's */
	assert_false(ipam_take(value, IPAM_VALUE_BYTES - 1, &q, &w));
	value[1] = 8; /* 8.200.7.0/24 is somebody's */
	assert_false(ipam_take(value, IPAM_VALUE_BYTES, &q, &w));
	value[1] = 10;
	value[4] = 1; /* a bit of a host */
	assert_false(ipam_take(value, IPAM_VALUE_BYTES, &q, &w));
	value[4] = 0;
	value[5] = 8;
	assert_false(ipam_take(value, IPAM_VALUE_BYTES, &q, &w));
	value[5] = 24;
	value[6] = 0x20; /* 2000::/3 */
	assert_false(ipam_take(value, IPAM_VALUE_BYTES, &q, &w));
}

/* What the first version wrote is understood, and what the second writes by the first: it took the
 * same bytes and asked for no more than these. */
static void
test_value_of_versions(void **state)
{
	struct ipam_prefixes p = prefixes(7), q;
	struct ipam_ways is = {.said = true,
			       .plain = true,
			       .port = 9882,
			       .key = {1, 2, 3},
			       .next_key = {4, 5}},
			 w;
	uint8_t value[IPAM_VALUE_BYTES];

	(void)state;
	ipam_put(&p, &is, value);
	assert_true(ipam_take(value, sizeof(value), &q, &w));
	assert_memory_equal(&p, &q, sizeof(p));
	assert_memory_equal(&is, &w, sizeof(w));
	is.plain = false;
	is.trusted = is.clients = is.kernel = true;
	ipam_put(&p, &is, value);
	assert_true(ipam_take(value, sizeof(value), &q, &w));
	assert_memory_equal(&is, &w, sizeof(w));
	value[0] = 1;
	assert_true(ipam_take(value, IPAM_VALUE_V1_BYTES, &q, &w));
	assert_memory_equal(&p, &q, sizeof(p));
	assert_false(w.said);
	assert_false(ipam_take(value, IPAM_VALUE_V1_BYTES - 1, &q, &w));
	value[0] = 0;
	assert_false(ipam_take(value, sizeof(value), &q, &w));
}

static void
test_ways(void **state)
{
	const struct ipam_ways old = {0};
	const struct ipam_ways sealed = {.said = true, .plain = true, .port = 1, .key = {1}};
	const struct ipam_ways hidden = {.said = true, .plain = true, .key = {2}};
	const struct ipam_ways trusted = {
		.said = true, .plain = true, .trusted = true, .port = 1, .key = {3}};
	const struct ipam_ways no_vxlan = {.said = true, .trusted = true, .port = 1, .key = {4}};
	const struct ipam_ways no_key = {.said = true, .plain = true, .trusted = true, .port = 1};
	const struct ipam_ways clients = {
		.said = true, .plain = true, .clients = true, .port = 1, .key = {5}};
	const uint32_t plain = MSG_WAY_PLAIN | MSG_WAY_TRUSTED;

	(void)state;
	const uint32_t both = MSG_WAY_PLAIN | MSG_WAY_SEALED;

	/* An overlay may say of itself that it need not be sealed. */
	assert_int_equal(ipam_between(&sealed, &sealed), both);
	assert_int_equal(ipam_between(&trusted, &trusted), plain | MSG_WAY_SEALED);
	/* One that does not trust the network is enough, at either end. */
	assert_int_equal(ipam_between(&sealed, &trusted), both);
	assert_int_equal(ipam_between(&trusted, &sealed), both);
	assert_int_equal(ipam_between(&no_key, &sealed), 0);
	assert_int_equal(ipam_between(&sealed, &no_key), 0);
	assert_int_equal(ipam_between(&no_key, &trusted), plain);
	assert_int_equal(ipam_between(&trusted, &no_vxlan), MSG_WAY_SEALED);
	/* Somebody must be the first. */
	assert_int_equal(ipam_between(&sealed, &hidden), both);
	assert_int_equal(ipam_between(&hidden, &hidden), 0);
	/* It takes clients' packets: who says so, by any way that there is. */
	assert_int_equal(ipam_between(&sealed, &clients), both | MSG_WAY_CLIENTS);
	assert_int_equal(ipam_between(&clients, &sealed), both);
	assert_int_equal(ipam_between(&no_key, &clients), 0);
	/* Of an older version: as that one does it. */
	assert_int_equal(ipam_between(&trusted, &old), plain);
	assert_int_equal(ipam_between(&sealed, &old), 0);
}

static void
test_no_memory(void **state)
{
	struct addr a = address(5);
	struct ipam m;

	(void)state;
	ipam_init(&m, 1);
	mem_fail_after(0);
	int rc = ipam_address(&m, 5, &a);
	mem_fail_after(-1);
	assert_int_equal(rc, -1);
	assert_int_equal(map_count(&m.nodes), 0);
	assert_int_equal(ipam_address(&m, 1, &a), -1); /* not of itself */
	ipam_fini(&m);
}

/* Whatever fails, a node has the prefixes that it had, or none; and then it can say them. */
static void
test_no_memory_for_prefixes(void **state)
{
	struct ipam_prefixes one = prefixes(1), two = prefixes(2);
	struct addr a = address(5);
	bool done = false;

	(void)state;
	for (int64_t n = 0; !done; n++) {
		struct ipam m;

		assert_true(n < 64);
		ipam_init(&m, 1);
		says(&m, 4, 1);
		assert_int_equal(ipam_address(&m, 5, &a), 0);
		assert_int_equal(ipam_says(&m, 5, &one, NULL), 0);
		mem_fail_after(n);
		done = ipam_says(&m, 5, &two, NULL) == 0;
		mem_fail_after(-1);
		assert_int_equal(ipam_peer(&m, 5) != NULL, done);
		assert_non_null(ipam_peer(&m, 4));
		assert_int_equal(ipam_says(&m, 5, &two, NULL), 0);
		assert_non_null(ipam_peer(&m, 5));
		ipam_fini(&m);
	}
	assert_int_equal(mem_used_all(), 0);
}

/* ---- many nodes ---- */

enum { NODES = 40, PREFIXES = 12, STEPS = 20000, SELF = 17 };

/* The third byte of each node's, 0 for none; IPv6 is another's for some. */
static unsigned v4_of[NODES + 1], v6_of[NODES + 1];

static struct ipam_prefixes
mixed(uint32_t node)
{
	return (struct ipam_prefixes){.v4 = prefixes(v4_of[node]).v4,
				      .v6 = prefixes(v6_of[node]).v6};
}

static bool
naive_has(uint32_t node)
{
	if (!v4_of[node])
		return false;
	for (uint32_t i = 1; i < node; i++)
		if (v4_of[i] && (v4_of[i] == v4_of[node] || v6_of[i] == v6_of[node]))
			return false;
	return true;
}

static uint32_t
naive_rival(void)
{
	for (uint32_t i = 1; i <= NODES; i++)
		if (i != SELF && v4_of[i] == v4_of[SELF])
			return i;
	return 0;
}

/* Nodes say prefixes, others, those of others, and go: as if all were compared with all. */
static void
test_chains(void **state)
{
	uint64_t seed = 1;
	struct ipam m;

	(void)state;
	ipam_init(&m, SELF);
	v4_of[SELF] = v6_of[SELF] = 1;
	own(&m, 1, true, false);
	for (unsigned step = 0; step < STEPS; step++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
		uint32_t node = (uint32_t)(seed >> 33) % NODES + 1;
		struct addr a = address(node);

		if (node == SELF)
			continue;
		v4_of[node] = v6_of[node] = (unsigned)(seed >> 50) % PREFIXES;
		if (v4_of[node] && (seed >> 45) % 4 == 0)
			v6_of[node] = 1 + v6_of[node] % (PREFIXES - 1);
		if (v4_of[node]) {
			struct ipam_prefixes p = mixed(node);

			assert_int_equal(ipam_address(&m, node, &a), 0);
			assert_int_equal(ipam_says(&m, node, &p, NULL), 0);
		} else {
			ipam_forget(&m, node);
		}
		for (uint32_t i = 1; i <= NODES; i++)
			if (i != SELF)
				assert_int_equal(ipam_peer(&m, i) != NULL, naive_has(i));
		(void)judge(&m);
		if (naive_rival() && naive_rival() < SELF)
			assert_int_equal(rival, naive_rival());
	}
	ipam_fini(&m);
	assert_int_equal(mem_used_all(), 0);
}

/* As many as a cluster may have, each with its own. */
static void
test_largest(void **state)
{
	struct ipam m;

	(void)state;
	ipam_init(&m, 1);
	own(&m, 1, true, false);
	for (uint32_t node = 2; node <= IPAM_NODES_MAX; node++) {
		struct ipam_prefixes p = prefixes(0);
		struct addr a = address(node % 250 + 1);

		p.v4.base.ip[13] = (uint8_t)(node >> 8);
		p.v4.base.ip[14] = (uint8_t)node;
		p.v6.base.ip[5] = (uint8_t)(node >> 8);
		p.v6.base.ip[6] = (uint8_t)node;
		assert_int_equal(ipam_address(&m, node, &a), 0);
		assert_int_equal(ipam_says(&m, node, &p, NULL), 0);
	}
	assert_int_equal(judge(&m), IPAM_GOOD);
	for (uint32_t node = 2; node <= IPAM_NODES_MAX; node++)
		assert_non_null(ipam_peer(&m, node));
	ipam_fini(&m);
	assert_int_equal(mem_used_all(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_two_have_it),
		cmocka_unit_test(test_two_have_the_same_v6),
		cmocka_unit_test(test_many_come),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_value),
		cmocka_unit_test(test_value_of_versions),
		cmocka_unit_test(test_ways),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_no_memory_for_prefixes),
		cmocka_unit_test(test_chains),
		cmocka_unit_test(test_largest),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("ipam", tests, NULL, NULL);
}
