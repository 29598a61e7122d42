/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said to the kernel about WireGuard, looked at byte by byte with a reader of the test's
 * own; and what the kernel answers, recorded from Linux 6.1 (tests/fuzz/corpus/wg_netlink).
 */
#include "overlay/wg/kernel_wire.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "tests/support/sweep.h"
#include "tests/support/wg_setup.h"

enum {
	FAMILY = 32,
	SEQUENCE = 77,
	RECORDED = 548,
	RECORDED_SEQUENCE = 1004,
	MANY = 1000,
	FAT = 900
};

static const char recorded_hex[] =
	"1002000020000200ec0300008a0000000001000006000600b0ca0000080007000700000008000100"
	"020000000a0002007a6c776730000000240003004041414141414141414141414141414141414141"
	"414141414141414141414141240004007a1a4e709bf085ac494aba0469b9b1eda0ab1f78b16aabb7"
	"9ffeda90623e852290010880e4000080240001000900000000000000010000000000000000000000"
	"00000000000000000000000024000200070707070707070707070707070707070707070707070707"
	"0707070707070707140006000000000000000000000000000000000006000500190000000c000800"
	"00000000000000000c000700000000000000000008000a000100000014000400020015b37f000001"
	"0000000000000000480009801c00008005000300180000000600010002000000080002000a000000"
	"280000800500030040000000060001000a00000014000200fd000000000000000000000000000000"
	"a8000080240001000900000000000000020000000000000000000000000000000000000000000000"
	"24000200000000000000000000000000000000000000000000000000000000000000000014000600"
	"0000000000000000000000000000000006000500000000000c00080000000000000000000c000700"
	"000000000000000008000a0001000000200004000a00115c00000000000000000000000000000000"
	"00000001000000001400000003000200ec0300008a00000000000000";

static char message[KERNEL_WIRE_MESSAGE_MAX] __attribute__((aligned(8)));
static char recorded[RECORDED] __attribute__((aligned(8)));
static struct err err;

static int
load(void **state)
{
	(void)state;
	assert_int_equal(kernel_wire_open(&err), 0);
	assert_int_equal(text_unhex(recorded_hex, 2 * RECORDED, recorded, RECORDED), RECORDED);
	return 0;
}

/* ---- a plain reader ---- */

struct bytes {
	const char *at;
	size_t count;
};

static struct nlmsghdr
head(const char *m)
{
	struct nlmsghdr h;

	memcpy(&h, m, sizeof(h));
	return h;
}

/* The attributes behind a header and `more` bytes. */
static struct bytes
body(const char *m, size_t more)
{
	return (struct bytes){m + 16 + more, head(m).nlmsg_len - 16 - more};
}

/* The nth attribute of a type; at NULL: there is none. */
static struct bytes
attr_nth(struct bytes b, unsigned type, unsigned n)
{
	while (b.count >= 4) {
		uint16_t length, kind;

		memcpy(&length, b.at, 2);
		memcpy(&kind, b.at + 2, 2);
		assert_true(length >= 4 && length <= b.count);
		if ((kind & 0x3fff) == type && n-- == 0)
			return (struct bytes){b.at + 4, length - 4u};
		size_t step = (length + 3u) & ~3u;
		b.at += step;
		b.count -= step < b.count ? step : b.count;
	}
	return (struct bytes){NULL, 0};
}

static struct bytes
attr(struct bytes b, unsigned type)
{
	return attr_nth(b, type, 0);
}

static void
check_attr(struct bytes b, unsigned type, const void *want, size_t count)
{
	struct bytes a = attr(b, type);

	assert_non_null(a.at);
	assert_int_equal(a.count, count);
	assert_memory_equal(a.at, want, count);
}

static uint32_t
u32_of(struct bytes b, unsigned type)
{
	uint32_t v = 0;
	struct bytes a = attr(b, type);

	if (a.at) {
		assert_int_equal(a.count, sizeof(v));
		memcpy(&v, a.at, sizeof(v));
	}
	return v;
}

static void
check_head(size_t count, unsigned type, unsigned flags)
{
	struct nlmsghdr h = head(message);

	assert_int_equal(h.nlmsg_len, count);
	assert_int_equal(h.nlmsg_type, type);
	assert_int_equal(h.nlmsg_flags, NLM_F_REQUEST | flags);
	assert_int_equal(h.nlmsg_seq, SEQUENCE);
}

/* ---- questions ---- */

static void
test_link(void **state)
{
	struct kernel_wire_link link = {.name = "fifteen_letters", .mtu = 1420, .ns = 5};
	const uint32_t mtu = 1420, ns = 5;

	(void)state;
	check_head(kernel_wire_put_add(message, SEQUENCE, &link), RTM_NEWLINK,
		   NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
	struct bytes b = body(message, sizeof(struct ifinfomsg));
	check_attr(b, IFLA_IFNAME, link.name, 16);
	check_attr(b, IFLA_MTU, &mtu, 4);
	check_attr(b, IFLA_NET_NS_FD, &ns, 4);
	check_attr(attr(b, IFLA_LINKINFO), IFLA_INFO_KIND, "wireguard", 10);
	/* What is not wanted is not said. */
	link = (struct kernel_wire_link){.name = "wg0", .ns = -1};
	kernel_wire_put_add(message, SEQUENCE, &link);
	b = body(message, sizeof(struct ifinfomsg));
	assert_null(attr(b, IFLA_MTU).at);
	assert_null(attr(b, IFLA_NET_NS_FD).at);
	check_attr(b, IFLA_IFNAME, "wg0", 4);

	check_head(kernel_wire_put_remove(message, SEQUENCE, "wg0"), RTM_DELLINK, NLM_F_ACK);
	check_attr(body(message, sizeof(struct ifinfomsg)), IFLA_IFNAME, "wg0", 4);
}

static void
test_questions(void **state)
{
	(void)state;
	check_head(kernel_wire_put_family(message, SEQUENCE), GENL_ID_CTRL, NLM_F_ACK);
	assert_int_equal(message[16], CTRL_CMD_GETFAMILY);
	check_attr(body(message, GENL_HDRLEN), CTRL_ATTR_FAMILY_NAME, "wireguard", 10);
	check_head(kernel_wire_put_get(message, SEQUENCE, FAMILY, "wg0"), FAMILY, NLM_F_DUMP);
	assert_int_equal(message[16], WG_CMD_GET_DEVICE);
	assert_int_equal(message[17], WG_GENL_VERSION);
	check_attr(body(message, GENL_HDRLEN), WGDEVICE_A_IFNAME, "wg0", 4);
}

/* ---- changes ---- */

static void
test_change(void **state)
{
	const uint8_t alice[SETUP_KEY] = {1}, bob[SETUP_KEY] = {2}, carol[SETUP_KEY] = {3};
	const uint8_t ip[4] = {10}, bits = 8, ip6[16] = {0xfd}, bits6 = 64;
	const uint16_t port = 7, keepalive = 25, v4 = AF_INET, v6 = AF_INET6;
	struct kernel_wire_at at = {0};
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	struct setup c;

	(void)state;
	to.sin6_addr.s6_addr[15] = 1;
	setup_init(&c);
	c.has_private_key = c.has_port = c.has_fwmark = c.replace_peers = true;
	memset(c.private_key, 4, SETUP_KEY);
	c.port = port;
	c.fwmark = 99;
	struct setup_peer *p = wg_setup_peer(&c, alice);
	p->has_psk = p->has_endpoint = p->has_keepalive = p->replace_prefixes = true;
	memset(p->psk, 5, SETUP_KEY);
	p->keepalive_s = keepalive;
	assert_true(addr_parse("[::1]:9", &p->endpoint));
	wg_setup_prefix(&c, p, "10.0.0.0/8");
	wg_setup_prefix(&c, p, "192.0.2.0/24");
	p->prefixes[1].remove = true; /* is not said */
	wg_setup_prefix(&c, p, "fd00::/64");
	wg_setup_peer(&c, bob)->update_only = true;
	wg_setup_peer(&c, carol)->remove = true;

	check_head(kernel_wire_put_set(message, SEQUENCE, FAMILY, "wg0", &c, &at), FAMILY,
		   NLM_F_ACK);
	assert_int_equal(message[16], WG_CMD_SET_DEVICE);
	struct bytes b = body(message, GENL_HDRLEN);
	check_attr(b, WGDEVICE_A_IFNAME, "wg0", 4);
	assert_int_equal(u32_of(b, WGDEVICE_A_FLAGS), WGDEVICE_F_REPLACE_PEERS);
	check_attr(b, WGDEVICE_A_PRIVATE_KEY, c.private_key, SETUP_KEY);
	check_attr(b, WGDEVICE_A_LISTEN_PORT, &port, 2);
	assert_int_equal(u32_of(b, WGDEVICE_A_FWMARK), 99);
	struct bytes peers = attr(b, WGDEVICE_A_PEERS), one = attr_nth(peers, 0, 0);
	check_attr(one, WGPEER_A_PUBLIC_KEY, alice, SETUP_KEY);
	check_attr(one, WGPEER_A_PRESHARED_KEY, c.peers[0].psk, SETUP_KEY);
	check_attr(one, WGPEER_A_ENDPOINT, &to, sizeof(to));
	check_attr(one, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, &keepalive, 2);
	assert_int_equal(u32_of(one, WGPEER_A_FLAGS), WGPEER_F_REPLACE_ALLOWEDIPS);
	struct bytes all = attr(one, WGPEER_A_ALLOWEDIPS), prefix = attr_nth(all, 0, 0);
	check_attr(prefix, WGALLOWEDIP_A_FAMILY, &v4, 2);
	check_attr(prefix, WGALLOWEDIP_A_IPADDR, ip, 4);
	check_attr(prefix, WGALLOWEDIP_A_CIDR_MASK, &bits, 1);
	prefix = attr_nth(all, 0, 1);
	check_attr(prefix, WGALLOWEDIP_A_FAMILY, &v6, 2);
	check_attr(prefix, WGALLOWEDIP_A_IPADDR, ip6, 16);
	check_attr(prefix, WGALLOWEDIP_A_CIDR_MASK, &bits6, 1);
	assert_null(attr_nth(all, 0, 2).at);
	one = attr_nth(peers, 0, 1);
	check_attr(one, WGPEER_A_PUBLIC_KEY, bob, SETUP_KEY);
	assert_int_equal(u32_of(one, WGPEER_A_FLAGS), WGPEER_F_UPDATE_ONLY);
	assert_null(attr(one, WGPEER_A_PRESHARED_KEY).at);
	assert_null(attr(one, WGPEER_A_ENDPOINT).at);
	assert_null(attr(one, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL).at);
	assert_null(attr(one, WGPEER_A_ALLOWEDIPS).at);
	one = attr_nth(peers, 0, 2);
	check_attr(one, WGPEER_A_PUBLIC_KEY, carol, SETUP_KEY);
	assert_int_equal(u32_of(one, WGPEER_A_FLAGS), WGPEER_F_REMOVE_ME);
	assert_null(attr_nth(peers, 0, 3).at);
	assert_int_equal(kernel_wire_put_set(message, SEQUENCE, FAMILY, "wg0", &c, &at), 0);
	setup_fini(&c);
}

/* A change that says nothing is one message that says nothing: is there such a device? */
static void
test_no_change(void **state)
{
	struct setup c = {0};
	struct kernel_wire_at at = {0};

	(void)state;
	assert_true(kernel_wire_put_set(message, SEQUENCE, FAMILY, "wg0", &c, &at) > 0);
	struct bytes b = body(message, GENL_HDRLEN);
	for (unsigned type = WGDEVICE_A_PRIVATE_KEY; type <= WGDEVICE_A_PEERS; type++)
		assert_null(attr(b, type).at);
	assert_int_equal(kernel_wire_put_set(message, SEQUENCE, FAMILY, "wg0", &c, &at), 0);
}

static void
fill(struct setup *c, bool update_only)
{
	setup_init(c);
	c->has_private_key = c->has_port = c->has_fwmark = c->replace_peers = true;
	memset(c->private_key, 1, SETUP_KEY);
	c->port = 51820;
	for (unsigned n = 0; n < MANY; n++) {
		uint8_t key[SETUP_KEY] = {9};
		char text[64];

		memcpy(key + 4, &n, sizeof(n));
		struct setup_peer *p = wg_setup_peer(c, key);
		p->has_psk = p->has_keepalive = p->has_endpoint = p->replace_prefixes = true;
		p->update_only = update_only;
		p->keepalive_s = (uint16_t)n;
		p->psk[3] = (uint8_t)n;
		text_format(text, sizeof(text), "192.0.2.%u:%u", n % 256, n + 1);
		assert_true(addr_parse(text, &p->endpoint));
		for (unsigned i = 0; i < (n % 300 == 7 ? FAT : n % 4); i++) {
			text_format(text, sizeof(text), i % 2 ? "fd00:%x:%x::/48" : "10.%u.%u.0/24",
				    i % 2 ? n : n % 256, i % 2 ? i : i % 256);
			wg_setup_prefix(c, p, text);
		}
	}
}

/* Flags and words are said once of each, whatever the number of messages. */
static void
check_parts(const char *m, bool first, size_t *replaced, size_t *words, size_t *parts)
{
	struct bytes b = body(m, GENL_HDRLEN), peers = attr(b, WGDEVICE_A_PEERS), one;

	assert_int_equal(attr(b, WGDEVICE_A_FLAGS).at != NULL, first);
	assert_int_equal(attr(b, WGDEVICE_A_PRIVATE_KEY).at != NULL, first);
	assert_int_equal(attr(b, WGDEVICE_A_LISTEN_PORT).at != NULL, first);
	for (unsigned n = 0; (one = attr_nth(peers, 0, n)).at != NULL; n++) {
		uint32_t flags = u32_of(one, WGPEER_A_FLAGS);

		*replaced += (flags & WGPEER_F_REPLACE_ALLOWEDIPS) != 0;
		*words += attr(one, WGPEER_A_PRESHARED_KEY).at != NULL;
		assert_true(flags & WGPEER_F_UPDATE_ONLY);
		++*parts;
	}
}

static void
test_many(void **state)
{
	struct kernel_wire_at at = {0};
	struct setup c, back;
	struct kernel_wire_answer a = {.sequence = SEQUENCE, .family = FAMILY, .state = &back};
	size_t n, messages = 0, replaced = 0, words = 0, parts = 0;

	(void)state;
	fill(&c, true);
	setup_init(&back);
	while ((n = kernel_wire_put_set(message, SEQUENCE, FAMILY, "wg0", &c, &at)) > 0) {
		assert_true(n <= sizeof(message));
		check_parts(message, messages++ == 0, &replaced, &words, &parts);
		assert_int_equal(kernel_wire_read(&a, message, n), KERNEL_WIRE_MORE);
	}
	assert_true(messages > 10);
	assert_int_equal(replaced, MANY);
	assert_int_equal(words, MANY);
	assert_true(parts > MANY); /* some were split */
	/* Joined again, as what the kernel splits is, it is the same. */
	assert_int_equal(back.peers_count, MANY);
	assert_int_equal(back.prefixes_count, c.prefixes_count);
	for (size_t i = 0; i < MANY; i++) {
		struct setup_peer *x = &c.peers[i], *y = &back.peers[i];

		assert_memory_equal(x->public_key, y->public_key, SETUP_KEY);
		assert_memory_equal(x->psk, y->psk, SETUP_KEY);
		assert_true(addr_equal(&x->endpoint, &y->endpoint));
		assert_int_equal(x->keepalive_s, y->keepalive_s);
		assert_int_equal(x->prefixes_count, y->prefixes_count);
		for (size_t k = 0; k < x->prefixes_count; k++)
			assert_true(wg_setup_same_prefix(&x->prefixes[k], &y->prefixes[k]));
	}
	setup_fini(&c);
	setup_fini(&back);
}

/* ---- answers ---- */

static enum kernel_wire_event
read_recorded(struct setup *out, size_t count)
{
	struct kernel_wire_answer a = {
		.sequence = RECORDED_SEQUENCE, .family = FAMILY, .state = out};

	return kernel_wire_read(&a, recorded, count);
}

static void
test_recorded(void **state)
{
	struct setup s;
	char text[ADDR_TEXT_BYTES];

	(void)state;
	setup_init(&s);
	assert_int_equal(read_recorded(&s, RECORDED), KERNEL_WIRE_DONE);
	assert_true(s.has_private_key && s.has_port && s.has_fwmark);
	assert_int_equal(s.private_key[1], 0x41);
	assert_int_equal(s.port, 51888);
	assert_int_equal(s.fwmark, 7);
	assert_int_equal(s.peers_count, 2);
	const struct setup_peer *p = &s.peers[0];
	assert_true(p->has_psk && p->has_keepalive && p->has_endpoint);
	assert_int_equal(p->public_key[8], 1);
	assert_int_equal(p->psk[0], 7);
	assert_int_equal(p->keepalive_s, 25);
	addr_put(&p->endpoint, text, sizeof(text));
	assert_string_equal(text, "127.0.0.1:5555");
	assert_int_equal(p->prefixes_count, 2);
	addr_put_prefix(&p->prefixes[0].at, text, sizeof(text));
	assert_string_equal(text, "10.0.0.0/24");
	addr_put_prefix(&p->prefixes[1].at, text, sizeof(text));
	assert_string_equal(text, "fd00::/64");
	addr_put(&s.peers[1].endpoint, text, sizeof(text));
	assert_string_equal(text, "[::1]:4444");
	assert_int_equal(p->handshake_s, 0);
	setup_fini(&s);
}

/* What the recorded device does not have: a handshake and traffic. */
static void
test_counters(void **state)
{
	const int64_t when[2] = {1700000000, 123456789};
	const uint64_t rx = 1000, tx = UINT64_MAX;
	struct setup s;

	(void)state;
	setup_init(&s);
	/* The first peer's, by where they stand. */
	struct bytes peer = attr_nth(attr(body(recorded, GENL_HDRLEN), WGDEVICE_A_PEERS), 0, 0);
	memcpy(recorded + (attr(peer, WGPEER_A_LAST_HANDSHAKE_TIME).at - recorded), when, 16);
	memcpy(recorded + (attr(peer, WGPEER_A_RX_BYTES).at - recorded), &rx, 8);
	memcpy(recorded + (attr(peer, WGPEER_A_TX_BYTES).at - recorded), &tx, 8);
	assert_int_equal(read_recorded(&s, RECORDED), KERNEL_WIRE_DONE);
	assert_int_equal(s.peers[0].handshake_s, 1700000000);
	assert_int_equal(s.peers[0].handshake_ns, 123456789);
	assert_int_equal(s.peers[0].rx_bytes, 1000);
	assert_true(s.peers[0].tx_bytes == UINT64_MAX);
	assert_int_equal(s.peers[1].rx_bytes, 0);
	setup_fini(&s);
}

/* Cut off anywhere, or with any byte changed: no more is read than there is. */
static void
test_damaged(void **state)
{
	struct setup s;

	(void)state;
	setup_init(&s);
	for (size_t n = 0; n < RECORDED; n++) {
		assert_int_not_equal(read_recorded(&s, n), KERNEL_WIRE_DONE);
		setup_fini(&s);
	}
	for (size_t n = 0; n < RECORDED; n++) {
		char was = recorded[n];

		for (int bit = 0; bit < 8; bit++) {
			recorded[n] = (char)(was ^ 1 << bit);
			(void)read_recorded(&s, RECORDED);
			setup_fini(&s);
		}
		recorded[n] = was;
	}
}

/* A value that is shorter than it has to be. */
static void
test_short_values(void **state)
{
	static const unsigned of_device[] = {WGDEVICE_A_PRIVATE_KEY, WGDEVICE_A_LISTEN_PORT,
					     WGDEVICE_A_FWMARK};
	static const unsigned of_peer[] = {
		WGPEER_A_PUBLIC_KEY,
		WGPEER_A_PRESHARED_KEY,
		WGPEER_A_ENDPOINT,
		WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
		WGPEER_A_LAST_HANDSHAKE_TIME,
		WGPEER_A_RX_BYTES,
		WGPEER_A_TX_BYTES,
	};
	struct bytes b = body(recorded, GENL_HDRLEN);
	struct bytes peer = attr_nth(attr(b, WGDEVICE_A_PEERS), 0, 0);
	struct bytes prefix = attr_nth(attr(peer, WGPEER_A_ALLOWEDIPS), 0, 0);

	(void)state;
	for (size_t i = 0; i < 3 + 7 + 3; i++) {
		struct bytes a = i < 3    ? attr(b, of_device[i])
				 : i < 10 ? attr(peer, of_peer[i - 3])
					  : attr(prefix, (unsigned)(i - 10) + 1);
		char *length = recorded + (a.at - recorded) - 4;
		const uint16_t was = (uint16_t)(a.count + 4), shorter = (uint16_t)(was - 1);
		struct kernel_wire_answer answer = {.sequence = RECORDED_SEQUENCE,
						    .family = FAMILY};
		struct setup s;

		setup_init(&s);
		answer.state = &s;
		memcpy(length, &shorter, 2);
		assert_int_equal(kernel_wire_read(&answer, recorded, RECORDED), KERNEL_WIRE_FAILED);
		assert_int_equal(answer.code, EBADMSG);
		memcpy(length, &was, 2);
		setup_fini(&s);
	}
}

static size_t
put_end(char *out, uint16_t type, uint16_t flags, uint32_t sequence, int code)
{
	struct nlmsghdr h = {20, type, flags, sequence, 0};

	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), &code, sizeof(code));
	return 20;
}

static enum kernel_wire_event
read_end(struct kernel_wire_answer *a, uint16_t type, uint16_t flags, uint32_t sequence, int code)
{
	*a = (struct kernel_wire_answer){.sequence = SEQUENCE};
	return kernel_wire_read(a, message, put_end(message, type, flags, sequence, code));
}

static void
test_ends(void **state)
{
	struct kernel_wire_answer a;

	(void)state;
	assert_int_equal(read_end(&a, NLMSG_ERROR, 0, SEQUENCE, 0), KERNEL_WIRE_DONE);
	assert_int_equal(read_end(&a, NLMSG_ERROR, 0, SEQUENCE, -ENODEV), KERNEL_WIRE_FAILED);
	assert_int_equal(a.code, ENODEV);
	assert_int_equal(read_end(&a, NLMSG_DONE, 0, SEQUENCE, 0), KERNEL_WIRE_DONE);
	assert_false(a.interrupted);
	assert_int_equal(read_end(&a, NLMSG_DONE, 0, SEQUENCE, -EMSGSIZE), KERNEL_WIRE_FAILED);
	assert_int_equal(a.code, EMSGSIZE);
	assert_int_equal(read_end(&a, NLMSG_ERROR, 0, SEQUENCE, 5), KERNEL_WIRE_FAILED);
	assert_int_equal(a.code, EBADMSG);
	assert_int_equal(read_end(&a, NLMSG_ERROR, 0, SEQUENCE, INT32_MIN), KERNEL_WIRE_FAILED);
	assert_int_equal(a.code, EBADMSG);
	assert_int_equal(read_end(&a, NLMSG_DONE, NLM_F_DUMP_INTR, SEQUENCE, 0), KERNEL_WIRE_DONE);
	assert_true(a.interrupted);
	/* Not the answer to this. */
	assert_int_equal(read_end(&a, NLMSG_ERROR, 0, SEQUENCE - 1, 0), KERNEL_WIRE_MORE);
	assert_int_equal(read_end(&a, NLMSG_NOOP, 0, SEQUENCE, 0), KERNEL_WIRE_MORE);
}

static void
test_family(void **state)
{
	struct {
		struct nlmsghdr h;
		struct genlmsghdr g;
		struct nlattr a;
		uint16_t id, pad;
	} m = {
		{sizeof(m), GENL_ID_CTRL, 0, SEQUENCE, 0},
		{CTRL_CMD_NEWFAMILY, 2, 0},
		{6, CTRL_ATTR_FAMILY_ID},
		FAMILY,
		0,
	};
	struct kernel_wire_answer a = {.sequence = SEQUENCE};

	(void)state;
	assert_int_equal(kernel_wire_read(&a, &m, sizeof(m)), KERNEL_WIRE_MORE);
	assert_int_equal(a.family, FAMILY);
	assert_int_equal(
		kernel_wire_read(&a, message, put_end(message, NLMSG_ERROR, 0, SEQUENCE, 0)),
		KERNEL_WIRE_DONE);
	/* One without its number. */
	m.h.nlmsg_len = sizeof(m.h) + sizeof(m.g);
	assert_int_equal(kernel_wire_read(&a, &m, m.h.nlmsg_len), KERNEL_WIRE_FAILED);
	assert_int_equal(a.code, EBADMSG);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct setup out;
		struct kernel_wire_answer a = {
			.sequence = RECORDED_SEQUENCE, .family = FAMILY, .state = &out};

		setup_init(&out);
		enum kernel_wire_event event = kernel_wire_read(&a, recorded, RECORDED);
		assert_int_equal(event, sweep_failed() ? KERNEL_WIRE_FAILED : KERNEL_WIRE_DONE);
		assert_int_equal(a.code, sweep_failed() ? ENOMEM : 0);
		setup_fini(&out);
	}
}

/* More peers than a setup may have. */
static void
test_too_much(void **state)
{
	struct setup c, back;
	struct kernel_wire_answer a = {.sequence = SEQUENCE, .family = FAMILY, .state = &back};
	enum kernel_wire_event event = KERNEL_WIRE_MORE;

	(void)state;
	fill(&c, true);
	setup_init(&back);
	for (unsigned round = 0; event == KERNEL_WIRE_MORE && round < 20; round++) {
		struct kernel_wire_at at = {0};
		size_t n;

		while (event == KERNEL_WIRE_MORE &&
		       (n = kernel_wire_put_set(message, SEQUENCE, FAMILY, "wg0", &c, &at)) > 0)
			event = kernel_wire_read(&a, message, n);
	}
	assert_int_equal(event, KERNEL_WIRE_FAILED);
	assert_int_equal(a.code, E2BIG);
	setup_fini(&c);
	setup_fini(&back);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_questions),
		cmocka_unit_test(test_change),
		cmocka_unit_test(test_no_change),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_recorded),
		cmocka_unit_test_setup(test_counters, load),
		cmocka_unit_test_setup(test_damaged, load),
		cmocka_unit_test_setup(test_short_values, load),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_family),
		cmocka_unit_test_setup(test_no_memory, load),
		cmocka_unit_test(test_too_much),
	};

	return cmocka_run_group_tests(tests, load, NULL);
}
