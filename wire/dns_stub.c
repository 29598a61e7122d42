/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Written for a confined process that may open no file and load no module: the C library's resolver
 * can do neither without both. Not done: TCP (a cut answer still has addresses), DNSSEC, mDNS, and
 * what other modules of nsswitch.conf know.
 *
 * Names are compared without case. An answer counts only with the question that was asked, so that
 * a guesser must hit id, port and name. Aliases (CNAME) are followed within one answer, in any
 * order, a bounded number of times. Messages are read and written by wire/dns.c.
 */
#include "wire/dns_stub.h"

#include <string.h>
#include <strings.h>
#include "base/text.h"
#include "wire/dns.h"

enum { RECORDS_MAX = 128, CHAIN_MAX = 16 };

static bool
question_of(const char *name, enum dns_stub_type type, struct dns_question *out)
{
	*out = (struct dns_question){.type = (uint16_t)type, .class = DNS_CLASS_IN};
	return dns_name_parse(name, &out->name) && dns_name_labels(&out->name) > 0;
}

size_t
dns_stub_query(uint16_t id, const char *name, enum dns_stub_type type,
	       uint8_t out[DNS_STUB_QUERY_BYTES])
{
	struct dns_question question;

	if (!question_of(name, type, &question))
		return 0;
	return dns_write_query(out, DNS_STUB_QUERY_BYTES, id, 0, &question, DNS_STUB_ANSWER_BYTES,
			       false);
}

/* ---- answers ---- */

static bool
same_name(const char *a, const char *b)
{
	size_t length = strlen(b);

	if (length && b[length - 1] == '.')
		length--;
	return strlen(a) == length && strncasecmp(a, b, length) == 0;
}

static void
add(struct dns_stub_addrs *out, const struct addr *a)
{
	for (size_t i = 0; i < out->count; i++) {
		if (addr_equal_ip(&out->items[i], a))
			return;
	}
	if (out->count < DNS_STUB_ADDRS_MAX)
		out->items[out->count++] = *a;
}

static void
take_address(const uint8_t *data, size_t bytes, enum dns_stub_type type, struct dns_stub_addrs *out)
{
	struct addr a = {0};
	uint32_t v4;

	if (type == DNS_STUB_A && bytes == sizeof(v4)) {
		memcpy(&v4, data, sizeof(v4));
		addr_from_v4_be(v4, 0, &a);
	} else if (type == DNS_STUB_AAAA && bytes == sizeof(a.ip)) {
		memcpy(a.ip, data, sizeof(a.ip));
	} else {
		return;
	}
	add(out, &a);
}

/* One pass over the answers for `owner`; true when it is an alias: then owner is the name behind.
 */
static bool
look_through(const void *data, size_t bytes, enum dns_stub_type type, struct dns_name *owner,
	     struct dns_stub_addrs *out)
{
	struct dns_question question;
	struct dns_record r;
	struct dns_walk w;

	if (!dns_walk_begin(&w, data, bytes, &question))
		return false;
	for (unsigned i = 0; i < w.answers && i < RECORDS_MAX && dns_walk_next(&w, &r); i++) {
		if (r.class != DNS_CLASS_IN || !dns_name_equal(&r.name, owner))
			continue;
		if (r.type == DNS_TYPE_CNAME)
			return dns_walk_name(&w, &r, 0, owner);
		if (r.type == (uint16_t)type)
			take_address(w.message + r.data_at, r.data_bytes, type, out);
	}
	return false;
}

enum dns_stub_status
dns_stub_answer(const void *data, size_t bytes, uint16_t id, const char *name,
		enum dns_stub_type type, struct dns_stub_addrs *out)
{
	struct dns_question question;
	uint16_t flags;

	if (!question_of(name, type, &question) ||
	    !dns_read_answer(data, bytes, id, &question, &flags))
		return DNS_STUB_FOREIGN;
	if ((flags & DNS_RCODE) == DNS_NXDOMAIN)
		return DNS_STUB_NO_NAME;
	if (flags & DNS_RCODE)
		return DNS_STUB_FAILED;
	for (unsigned i = 0; i < CHAIN_MAX && look_through(data, bytes, type, &question.name, out);
	     i++)
		;
	return DNS_STUB_OK;
}

/* ---- files ---- */

/* The next line's words; false at the end. The line is cut into `line`. */
static bool
next_line(const char **at, const char *end, char *line, size_t cap)
{
	if (*at >= end)
		return false;
	const char *stop = memchr(*at, '\n', (size_t)(end - *at));
	size_t length = (size_t)((stop ? stop : end) - *at);

	text_ncopy(line, cap, *at, length);
	*at += length + (stop != NULL);
	line[strcspn(line, "#;")] = '\0';
	return true;
}

static void
take_option(const char *word, struct dns_stub_conf *out)
{
	uint64_t n;

	if (text_starts(word, "ndots:") && text_u64(word + 6, 15, &n))
		out->ndots = (uint32_t)n;
}

static void
take_conf_word(const char *key, const char *word, struct dns_stub_conf *out)
{
	struct addr a;

	if (!strcmp(key, "nameserver")) {
		if (out->servers_count < DNS_STUB_SERVERS_MAX && addr_parse_ip(word, &a)) {
			a.port = 53;
			out->servers[out->servers_count++] = a;
		}
	} else if (!strcmp(key, "options")) {
		take_option(word, out);
	} else if (out->search_count < DNS_STUB_SEARCH_MAX &&
		   text_copy(out->search[out->search_count], DNS_STUB_NAME_BYTES, word)) {
		out->search_count++;
	}
}

void
dns_stub_conf(const char *text, size_t bytes, struct dns_stub_conf *out)
{
	const char *at = text;
	char line[1024];

	memset(out, 0, sizeof(*out));
	out->ndots = 1;
	while (next_line(&at, text + bytes, line, sizeof(line))) {
		char *save = NULL;
		const char *key = strtok_r(line, " \t\r", &save);

		if (!key)
			continue;
		if (!strcmp(key, "search") || !strcmp(key, "domain"))
			out->search_count = 0;
		else if (strcmp(key, "nameserver") != 0 && strcmp(key, "options") != 0)
			continue;
		for (const char *word; (word = strtok_r(NULL, " \t\r", &save));)
			take_conf_word(key, word, out);
	}
	if (out->servers_count == 0) {
		addr_parse_ip("127.0.0.1", &out->servers[0]);
		out->servers[0].port = 53;
		out->servers_count = 1;
	}
}

bool
dns_stub_candidate(const struct dns_stub_conf *conf, const char *name, size_t i, char *out,
		   size_t cap)
{
	size_t dots = 0;

	for (const char *c = name; *c; c++)
		dots += *c == '.';
	if (name[0] && text_ends(name, "."))
		return i == 0 && text_copy(out, cap, name);
	bool plain_first = dots >= conf->ndots;
	if (i > conf->search_count)
		return false;
	if (i == (plain_first ? 0 : conf->search_count))
		return text_copy(out, cap, name);
	const char *domain = conf->search[plain_first ? i - 1 : i];
	return text_format(out, cap, "%s.%s", name, domain);
}

void
dns_stub_hosts(const char *text, size_t bytes, const char *name, struct dns_stub_addrs *out)
{
	const char *at = text;
	char line[1024];

	while (next_line(&at, text + bytes, line, sizeof(line))) {
		char *save = NULL;
		const char *ip = strtok_r(line, " \t\r", &save);
		struct addr a = {0};

		if (!ip || !addr_parse_ip(ip, &a))
			continue;
		for (const char *word; (word = strtok_r(NULL, " \t\r", &save));) {
			if (same_name(word, name))
				add(out, &a);
		}
	}
}
