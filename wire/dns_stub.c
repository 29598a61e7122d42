/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Written for a confined process that may open no file and load no module: the C library's resolver
 * can do neither without both. Not done: TCP (a cut answer still has addresses), DNSSEC, mDNS, and
 * what other modules of nsswitch.conf know.
 *
 * Names are compared without case. An answer counts only with the question that was asked, so that
 * a guesser must hit id, port and name. Aliases (CNAME) are followed within one answer, in any
 * order, a bounded number of times.
 */
#include "wire/dns_stub.h"

#include <string.h>
#include <strings.h>
#include "base/text.h"

enum {
	HEAD_BYTES = 12,
	CLASS_IN = 1,
	TYPE_CNAME = 5,
	TYPE_OPT = 41,
	JUMPS_MAX = 32,
	RECORDS_MAX = 128,
	CHAIN_MAX = 16,
	RCODE_NAME = 3,
};

/* ---- questions ---- */

static void
put_be16(uint8_t *out, unsigned v)
{
	out[0] = (uint8_t)(v >> 8);
	out[1] = (uint8_t)v;
}

/* The name in wire form; 0 when it is none. */
static size_t
put_name(const char *name, uint8_t *out)
{
	size_t at = 0;

	for (const char *from = name; *from;) {
		size_t length = strcspn(from, ".");

		if (length == 0 || length > 63 || at + length + 2 > DNS_STUB_NAME_BYTES - 1)
			return 0;
		out[at++] = (uint8_t)length;
		memcpy(out + at, from, length);
		at += length;
		from += length;
		if (*from == '.')
			from++;
	}
	if (at == 0)
		return 0;
	out[at++] = 0;
	return at;
}

size_t
dns_stub_query(uint16_t id, const char *name, enum dns_stub_type type,
	       uint8_t out[DNS_STUB_QUERY_BYTES])
{
	memset(out, 0, DNS_STUB_QUERY_BYTES);
	put_be16(out, id);
	out[2] = 1; /* recursion is desired */
	put_be16(out + 4, 1);
	put_be16(out + 10, 1);
	size_t n = put_name(name, out + HEAD_BYTES);
	if (n == 0)
		return 0;
	size_t at = HEAD_BYTES + n;
	put_be16(out + at, type);
	put_be16(out + at + 2, CLASS_IN);
	at += 5; /* and the root's name */
	put_be16(out + at, TYPE_OPT);
	put_be16(out + at + 2, DNS_STUB_ANSWER_BYTES);
	return at + 10;
}

/* ---- answers ---- */

struct message {
	const uint8_t *data;
	size_t bytes;
	size_t at;
	bool failed;
};

static unsigned
get_u8(struct message *m)
{
	if (m->at >= m->bytes) {
		m->failed = true;
		return 0;
	}
	return m->data[m->at++];
}

static unsigned
get_be16(struct message *m)
{
	unsigned high = get_u8(m);

	return high << 8 | get_u8(m);
}

static void
pass(struct message *m, size_t bytes)
{
	if (bytes > m->bytes - m->at)
		m->failed = true;
	else
		m->at += bytes;
}

/* Reads a name into text form, without a final dot. */
static void
get_name(struct message *m, char out[DNS_STUB_NAME_BYTES])
{
	size_t back = 0, length = 0;
	unsigned jumps = 0;

	out[0] = '\0';
	while (!m->failed) {
		unsigned n = get_u8(m);

		if (n == 0)
			break;
		if (n >= 0xc0) {
			size_t to = (n & 0x3f) << 8 | get_u8(m);

			back = back ? back : m->at;
			if (++jumps > JUMPS_MAX || to >= m->bytes)
				m->failed = true;
			m->at = to;
			continue;
		}
		if (n > 63 || length + n + 2 > DNS_STUB_NAME_BYTES || n > m->bytes - m->at) {
			m->failed = true;
			break;
		}
		if (length)
			out[length++] = '.';
		memcpy(out + length, m->data + m->at, n);
		length += n;
		out[length] = '\0';
		m->at += n;
	}
	if (back)
		m->at = back;
	/* A NUL inside of a label would shorten the text: such a name equals none. */
	if (strlen(out) != length)
		out[0] = '\0';
}

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

/* One pass over the records for `owner`; true when it is an alias: then owner is the name behind.
 */
static bool
look_through(struct message *m, unsigned records, enum dns_stub_type type,
	     char owner[DNS_STUB_NAME_BYTES], struct dns_stub_addrs *out)
{
	char name[DNS_STUB_NAME_BYTES];

	for (unsigned i = 0; i < records && !m->failed; i++) {
		get_name(m, name);
		unsigned kind = get_be16(m);
		unsigned class = get_be16(m);
		pass(m, 4);
		size_t bytes = get_be16(m);

		if (m->failed || bytes > m->bytes - m->at)
			return false;
		if (class == CLASS_IN && same_name(name, owner)) {
			if (kind == TYPE_CNAME) {
				get_name(m, owner);
				return !m->failed && owner[0];
			}
			if (kind == (unsigned)type)
				take_address(m->data + m->at, bytes, type, out);
		}
		pass(m, bytes);
	}
	return false;
}

enum dns_stub_status
dns_stub_answer(const void *data, size_t bytes, uint16_t id, const char *name,
		enum dns_stub_type type, struct dns_stub_addrs *out)
{
	struct message m = {.data = data, .bytes = bytes};
	char owner[DNS_STUB_NAME_BYTES];

	unsigned got = get_be16(&m);
	unsigned flags = get_be16(&m);
	unsigned questions = get_be16(&m);
	unsigned records = get_be16(&m);
	pass(&m, 4);
	if (m.failed || got != id || !(flags & 0x8000) || questions != 1)
		return DNS_STUB_FOREIGN;
	get_name(&m, owner);
	unsigned kind = get_be16(&m);
	unsigned class = get_be16(&m);
	if (m.failed || !same_name(owner, name) || kind != (unsigned)type || class != CLASS_IN)
		return DNS_STUB_FOREIGN;
	if ((flags & 15) == RCODE_NAME)
		return DNS_STUB_NO_NAME;
	if (flags & 15)
		return DNS_STUB_FAILED;
	size_t begin = m.at;
	for (unsigned i = 0; i < CHAIN_MAX; i++) {
		m.at = begin;
		m.failed = false;
		if (!look_through(&m, records < RECORDS_MAX ? records : RECORDS_MAX, type, owner,
				  out))
			break;
	}
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
