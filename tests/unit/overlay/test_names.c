/* SPDX-License-Identifier: Apache-2.0 */
/* A book with two deployments: every form of name, who may ask, what is cut, and memory that runs
 * out. */
#include "overlay/names.h"
#include "ring/identity.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/text.h"
#include "tests/support/sweep.h"

static struct addr
ip(const char *text)
{
	struct addr a = {0};

	assert_true(addr_parse_ip(text, &a));
	return a;
}

static void
service(struct names *n, uint64_t id, const char *deployment, const char *name)
{
	struct msg_service row = {.id = id, .endpoints_count = 2};

	text_copy(row.deployment_name, sizeof(row.deployment_name), deployment);
	text_copy(row.name, sizeof(row.name), name);
	text_copy(row.endpoints[0].name, MSG_NAME, "http");
	row.endpoints[0].protocol = IPPROTO_TCP;
	text_copy(row.endpoints[1].name, MSG_NAME, "game");
	row.endpoints[1].protocol = IPPROTO_UDP;
	names_add_service(n, &row);
}

static void
replica(struct names *n, uint64_t id, uint64_t of, uint32_t index, bool ready, unsigned last)
{
	struct names_replica r = {.id = id,
				  .service = of,
				  .index = index,
				  .local = last >> 8 == 7,
				  .ready = ready,
				  .running = true,
				  .ports = {8080, (uint16_t)(9000 + index)}};
	char text[64];

	text_format(text, sizeof(text), "10.200.%u.%u", last >> 8, last & 255);
	r.addr4 = ip(text);
	text_format(text, sizeof(text), "fd00::%x", last);
	r.addr6 = ip(text);
	names_add_replica(n, &r);
}

/* shop: web with 1, 2 and an unready 3, db without any; blog: web with 1. */
static struct names *
book(void)
{
	struct names *n = names_new();
	struct addr_prefix v4, v6, peer_v4, peer_v6;
	struct addr own4 = ip("10.200.7.1"), own6 = ip("fd00::1");
	struct addr peer4 = ip("10.200.9.1"), peer6 = ip("fd00:9::1"), none = {0};

	if (!n)
		return NULL;
	assert_true(addr_parse_prefix("10.200.7.0/24", &v4) && addr_parse_prefix("fd00::/64", &v6));
	assert_true(addr_parse_prefix("10.200.9.0/24", &peer_v4) &&
		    addr_parse_prefix("fd00:9::/64", &peer_v6));
	service(n, 9, "shop", "web");
	service(n, 2, "shop", "db");
	service(n, 5, "blog", "web");
	names_add_prefix(n, &peer_v6);
	names_add_prefix(n, &v4);
	names_add_prefix(n, &peer_v4);
	names_add_prefix(n, &v6);
	names_add_node(n, "edge-1", &own4, &own6);
	names_add_node(n, "edge-9", &peer4, &peer6);
	names_add_node(n, "edge-v4", &peer4, &none);
	names_add_node(n, "edge-1", &peer4, &peer6); /* the first of a name counts */
	replica(n, 103, 9, 3, false, 0x70d);
	replica(n, 102, 9, 2, true, 0x70c);
	replica(n, 105, 5, 1, true, 0x70f);
	replica(n, 101, 9, 1, true, 0x70b);
	replica(n, 199, 77, 1, true, 0x7ff); /* of no service */
	names_add_guest(n, &(struct msg_attachment){.key = {.network = "pods"}, .name = "db"});
	if (names_finish(n))
		return n;
	names_free(n);
	return NULL;
}

struct seen {
	enum names_answer answer;
	enum dns_rcode rcode;
	bool cut;
	unsigned answers, authorities, additional;
	char text[512];       /* of the answers, in their order */
	struct dns_name zone; /* of the authority */
};

/* The two names before its 20 bytes of numbers, the first one compressed or not. */
static void
put_soa(const uint8_t *m, size_t bytes, const struct dns_record *r, char *out, size_t cap)
{
	struct dns_walk walk = {.message = m, .bytes = bytes};
	struct dns_record part = *r;
	char text[DNS_NAME_TEXT];
	struct dns_name name;

	for (size_t end = 1; end <= r->data_bytes - 20; end++) {
		size_t length = strlen(out);

		part.data_bytes = r->data_at + end - part.data_at;
		if (!dns_walk_name(&walk, &part, 0, &name))
			continue;
		dns_name_put(&name, text, sizeof(text));
		text_format(out + length, cap - length, "%s ", text);
		part.data_at += part.data_bytes;
	}
}

static void
put_data(const struct dns_walk *walk, const struct dns_record *r, const uint8_t *m, char *out,
	 size_t cap)
{
	char text[DNS_NAME_TEXT];
	struct dns_name name;
	size_t at = strlen(out);

	if (r->type == DNS_TYPE_A)
		text_format(out + at, cap - at, "%u.%u ", m[r->data_at + 2], m[r->data_at + 3]);
	else if (r->type == DNS_TYPE_SOA)
		put_soa(walk->message, walk->bytes, r, out + at, cap - at);
	else if (dns_walk_name(walk, r, r->type == DNS_TYPE_SRV ? 6 : 0, &name)) {
		dns_name_put(&name, text, sizeof(text));
		text_format(out + at, cap - at, "%s:%u ", text,
			    r->type == DNS_TYPE_SRV ? m[r->data_at + 4] << 8 | m[r->data_at + 5]
						    : 0);
	}
}

static struct seen
ask_in_turn(const struct names *n, const char *asker, const char *text, uint16_t type,
	    unsigned turn)
{
	static unsigned char m[DNS_UDP_BYTES];
	struct dns_query q = {.question = {.type = type, .class = DNS_CLASS_IN}};
	struct addr from = ip(asker);
	struct dns_write w;
	struct dns_walk walk;
	struct dns_record r;
	struct dns_question question;
	struct seen seen = {0};

	assert_true(dns_name_parse(text, &q.question.name));
	dns_write_begin(&w, m, sizeof(m));
	dns_write_question(&w, &q);
	seen.answer = names_answer(n, &from, turn, &q.question, &w, &seen.rcode);
	if (seen.answer != NAMES_ANSWERED)
		return seen;
	seen.cut = w.cut;
	size_t bytes = dns_write_end(&w, &q, 0, seen.rcode);
	assert_true(dns_walk_begin(&walk, m, bytes, &question));
	seen.answers = walk.answers;
	seen.authorities = walk.authorities;
	seen.additional = walk.additional;
	for (unsigned i = 0; dns_walk_next(&walk, &r); i++) {
		assert_true(r.ttl <= 5);
		if (i < seen.answers)
			put_data(&walk, &r, m, seen.text, sizeof(seen.text));
		else if (r.type == DNS_TYPE_SOA)
			seen.zone = r.name;
	}
	assert_true(dns_walk_done(&walk));
	return seen;
}

static struct seen
ask(const struct names *n, const char *asker, const char *text, uint16_t type)
{
	return ask_in_turn(n, asker, text, type, 0);
}

#define SHOP "10.200.7.11"
#define BLOG "10.200.7.15"

static void
test_forms(void **state)
{
	static const struct {
		const char *asker, *name;
		uint16_t type;
		const char *want;
	} good[] = {
		{SHOP, "web.global", DNS_TYPE_A, "7.11 7.12 "},
		{SHOP, "WEB.Service", DNS_TYPE_A, "7.11 7.12 "},
		{"fd00::70b", "web.global", DNS_TYPE_A, "7.11 7.12 "},
		{BLOG, "web.global", DNS_TYPE_A, "7.15 "},
		{SHOP, "2.web.global", DNS_TYPE_A, "7.12 "},
		{"10.9.9.9", "web.shop.zlayer.internal", DNS_TYPE_ANY, "7.11 7.12 "},
		{"10.9.9.9", "2.web.shop.zlayer.internal", DNS_TYPE_A, "7.12 "},
		{SHOP, "edge-1.node.zlayer.internal", DNS_TYPE_A, "7.1 "},
		{BLOG, "edge-9.node.zlayer.internal", DNS_TYPE_A, "9.1 "},
		{"10.200.7.1", "edge-v4.node.zlayer.internal", DNS_TYPE_A, "9.1 "},
		{SHOP, "1.9.200.10.in-addr.arpa", DNS_TYPE_PTR, "edge-9.node.zlayer.internal:0 "},
		{SHOP, "_http._tcp.web.service", DNS_TYPE_SRV,
		 "1.web.service:8080 2.web.service:8080 "},
		{SHOP, "_game._udp.web.blog.zlayer.internal", DNS_TYPE_SRV,
		 "1.web.blog.zlayer.internal:9001 "},
		{BLOG, "12.7.200.10.in-addr.arpa", DNS_TYPE_PTR, "2.web.shop.zlayer.internal:0 "},
		{BLOG, "13.7.200.10.in-addr.arpa", DNS_TYPE_PTR, "3.web.shop.zlayer.internal:0 "},
		{BLOG, "1.7.200.10.in-addr.arpa", DNS_TYPE_PTR, "edge-1.node.zlayer.internal:0 "},
		{BLOG, "c.0.7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
		 DNS_TYPE_PTR, "2.web.shop.zlayer.internal:0 "},
	};
	struct names *n = book();

	(void)state;
	assert_non_null(n);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct seen s = ask(n, good[i].asker, good[i].name, good[i].type);

		assert_int_equal(s.answer, NAMES_ANSWERED);
		assert_int_equal(s.rcode, DNS_NOERROR);
		assert_string_equal(s.text, good[i].want);
		assert_int_equal(s.authorities, 0);
	}
	/* With the targets' addresses. */
	assert_int_equal(ask(n, SHOP, "_http._tcp.web.global", DNS_TYPE_SRV).additional, 2);
	names_free(n);
}

static void
test_nothing_there(void **state)
{
	static const struct {
		const char *name;
		uint16_t type;
		enum dns_rcode want;
	} none[] = {
		{"nobody.global", DNS_TYPE_A, DNS_NXDOMAIN},
		{"4.web.global", DNS_TYPE_A, DNS_NXDOMAIN},
		{"01.web.global", DNS_TYPE_A, DNS_NXDOMAIN},
		{"99999999999.web.global", DNS_TYPE_A, DNS_NXDOMAIN},
		{"1.2.web.global", DNS_TYPE_A, DNS_NXDOMAIN},
		{"_ftp._tcp.web.global", DNS_TYPE_SRV, DNS_NXDOMAIN},
		{"_http._udp.web.global", DNS_TYPE_SRV, DNS_NXDOMAIN},
		{"http._tcp.web.global", DNS_TYPE_SRV, DNS_NXDOMAIN},
		{"a.b.c.d.e.f.g.h.web.global", DNS_TYPE_A, DNS_NXDOMAIN},
		{"web.none.zlayer.internal", DNS_TYPE_A, DNS_NXDOMAIN},
		{"web.sho.zlayer.internal", DNS_TYPE_A, DNS_NXDOMAIN},
		{"edge-2.node.zlayer.internal", DNS_TYPE_A, DNS_NXDOMAIN},
		{"edge-v4.node.zlayer.internal", DNS_TYPE_AAAA, DNS_NOERROR},
		{"a.edge-1.node.zlayer.internal", DNS_TYPE_A, DNS_NXDOMAIN},
		{"99.7.200.10.in-addr.arpa", DNS_TYPE_PTR, DNS_NXDOMAIN},
		{"db.global", DNS_TYPE_A, DNS_NOERROR},
		{"3.web.global", DNS_TYPE_A, DNS_NOERROR},
		{"web.global", DNS_TYPE_TXT, DNS_NOERROR},
		{"web.global", DNS_TYPE_AAAA, DNS_NOERROR},
		{"_http._tcp.db.global", DNS_TYPE_SRV, DNS_NOERROR},
		{"_udp.web.global", DNS_TYPE_A, DNS_NOERROR},
		{"global", DNS_TYPE_A, DNS_NOERROR},
		{"node.zlayer.internal", DNS_TYPE_A, DNS_NOERROR},
		{"shop.zlayer.internal", DNS_TYPE_A, DNS_NOERROR},
		{"12.7.200.10.in-addr.arpa", DNS_TYPE_A, DNS_NOERROR},
	};
	struct names *n = book();
	struct seen s;

	(void)state;
	assert_non_null(n);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		s = ask(n, SHOP, none[i].name, none[i].type);
		assert_int_equal(s.answer, NAMES_ANSWERED);
		assert_int_equal(s.rcode, none[i].want);
		assert_int_equal(s.answers, 0);
		assert_int_equal(s.authorities, 1);
	}
	s = ask(n, SHOP, "zlayer.internal", DNS_TYPE_SOA);
	assert_int_equal(s.answers, 1);
	assert_string_equal(s.text, "dns.zlayer.internal hostmaster.zlayer.internal ");
	names_free(n);
}

static void
test_who_asks(void **state)
{
	static const char *const foreign[] = {"example.org",
					      "internal",
					      "a.internal",
					      "zlayer.org",
					      "200.10.in-addr.arpa",
					      "in-addr.arpa",
					      "ip6.arpa",
					      "arpa",
					      "0.d.f.ip6.arpa",
					      "x.200.10.in-addr.arpa",
					      "global.test",
					      "1.8.200.10.in-addr.arpa",
					      "2.10.200.10.in-addr.arpa",
					      "0.0.0.0.in-addr.arpa",
					      "1.2.arpa",
					      ""};
	struct names *n = book();
	uint64_t id = 0;
	struct addr blog = ip(BLOG), nobody = ip("10.200.7.99");

	(void)state;
	assert_non_null(n);
	assert_int_equal(ask(n, "10.200.7.99", "web.global", DNS_TYPE_A).answer, NAMES_REFUSED);
	assert_int_equal(ask(n, "10.200.7.1", "global", DNS_TYPE_A).answer, NAMES_REFUSED);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		assert_int_equal(ask(n, SHOP, foreign[i], DNS_TYPE_A).answer, NAMES_FOREIGN);
	assert_true(names_find(n, &blog, &id));
	assert_int_equal(id, 105);
	assert_false(names_find(n, &nobody, &id));
	/* What has ended is left out at once, and comes back. */
	names_set_running(n, 101, false);
	names_set_running(n, 4711, false);
	assert_string_equal(ask(n, SHOP, "web.global", DNS_TYPE_A).text, "7.12 ");
	names_set_running(n, 102, false);
	assert_int_equal(ask(n, SHOP, "web.global", DNS_TYPE_A).authorities, 1);
	names_set_running(n, 101, true);
	assert_string_equal(ask(n, SHOP, "web.global", DNS_TYPE_A).text, "7.11 ");
	names_free(n);
}

#define OWN6 "0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa"
#define PEER6 "0.0.0.0.0.0.0.0.9.0.0.0.0.0.d.f.ip6.arpa"

/* All of the zone of a prefix is ours, with its SOA; names above others are there. */
static void
test_reverse_zones(void **state)
{
	static const struct {
		const char *name, *zone;
		enum dns_rcode want;
	} cases[] = {
		{"7.200.10.in-addr.arpa", "7.200.10.in-addr.arpa", DNS_NOERROR},
		{"9.200.10.IN-ADDR.arpa", "9.200.10.in-addr.arpa", DNS_NOERROR},
		{"99.7.200.10.in-addr.arpa", "7.200.10.in-addr.arpa", DNS_NXDOMAIN},
		{"99.9.200.10.in-addr.arpa", "9.200.10.in-addr.arpa", DNS_NXDOMAIN},
		{"07.7.200.10.in-addr.arpa", "7.200.10.in-addr.arpa", DNS_NXDOMAIN},
		{"256.7.200.10.in-addr.arpa", "7.200.10.in-addr.arpa", DNS_NXDOMAIN},
		{"x.7.200.10.in-addr.arpa", "7.200.10.in-addr.arpa", DNS_NXDOMAIN},
		{"1.12.7.200.10.in-addr.arpa", "7.200.10.in-addr.arpa", DNS_NXDOMAIN},
		{OWN6, OWN6, DNS_NOERROR},
		{"0." OWN6, OWN6, DNS_NOERROR},
		{"7.0.0.0.0.0.0.0.0.0.0.0.0.0." OWN6, OWN6, DNS_NOERROR},
		{"8.0.0.0.0.0.0.0.0.0.0.0.0.0." OWN6, OWN6, DNS_NXDOMAIN},
		{"1." OWN6, OWN6, DNS_NXDOMAIN},
		{"g." OWN6, OWN6, DNS_NXDOMAIN},
		{"00." OWN6, OWN6, DNS_NXDOMAIN},
		{"0." PEER6, PEER6, DNS_NOERROR},
		{"1." PEER6, PEER6, DNS_NXDOMAIN},
	};
	struct names *n = book();
	struct seen s;

	(void)state;
	assert_non_null(n);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		s = ask(n, SHOP, cases[i].name, DNS_TYPE_PTR);
		assert_int_equal(s.answer, NAMES_ANSWERED);
		assert_int_equal(s.rcode, cases[i].want);
		assert_int_equal(s.answers, 0);
		assert_int_equal(s.authorities, 1);
		struct dns_name zone;
		assert_true(dns_name_parse(cases[i].zone, &zone));
		assert_true(dns_name_equal(&s.zone, &zone));
	}
	assert_int_equal(ask(n, SHOP, "7.200.10.in-addr.arpa", DNS_TYPE_SOA).answers, 1);
	names_free(n);
}

/* Prefixes that do not end where a name can are no zones. */
static void
test_prefixes_that_cannot(void **state)
{
	static const char *const bad[] = {"10.200.16.0/20", "0.0.0.0/0", "fd00:1::/62", "::/0"};
	struct names *n = names_new();

	(void)state;
	assert_non_null(n);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct addr_prefix p;

		assert_true(addr_parse_prefix(bad[i], &p));
		names_add_prefix(n, &p);
	}
	assert_true(names_finish(n));
	assert_int_equal(ask(n, SHOP, "1.16.200.10.in-addr.arpa", DNS_TYPE_PTR).answer,
			 NAMES_FOREIGN);
	assert_int_equal(ask(n, SHOP, "0.1.0.0.0.0.0.d.f.ip6.arpa", DNS_TYPE_PTR).answer,
			 NAMES_FOREIGN);
	names_free(n);
}

/* Replicas of this node (10.200.7.x) and of others in one service. */
static void
test_local_first(void **state)
{
	static const char *const want[] = {
		"7.2 7.5 9.1 9.3 9.4 ",
		"7.5 7.2 9.3 9.4 9.1 ",
		"7.2 7.5 9.4 9.1 9.3 ",
		"7.5 7.2 9.1 9.3 9.4 ",
	};
	struct names *n = names_new();

	(void)state;
	assert_non_null(n);
	service(n, 1, "shop", "web");
	replica(n, 11, 1, 1, true, 0x901);
	replica(n, 12, 1, 2, true, 0x702);
	replica(n, 13, 1, 3, true, 0x903);
	replica(n, 14, 1, 4, true, 0x904);
	replica(n, 15, 1, 5, true, 0x705);
	assert_true(names_finish(n));
	for (unsigned turn = 0; turn < 4; turn++) {
		assert_string_equal(
			ask_in_turn(n, "10.200.7.2", "web.global", DNS_TYPE_A, turn).text,
			want[turn]);
	}
	/* From there, and of one of there. */
	assert_string_equal(ask(n, "fd00::903", "4.web.service", DNS_TYPE_A).text, "9.4 ");
	assert_string_equal(ask(n, "10.200.7.2", "_http._tcp.web.service", DNS_TYPE_SRV).text,
			    "2.web.service:8080 5.web.service:8080 1.web.service:8080 "
			    "3.web.service:8080 4.web.service:8080 ");
	/* Who is not ready here is no reason to wait: others answer. */
	names_set_running(n, 12, false);
	names_set_running(n, 15, false);
	assert_string_equal(ask(n, "10.200.7.2", "web.global", DNS_TYPE_A).text, "9.1 9.3 9.4 ");
	names_free(n);
}

static void
test_many(void **state)
{
	struct names *n = names_new();
	struct seen s;

	(void)state;
	assert_non_null(n);
	service(n, 1, "shop", "web");
	for (unsigned i = 1; i <= 200; i++)
		replica(n, 1000 - i, 1, i, true, 0x900 + i);
	assert_true(names_finish(n));
	s = ask(n, "10.200.9.1", "web.global", DNS_TYPE_A);
	assert_true(s.cut);
	assert_int_equal(s.answers, (DNS_UDP_BYTES - 12 - 16) / 16);
	s = ask(n, "10.200.9.1", "_http._tcp.web.global", DNS_TYPE_SRV);
	assert_true(s.cut && s.answers > 5);
	assert_string_equal(ask(n, "10.200.9.1", "200.web.global", DNS_TYPE_A).text, "9.200 ");
	names_free(n);
}

/* ---- networks that are off, or closed ---- */

static void
guest(struct names *n, const char *network, const char *name, const char *addr4)
{
	struct msg_attachment row = {.addr4 = ip(addr4), .addr6 = ip("fd00::9")};

	row.id = MSG_ATTACHMENT_BIT | row.addr4.ip[15];
	text_copy(row.key.network, sizeof(row.key.network), network);
	text_copy(row.name, sizeof(row.name), name);
	names_add_guest(n, &row);
}

static void
service_of(struct names *n, uint64_t id, uint64_t deployment, const char *name, uint32_t overlays)
{
	struct msg_service row = {.id = id, .deployment = deployment, .overlays = overlays};

	text_copy(row.deployment_name, sizeof(row.deployment_name),
		  deployment == 1   ? "shop"
		  : deployment == 2 ? "blog"
				    : "alone");
	text_copy(row.name, sizeof(row.name), name);
	names_add_service(n, &row);
}

static struct names *
book_of_networks(void)
{
	const uint32_t said = MSG_IDENTITY_SAID, usual = (uint32_t)IDENTITY_USUAL | said;
	const uint32_t on = MSG_IDENTITY_SERVICE_ON | said;
	struct names_replica without = {.id = 17,
					.service = 1,
					.index = 2,
					.ready = true,
					.running = true,
					.addr4 = ip("10.200.9.17"),
					.overlays = said};
	struct names *n = names_new();
	struct addr_prefix v4;

	assert_non_null(n);
	assert_true(addr_parse_prefix("10.200.9.0/24", &v4));
	names_add_prefix(n, &v4);
	service_of(n, 1, 1, "web", 0); /* not said: as usual */
	service_of(n, 2, 1, "db", usual & ~(uint32_t)MSG_IDENTITY_SERVICE_ON);
	service_of(n, 3, 1, "cache", on | MSG_IDENTITY_SERVICE_ISOLATED);
	service_of(n, 4, 1, "open", on);
	service_of(n, 5, 2, "web", usual);
	service_of(n, 6, 2, "shut", usual | MSG_IDENTITY_GLOBAL_ISOLATED);
	service_of(n, 7, 3, "shut", usual | MSG_IDENTITY_GLOBAL_ISOLATED);
	for (uint32_t i = 1; i <= 6; i++)
		replica(n, 10 + i, i, 1, true, 0x90a + i);
	replica(n, 18, 7, 1, true, 0x912);
	guest(n, "pods", "a", "10.200.9.30");
	guest(n, "pods", "", "10.200.9.31");
	guest(n, "a.b", "b", "10.200.9.32"); /* no label */
	names_add_replica(n, &without);
	assert_true(names_finish(n));
	return n;
}

/* A name is there for who may reach it by a network that is on. */
static void
test_networks(void **state)
{
	static const struct {
		unsigned asker;          /* 10.200.9.N */
		const char *name, *want; /* "": there is no such name */
	} cases[] = {
		{11, "web.service", "9.11 "}, /* the second replica has neither network */
		{11, "2.web.service", NULL},
		{11, "web.global", "9.11 "},
		{17, "web.service", ""},
		{11, "db.service", ""},
		{11, "db.global", "9.12 "},
		{12, "db.service", ""},
		{12, "db.global", "9.12 "},
		{11, "cache.service", ""},
		{11, "cache.global", ""},
		{11, "1.cache.service", ""},
		{11, "cache.shop.zlayer.internal", ""},
		{13, "cache.service", "9.13 "},
		{13, "cache.global", ""},
		{13, "web.global", ""},
		{13, "web.service", ""},
		{13, "web.shop.zlayer.internal", ""},
		{11, "open.service", "9.14 "},
		{11, "open.global", ""},
		{13, "open.service", "9.14 "},
		{15, "web.shop.zlayer.internal", "9.11 "},
		{15, "db.shop.zlayer.internal", "9.12 "},
		{15, "open.shop.zlayer.internal", ""},
		{15, "shut.global", "9.16 "},
		{16, "web.blog.zlayer.internal", "9.15 "},
		{16, "web.shop.zlayer.internal", ""},
		{11, "shut.blog.zlayer.internal", ""},
		{200, "cache.shop.zlayer.internal", "9.13 "}, /* no container */
	};
	struct names *n = book_of_networks();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char asker[32];

		text_format(asker, sizeof(asker), "10.200.9.%u", cases[i].asker);
		struct seen s = ask(n, asker, cases[i].name, DNS_TYPE_A);
		const char *want = cases[i].want ? cases[i].want : "";
		bool there = !cases[i].want || want[0];
		if (strcmp(s.text, want) != 0 || s.rcode != (there ? DNS_NOERROR : DNS_NXDOMAIN))
			fail_msg("%s asks %s: \"%s\", code %d", asker, cases[i].name, s.text,
				 s.rcode);
	}
	assert_int_equal(ask(n, "10.200.9.11", "13.9.200.10.in-addr.arpa", DNS_TYPE_PTR).rcode,
			 DNS_NXDOMAIN);
	assert_int_equal(ask(n, "10.200.9.13", "13.9.200.10.in-addr.arpa", DNS_TYPE_PTR).answers,
			 1);
	assert_int_equal(ask(n, "10.200.9.11", "14.9.200.10.in-addr.arpa", DNS_TYPE_PTR).answers,
			 1);
	names_free(n);
}

static void
test_rows_that_lie(void **state)
{
	struct names *n = names_new();
	struct msg_service row = {.id = 1, .endpoints_count = UINT32_MAX};
	struct addr a = ip("10.0.0.1");

	(void)state;
	assert_non_null(n);
	memset(row.name, 'x', sizeof(row.name));
	names_add_service(n, &row);
	text_copy(row.name, sizeof(row.name), "web");
	text_copy(row.deployment_name, sizeof(row.deployment_name), "a.b");
	names_add_service(n, &row);
	text_copy(row.deployment_name, sizeof(row.deployment_name), "shop");
	names_add_service(n, &row);
	names_add_node(n, "no label", &a, &a);
	replica(n, 7, 1, 1, true, 0x101);
	assert_true(names_finish(n));
	assert_int_equal(ask(n, "10.200.1.1", "_http._tcp.web.global", DNS_TYPE_SRV).rcode,
			 DNS_NXDOMAIN);
	assert_string_equal(ask(n, "10.200.1.1", "web.global", DNS_TYPE_A).text, "1.1 ");
	names_free(n);
}

static void
test_guests(void **state)
{
	struct names *n = names_new();
	const char *asker = "10.200.7.11";

	(void)state;
	assert_non_null(n);
	service(n, 9, "cni", "web");
	replica(n, 101, 9, 1, true, 0x70b);
	guest(n, "pods", "web", "10.200.7.21");
	guest(n, "pods", "db", "10.200.7.20");
	guest(n, "pods", "web", "10.200.7.22");
	guest(n, "other", "web", "10.200.7.23");
	guest(n, "a.b", "web", "10.200.7.24"); /* no label */
	guest(n, "pods", "", "10.200.7.25");   /* has no name */
	assert_true(names_finish(n));
	assert_string_equal(ask(n, asker, "db.pods.cni.zlayer.internal", DNS_TYPE_A).text, "7.20 ");
	assert_int_equal(ask(n, asker, "db.pods.cni.zlayer.internal", DNS_TYPE_AAAA).answers, 1);
	assert_int_equal(ask(n, asker, "db.pods.cni.zlayer.internal", DNS_TYPE_ANY).answers, 2);
	assert_int_equal(ask(n, asker, "web.pods.cni.zlayer.internal", DNS_TYPE_A).answers, 2);
	assert_string_equal(ask(n, asker, "web.other.cni.zlayer.internal", DNS_TYPE_A).text,
			    "7.23 ");
	struct seen s = ask(n, asker, "db.pods.cni.zlayer.internal", DNS_TYPE_TXT);
	assert_int_equal(s.rcode, DNS_NOERROR);
	assert_int_equal(s.authorities, 1);
	assert_int_equal(ask(n, asker, "pods.cni.zlayer.internal", DNS_TYPE_A).rcode, DNS_NOERROR);
	assert_int_equal(ask(n, asker, "cni.zlayer.internal", DNS_TYPE_A).rcode, DNS_NOERROR);
	assert_int_equal(ask(n, asker, "x.pods.cni.zlayer.internal", DNS_TYPE_A).rcode,
			 DNS_NXDOMAIN);
	assert_int_equal(ask(n, asker, "x.db.pods.cni.zlayer.internal", DNS_TYPE_A).rcode,
			 DNS_NXDOMAIN);
	assert_int_equal(ask(n, asker, "db.none.cni.zlayer.internal", DNS_TYPE_A).rcode,
			 DNS_NXDOMAIN);
	/* A deployment may be called so. */
	assert_string_equal(ask(n, asker, "web.cni.zlayer.internal", DNS_TYPE_A).text, "7.11 ");
	assert_string_equal(ask(n, asker, "1.web.cni.zlayer.internal", DNS_TYPE_A).text, "7.11 ");
	names_free(n);
}

/* Of another node: names, nobody who asks. */
static void
far_guest(struct names *n, const char *network, const char *name, const char *addr4)
{
	struct msg_guest row = {.addr4 = ip(addr4), .node = 8};

	text_copy(row.network, sizeof(row.network), network);
	text_copy(row.name, sizeof(row.name), name);
	names_add_far_guest(n, &row);
}

static void
test_guests_of_other_nodes(void **state)
{
	struct names *n = names_new();
	const char *asker = "10.200.7.11";
	struct addr_prefix here, there;
	struct addr far = ip("10.200.8.20");
	uint64_t id;

	(void)state;
	assert_non_null(n);
	assert_true(addr_parse_prefix("10.200.7.0/24", &here));
	assert_true(addr_parse_prefix("10.200.8.0/24", &there));
	names_add_prefix(n, &here);
	names_add_prefix(n, &there);
	service(n, 9, "cni", "web");
	replica(n, 101, 9, 1, true, 0x70b);
	far_guest(n, "pods", "db", "10.200.8.20");
	guest(n, "pods", "db", "10.200.7.20");
	far_guest(n, "pods", "cache", "10.200.8.21");
	far_guest(n, "far", "only", "10.200.8.22");
	far_guest(n, "a.b", "x", "10.200.8.23"); /* no label */
	far_guest(n, "pods", "", "10.200.8.24");
	assert_true(names_finish(n));
	/* Those of this node first. */
	assert_string_equal(ask(n, asker, "db.pods.cni.zlayer.internal", DNS_TYPE_A).text,
			    "7.20 8.20 ");
	assert_string_equal(ask(n, asker, "cache.pods.cni.zlayer.internal", DNS_TYPE_A).text,
			    "8.21 ");
	assert_string_equal(ask(n, asker, "only.far.cni.zlayer.internal", DNS_TYPE_A).text,
			    "8.22 ");
	assert_string_equal(ask(n, asker, "21.8.200.10.in-addr.arpa", DNS_TYPE_PTR).text,
			    "cache.pods.cni.zlayer.internal:0 ");
	assert_string_equal(ask(n, asker, "20.7.200.10.in-addr.arpa", DNS_TYPE_PTR).text,
			    "db.pods.cni.zlayer.internal:0 ");
	assert_int_equal(ask(n, asker, "24.8.200.10.in-addr.arpa", DNS_TYPE_PTR).rcode,
			 DNS_NXDOMAIN);
	/* Who asks with its address is nobody of this node. */
	assert_false(names_find(n, &far, &id));
	names_free(n);
}

/* Containers of others ask as what they are, not as the node: one that has no name, too. What
 * keeps other deployments out is to them, and they to it, as if it were not there. */
static void
test_guests_and_isolation(void **state)
{
	static const struct {
		const char *asker, *name,
			*want; /* NULL: there, without an address; "": not there */
	} cases[] = {
		{"10.200.9.30", "web.shop.zlayer.internal", "9.11 "},
		{"10.200.9.30", "shop.zlayer.internal", NULL},
		{"10.200.9.30", "cache.shop.zlayer.internal", ""},
		{"10.200.9.30", "1.cache.shop.zlayer.internal", ""},
		{"10.200.9.30", "open.shop.zlayer.internal", ""},
		{"10.200.9.30", "shut.alone.zlayer.internal", ""},
		{"10.200.9.30", "alone.zlayer.internal", ""},
		{"10.200.9.31", "cache.shop.zlayer.internal", ""},
		{"10.200.9.31", "a.pods.cni.zlayer.internal", "9.30 "},
		{"10.200.9.32", "a.pods.cni.zlayer.internal", "9.30 "},
		{"10.200.9.11", "a.pods.cni.zlayer.internal", "9.30 "},
		{"10.200.9.11", "alone.zlayer.internal", ""},
		{"10.200.9.13", "a.pods.cni.zlayer.internal", ""},
		{"10.200.9.13", "pods.cni.zlayer.internal", ""},
		{"10.200.9.13", "cni.zlayer.internal", ""},
		{"10.200.9.13", "shop.zlayer.internal", NULL},
		{"10.200.9.18", "a.pods.cni.zlayer.internal", ""},
		{"10.200.9.18", "shop.zlayer.internal", ""},
		{"10.200.9.18", "alone.zlayer.internal", NULL},
		{"10.200.9.1", "a.pods.cni.zlayer.internal", "9.30 "},
		{"10.200.9.1", "alone.zlayer.internal", NULL},
	};
	struct names *n = book_of_networks();
	struct addr nameless = ip("10.200.9.31"), none = ip("10.200.9.33");
	uint64_t id = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct seen s = ask(n, cases[i].asker, cases[i].name, DNS_TYPE_A);
		const char *want = cases[i].want ? cases[i].want : "";
		bool there = !cases[i].want || want[0];
		if (strcmp(s.text, want) != 0 || s.rcode != (there ? DNS_NOERROR : DNS_NXDOMAIN))
			fail_msg("%s asks %s: \"%s\", code %d", cases[i].asker, cases[i].name,
				 s.text, s.rcode);
	}
	assert_int_equal(ask(n, "10.200.9.30", "13.9.200.10.in-addr.arpa", DNS_TYPE_PTR).rcode,
			 DNS_NXDOMAIN);
	assert_int_equal(ask(n, "10.200.9.30", "11.9.200.10.in-addr.arpa", DNS_TYPE_PTR).answers,
			 1);
	assert_int_equal(ask(n, "10.200.9.11", "30.9.200.10.in-addr.arpa", DNS_TYPE_PTR).answers,
			 1);
	assert_int_equal(ask(n, "10.200.9.13", "30.9.200.10.in-addr.arpa", DNS_TYPE_PTR).rcode,
			 DNS_NXDOMAIN);
	assert_int_equal(ask(n, "10.200.9.30", "web.global", DNS_TYPE_A).answer, NAMES_REFUSED);
	assert_int_equal(ask(n, "10.200.9.31", "example.org", DNS_TYPE_A).answer, NAMES_FOREIGN);
	/* Whose allowance it is. */
	assert_true(names_find(n, &nameless, &id));
	assert_true(id == (MSG_ATTACHMENT_BIT | 31));
	assert_false(names_find(n, &none, &id));
	names_free(n);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(s)
	{
		struct names *n = book();

		assert_int_equal(n == NULL, sweep_failed());
		names_free(n);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_nothing_there),
		cmocka_unit_test(test_who_asks),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_rows_that_lie),
		cmocka_unit_test(test_guests),
		cmocka_unit_test(test_guests_of_other_nodes),
		cmocka_unit_test(test_guests_and_isolation),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_reverse_zones),
		cmocka_unit_test(test_prefixes_that_cannot),
		cmocka_unit_test(test_local_first),
		cmocka_unit_test(test_networks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
