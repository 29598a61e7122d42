/* SPDX-License-Identifier: Apache-2.0 */
/* What passes the door to the kernel's WireGuard, and what does not. tests/e2e/test_backends.py
 * goes through it. */
#include "node/wgdoor.h"

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/wireguard.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "overlay/wg/kernel_wire.h"
#include "tests/support/wg_setup.h"

_Static_assert((int)WGDOOR_MESSAGE_MAX == (int)KERNEL_WIRE_MESSAGE_MAX, "all of it passes");

enum { FAMILY = 32, SEQUENCE = 7, PORT = 9882 };

static const struct wgdoor_order order = {.family = FAMILY, .device = "sealed", .port = PORT};
static char place[KERNEL_WIRE_MESSAGE_MAX] __attribute__((aligned(8)));

static int
setup(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(kernel_wire_open(&err), 0);
	return 0;
}

static size_t
say_device(const char *name)
{
	return kernel_wire_put_get(place, SEQUENCE, FAMILY, name);
}

static size_t
say(const struct setup *change)
{
	struct kernel_wire_at at = {0};

	return kernel_wire_put_set(place, SEQUENCE, FAMILY, "sealed", change, &at);
}

static bool
passes(size_t bytes)
{
	return wgdoor_lets_pass(&order, place, bytes);
}

static void
test_whose(void **state)
{
	(void)state;
	assert_true(passes(say_device("sealed")));
	assert_false(passes(say_device("sealed0")));
	assert_false(passes(say_device("seale")));
	assert_false(passes(say_device("")));
	assert_false(passes(kernel_wire_put_get(place, SEQUENCE, FAMILY + 1, "sealed")));
	/* Other families, links, and what asks for numbers of families. */
	assert_false(passes(kernel_wire_put_family(place, SEQUENCE)));
	assert_false(passes(kernel_wire_put_remove(place, SEQUENCE, "sealed")));
}

static void
test_changes(void **state)
{
	const uint8_t key[SETUP_KEY] = {1};
	struct setup c;
	struct setup_peer *p;

	(void)state;
	setup_init(&c);
	c.has_private_key = c.replace_peers = true;
	p = wg_setup_peer(&c, key);
	p->has_psk = p->has_keepalive = true;
	wg_setup_prefix(&c, p, "10.200.1.0/24");
	assert_true(passes(say(&c)));
	/* Port and mark are put back, never changed. */
	c.has_port = c.has_fwmark = true;
	c.port = PORT;
	assert_true(passes(say(&c)));
	c.port = 53;
	assert_false(passes(say(&c)));
	c.port = PORT;
	c.fwmark = 1;
	assert_false(passes(say(&c)));
	setup_fini(&c);
}

/* Every shorter one, and one with something behind it. */
static void
test_whole(void **state)
{
	size_t bytes = say_device("sealed");

	(void)state;
	for (size_t n = 0; n < bytes; n++)
		assert_false(passes(n));
	assert_false(passes(bytes + NLMSG_HDRLEN));
	((struct genlmsghdr *)(void *)(place + NLMSG_HDRLEN))->cmd = 9;
	assert_false(passes(bytes));
}

/* The kernel would look at the index first; and of two names at the last. */
static void
test_other_words(void **state)
{
	size_t bytes = say_device("sealed");
	struct nlmsghdr *h = (struct nlmsghdr *)(void *)place;
	struct {
		struct nlattr head;
		uint32_t index;
	} a = {{sizeof(a), WGDEVICE_A_IFINDEX}, 2};

	(void)state;
	memcpy(place + bytes, &a, sizeof(a));
	h->nlmsg_len = (uint32_t)(bytes + sizeof(a));
	assert_false(passes(h->nlmsg_len));
	/* An index alone. */
	memcpy(place + NLMSG_HDRLEN + GENL_HDRLEN, &a, sizeof(a));
	h->nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN + sizeof(a);
	assert_false(passes(h->nlmsg_len));
	/* No word at all. */
	h->nlmsg_len = NLMSG_HDRLEN + GENL_HDRLEN;
	assert_false(passes(h->nlmsg_len));
	/* The right name, then another one. */
	char other[] = "eth0\0\0\0";
	bytes = say_device("sealed");
	struct nlattr name = {sizeof(name) + 5, WGDEVICE_A_IFNAME};
	memcpy(place + bytes, &name, sizeof(name));
	memcpy(place + bytes + sizeof(name), other, sizeof(other));
	h->nlmsg_len = (uint32_t)(bytes + sizeof(name) + sizeof(other));
	assert_false(passes(h->nlmsg_len));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whose),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_other_words),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
