/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and answers of DNS byte by byte, and the two files of a resolver. */
#include "wire/dns_stub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct packet {
	uint8_t data[1500];
	size_t bytes;
};

static void
put(struct packet *p, const void *data, size_t bytes)
{
	memcpy(p->data + p->bytes, data, bytes);
	p->bytes += bytes;
}

/* An answer to a question for www.test: its head, and the question again. */
static void
begin(struct packet *p, uint16_t flags, uint16_t records, enum dns_stub_type type)
{
	uint8_t head[12] = {0x12, 0x34, (uint8_t)(flags >> 8), (uint8_t)flags, 0,
			    1,    0,    (uint8_t)records};
	uint8_t tail[4] = {0, (uint8_t)type, 0, 1};

	p->bytes = 0;
	put(p, head, sizeof(head));
	put(p, "\3www\4test", 10);
	put(p, tail, sizeof(tail));
}

static void
record(struct packet *p, const void *name, size_t name_bytes, uint8_t type, const void *data,
       uint8_t bytes)
{
	uint8_t middle[10] = {0, type, 0, 1, 0, 0, 0, 60, 0, bytes};

	put(p, name, name_bytes);
	put(p, middle, sizeof(middle));
	put(p, data, bytes);
}

static enum dns_stub_status
read_answer(const struct packet *p, enum dns_stub_type type, struct dns_stub_addrs *out)
{
	memset(out, 0, sizeof(*out));
	return dns_stub_answer(p->data, p->bytes, 0x1234, "www.test", type, out);
}

static void
test_question(void **state)
{
	uint8_t out[DNS_STUB_QUERY_BYTES];
	static const uint8_t want[] = "\x12\x34\1\0\0\1\0\0\0\0\0\1\3www\4test\0\0\34\0\1"
				      "\0\0\51\4\xd0\0\0\0\0\0\0";
	char longest[80];

	(void)state;
	size_t n = dns_stub_query(0x1234, "www.test", DNS_STUB_AAAA, out);
	assert_int_equal(n, sizeof(want) - 1);
	assert_memory_equal(out, want, n);
	assert_int_equal(dns_stub_query(1, "www.test.", DNS_STUB_A, out), n);
	assert_int_equal(dns_stub_query(1, "", DNS_STUB_A, out), 0);
	assert_int_equal(dns_stub_query(1, "a..b", DNS_STUB_A, out), 0);
	memset(longest, 'a', 64);
	longest[64] = '\0';
	assert_int_equal(dns_stub_query(1, longest, DNS_STUB_A, out), 0);
}

static void
test_answers(void **state)
{
	struct packet p;
	struct dns_stub_addrs out;
	char text[ADDR_TEXT_BYTES];

	(void)state;
	begin(&p, 0x8180, 3, DNS_STUB_A);
	record(&p, "\300\14", 2, 5, "\4real\300\20", 7); /* www.test is real.test */
	record(&p, "\4real\300\20", 7, 1, "\300\0\2\1", 4);
	record(&p, "\5other\300\20", 8, 1, "\300\0\2\2", 4);
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_OK);
	assert_int_equal(out.count, 1);
	addr_put_ip(&out.items[0], text, sizeof(text));
	assert_string_equal(text, "192.0.2.1");
	begin(&p, 0x8180, 1, DNS_STUB_AAAA);
	record(&p, "\300\14", 2, 28, "\x20\1\15\270\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	assert_int_equal(read_answer(&p, DNS_STUB_AAAA, &out), DNS_STUB_OK);
	addr_put_ip(&out.items[0], text, sizeof(text));
	assert_string_equal(text, "2001:db8::1");
	begin(&p, 0x8183, 0, DNS_STUB_A);
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_NO_NAME);
	begin(&p, 0x8182, 0, DNS_STUB_A);
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_FAILED);
	assert_int_equal(read_answer(&p, DNS_STUB_AAAA, &out), DNS_STUB_FOREIGN);
	p.data[0] ^= 1;
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_FOREIGN);
}

/* A name that points to itself, an alias in a circle, and every truncation: all of them end. */
static void
test_hostile(void **state)
{
	struct packet p;
	struct dns_stub_addrs out;

	(void)state;
	begin(&p, 0x8180, 2, DNS_STUB_A);
	record(&p, "\300\14", 2, 5, "\300\14", 2);
	record(&p, "\300\14", 2, 1, "\300\0\2\1", 4);
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_OK);
	begin(&p, 0x8180, 1, DNS_STUB_A);
	record(&p, "\300\32", 2, 1, "\300\0\2\1", 4);
	read_answer(&p, DNS_STUB_A, &out);
	assert_int_equal(out.count, 0);
	begin(&p, 0x8180, 1, DNS_STUB_A);
	record(&p, "\300\14", 2, 1, "\300\0\2\1", 4);
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_OK);
	assert_int_equal(out.count, 1);
	/* What is not whole, or has something behind its end, is nobody's answer. */
	p.data[p.bytes++] = 0;
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_FOREIGN);
	for (p.bytes -= 2; p.bytes > 0; p.bytes--) {
		assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_FOREIGN);
		assert_int_equal(out.count, 0);
	}
	/* Another opcode, and the answer to a question that was not asked. */
	begin(&p, 0x8980, 1, DNS_STUB_A);
	record(&p, "\300\14", 2, 1, "\300\0\2\1", 4);
	assert_int_equal(read_answer(&p, DNS_STUB_A, &out), DNS_STUB_FOREIGN);
}

static void
test_files(void **state)
{
	static const char conf[] =
		"# made by hand\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\n"
		"nameserver 2001:db8::53 ; second\nsearch a.test b.test\n"
		"options ndots:2 edns0\nnonsense\n";
	static const char hosts[] = "127.0.0.1 localhost\n192.0.2.7\tregistry.test  reg # mine\n"
				    "2001:db8::7 REGISTRY.test\nbad line\n";
	struct dns_stub_conf c;
	struct dns_stub_addrs out = {0};
	char name[DNS_STUB_NAME_BYTES];

	(void)state;
	dns_stub_conf(conf, strlen(conf), &c);
	assert_int_equal(c.servers_count, 2);
	assert_int_equal(c.servers[1].port, 53);
	assert_int_equal(c.ndots, 2);
	assert_true(dns_stub_candidate(&c, "x.y", 0, name, sizeof(name)));
	assert_string_equal(name, "x.y.a.test");
	assert_true(dns_stub_candidate(&c, "x.y", 2, name, sizeof(name)));
	assert_string_equal(name, "x.y");
	assert_false(dns_stub_candidate(&c, "x.y", 3, name, sizeof(name)));
	assert_true(dns_stub_candidate(&c, "x.y.z", 0, name, sizeof(name)));
	assert_string_equal(name, "x.y.z");
	assert_false(dns_stub_candidate(&c, "x.", 1, name, sizeof(name)));
	dns_stub_conf("", 0, &c);
	assert_int_equal(c.servers_count, 1);
	assert_true(addr_is_loopback(&c.servers[0]));
	dns_stub_hosts(hosts, strlen(hosts), "registry.test", &out);
	assert_int_equal(out.count, 2);
	dns_stub_hosts(hosts, strlen(hosts), "nobody.test", &out);
	assert_int_equal(out.count, 2);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_question),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
