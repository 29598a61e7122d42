/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration protocol: each key, each wrong line, bytes split anywhere, answers. */
#include "overlay/wg/uapi.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "tests/support/sweep.h"
#include "tests/support/wg_setup.h"

#define KEY_A "0101010101010101010101010101010101010101010101010101010101010101"
#define KEY_B "a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2a2b2"
#define KEY_0 "0000000000000000000000000000000000000000000000000000000000000000"

enum { ANSWER_MAX = 1 << 16 };

static struct uapi u;

static int
setup(void **state)
{
	(void)state;
	uapi_init(&u);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	uapi_fini(&u);
	return 0;
}

/* Reads all of it; there is at most one request in it. */
static enum uapi_event
feed(const char *text)
{
	size_t used, length = strlen(text);
	enum uapi_event event = uapi_read(&u, text, length, &used);

	assert_int_equal(used, length);
	return event;
}

static const struct setup_peer *
peer(size_t n)
{
	assert_true(n < u.change.peers_count);
	return &u.change.peers[n];
}

static const char whole[] = "set=1\n"
			    "private_key=" KEY_A "\n"
			    "listen_port=51820\n"
			    "fwmark=4294967295\n"
			    "replace_peers=true\n"
			    "public_key=" KEY_B "\n"
			    "preshared_key=" KEY_A "\n"
			    "protocol_version=1\n"
			    "endpoint=192.0.2.1:1\n"
			    "persistent_keepalive_interval=65535\n"
			    "replace_allowed_ips=true\n"
			    "allowed_ip=10.1.2.3/8\n"
			    "allowed_ip=-fd00::1/128\n"
			    "public_key=" KEY_A "\n"
			    "update_only=true\n"
			    "endpoint=[2001:db8::1]:65535\n"
			    "public_key=" KEY_0 "\n"
			    "remove=true\n"
			    "\n";

static void
check_first_peer(void)
{
	const struct setup_peer *p = peer(0);
	struct addr endpoint;

	assert_true(addr_parse("192.0.2.1:1", &endpoint));
	assert_int_equal(p->public_key[1], 0xb2);
	assert_true(p->has_psk && p->has_endpoint && p->has_keepalive && p->replace_prefixes);
	assert_false(p->remove || p->update_only);
	assert_int_equal(p->psk[31], 1);
	assert_true(addr_equal(&p->endpoint, &endpoint));
	assert_int_equal(p->keepalive_s, 65535);
	assert_int_equal(p->prefixes_count, 2);
	assert_false(p->prefixes[0].remove);
	assert_int_equal(p->prefixes[0].at.bits, 104);
	assert_int_equal(p->prefixes[0].at.base.ip[13], 0); /* host bits */
	assert_true(p->prefixes[1].remove);
	assert_int_equal(p->prefixes[1].at.bits, 128);
}

static void
check_whole(void)
{
	struct addr endpoint;

	assert_int_equal(u.code, 0);
	assert_true(u.change.has_private_key && u.change.has_port && u.change.has_fwmark);
	assert_true(u.change.replace_peers);
	assert_int_equal(u.change.private_key[0], 1);
	assert_int_equal(u.change.port, 51820);
	assert_int_equal(u.change.fwmark, UINT32_MAX);
	assert_int_equal(u.change.peers_count, 3);
	check_first_peer();
	assert_true(addr_parse("[2001:db8::1]:65535", &endpoint));
	assert_true(peer(1)->update_only && peer(1)->has_endpoint);
	assert_true(addr_equal(&peer(1)->endpoint, &endpoint));
	assert_false(peer(1)->has_psk || peer(1)->has_keepalive || peer(1)->replace_prefixes);
	assert_int_equal(peer(1)->prefixes_count, 0);
	assert_true(peer(2)->remove);
	assert_true(setup_key_is_zero(peer(2)->public_key));
}

static void
test_all_keys(void **state)
{
	(void)state;
	assert_int_equal(feed(whole), UAPI_SET);
	check_whole();
	/* What is not said is not set. */
	uapi_next(&u);
	assert_int_equal(feed("set=1\n\n"), UAPI_SET);
	assert_true(setup_says_nothing(&u.change));
}

static void
test_split_anywhere(void **state)
{
	const size_t length = sizeof(whole) - 1;
	size_t used;

	(void)state;
	for (size_t at = 0; at <= length; at++) {
		enum uapi_event event = uapi_read(&u, whole, at, &used);

		assert_int_equal(used, at);
		assert_int_equal(event, at == length ? UAPI_SET : UAPI_MORE);
		if (at < length)
			assert_int_equal(uapi_read(&u, whole + at, length - at, &used), UAPI_SET);
		check_whole();
		uapi_next(&u);
	}
}

static void
test_byte_by_byte(void **state)
{
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(whole) - 1; i++)
		assert_int_equal(uapi_read(&u, whole + i, 1, &used),
				 i == sizeof(whole) - 2 ? UAPI_SET : UAPI_MORE);
	check_whole();
}

/* Two requests in one piece: each by itself. */
static void
test_one_by_one(void **state)
{
	const char text[] = "get=1\n\nset=1\nlisten_port=7\n\nget=1\n\n";
	size_t used, at = 0;

	(void)state;
	assert_int_equal(uapi_read(&u, text, sizeof(text) - 1, &used), UAPI_GET);
	assert_int_equal(used, 7);
	at += used;
	uapi_next(&u);
	assert_int_equal(uapi_read(&u, text + at, sizeof(text) - 1 - at, &used), UAPI_SET);
	assert_int_equal(u.change.port, 7);
	at += used;
	uapi_next(&u);
	assert_false(u.change.has_port);
	assert_int_equal(uapi_read(&u, text + at, sizeof(text) - 1 - at, &used), UAPI_GET);
	assert_int_equal(at + used, sizeof(text) - 1);
}

#define PEER "public_key=" KEY_A "\n"

static void
test_wrong_lines(void **state)
{
	static const struct {
		const char *lines;
		int code;
	} wrong[] = {
		/* device */
		{"private_key=\n", EINVAL},
		{"private_key=01\n", EINVAL},
		{"private_key=" KEY_A "01\n", EINVAL},
		{"private_key=0x01010101010101010101010101010101010101010101010101010101010101\n",
		 EINVAL},
		{"listen_port=\n", EINVAL},
		{"listen_port=65536\n", EINVAL},
		{"listen_port=-1\n", EINVAL},
		{"listen_port=1 \n", EINVAL},
		{"listen_port= 1\n", EINVAL},
		{"listen_port=1\r\n", EINVAL},
		{"fwmark=4294967296\n", EINVAL},
		{"fwmark=0x1\n", EINVAL},
		{"fwmark=\n", EINVAL},
		{"replace_peers=false\n", EINVAL},
		{"replace_peers=\n", EINVAL},
		{"replace_peers=TRUE\n", EINVAL},
		{"public_key=\n", EINVAL},
		{"public_key=" KEY_A "=\n", EINVAL},
		/* words of a peer, with none */
		{"remove=true\n", EINVAL},
		{"update_only=true\n", EINVAL},
		{"preshared_key=" KEY_A "\n", EINVAL},
		{"endpoint=192.0.2.1:1\n", EINVAL},
		{"persistent_keepalive_interval=1\n", EINVAL},
		{"replace_allowed_ips=true\n", EINVAL},
		{"allowed_ip=10.0.0.0/8\n", EINVAL},
		{"protocol_version=1\n", EINVAL},
		/* words of the device, in a peer */
		{PEER "private_key=" KEY_A "\n", EINVAL},
		{PEER "listen_port=1\n", EINVAL},
		{PEER "fwmark=1\n", EINVAL},
		{PEER "replace_peers=true\n", EINVAL},
		/* peer */
		{PEER "public_key=zz\n", EINVAL},
		{PEER "remove=1\n", EINVAL},
		{PEER "remove=false\n", EINVAL},
		{PEER "update_only=false\n", EINVAL},
		{PEER "preshared_key=\n", EINVAL},
		{PEER "preshared_key=" KEY_A "0\n", EINVAL},
		{PEER "endpoint=\n", EINVAL},
		{PEER "endpoint=192.0.2.1\n", EINVAL},
		{PEER "endpoint=192.0.2.1:\n", EINVAL},
		{PEER "endpoint=192.0.2.1:65536\n", EINVAL},
		{PEER "endpoint=192.0.2.1.1:1\n", EINVAL},
		{PEER "endpoint=2001:db8::1:1\n", EINVAL},
		{PEER "endpoint=[2001:db8::1]\n", EINVAL},
		{PEER "endpoint=[fe80::1%lo]:1\n", EINVAL},
		{PEER "endpoint=example.org:1\n", EINVAL},
		{PEER "persistent_keepalive_interval=65536\n", EINVAL},
		{PEER "persistent_keepalive_interval=off\n", EINVAL},
		{PEER "replace_allowed_ips=false\n", EINVAL},
		{PEER "allowed_ip=\n", EINVAL},
		{PEER "allowed_ip=-\n", EINVAL},
		{PEER "allowed_ip=--10.0.0.0/8\n", EINVAL},
		{PEER "allowed_ip=+10.0.0.0/8\n", EINVAL},
		{PEER "allowed_ip=10.0.0.0\n", EINVAL},
		{PEER "allowed_ip=10.0.0.0/\n", EINVAL},
		{PEER "allowed_ip=10.0.0.0/33\n", EINVAL},
		{PEER "allowed_ip=10.0.0.0/-1\n", EINVAL},
		{PEER "allowed_ip=10.0.0/8\n", EINVAL},
		{PEER "allowed_ip=/8\n", EINVAL},
		{PEER "allowed_ip=fd00::/129\n", EINVAL},
		{PEER "allowed_ip=fd00::%1/128\n", EINVAL},
		{PEER "protocol_version=2\n", EINVAL},
		{PEER "protocol_version=\n", EINVAL},
		/* neither */
		{"unknown=1\n", EINVAL},
		{PEER "unknown=1\n", EINVAL},
		{"=\n", EINVAL},
		{"Listen_port=1\n", EINVAL},
		{"listen_port\n", EPROTO},
		{PEER "remove\n", EPROTO},
		{" \n", EPROTO},
		{"get=1\n", EINVAL},
		/* the first one counts */
		{"listen_port\nlisten_port=x\n", EPROTO},
		{"listen_port=x\nlisten_port\n", EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(feed("set=1\nlisten_port=9\n"), UAPI_MORE);
		assert_int_equal(feed(wrong[i].lines), UAPI_MORE);
		assert_int_equal(feed("\n"), UAPI_WRONG);
		assert_int_equal(u.code, wrong[i].code);
		assert_false(u.broken);
		assert_true(setup_says_nothing(&u.change));
		/* What comes behind is understood. */
		uapi_next(&u);
		assert_int_equal(feed("set=1\nlisten_port=9\n\n"), UAPI_SET);
		assert_int_equal(u.code, 0);
		uapi_next(&u);
	}
}

/* At the limits of each value. */
static void
test_right_lines(void **state)
{
	static const char *const right[] = {
		"listen_port=0\n",
		"listen_port=65535\n",
		"fwmark=0\n",
		"private_key=" KEY_0 "\n",
		PEER "endpoint=0.0.0.0:0\n",
		PEER "endpoint=[::1]:0\n",
		PEER "persistent_keepalive_interval=0\n",
		PEER "allowed_ip=0.0.0.0/0\n",
		PEER "allowed_ip=10.0.0.1/32\n",
		PEER "allowed_ip=::/0\n",
		PEER "allowed_ip=-::/0\n",
		PEER PEER,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
		assert_int_equal(feed("set=1\n"), UAPI_MORE);
		assert_int_equal(feed(right[i]), UAPI_MORE);
		assert_int_equal(feed("\n"), UAPI_SET);
		assert_false(setup_says_nothing(&u.change));
		uapi_next(&u);
	}
}

static void
test_wrong_beginnings(void **state)
{
	static const char *const wrong[] = {
		"\n", "get=2\n", "set=0\n", "hello\n", "GET / HTTP/1.1\r\n", "get=1 \n", "get\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(feed(wrong[i]), UAPI_WRONG);
		assert_int_equal(u.code, EPROTO);
		assert_true(u.broken);
		uapi_fini(&u);
		uapi_init(&u);
	}
}

static void
test_get_says_more(void **state)
{
	(void)state;
	assert_int_equal(feed("get=1\nlisten_port=1\n"), UAPI_MORE);
	assert_int_equal(feed("\n"), UAPI_WRONG);
	assert_int_equal(u.code, EPROTO);
	assert_false(u.broken);
}

static void
test_zero_byte(void **state)
{
	const char text[] = "set=1\nlisten_port=1\0\n\n";
	size_t used;

	(void)state;
	assert_int_equal(uapi_read(&u, text, sizeof(text) - 1, &used), UAPI_WRONG);
	assert_int_equal(u.code, EINVAL);
}

static void
test_long_line(void **state)
{
	char text[UAPI_LINE_MAX + 8];
	size_t used;

	(void)state;
	/* The longest that is taken at all: it is a wrong value, but a whole line. */
	memset(text, '1', sizeof(text));
	memcpy(text, "listen_port=", 12);
	for (size_t length = UAPI_LINE_MAX - 2; length < UAPI_LINE_MAX + 4; length++) {
		assert_int_equal(feed("set=1\n"), UAPI_MORE);
		assert_int_equal(uapi_read(&u, text, length, &used), UAPI_MORE);
		assert_int_equal(feed("\n\n"), UAPI_WRONG);
		assert_int_equal(u.code, EINVAL);
		uapi_next(&u);
	}
	/* Leading zeros are fine; what is behind the limit is not dropped unsaid. */
	memset(text + 12, '0', sizeof(text) - 12);
	assert_int_equal(feed("set=1\n"), UAPI_MORE);
	assert_int_equal(uapi_read(&u, text, UAPI_LINE_MAX - 1, &used), UAPI_MORE);
	assert_int_equal(feed("\n\n"), UAPI_SET);
	uapi_next(&u);
	assert_int_equal(feed("set=1\n"), UAPI_MORE);
	assert_int_equal(uapi_read(&u, text, UAPI_LINE_MAX, &used), UAPI_MORE);
	assert_int_equal(feed("\n\n"), UAPI_WRONG);
	uapi_next(&u);
	/* Where a request is to begin. */
	assert_int_equal(uapi_read(&u, text, sizeof(text), &used), UAPI_MORE);
	assert_int_equal(feed("\n"), UAPI_WRONG);
	assert_true(u.broken);
}

static void
test_too_much(void **state)
{
	char line[128];
	size_t used, lines = 0;
	enum uapi_event event;

	(void)state;
	assert_int_equal(feed("set=1\n"), UAPI_MORE);
	for (unsigned n = 0; n <= SETUP_PEERS_MAX; n++) {
		text_format(line, sizeof(line), "public_key=%064x\n", n);
		assert_int_equal(feed(line), UAPI_MORE);
	}
	assert_int_equal(feed("\n"), UAPI_WRONG);
	assert_int_equal(u.code, E2BIG);
	uapi_next(&u);
	/* Lines without end. */
	assert_int_equal(feed("set=1\n"), UAPI_MORE);
	do {
		event = uapi_read(&u, "listen_port=1\n", 14, &used);
		lines++;
	} while (event == UAPI_MORE && lines <= UAPI_REQUEST_MAX);
	assert_int_equal(event, UAPI_WRONG);
	assert_int_equal(u.code, E2BIG);
	assert_true(u.broken);
	assert_int_equal(lines, (UAPI_REQUEST_MAX - 6 + 13) / 14);
}

static void
test_wiped(void **state)
{
	static const char zeros[UAPI_LINE_MAX];
	size_t used;

	(void)state;
	assert_int_equal(feed("set=1\nprivate_key=" KEY_A "\n"), UAPI_MORE);
	assert_memory_equal(u.line, zeros, sizeof(zeros));
	assert_false(setup_key_is_zero(u.change.private_key));
	/* A key of which the end has not come. */
	assert_int_equal(uapi_read(&u, "public_key=" KEY_A, 40, &used), UAPI_MORE);
	uapi_next(&u);
	assert_memory_equal(u.line, zeros, sizeof(zeros));
	assert_true(setup_key_is_zero(u.change.private_key));
	/* And one of a request that is wrong. */
	assert_int_equal(feed("set=1\nprivate_key=" KEY_A "\nx\n\n"), UAPI_WRONG);
	assert_true(setup_key_is_zero(u.change.private_key));
}

/* ---- answers ---- */

static void
check_answer(struct buf *b, const char *want)
{
	assert_string_equal(buf_cstr(b), want);
	buf_fini(b);
}

static void
test_codes(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, MEM_OVERLAY, ANSWER_MAX);
	uapi_put_code(&b, 0);
	check_answer(&b, "errno=0\n\n");
	buf_init(&b, MEM_OVERLAY, ANSWER_MAX);
	uapi_put_code(&b, EINVAL);
	check_answer(&b, "errno=-22\n\n");
}

static void
fill(struct setup *s)
{
	uint8_t key[SETUP_KEY];
	struct setup_peer *p;

	setup_init(s);
	memset(s->private_key, 1, SETUP_KEY);
	s->port = 51820;
	s->fwmark = UINT32_MAX;
	memset(key, 1, SETUP_KEY);
	p = wg_setup_peer(s, key);
	memset(p->psk, 1, SETUP_KEY);
	p->has_endpoint = true;
	assert_true(addr_parse("[2001:db8::1]:7", &p->endpoint));
	p->keepalive_s = 25;
	p->handshake_s = 1700000000;
	p->handshake_ns = 999999999;
	p->rx_bytes = UINT64_MAX;
	p->tx_bytes = 2;
	wg_setup_prefix(s, p, "10.0.0.0/8");
	wg_setup_prefix(s, p, "fd00::/64");
	memset(key, 0, SETUP_KEY);
	wg_setup_peer(s, key);
}

static void
test_state(void **state)
{
	struct setup s;
	struct buf b;

	(void)state;
	fill(&s);
	buf_init(&b, MEM_OVERLAY, ANSWER_MAX);
	assert_true(uapi_put_state(&b, &s));
	check_answer(&b, "private_key=" KEY_A "\nlisten_port=51820\nfwmark=4294967295\n"
			 "public_key=" KEY_A "\npreshared_key=" KEY_A "\nprotocol_version=1\n"
			 "endpoint=[2001:db8::1]:7\n"
			 "last_handshake_time_sec=1700000000\n"
			 "last_handshake_time_nsec=999999999\n"
			 "tx_bytes=2\nrx_bytes=18446744073709551615\n"
			 "persistent_keepalive_interval=25\n"
			 "allowed_ip=10.0.0.0/8\nallowed_ip=fd00::/64\n"
			 "public_key=" KEY_0 "\npreshared_key=" KEY_0 "\nprotocol_version=1\n"
			 "last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
			 "tx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n"
			 "errno=0\n\n");
	setup_fini(&s);
	buf_init(&b, MEM_OVERLAY, ANSWER_MAX);
	assert_true(uapi_put_state(&b, &s));
	check_answer(&b, "errno=0\n\n");
}

/* The longest of everything has its place. */
static void
test_longest(void **state)
{
	struct setup s;
	struct buf b;

	(void)state;
	setup_init(&s);
	memset(s.private_key, 0xff, SETUP_KEY);
	s.port = UINT16_MAX;
	s.fwmark = UINT32_MAX;
	for (uint8_t n = 0; n < 20; n++) {
		uint8_t key[SETUP_KEY] = {n};
		struct setup_peer *p = wg_setup_peer(&s, key);

		p->has_endpoint = true;
		assert_true(addr_parse("[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
				       &p->endpoint));
		p->handshake_s = INT64_MIN;
		p->handshake_ns = UINT32_MAX;
		p->rx_bytes = p->tx_bytes = UINT64_MAX;
		p->keepalive_s = UINT16_MAX;
		for (int i = 0; i < 20; i++)
			wg_setup_prefix(&s, p, "1111:2222:3333:4444:5555:6666:7777:8888/128");
	}
	buf_init(&b, MEM_OVERLAY, uapi_state_bytes_max(&s));
	assert_true(uapi_put_state(&b, &s));
	assert_true(b.length <= uapi_state_bytes_max(&s));
	buf_fini(&b);
	setup_fini(&s);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct uapi each;
		size_t used;

		uapi_init(&each);
		enum uapi_event event = uapi_read(&each, whole, sizeof(whole) - 1, &used);
		assert_int_equal(event, sweep_failed() ? UAPI_WRONG : UAPI_SET);
		assert_int_equal(each.code, sweep_failed() ? ENOMEM : 0);
		assert_int_equal(used, sizeof(whole) - 1);
		uapi_fini(&each);
	}
}

static void
test_no_memory_to_answer(void **state)
{
	struct setup full;

	(void)state;
	fill(&full);
	sweep_each(s)
	{
		struct buf b;

		buf_init(&b, MEM_OVERLAY, ANSWER_MAX);
		bool put = uapi_put_state(&b, &full);
		assert_int_equal(put, !sweep_failed());
		assert_int_equal(b.length == 0, sweep_failed());
		buf_fini(&b);
	}
	setup_fini(&full);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_split_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_by_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_right_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_beginnings, setup, teardown),
		cmocka_unit_test_setup_teardown(test_get_says_more, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zero_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_much, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wiped, setup, teardown),
		cmocka_unit_test(test_codes),
		cmocka_unit_test(test_state),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_no_memory_to_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
