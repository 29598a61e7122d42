/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the name server: whatever comes, an answer is a whole message, no longer than the
 * asker takes, repeats the question byte for byte and lives at most five seconds. The first byte
 * chooses the way and who asks. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "overlay/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static struct addr
ip(const char *text)
{
	struct addr a = {0};

	must(addr_parse_ip(text, &a));
	return a;
}

static const struct names *
book(void)
{
	static struct names *n;
	struct msg_service row = {.id = 1, .endpoints_count = 1, .endpoints = {{"http", 6}}};
	struct addr_prefix v4, v6;
	char text[64];

	if (n)
		return n;
	n = names_new();
	text_copy(row.deployment_name, sizeof(row.deployment_name), "shop");
	text_copy(row.name, sizeof(row.name), "web");
	must(n && addr_parse_prefix("10.200.7.0/24", &v4) && addr_parse_prefix("fd00::/64", &v6));
	names_add_service(n, &row);
	names_add_prefix(n, &v4);
	names_add_prefix(n, &v6);
	struct addr own4 = ip("10.200.7.1"), own6 = ip("fd00::1");
	names_add_node(n, "edge-1", &own4, &own6);
	for (unsigned i = 1; i <= 60; i++) {
		struct names_replica r = {.id = i,
					  .service = 1,
					  .index = i,
					  .local = i % 2,
					  .ready = i % 5 != 0,
					  .running = true,
					  .ports = {8080}};

		text_format(text, sizeof(text), "10.200.7.%u", i + 10);
		r.addr4 = ip(text);
		text_format(text, sizeof(text), "fd00::%x", i + 10);
		r.addr6 = ip(text);
		names_add_replica(n, &r);
	}
	must(names_finish(n));
	return n;
}

static void
check_answer(const struct dns_query *q, enum answer answer, const uint8_t *out, size_t length)
{
	struct dns_walk w;
	struct dns_question again;
	struct dns_record r;

	must(dns_walk_begin(&w, out, length, &again));
	must(w.id == q->id && w.flags & DNS_QR && w.flags & DNS_RA);
	must(w.questions == 1 && again.name.length == q->question.name.length &&
	     memcmp(again.name.bytes, q->question.name.bytes, again.name.length) == 0 &&
	     again.type == q->question.type && again.class == q->question.class);
	must(answer == ANSWER_RECORDS || w.answers == 0);
	must(answer != ANSWER_NODATA || w.authorities == 1);
	must(answer != ANSWER_NXDOMAIN || (w.authorities == 1 && (w.flags & 15) == DNS_NXDOMAIN));
	while (dns_walk_next(&w, &r))
		must(r.type == DNS_TYPE_OPT ? q->edns : r.ttl <= 5);
	must(dns_walk_done(&w));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[DNS_MESSAGE_MAX];
	struct answer_asker who = {.from = ip("10.200.7.11")};
	struct dns_query q;
	size_t length = 0;

	if (size == 0)
		return 0;
	who.tcp = data[0] & 1;
	who.turn = data[0] >> 2;
	if (data[0] & 2)
		who.from = ip("192.0.2.1");
	size_t cap = who.tcp ? sizeof(out) : DNS_EDNS_BYTES;
	enum answer answer = answer_query(book(), &who, data + 1, size - 1, &q, out, cap, &length);
	if (answer == ANSWER_DROP || answer == ANSWER_FOREIGN) {
		must(length == 0);
		return 0;
	}
	must(length >= DNS_HEADER_BYTES && length <= cap);
	must(who.tcp || length <= q.udp_bytes);
	if (length > DNS_HEADER_BYTES)
		check_answer(&q, answer, out, length);
	return 0;
}
