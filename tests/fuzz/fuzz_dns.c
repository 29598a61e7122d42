/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: whatever is read as a query can be written and read again as the same; whatever is
 * taken as an answer can be given to another asker. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "wire/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
walk(const uint8_t *data, size_t size)
{
	struct dns_walk w;
	struct dns_record r;
	struct dns_question q;
	struct dns_name name;
	char text[DNS_NAME_TEXT];
	size_t count = 0;

	if (!dns_walk_begin(&w, data, size, &q))
		return;
	while (dns_walk_next(&w, &r)) {
		if (r.data_at + r.data_bytes > size || ++count > size)
			abort();
		dns_name_put(&r.name, text, sizeof(text));
		for (size_t skip = 0; skip < r.data_bytes && skip < 8; skip++)
			if (dns_walk_name(&w, &r, skip, &name))
				(void)dns_name_labels(&name);
	}
}

static void
query(const uint8_t *data, size_t size)
{
	struct dns_query q, again;
	uint8_t out[DNS_UDP_BYTES];
	struct dns_write w;
	uint16_t flags;

	if (dns_read_query(data, size, &q) != DNS_READ_OK)
		return;
	size_t n = dns_write_query(out, sizeof(out), q.id, q.flags & DNS_CD, &q.question,
				   q.edns ? q.udp_bytes : 0, q.dnssec_ok);
	if (dns_read_query(out, n, &again) != DNS_READ_OK || again.id != q.id ||
	    again.edns != q.edns || again.dnssec_ok != q.dnssec_ok ||
	    again.udp_bytes != q.udp_bytes || again.question.type != q.question.type ||
	    !dns_name_equal(&again.question.name, &q.question.name))
		abort();
	dns_write_begin(&w, out, sizeof(out));
	dns_write_question(&w, &q);
	while (dns_write_name(&w, DNS_ANSWER, &q.question.name, DNS_TYPE_CNAME, 1,
			      &q.question.name))
		;
	n = dns_write_end(&w, &q, DNS_TC, DNS_NOERROR);
	if (n > sizeof(out) || !dns_read_answer(out, n, q.id, &q.question, &flags))
		abort();
}

static void
answer(const uint8_t *data, size_t size)
{
	struct dns_walk w;
	struct dns_question q;
	uint16_t flags;

	if (!dns_walk_begin(&w, data, size, &q) || q.name.length == 0 ||
	    !dns_read_answer(data, size, w.id, &q, &flags))
		return;
	uint8_t *copy = mem_dup(MEM_BASE, data, size);
	if (!copy)
		abort();
	dns_write_again(copy, size, (uint16_t)~w.id, &q);
	if (!dns_read_answer(copy, size, (uint16_t)~w.id, &q, &flags))
		abort();
	mem_free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[64];
	struct dns_name name;

	walk(data, size);
	query(data, size);
	answer(data, size);
	if (size > 0 && size < sizeof(text) && !memchr(data, 0, size)) {
		memcpy(text, data, size);
		text[size] = '\0';
		if (dns_name_parse(text, &name) && name.length > size + 2)
			abort();
	}
	return 0;
}
