/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text forms of random values: what is written is read back as the same value, addresses agree with
 * the C library's, and the distance of short words is the one that a plain recursion finds.
 */
#include <arpa/inet.h>
#include <string.h>
#include "base/addr.h"
#include "base/mem.h"
#include "base/text.h"
#include "tests/support/prop.h"

enum { ROUNDS = 20000, BYTES_MAX = 40, WORD_MAX = 5 };

static void
codes(struct prop *p)
{
	uint8_t data[BYTES_MAX];
	uint8_t raw[BYTES_MAX];
	size_t bytes = prop_below(p, BYTES_MAX + 1);
	char hex[2 * BYTES_MAX + 1];
	char base64[(BYTES_MAX + 2) / 3 * 4 + 1];

	prop_bytes(p, data, bytes);
	text_hex(data, bytes, hex, 2 * bytes + 1);
	prop_check(text_unhex(hex, 2 * bytes, raw, bytes) == (long)bytes);
	prop_check(memcmp(raw, data, bytes) == 0);
	text_base64(data, bytes, base64, text_base64_size(bytes));
	prop_check(text_unbase64(base64, strlen(base64), raw, bytes) == (long)bytes);
	prop_check(memcmp(raw, data, bytes) == 0);
}

static void
numbers(struct prop *p)
{
	uint64_t v = (prop_u64(p) >> 1) >> prop_below(p, 63);
	int64_t wall_ns = (int64_t)prop_u64(p);
	uint64_t again;
	int64_t time;
	char out[64];

	text_put_duration(v / 1000000, out, sizeof(out));
	prop_check(text_duration_ms(out, &again) == TEXT_OK && again == v / 1000000);
	text_put_size(v, out, sizeof(out));
	if (v > 0 && v % 1024 == 0)
		prop_check(text_size_bytes(out, &again) == TEXT_OK && again == v);
	else
		prop_check(text_u64(out, UINT64_MAX, &again) && again == v);
	text_time(wall_ns, 9, out, sizeof(out));
	prop_check(text_untime(out, &time) && time == wall_ns);
}

static void
make_addr(struct prop *p, struct addr *a)
{
	*a = (struct addr){.port = (uint16_t)prop_u64(p)};
	if (prop_below(p, 3) == 0) {
		addr_from_v4_be((uint32_t)prop_u64(p), a->port, a);
		return;
	}
	/* Half of the words zero, so that there are runs to shorten. */
	for (size_t i = 0; i < 16; i += 2)
		if (prop_below(p, 2))
			prop_bytes(p, a->ip + i, 2);
}

static void
addresses(struct prop *p)
{
	struct addr_prefix prefix = {.bits = (uint8_t)prop_below(p, 129)};
	struct addr_prefix prefix_again;
	struct addr a;
	struct addr b;
	struct in6_addr in6;
	char out[ADDR_TEXT_BYTES];

	make_addr(p, &a);
	addr_put(&a, out, sizeof(out));
	prop_check(addr_parse(out, &b) && addr_equal(&a, &b));
	addr_put_ip(&a, out, sizeof(out));
	prop_check(addr_parse_ip(out, &b) && addr_equal_ip(&a, &b));
	if (!addr_is_v4(&a))
		prop_check(inet_pton(AF_INET6, out, &in6) == 1 && !memcmp(&in6, a.ip, 16));
	if (addr_is_v4(&a) && prefix.bits < 96)
		return;
	memcpy(prefix.base.ip, a.ip, sizeof(a.ip));
	for (unsigned bit = prefix.bits; bit < 128; bit++)
		prefix.base.ip[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
	addr_put_prefix(&prefix, out, sizeof(out));
	prop_check(addr_parse_prefix(out, &prefix_again) && prefix_again.bits == prefix.bits);
	prop_check(addr_equal_ip(&prefix.base, &prefix_again.base) && addr_in_prefix(&a, &prefix));
	if (prefix.bits == 0)
		return;
	/* Another last bit of the prefix is outside. */
	a.ip[(prefix.bits - 1) / 8] ^= (uint8_t)(0x80 >> (prefix.bits - 1) % 8);
	prop_check(!addr_in_prefix(&a, &prefix));
}

static size_t
naive_distance(const char *a, size_t i, const char *b, size_t j)
{
	size_t least;
	size_t other;

	if (i == 0 || j == 0)
		return i + j;
	least = naive_distance(a, i - 1, b, j - 1) + (a[i - 1] == b[j - 1] ? 0u : 1u);
	other = naive_distance(a, i - 1, b, j) + 1;
	least = other < least ? other : least;
	other = naive_distance(a, i, b, j - 1) + 1;
	least = other < least ? other : least;
	if (i < 2 || j < 2 || a[i - 1] != b[j - 2] || a[i - 2] != b[j - 1])
		return least;
	other = naive_distance(a, i - 2, b, j - 2) + 1;
	return other < least ? other : least;
}

static void
make_word(struct prop *p, char word[WORD_MAX + 1])
{
	size_t length = prop_below(p, WORD_MAX + 1);

	for (size_t i = 0; i < length; i++)
		word[i] = (char)('a' + prop_below(p, 3));
	word[length] = '\0';
}

static void
distances(struct prop *p)
{
	char a[WORD_MAX + 1];
	char b[WORD_MAX + 1];
	size_t distance;

	make_word(p, a);
	make_word(p, b);
	distance = text_distance(a, b);
	prop_check(distance == text_distance(b, a));
	prop_check(distance == naive_distance(a, strlen(a), b, strlen(b)));
}

/* Cut copies of random, half broken text: never longer, and a start of it. */
static void
cuts(struct prop *p)
{
	char text[BYTES_MAX];
	char whole[4 * BYTES_MAX + 1];
	char out[BYTES_MAX];
	size_t bytes = prop_below(p, sizeof(text));
	size_t cap = 1 + prop_below(p, sizeof(out));

	prop_bytes(p, text, bytes);
	text_printable(text, bytes, whole, sizeof(whole));
	prop_check(text_is_utf8(whole, strlen(whole)));
	text_copy(out, cap, whole);
	prop_check(text_is_utf8(out, strlen(out)) && text_starts(whole, out));
	text_printable(text, bytes, out, cap);
	prop_check(text_is_utf8(out, strlen(out)) && text_starts(whole, out));
}

int
main(int argc, char **argv)
{
	struct prop p;

	prop_init(&p, argc, argv);
	for (unsigned i = 0; i < ROUNDS; i++) {
		codes(&p);
		numbers(&p);
		addresses(&p);
		distances(&p);
		cuts(&p);
	}
	return 0;
}
