/* SPDX-License-Identifier: Apache-2.0 */
/* Domain name messages: names, what is refused, compression, records that do not fit. */
#include "wire/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct dns_name
name_of(const char *text)
{
	struct dns_name name;

	assert_true(dns_name_parse(text, &name));
	return name;
}

static void
test_names(void **state)
{
	static const char *const bad[] = {".a", "a..b", "..", "a.."};
	char text[DNS_NAME_TEXT], long_text[300];
	struct dns_name a = name_of("Web.shop.zlayer.internal."),
			b = name_of("wEB.Shop.zlayer.INTERNAL");

	(void)state;
	assert_true(dns_name_equal(&a, &b));
	assert_int_equal(dns_name_labels(&a), 4);
	assert_true(dns_name_label(&a, 0, text, sizeof(text)));
	assert_string_equal(text, "web");
	assert_true(dns_name_label(&a, 3, text, 9));
	assert_false(dns_name_label(&a, 3, text, 8));
	assert_false(dns_name_label(&a, 4, text, sizeof(text)));
	dns_name_put(&a, text, sizeof(text));
	assert_string_equal(text, "Web.shop.zlayer.internal");
	a = name_of("");
	assert_int_equal(a.length, 1);
	dns_name_put(&a, text, sizeof(text));
	assert_string_equal(text, ".");
	a = name_of(".");
	assert_int_equal(dns_name_labels(&a), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(dns_name_parse(bad[i], &a));
	memset(long_text, 'x', sizeof(long_text));
	long_text[63] = '\0';
	assert_true(dns_name_parse(long_text, &a));
	long_text[63] = 'x';
	long_text[64] = '\0';
	assert_false(dns_name_parse(long_text, &a));
	/* 3 * 64 + 62 bytes and the root: 255. */
	memset(long_text, 'x', sizeof(long_text));
	long_text[63] = long_text[127] = long_text[191] = '.';
	long_text[253] = '\0';
	assert_true(dns_name_parse(long_text, &a));
	assert_int_equal(a.length, 255);
	long_text[253] = 'x';
	long_text[254] = '\0';
	assert_false(dns_name_parse(long_text, &a));
	a = (struct dns_name){.length = 5, .bytes = {3, '.', 0, 'a', 0}};
	dns_name_put(&a, text, sizeof(text));
	assert_string_equal(text, "\\046\\000a");
	assert_false(dns_name_label(&a, 0, text, sizeof(text)));
}

/* ---- queries ---- */

#define HEAD "\x12\x34\x01\x00\0\1\0\0\0\0\0\0"
#define HEAD_OPT "\x12\x34\x01\x00\0\1\0\0\0\0\0\1"
#define WEB "\3web\6global\0"

static enum dns_read
read_bytes(const void *data, size_t bytes, struct dns_query *q)
{
	return dns_read_query(data, bytes, q);
}
#define READ(text, q) read_bytes((text), sizeof(text) - 1, (q))

static void
test_good_queries(void **state)
{
	struct dns_query q;
	struct dns_name web = name_of("web.global");

	(void)state;
	assert_int_equal(READ(HEAD WEB "\0\1\0\1", &q), DNS_READ_OK);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(q.flags, DNS_RD);
	assert_true(dns_name_equal(&q.question.name, &web));
	assert_int_equal(q.question.type, DNS_TYPE_A);
	assert_int_equal(q.udp_bytes, 512);
	assert_false(q.edns);
	assert_int_equal(READ(HEAD_OPT WEB "\0\1\0\1"
					   "\0\0\x29\x10\0\0\0\x80\0\0\0",
			      &q),
			 DNS_READ_OK);
	assert_true(q.edns && q.dnssec_ok);
	assert_int_equal(q.udp_bytes, 4096);
	/* Too small a size means 512; options are passed over. */
	assert_int_equal(READ(HEAD_OPT WEB "\0\1\0\1"
					   "\0\0\x29\0\1\0\0\0\0\0\6\0\x0a\0\2xy",
			      &q),
			 DNS_READ_OK);
	assert_int_equal(q.udp_bytes, 512);
	assert_int_equal(READ(HEAD_OPT WEB "\0\1\0\1"
					   "\0\0\x29\x10\0\0\1\0\0\0\0",
			      &q),
			 DNS_READ_BADVERS);
}

static void
test_bad_queries(void **state)
{
	struct dns_query q;

	(void)state;
	assert_int_equal(READ("", &q), DNS_READ_DROP);
	assert_int_equal(READ("\x12\x34\x01\x00\0\1\0\0\0\0\0", &q), DNS_READ_DROP);
	assert_int_equal(READ("\x12\x34\x81\x00\0\1\0\0\0\0\0\0" WEB "\0\1\0\1", &q),
			 DNS_READ_DROP);
	assert_int_equal(READ("\x12\x34\x29\x00\0\1\0\0\0\0\0\0" WEB "\0\1\0\1", &q),
			 DNS_READ_NOTIMP);
	assert_int_equal(READ("\x12\x34\x01\x00\0\0\0\0\0\0\0\0", &q), DNS_READ_FORMERR);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(READ("\x12\x34\x01\x00\0\2\0\0\0\0\0\0" WEB "\0\1\0\1" WEB "\0\1\0\1", &q),
			 DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD WEB "\0\1\0", &q), DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD WEB "\0\1\0\1x", &q), DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD "\xc0\x0c\0\1\0\1", &q), DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD "\xc0\x04\0\1\0\1", &q), DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD "\x80"
				   "ab\0\0\1\0\1",
			      &q),
			 DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD "\3we", &q), DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD_OPT WEB "\0\1\0\1", &q), DNS_READ_FORMERR);
	/* OPT with a name, with half an option, and twice. */
	assert_int_equal(READ(HEAD_OPT WEB "\0\1\0\1"
					   "\1a\0\0\x29\x10\0\0\0\0\0\0\0",
			      &q),
			 DNS_READ_FORMERR);
	assert_int_equal(READ(HEAD_OPT WEB "\0\1\0\1"
					   "\0\0\x29\x10\0\0\0\0\0\0\3\0\x0a\0",
			      &q),
			 DNS_READ_FORMERR);
	assert_int_equal(READ("\x12\x34\x01\x00\0\1\0\0\0\0\0\2" WEB "\0\1\0\1"
			      "\0\0\x29\x10\0\0\0\0\0\0\0"
			      "\0\0\x29\x10\0\0\0\0\0\0\0",
			      &q),
			 DNS_READ_FORMERR);
	assert_int_equal(READ("\x12\x34\x01\x00\0\1\0\1\0\0\0\0" WEB "\0\1\0\1"
			      "\0\0\1\0\1\0\0\0\1\0\4abcd",
			      &q),
			 DNS_READ_FORMERR);
}

/* ---- answers ---- */

static struct dns_query
ask(const char *text, uint16_t type, bool edns)
{
	struct dns_query q = {.id = 7, .flags = DNS_RD, .edns = edns, .udp_bytes = 512};

	q.question.name = name_of(text);
	q.question.type = type;
	q.question.class = DNS_CLASS_IN;
	return q;
}

static void
test_compression(void **state)
{
	struct dns_query q = ask("web.shop.zlayer.internal", DNS_TYPE_A, false);
	struct dns_name zone = name_of("zlayer.internal"), server = name_of("ns.zlayer.internal");
	struct dns_name box = name_of("mail.ns.zlayer.internal");
	uint8_t m[512];
	struct dns_write w;
	struct dns_walk walk;
	struct dns_question question;
	struct dns_record r;
	struct dns_name target;
	uint16_t flags;

	(void)state;
	dns_write_begin(&w, m, sizeof(m));
	dns_write_question(&w, &q);
	size_t plain = w.length;
	assert_true(
		dns_write_record(&w, DNS_ANSWER, &q.question.name, DNS_TYPE_A, 3, "\1\2\3\4", 4));
	assert_int_equal(w.length, plain + 2 + 10 + 4);
	assert_true(dns_write_name(&w, DNS_ANSWER, &q.question.name, DNS_TYPE_PTR, 3, &server));
	assert_true(dns_write_srv(&w, DNS_ANSWER, &q.question.name, 3, 1, 2, 80, &server));
	assert_true(dns_write_soa(&w, DNS_AUTHORITY, &zone, 3, &server, &box, 1, 3));
	size_t n = dns_write_end(&w, &q, DNS_AA | DNS_RA, DNS_NOERROR);
	assert_true(dns_read_answer(m, n, 7, &q.question, &flags));
	assert_int_equal(flags, DNS_QR | DNS_AA | DNS_RA | DNS_RD);
	assert_true(dns_walk_begin(&walk, m, n, &question));
	assert_true(dns_walk_next(&walk, &r));
	assert_int_equal(r.type, DNS_TYPE_A);
	assert_memory_equal(m + r.data_at, "\1\2\3\4", 4);
	assert_true(dns_walk_next(&walk, &r));
	assert_int_equal(r.data_bytes, 5); /* "ns" and a pointer */
	assert_true(dns_walk_name(&walk, &r, 0, &target));
	assert_true(dns_name_equal(&target, &server));
	assert_true(dns_walk_next(&walk, &r));
	assert_int_equal(r.data_bytes, 6 + server.length); /* in full */
	assert_true(dns_walk_name(&walk, &r, 6, &target));
	assert_false(dns_walk_name(&walk, &r, 5, &target));
	assert_true(dns_walk_next(&walk, &r));
	assert_int_equal(r.type, DNS_TYPE_SOA);
	assert_true(dns_name_equal(&r.name, &zone));
	assert_false(dns_walk_next(&walk, &r));
	assert_true(dns_walk_done(&walk));
}

static void
test_what_does_not_fit(void **state)
{
	struct dns_query q = ask("web.global", DNS_TYPE_A, true);
	uint8_t m[DNS_UDP_BYTES + 8];
	struct dns_write w;
	uint16_t flags;
	size_t records = 0;

	(void)state;
	memset(m, 0xee, sizeof(m));
	dns_write_begin(&w, m, DNS_UDP_BYTES);
	dns_write_question(&w, &q);
	while (dns_write_record(&w, DNS_ANSWER, &q.question.name, DNS_TYPE_A, 3, "\1\2\3\4", 4))
		records++;
	assert_true(w.cut);
	assert_int_equal(records, (DNS_UDP_BYTES - DNS_OPT_BYTES - 12 - 16) / 16);
	size_t n = dns_write_end(&w, &q, DNS_TC, DNS_NOERROR);
	assert_true(n <= DNS_UDP_BYTES);
	assert_int_equal(m[DNS_UDP_BYTES], 0xee);
	assert_true(dns_read_answer(m, n, 7, &q.question, &flags));
	assert_int_equal(m[11], 1); /* OPT found its place */
}

static void
test_errors(void **state)
{
	struct dns_query q = ask("web.global", DNS_TYPE_A, true);
	uint8_t m[512];
	struct dns_write w;

	(void)state;
	assert_int_equal(dns_write_error(m, sizeof(m), &q, DNS_FORMERR), 12);
	assert_memory_equal(m, "\0\7\x81\1\0\0\0\0\0\0\0\0", 12);
	dns_write_begin(&w, m, sizeof(m));
	dns_write_question(&w, &q);
	size_t n = dns_write_end(&w, &q, DNS_RA, DNS_BADVERS);
	assert_int_equal(m[3] & 15, 0);
	assert_int_equal(m[n - 6], 1); /* the upper bits of the code */
}

static void
test_foreign_answers(void **state)
{
	struct dns_query q = ask("a.test", DNS_TYPE_A, false),
			 other = ask("b.test", DNS_TYPE_A, false);
	struct dns_query spelt = ask("A.tEst", DNS_TYPE_A, false);
	uint8_t m[512];
	struct dns_write w;
	struct dns_question question;
	struct dns_walk walk;
	uint16_t flags;

	(void)state;
	size_t n = dns_write_query(m, sizeof(m), 7, DNS_CD, &q.question, 1232, true);
	struct dns_query read;
	assert_int_equal(dns_read_query(m, n, &read), DNS_READ_OK);
	assert_int_equal(read.flags, DNS_RD | DNS_CD);
	assert_true(read.edns && read.dnssec_ok && read.udp_bytes == 1232);
	assert_false(dns_read_answer(m, n, 7, &q.question, &flags)); /* no answer at all */
	dns_write_begin(&w, m, sizeof(m));
	dns_write_question(&w, &q);
	(void)dns_write_record(&w, DNS_ANSWER, &q.question.name, DNS_TYPE_A, 3, "\1\2\3\4", 4);
	n = dns_write_end(&w, &q, DNS_RA, DNS_NOERROR);
	assert_true(dns_read_answer(m, n, 7, &spelt.question, &flags));
	assert_false(dns_read_answer(m, n, 8, &q.question, &flags));
	assert_false(dns_read_answer(m, n, 7, &other.question, &flags));
	assert_false(dns_read_answer(m, n - 1, 7, &q.question, &flags));
	m[2] |= DNS_TC >> 8;
	assert_true(dns_read_answer(m, n - 1, 7, &q.question, &flags));
	m[2] &= (uint8_t) ~(DNS_TC >> 8);
	dns_write_again(m, n, 0x4321, &spelt.question);
	assert_true(dns_walk_begin(&walk, m, n, &question));
	assert_int_equal(walk.id, 0x4321);
	assert_memory_equal(question.name.bytes, spelt.question.name.bytes, question.name.length);
	/* Errors may come without the question, answers not. */
	n = dns_write_error(m, sizeof(m), &q, DNS_SERVFAIL);
	assert_true(dns_read_answer(m, n, 7, &q.question, &flags));
	n = dns_write_error(m, sizeof(m), &q, DNS_NXDOMAIN);
	assert_false(dns_read_answer(m, n, 7, &q.question, &flags));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_good_queries),
		cmocka_unit_test(test_bad_queries),
		cmocka_unit_test(test_compression),
		cmocka_unit_test(test_what_does_not_fit),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_foreign_answers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
