/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's own WireGuard, by overlay/wg/kernel.h and by wg(8). Root, in a network namespace of
 * its own; where the kernel has no WireGuard (tests/vm boots one that has) there is nothing to try.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/text.h"
#include "overlay/wg/kernel.h"
#include "overlay/wg/primitive.h"
#include "tests/support/wg_setup.h"

#define NAME "zlwg0"

enum { MANY = 1000, FAT = 900, DUMP_MAX = 1 << 20, KEY_TEXT = 45 };

static struct kernel k;
static struct err err;

static void
key_of(unsigned n, uint8_t out[SETUP_KEY])
{
	memset(out, 0, SETUP_KEY);
	out[0] = 9;
	memcpy(out + 8, &n, sizeof(n));
}

static void
make_device(struct setup *s)
{
	setup_init(s);
	memset(s->private_key, 0x41, SETUP_KEY); /* not the form in which the kernel says it */
	s->port = 51888;
	s->fwmark = 0x1234;
	s->has_private_key = s->has_port = s->has_fwmark = true;
}

static struct setup_peer *
add_peer(struct setup *s, unsigned n)
{
	uint8_t key[SETUP_KEY];

	key_of(n, key);
	return wg_setup_peer(s, key);
}

static void
say_words(struct setup_peer *p, const char *endpoint, uint8_t psk, uint16_t keepalive_s)
{
	p->has_psk = p->has_endpoint = p->has_keepalive = true;
	memset(p->psk, psk, SETUP_KEY);
	p->keepalive_s = keepalive_s;
	assert_true(addr_parse(endpoint, &p->endpoint));
}

static void
three_peers(struct setup *s)
{
	struct setup_peer *p;

	p = add_peer(s, 1);
	say_words(p, "192.0.2.1:51820", 7, 25);
	wg_setup_prefix(s, p, "10.0.1.0/24");
	wg_setup_prefix(s, p, "10.0.9.9/32");
	wg_setup_prefix(s, p, "fd00:1::/64");
	p = add_peer(s, 2);
	say_words(p, "[2001:db8::2]:4242", 0, 0);
	wg_setup_prefix(s, p, "0.0.0.0/0");
	wg_setup_prefix(s, p, "::/0");
	add_peer(s, 3);
}

static int
setup(void **state)
{
	struct kernel_wire_link link = {.name = NAME, .mtu = 1400, .ns = -1};

	(void)state;
	assert_int_equal(kernel_open(&k, &err), 0);
	assert_int_equal(kernel_add(&k, &link, &err), 0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	if (kernel_remove(&k, NAME, &err) < 0)
		assert_int_equal(err.kind, ERR_NOT_FOUND);
	kernel_close(&k);
	return 0;
}

/* ---- what there is, and that it is what wg(8) says ---- */

static void
read_back(struct setup *out)
{
	setup_init(out);
	assert_int_equal(kernel_get(&k, NAME, out, &err), 0);
}

static void
put_key(struct buf *b, const uint8_t key[SETUP_KEY])
{
	char text[KEY_TEXT];

	text_base64(key, SETUP_KEY, text, sizeof(text));
	buf_puts(b, setup_key_is_zero(key) ? "(none)" : text);
	buf_putc(b, '\t');
}

static void
put_peer(struct buf *b, const struct setup_peer *p)
{
	char text[ADDR_TEXT_BYTES] = "(none)";

	put_key(b, p->public_key);
	put_key(b, p->psk);
	if (p->has_endpoint)
		addr_put(&p->endpoint, text, sizeof(text));
	buf_printf(b, "%s\t%s", text, p->prefixes_count == 0 ? "(none)" : "");
	for (size_t i = 0; i < p->prefixes_count; i++) {
		addr_put_prefix(&p->prefixes[i].at, text, sizeof(text));
		buf_printf(b, "%s%s", i > 0 ? "," : "", text);
	}
	buf_printf(b, "\t%lld\t%llu\t%llu\t", (long long)p->handshake_s,
		   (unsigned long long)p->rx_bytes, (unsigned long long)p->tx_bytes);
	if (p->keepalive_s == 0)
		buf_puts(b, "off\n");
	else
		buf_printf(b, "%u\n", p->keepalive_s);
}

/* As `wg show NAME dump` writes it. */
static void
put_dump(struct buf *b, const struct setup *s)
{
	uint8_t public_key[SETUP_KEY];

	assert_true(primitive_public(s->private_key, public_key));
	put_key(b, s->private_key);
	put_key(b, public_key);
	buf_printf(b, "%u\t0x%x\n", s->port, s->fwmark);
	for (size_t i = 0; i < s->peers_count; i++)
		put_peer(b, &s->peers[i]);
}

static void
run_wg(struct buf *out)
{
	FILE *wg = popen("wg show " NAME " dump", "r");
	size_t n;

	assert_non_null(wg);
	do {
		uint8_t *at = buf_reserve(out, 4096);

		assert_non_null(at);
		n = fread(at, 1, 4096, wg);
		buf_commit(out, n);
	} while (n > 0);
	assert_int_equal(pclose(wg), 0);
}

static void
check_wg_agrees(const struct setup *s)
{
	struct buf ours, theirs;

	buf_init(&ours, MEM_OVERLAY, DUMP_MAX);
	buf_init(&theirs, MEM_OVERLAY, DUMP_MAX);
	put_dump(&ours, s);
	run_wg(&theirs);
	assert_string_equal(buf_cstr(&ours), buf_cstr(&theirs));
	assert_true(buf_ok(&ours) && ours.length > 0);
	buf_fini(&ours);
	buf_fini(&theirs);
}

/* Nothing is to be done any more, in either direction. */
static void
check_equal(const struct setup *is, const struct setup *want)
{
	struct setup change;

	setup_init(&change);
	assert_int_equal(setup_diff(is, want, &change), SETUP_OK);
	assert_true(setup_says_nothing(&change));
	assert_int_equal(setup_diff(want, is, &change), SETUP_OK);
	assert_true(setup_says_nothing(&change));
	assert_int_equal(is->prefixes_count, want->prefixes_count);
}

/* Makes the device what `want` says by the smallest change, and looks. Frees want. */
static void
make_it(struct setup *want)
{
	struct setup is, change;

	setup_init(&change);
	read_back(&is);
	assert_int_equal(setup_diff(&is, want, &change), SETUP_OK);
	assert_int_equal(kernel_set(&k, NAME, &change, &err), 0);
	setup_fini(&is);
	setup_fini(&change);
	read_back(&is);
	check_equal(&is, want);
	check_wg_agrees(&is);
	setup_fini(&is);
	setup_fini(want);
}

static void
test_three(void **state)
{
	struct setup want;

	(void)state;
	make_device(&want);
	three_peers(&want);
	make_it(&want);
}

static void
test_changes(void **state)
{
	struct setup want;

	(void)state;
	make_device(&want);
	three_peers(&want);
	make_it(&want);

	/* One prefix goes, one moves, one comes; a peer goes, another comes. */
	make_device(&want);
	want.port = 51889;
	struct setup_peer *p = add_peer(&want, 1);
	say_words(p, "192.0.2.7:1", 8, 0);
	wg_setup_prefix(&want, p, "10.0.1.0/24");
	wg_setup_prefix(&want, p, "10.0.2.0/24");
	p = add_peer(&want, 4);
	wg_setup_prefix(&want, p, "10.0.9.9/32");
	p = add_peer(&want, 3);
	wg_setup_prefix(&want, p, "::/0");
	make_it(&want);

	make_device(&want);
	make_it(&want);
}

static void
many_peers(struct setup *want, unsigned shift)
{
	for (unsigned n = 0; n < MANY; n++) {
		struct setup_peer *p = add_peer(want, 100 + n);
		char text[64];

		text_format(text, sizeof(text), "10.%u.%u.0/24", n / 250, (n + shift) % 250);
		wg_setup_prefix(want, p, text);
		text_format(text, sizeof(text), "fd00:2:%x::/64", n);
		wg_setup_prefix(want, p, text);
		text_format(text, sizeof(text), "198.51.100.%u:%u", n % 250 + 1, 10000 + n);
		say_words(p, text, (uint8_t)(n % 3), (uint16_t)(n % 40));
		for (unsigned i = 0; n == MANY / 2 && i < FAT; i++) {
			text_format(text, sizeof(text), "172.16.%u.%u/32", i / 250, i % 250);
			wg_setup_prefix(want, p, text);
		}
	}
}

static void
test_many(void **state)
{
	struct setup want;

	(void)state;
	make_device(&want);
	many_peers(&want, 0);
	make_it(&want);
	/* All of the IPv4 prefixes change hands. */
	make_device(&want);
	many_peers(&want, 1);
	make_it(&want);
	make_device(&want);
	three_peers(&want);
	make_it(&want);
}

static void
test_keys_gone(void **state)
{
	struct setup want;

	(void)state;
	make_device(&want);
	struct setup_peer *p = add_peer(&want, 1);
	say_words(p, "192.0.2.1:51820", 7, 25);
	make_it(&want);
	make_device(&want);
	p = add_peer(&want, 1);
	say_words(p, "192.0.2.1:51820", 0, 0);
	make_it(&want);
}

static void
test_update_only(void **state)
{
	struct setup change, is;

	(void)state;
	setup_init(&change);
	struct setup_peer *p = add_peer(&change, 1);
	p->update_only = true;
	wg_setup_prefix(&change, p, "10.0.1.0/24");
	assert_int_equal(kernel_set(&k, NAME, &change, &err), 0);
	read_back(&is);
	assert_int_equal(is.peers_count, 0);
	p->update_only = false;
	assert_int_equal(kernel_set(&k, NAME, &change, &err), 0);
	setup_fini(&is);
	read_back(&is);
	assert_int_equal(is.peers_count, 1);
	assert_int_equal(is.prefixes_count, 1);
	setup_fini(&is);
	setup_fini(&change);
}

/* A prefix is taken only from whose it is. */
static void
test_others_prefix(void **state)
{
	struct setup change, is;
	struct setup_peer *p;

	(void)state;
	setup_init(&change);
	p = add_peer(&change, 1);
	wg_setup_prefix(&change, p, "10.0.1.0/24");
	add_peer(&change, 2);
	assert_int_equal(kernel_set(&k, NAME, &change, &err), 0);
	setup_fini(&change);
	p = add_peer(&change, 2);
	wg_setup_prefix(&change, p, "10.0.1.0/24");
	p->prefixes[0].remove = true;
	assert_int_equal(kernel_set(&k, NAME, &change, &err), 0);
	read_back(&is);
	assert_int_equal(is.peers_count, 2);
	assert_int_equal(is.peers[0].prefixes_count, 1);
	setup_fini(&is);
	setup_fini(&change);
}

static void
test_refused(void **state)
{
	struct kernel_wire_link link = {.name = NAME, .ns = -1};
	struct setup s;

	(void)state;
	setup_init(&s);
	assert_int_equal(kernel_add(&k, &link, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_int_equal(kernel_remove(&k, NAME, &err), 0);
	assert_int_equal(kernel_remove(&k, NAME, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(kernel_get(&k, NAME, &s, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_int_equal(kernel_set(&k, NAME, &s, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

/* Born in another namespace: there it is, and nowhere else. */
static void
test_elsewhere(void **state)
{
	struct kernel_wire_link link = {.name = "zlwg1", .ns = -1};
	struct kernel there;
	struct setup s;
	defer_close int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	(void)state;
	setup_init(&s);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(kernel_open(&there, &err), 0);
	link.ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	assert_true(link.ns >= 0);
	assert_int_equal(kernel_add(&k, &link, &err), 0);
	close(link.ns);
	assert_int_equal(kernel_get(&k, link.name, &s, &err), -1);
	assert_int_equal(kernel_get(&there, link.name, &s, &err), 0);
	assert_int_equal(kernel_remove(&there, link.name, &err), 0);
	setup_fini(&s);
	kernel_close(&there);
}

static void
test_mtu(void **state)
{
	char text[16] = "";
	FILE *f = fopen("/sys/class/net/" NAME "/mtu", "re");

	(void)state;
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "1400\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_three, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keys_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_update_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_others_prefix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mtu, setup, teardown),
	};

	if (!kernel_available()) {
		puts("1..0 # SKIP this kernel has no WireGuard");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
