/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked in a hostile way, byte for byte, and that no answer allocates. */
#include "overlay/answer.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"
#include "base/text.h"

enum { REPLICAS = 200 };

/* shop: web with replicas 1 to 200 (10.200.7.11 ...), solo with one. */
static struct names *
book(void)
{
	struct names *n = names_new();
	struct msg_service row = {.id = 1, .endpoints_count = 1, .endpoints = {{"http", 6}}};
	struct addr_prefix v4;
	struct addr own, none = {0};
	char text[64];

	assert_non_null(n);
	text_copy(row.deployment_name, sizeof(row.deployment_name), "shop");
	text_copy(row.name, sizeof(row.name), "web");
	names_add_service(n, &row);
	row.id = 2;
	text_copy(row.name, sizeof(row.name), "solo");
	names_add_service(n, &row);
	assert_true(addr_parse_prefix("10.200.7.0/24", &v4) && addr_parse_ip("10.200.7.1", &own));
	names_add_prefix(n, &v4);
	names_add_node(n, "edge-1", &own, &none);
	for (unsigned i = 1; i <= REPLICAS + 1; i++) {
		struct names_replica r = {.id = i,
					  .service = i > REPLICAS ? 2 : 1,
					  .index = i > REPLICAS ? 1 : i,
					  .local = true,
					  .ready = true,
					  .running = true,
					  .ports = {8080}};

		text_format(text, sizeof(text), "10.200.7.%u", i + 10);
		assert_true(addr_parse_ip(text, &r.addr4));
		text_format(text, sizeof(text), "fd00::%x", i + 10);
		assert_true(addr_parse_ip(text, &r.addr6));
		names_add_replica(n, &r);
	}
	assert_true(names_finish(n));
	return n;
}

struct got {
	enum answer answer;
	struct dns_query query;
	uint8_t bytes[DNS_MESSAGE_MAX];
	size_t length;
	uint16_t flags, counts[4];
};

static struct got *
send_bytes(const struct names *n, bool tcp, const void *data, size_t bytes)
{
	static struct got got;
	struct answer_asker who = {.tcp = tcp};

	memset(&got, 0, sizeof(got));
	assert_true(addr_parse_ip("10.200.7.11", &who.from));
	got.answer = answer_query(n, &who, data, bytes, &got.query, got.bytes,
				  tcp ? sizeof(got.bytes) : DNS_EDNS_BYTES, &got.length);
	if (got.length < DNS_HEADER_BYTES)
		return &got;
	got.flags = (uint16_t)(got.bytes[2] << 8 | got.bytes[3]);
	for (size_t i = 0; i < 4; i++)
		got.counts[i] = (uint16_t)(got.bytes[4 + 2 * i] << 8 | got.bytes[5 + 2 * i]);
	return &got;
}

static struct got *
ask(const struct names *n, bool tcp, const char *name, uint16_t type, uint16_t udp_bytes)
{
	struct dns_question q = {.type = type, .class = DNS_CLASS_IN};
	uint8_t m[DNS_UDP_BYTES];

	assert_true(dns_name_parse(name, &q.name));
	return send_bytes(n, tcp, m, dns_write_query(m, sizeof(m), 7, 0, &q, udp_bytes, false));
}

static unsigned
rcode(const struct got *g)
{
	return g->flags & DNS_RCODE;
}

/* ---- what is no question ---- */

#define WEB "\3web\6global\0"
#define HEAD "\x12\x34\x01\x00\0\1\0\0\0\0\0\0"

static void
test_malformed(void **state)
{
#define CASE(text, want)                     \
	{                                    \
		text, sizeof(text) - 1, want \
	}
	static const struct {
		const char *bytes;
		size_t length;
		int want; /* -1: no answer */
	} cases[] = {
		CASE("", -1),
		CASE("\x12\x34\x01", -1),
		CASE("\x12\x34\x81\0\0\1\0\0\0\0\0\0" WEB "\0\1\0\1", -1),
		CASE("\x12\x34\x01\0\0\0\0\0\0\0\0\0", DNS_FORMERR),
		CASE("\x12\x34\x01\0\0\2\0\0\0\0\0\0" WEB "\0\1\0\1" WEB "\0\1\0\1", DNS_FORMERR),
		CASE("\x12\x34\x01\0\xff\xff\0\0\0\0\0\0" WEB "\0\1\0\1", DNS_FORMERR),
		CASE(HEAD WEB "\0\1\0\1"
			      "x",
		     DNS_FORMERR),
		CASE(HEAD "\xc0\x0c\0\1\0\1", DNS_FORMERR), /* to itself */
		CASE(HEAD "\1a\xc0\x0c\0\1\0\1", DNS_FORMERR),
		CASE(HEAD "\xc0\xff\0\1\0\1", DNS_FORMERR), /* forward, behind the end */
		CASE(HEAD "\xc0\0\0\1\0\1", DNS_FORMERR),   /* into the header */
		CASE(HEAD "\x40"
			  "a\0\0\1\0\1",
		     DNS_FORMERR),
		CASE(HEAD "\x80"
			  "a\0\0\1\0\1",
		     DNS_FORMERR),
		CASE("\x12\x34\x09\0\0\1\0\0\0\0\0\0" WEB "\0\1\0\1", DNS_NOTIMP), /* IQUERY */
		CASE("\x12\x34\x11\0\0\1\0\0\0\0\0\0" WEB "\0\1\0\1", DNS_NOTIMP), /* STATUS */
		CASE("\x12\x34\x21\0\0\1\0\0\0\0\0\0" WEB "\0\6\0\1", DNS_NOTIMP), /* NOTIFY */
		CASE("\x12\x34\x29\0\0\1\0\0\0\0\0\0" WEB "\0\6\0\1", DNS_NOTIMP), /* UPDATE */
		CASE("\x12\x34\x79\0\0\0\0\0\0\0\0\0", DNS_NOTIMP),
		CASE(HEAD WEB "\0\0\0\1", DNS_FORMERR),   /* type 0 */
		CASE(HEAD WEB "\0\x29\0\1", DNS_FORMERR), /* OPT as a question */
		CASE(HEAD WEB "\0\xf9\0\1", DNS_NOTIMP),  /* TKEY */
		CASE(HEAD WEB "\0\xfa\0\1", DNS_NOTIMP),  /* TSIG */
		CASE(HEAD WEB "\0\xfb\0\1", DNS_NOTIMP),  /* IXFR */
		CASE(HEAD WEB "\0\xfc\0\1", DNS_NOTIMP),  /* AXFR */
		CASE(HEAD "\7example\0\0\xfc\0\1", DNS_NOTIMP),
		CASE(HEAD WEB "\0\xfe\0\1", DNS_NOTIMP),  /* MAILA */
		CASE(HEAD WEB "\0\1\0\3", DNS_REFUSED),   /* CHAOS */
		CASE(HEAD WEB "\0\1\0\xff", DNS_REFUSED), /* any class */
		CASE(HEAD WEB "\0\1\0\0", DNS_REFUSED),
		CASE(HEAD WEB "\xff\x01\0\1", DNS_NOERROR), /* an unknown type: no data */
		CASE(HEAD "\4we\0b\6global\0\0\1\0\1", DNS_NXDOMAIN),
		CASE(HEAD "\3a.b\6global\0\0\1\0\1", DNS_NXDOMAIN),
		CASE(HEAD "\6global\0\0\2\0\1", DNS_NOERROR),
	};
	struct names *n = book();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (int tcp = 0; tcp < 2; tcp++) {
			struct got *g = send_bytes(n, tcp, cases[i].bytes, cases[i].length);

			if (cases[i].want < 0) {
				assert_int_equal(g->answer, ANSWER_DROP);
				assert_int_equal(g->length, 0);
				continue;
			}
			assert_int_equal(rcode(g), cases[i].want);
			assert_memory_equal(g->bytes, "\x12\x34", 2);
			assert_true(g->flags & DNS_QR);
			/* The operation is the question's, so that the asker knows its answer. */
			assert_int_equal(g->flags & DNS_OPCODE,
					 (uint8_t)cases[i].bytes[2] << 8 & DNS_OPCODE);
			assert_true(g->flags & DNS_RD);
		}
	}
	names_free(n);
}

/* ---- sizes ---- */

/* Never more than the asker takes, or 1232 by UDP; what is cut says so and is whole by TCP. */
static void
test_sizes(void **state)
{
	static const struct {
		uint16_t says;
		size_t most;
	} sizes[] = {{0, 512},     {1, 512},     {511, 512},   {512, 512},   {600, 600},
		     {1231, 1231}, {1232, 1232}, {4096, 1232}, {65535, 1232}};
	struct names *n = book();
	struct got *g;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t opt = sizes[i].says ? DNS_OPT_BYTES : 0;

		g = ask(n, false, "web.global", DNS_TYPE_A, sizes[i].says);
		assert_true(g->flags & DNS_TC);
		assert_true(g->flags & DNS_AA);
		assert_true(g->length <= sizes[i].most && g->length > sizes[i].most - 16);
		assert_int_equal(g->counts[1], (sizes[i].most - opt - 12 - 16) / 16);
		assert_int_equal(g->counts[3], opt != 0);
		if (opt) { /* says what is taken here, and version 0 */
			const uint8_t *o = g->bytes + g->length - DNS_OPT_BYTES;

			assert_memory_equal(o, "\0\0\x29\x04\xd0\0\0\0\0\0\0", DNS_OPT_BYTES);
		}
	}
	g = ask(n, true, "web.global", DNS_TYPE_A, 0);
	assert_false(g->flags & DNS_TC);
	assert_int_equal(g->counts[1], REPLICAS);
	g = ask(n, true, "_http._tcp.web.global", DNS_TYPE_SRV, 4096);
	assert_false(g->flags & DNS_TC);
	assert_int_equal(g->counts[1], REPLICAS);
	assert_int_equal(g->counts[3], REPLICAS + 1);
	/* What is left out beside the answer is no cut. */
	g = ask(n, false, "_http._tcp.solo.global", DNS_TYPE_SRV, 0);
	assert_false(g->flags & DNS_TC);
	names_free(n);
}

/* The question comes back as it was spelt, and owners are spelt so, too (0x20). */
static void
test_spelling(void **state)
{
	static const char *const names[] = {"sOlO.GlObAl", "1.SOLO.shop.ZLayer.INTERNAL",
					    "_HTTP._Tcp.solo.SERVICE", "NoBody.GLOBAL"};
	struct names *n = book();

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct got *g = ask(n, false, names[i], DNS_TYPE_ANY, 1232);
		struct dns_name asked;
		struct dns_walk walk;
		struct dns_question q;
		struct dns_record r;

		assert_true(dns_name_parse(names[i], &asked));
		assert_true(dns_walk_begin(&walk, g->bytes, g->length, &q));
		assert_int_equal(q.name.length, asked.length);
		assert_memory_equal(q.name.bytes, asked.bytes, asked.length);
		assert_true(dns_walk_next(&walk, &r));
		if (r.type == DNS_TYPE_SOA) /* of the zone: the end of the name, as it was spelt */
			assert_memory_equal(r.name.bytes, "\6GLOBAL", 8);
		else
			assert_memory_equal(r.name.bytes, asked.bytes, asked.length);
	}
	names_free(n);
}

/* An OPT that is not understood is no reason for silence (RFC 6891). */
static void
test_edns(void **state)
{
	static const char opt[] = "\x12\x34\x01\x00\0\1\0\0\0\0\0\1" WEB "\0\1\0\1"
				  "\0\0\x29\x10\0\0\1\0\0\0\0";
	static const char cookie[] = "\x12\x34\x01\x00\0\1\0\0\0\0\0\1\4solo\6global\0\0\1\0\1"
				     "\0\0\x29\x10\0\0\0\x80\0\0\x0c\0\x0a\0\x08"
				     "abcdefgh";
	struct names *n = book();
	struct got *g = send_bytes(n, false, opt, sizeof(opt) - 1);

	(void)state;
	/* BADVERS: 16, whose upper bits stand in OPT. */
	assert_int_equal(g->answer, ANSWER_MALFORMED);
	assert_int_equal(rcode(g), 0);
	assert_int_equal(g->counts[1], 0);
	assert_memory_equal(g->bytes + g->length - DNS_OPT_BYTES, "\0\0\x29\x04\xd0\1\0\0\0\0\0",
			    DNS_OPT_BYTES);
	g = send_bytes(n, false, cookie, sizeof(cookie) - 1);
	assert_int_equal(g->answer, ANSWER_RECORDS);
	/* DO comes back, the option does not. */
	assert_memory_equal(g->bytes + g->length - DNS_OPT_BYTES, "\0\0\x29\x04\xd0\0\0\x80\0\0\0",
			    DNS_OPT_BYTES);
	names_free(n);
}

static void
test_foreign(void **state)
{
	struct names *n = book();
	struct got *g = ask(n, false, "example.org", DNS_TYPE_A, 4096);

	(void)state;
	assert_int_equal(g->answer, ANSWER_FOREIGN);
	assert_int_equal(g->length, 0);
	assert_true(g->query.edns && g->query.udp_bytes == 4096);
	/* Nobody's book: no name is told not to exist. */
	g = ask(NULL, false, "example.org", DNS_TYPE_A, 0);
	assert_int_equal(g->answer, ANSWER_REFUSED);
	assert_int_equal(rcode(g), DNS_REFUSED);
	assert_false(g->flags & DNS_AA);
	names_free(n);
}

/* ---- memory ---- */

static void
test_no_allocation(void **state)
{
	static const struct {
		const char *name;
		uint16_t type;
	} asked[] = {
		{"web.global", DNS_TYPE_A},
		{"7.web.service", DNS_TYPE_ANY},
		{"_http._tcp.web.shop.zlayer.internal", DNS_TYPE_SRV},
		{"edge-1.node.zlayer.internal", DNS_TYPE_A},
		{"11.7.200.10.in-addr.arpa", DNS_TYPE_PTR},
		{"99.7.200.10.in-addr.arpa", DNS_TYPE_PTR},
		{"nobody.global", DNS_TYPE_AAAA},
		{"web.global", DNS_TYPE_TXT},
		{"zlayer.internal", DNS_TYPE_SOA},
		{"example.org", DNS_TYPE_A},
		{"web.global", 252},
	};
	struct names *n = book();
	size_t used = mem_used_all();

	(void)state;
	mem_fail_after(0);
	for (unsigned round = 0; round < 1000; round++)
		for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
			(void)ask(n, round % 2, asked[i].name, asked[i].type,
				  (uint16_t)(round % 3 * 700));
	(void)send_bytes(n, false, HEAD, 12);
	uint64_t tried = mem_failures();
	mem_fail_after(-1);
	assert_int_equal(tried, 0);
	assert_int_equal(mem_used_all(), used);
	names_free(n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_malformed), cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_spelling),  cmocka_unit_test(test_edns),
		cmocka_unit_test(test_foreign),   cmocka_unit_test(test_no_allocation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
