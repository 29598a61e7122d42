/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reader and writer of domain name messages, RFC 1035 with what came later: 2181 (clarifications),
 * 2308 (negative answers), 2782 (SRV), 3596 (AAAA), 4343 (case), 6891 (EDNS0).
 *
 * Rules. A compression pointer must lead to before the name that holds it, and each further one to
 * before the last: a name is read in at most 255 steps whatever the bytes are. A query that is not
 * exactly one question is malformed, and so is one with bytes behind its end. What is written is
 * whole records only: a record that does not fit is undone, and the writer says so. Names are
 * compressed on output where RFC 3597 allows it: owners, and the data of PTR, NS, CNAME and SOA,
 * but not the target of SRV.
 *
 * It does not read or write zone files, and knows no DNSSEC but the bits that are passed on.
 */
#include "wire/dns.h"

#include <assert.h>
#include <string.h>
#include "base/text.h"

enum { POINTER = 0xc0, POINTER_MAX = 0x3fff };

/* ---- names ---- */

static uint8_t
fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool
dns_name_parse(const char *text, struct dns_name *out)
{
	size_t at = 0, label = 0; /* of the length byte of the current label */
	struct dns_name name = {0};

	if (text_equal(text, "."))
		text = "";
	for (; *text != '\0'; text++) {
		if (at == label)
			at++;
		if (*text != '.') {
			if (at >= DNS_NAME_MAX - 1 || at - label > DNS_LABEL_MAX)
				return false;
			name.bytes[at++] = (uint8_t)*text;
			continue;
		}
		if (at == label + 1)
			return false;
		name.bytes[label] = (uint8_t)(at - label - 1);
		label = at;
	}
	if (at > label) {
		name.bytes[label] = (uint8_t)(at - label - 1);
		label = at;
	}
	name.bytes[label] = 0;
	name.length = (uint8_t)(label + 1);
	*out = name;
	return true;
}

static size_t
put_byte(uint8_t c, char *out)
{
	if (c > ' ' && c < 0x7f && c != '.' && c != '\\') {
		out[0] = (char)c;
		return 1;
	}
	out[0] = '\\';
	out[1] = (char)('0' + c / 100);
	out[2] = (char)('0' + c / 10 % 10);
	out[3] = (char)('0' + c % 10);
	return 4;
}

void
dns_name_put(const struct dns_name *name, char *out, size_t cap)
{
	size_t at = 0, length = 0;

	assert(cap >= DNS_NAME_TEXT);
	while (name->bytes[at] != 0) {
		size_t n = name->bytes[at++];

		if (length > 0)
			out[length++] = '.';
		while (n-- > 0)
			length += put_byte(name->bytes[at++], out + length);
	}
	if (length == 0)
		out[length++] = '.';
	out[length] = '\0';
}

/* Length bytes are below 64 and not letters, so that they may be folded with the rest. */
static bool
same(const uint8_t *a, const uint8_t *b, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (fold(a[i]) != fold(b[i]))
			return false;
	return true;
}

bool
dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
	return a->length == b->length && same(a->bytes, b->bytes, a->length);
}

size_t
dns_name_labels(const struct dns_name *name)
{
	size_t n = 0;

	for (size_t at = 0; name->bytes[at] != 0; at += 1u + name->bytes[at])
		n++;
	return n;
}

bool
dns_name_label(const struct dns_name *name, size_t i, char *out, size_t cap)
{
	size_t at = 0;

	for (; i > 0 && name->bytes[at] != 0; i--)
		at += 1u + name->bytes[at];
	size_t n = name->bytes[at];
	if (n == 0 || n >= cap || memchr(name->bytes + at + 1, 0, n))
		return false;
	for (size_t k = 0; k < n; k++)
		out[k] = (char)fold(name->bytes[at + 1 + k]);
	out[n] = '\0';
	return true;
}

/* ---- reading ---- */

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* A name at *at; moves *at behind it. */
static bool
read_name(const uint8_t *m, size_t bytes, size_t *at, struct dns_name *out)
{
	size_t p = *at, low = *at, length = 0;
	bool jumped = false;

	for (;;) {
		if (p >= bytes)
			return false;
		uint8_t n = m[p];
		if ((n & POINTER) == POINTER) {
			if (p + 1 >= bytes)
				return false;
			size_t to = (size_t)(n & ~POINTER) << 8 | m[p + 1];
			if (!jumped)
				*at = p + 2;
			jumped = true;
			if (to >= low || to < DNS_HEADER_BYTES)
				return false;
			p = low = to;
			continue;
		}
		if (n > DNS_LABEL_MAX || p + n >= bytes || length + n + 1 > DNS_NAME_MAX ||
		    (n > 0 && length + n + 1 == DNS_NAME_MAX))
			return false;
		memcpy(out->bytes + length, m + p, (size_t)n + 1);
		length += (size_t)n + 1;
		p += (size_t)n + 1;
		if (n == 0)
			break;
	}
	out->length = (uint8_t)length;
	if (!jumped)
		*at = p;
	return true;
}

bool
dns_walk_begin(struct dns_walk *w, const void *data, size_t bytes, struct dns_question *out)
{
	const uint8_t *m = data;

	memset(w, 0, sizeof(*w));
	out->name.length = 0;
	if (bytes < DNS_HEADER_BYTES || bytes > DNS_MESSAGE_MAX)
		return false;
	w->message = m;
	w->bytes = bytes;
	w->id = get16(m);
	w->flags = get16(m + 2);
	w->questions = get16(m + 4);
	w->answers = get16(m + 6);
	w->authorities = get16(m + 8);
	w->additional = get16(m + 10);
	w->left = (uint32_t)w->answers + w->authorities + w->additional;
	w->at = DNS_HEADER_BYTES;
	if (w->questions == 0)
		return true;
	if (w->questions > 1 || !read_name(m, bytes, &w->at, &out->name) || w->at + 4 > bytes)
		return false;
	out->type = get16(m + w->at);
	out->class = get16(m + w->at + 2);
	w->at += 4;
	return true;
}

bool
dns_walk_next(struct dns_walk *w, struct dns_record *out)
{
	size_t at = w->at;

	if (w->left == 0 || !read_name(w->message, w->bytes, &at, &out->name) || at + 10 > w->bytes)
		return false;
	out->type = get16(w->message + at);
	out->class = get16(w->message + at + 2);
	out->ttl = get32(w->message + at + 4);
	out->data_bytes = get16(w->message + at + 8);
	out->data_at = at + 10;
	if (out->data_bytes > w->bytes - out->data_at)
		return false;
	w->at = out->data_at + out->data_bytes;
	w->left--;
	return true;
}

bool
dns_walk_done(const struct dns_walk *w)
{
	return w->left == 0 && w->at == w->bytes;
}

bool
dns_walk_name(const struct dns_walk *w, const struct dns_record *record, size_t skip,
	      struct dns_name *out)
{
	size_t at = record->data_at + skip;

	return skip < record->data_bytes && read_name(w->message, w->bytes, &at, out) &&
	       at == record->data_at + record->data_bytes;
}

/* OPT: the options themselves are not looked at, but must be whole. */
static bool
options_hold(const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		if (bytes < 4 || get16(data + 2) > bytes - 4)
			return false;
		size_t n = 4u + get16(data + 2);
		data += n;
		bytes -= n;
	}
	return true;
}

static bool
take_opt(const struct dns_walk *w, const struct dns_record *r, struct dns_query *out)
{
	if (out->edns || r->name.length != 1 ||
	    !options_hold(w->message + r->data_at, r->data_bytes))
		return false;
	out->edns = true;
	out->udp_bytes = r->class < DNS_UDP_BYTES ? DNS_UDP_BYTES : r->class;
	out->edns_version = (uint8_t)(r->ttl >> 16);
	out->dnssec_ok = r->ttl >> 15 & 1;
	return true;
}

enum dns_read
dns_read_query(const void *data, size_t bytes, struct dns_query *out)
{
	struct dns_walk w;
	struct dns_record r;

	memset(out, 0, sizeof(*out));
	out->udp_bytes = DNS_UDP_BYTES;
	bool holds = dns_walk_begin(&w, data, bytes, &out->question);
	if (!w.message || w.flags & DNS_QR)
		return DNS_READ_DROP;
	out->id = w.id;
	out->flags = w.flags;
	if (w.flags & DNS_OPCODE)
		return DNS_READ_NOTIMP;
	if (!holds || w.questions != 1 || w.answers != 0 || w.authorities != 0)
		return DNS_READ_FORMERR;
	while (dns_walk_next(&w, &r))
		if (r.type == DNS_TYPE_OPT && !take_opt(&w, &r, out))
			return DNS_READ_FORMERR;
	if (!dns_walk_done(&w))
		return DNS_READ_FORMERR;
	return out->edns && out->edns_version != 0 ? DNS_READ_BADVERS : DNS_READ_OK;
}

bool
dns_read_answer(const void *data, size_t bytes, uint16_t id, const struct dns_question *question,
		uint16_t *flags_out)
{
	struct dns_walk w;
	struct dns_record r;
	struct dns_question q;

	if (!dns_walk_begin(&w, data, bytes, &q) || w.id != id || !(w.flags & DNS_QR) ||
	    w.flags & DNS_OPCODE)
		return false;
	*flags_out = w.flags;
	unsigned rcode = w.flags & DNS_RCODE;
	if (w.questions == 0 ? rcode == DNS_NOERROR || rcode == DNS_NXDOMAIN || w.left != 0
			     : q.type != question->type || q.class != question->class ||
				       !dns_name_equal(&q.name, &question->name))
		return false;
	while (dns_walk_next(&w, &r))
		;
	/* What was cut may end anywhere: some servers stop in the middle of a record. */
	return dns_walk_done(&w) || (w.flags & DNS_TC && w.questions == 1);
}

/* ---- writing ---- */

static void
set16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void
put(struct dns_write *w, const void *data, size_t bytes)
{
	if (w->cut || bytes > w->cap - w->length) {
		w->cut = true;
		return;
	}
	if (bytes > 0)
		memcpy(w->data + w->length, data, bytes);
	w->length += bytes;
}

static void
put16(struct dns_write *w, unsigned v)
{
	uint8_t b[2];

	set16(b, v);
	put(w, b, sizeof(b));
}

static void
put32(struct dns_write *w, uint32_t v)
{
	put16(w, v >> 16);
	put16(w, v & 0xffff);
}

/* Where an equal name (or end of one) was written; 0: nowhere. */
static size_t
find_name(const struct dns_write *w, const uint8_t *bytes, size_t length)
{
	struct dns_name there;

	for (size_t i = 0; i < w->names_count; i++) {
		size_t at = w->names[i];

		if (read_name(w->data, w->length, &at, &there) && there.length == length &&
		    same(there.bytes, bytes, length))
			return w->names[i];
	}
	return 0;
}

static void
put_name(struct dns_write *w, const struct dns_name *name)
{
	size_t at = 0;

	while (name->bytes[at] != 0) {
		size_t known = find_name(w, name->bytes + at, name->length - at);

		if (known) {
			put16(w, (unsigned)(POINTER << 8 | known));
			return;
		}
		size_t here = w->length;
		put(w, name->bytes + at, 1u + name->bytes[at]);
		/* It can be pointed to once the whole of it stands: after this call. */
		if (!w->cut && here <= POINTER_MAX && w->names_count < DNS_WRITE_NAMES)
			w->names[w->names_count++] = (uint16_t)here;
		at += 1u + name->bytes[at];
	}
	put(w, "", 1);
}

struct mark {
	size_t length, names;
	bool cut;
};

static struct mark
record_begin(struct dns_write *w, enum dns_section section, const struct dns_name *name,
	     uint16_t type, uint32_t ttl_s)
{
	struct mark m = {w->length, w->names_count, w->cut};

	for (size_t later = section + 2u; later < 4; later++)
		assert(w->counts[later] == 0);
	w->cut = false;
	put_name(w, name);
	put16(w, type);
	put16(w, DNS_CLASS_IN);
	put32(w, ttl_s);
	put16(w, 0); /* bytes of data: see record_end() */
	return m;
}

static bool
record_end(struct dns_write *w, enum dns_section section, struct mark begin, size_t data)
{
	if (w->cut) {
		w->length = begin.length;
		w->names_count = begin.names;
		return false;
	}
	set16(w->data + data - 2, (unsigned)(w->length - data));
	w->counts[1 + section]++;
	w->cut = begin.cut;
	return true;
}

bool
dns_write_record(struct dns_write *w, enum dns_section section, const struct dns_name *name,
		 uint16_t type, uint32_t ttl_s, const void *data, size_t bytes)
{
	struct mark begin = record_begin(w, section, name, type, ttl_s);
	size_t at = w->length;

	put(w, data, bytes);
	return record_end(w, section, begin, at);
}

bool
dns_write_name(struct dns_write *w, enum dns_section section, const struct dns_name *name,
	       uint16_t type, uint32_t ttl_s, const struct dns_name *target)
{
	struct mark begin = record_begin(w, section, name, type, ttl_s);
	size_t at = w->length;

	put_name(w, target);
	return record_end(w, section, begin, at);
}

bool
dns_write_srv(struct dns_write *w, enum dns_section section, const struct dns_name *name,
	      uint32_t ttl_s, uint16_t priority, uint16_t weight, uint16_t port,
	      const struct dns_name *target)
{
	struct mark begin = record_begin(w, section, name, DNS_TYPE_SRV, ttl_s);
	size_t at = w->length;

	put16(w, priority);
	put16(w, weight);
	put16(w, port);
	put(w, target->bytes, target->length);
	return record_end(w, section, begin, at);
}

bool
dns_write_soa(struct dns_write *w, enum dns_section section, const struct dns_name *zone,
	      uint32_t ttl_s, const struct dns_name *server, const struct dns_name *mailbox,
	      uint32_t serial, uint32_t minimum_s)
{
	struct mark begin = record_begin(w, section, zone, DNS_TYPE_SOA, ttl_s);
	size_t at = w->length;

	put_name(w, server);
	put_name(w, mailbox);
	put32(w, serial);
	put32(w, 3600);
	put32(w, 600);
	put32(w, 86400);
	put32(w, minimum_s);
	return record_end(w, section, begin, at);
}

void
dns_write_begin(struct dns_write *w, void *data, size_t cap)
{
	assert(cap >= DNS_UDP_BYTES);
	memset(w, 0, offsetof(struct dns_write, names));
	w->names_count = 0;
	w->data = data;
	w->cap = cap > DNS_MESSAGE_MAX ? DNS_MESSAGE_MAX : cap;
	w->length = DNS_HEADER_BYTES;
	memset(w->data, 0, DNS_HEADER_BYTES);
}

void
dns_write_question(struct dns_write *w, const struct dns_query *query)
{
	put_name(w, &query->question.name);
	put16(w, query->question.type);
	put16(w, query->question.class);
	w->counts[0] = 1;
	w->edns = query->edns;
	w->dnssec_ok = query->dnssec_ok;
	if (w->edns)
		w->cap -= DNS_OPT_BYTES;
}

/* Its class is what we take by UDP, its TTL has the upper bits of rcode, version and DO. */
static void
put_opt(struct dns_write *w, unsigned udp_bytes, unsigned rcode, bool dnssec_ok)
{
	put(w, "", 1);
	put16(w, DNS_TYPE_OPT);
	put16(w, udp_bytes);
	put32(w, (uint32_t)(rcode >> 4) << 24 | (dnssec_ok ? 1u << 15 : 0));
	put16(w, 0);
	w->counts[3]++;
}

static size_t
put_header(struct dns_write *w, unsigned id, unsigned flags)
{
	set16(w->data, id);
	set16(w->data + 2, flags);
	for (size_t i = 0; i < 4; i++)
		set16(w->data + 4 + 2 * i, w->counts[i]);
	return w->length;
}

size_t
dns_write_end(struct dns_write *w, const struct dns_query *query, unsigned flags,
	      enum dns_rcode rcode)
{
	flags |= DNS_QR | (query->flags & (DNS_RD | DNS_CD)) | ((unsigned)rcode & DNS_RCODE);
	w->cut = false;
	if (w->edns) {
		w->cap += DNS_OPT_BYTES;
		put_opt(w, DNS_EDNS_BYTES, rcode, w->dnssec_ok);
	}
	return put_header(w, query->id, flags);
}

size_t
dns_write_error(void *data, size_t cap, const struct dns_query *query, enum dns_rcode rcode)
{
	struct dns_write w;

	dns_write_begin(&w, data, cap);
	return put_header(&w, query->id,
			  DNS_QR | (query->flags & (DNS_OPCODE | DNS_RD | DNS_CD)) |
				  ((unsigned)rcode & DNS_RCODE));
}

size_t
dns_write_query(void *data, size_t cap, uint16_t id, unsigned flags,
		const struct dns_question *question, uint16_t udp_bytes, bool dnssec_ok)
{
	struct dns_query query = {.question = *question};
	struct dns_write w;

	dns_write_begin(&w, data, cap);
	dns_write_question(&w, &query);
	if (udp_bytes)
		put_opt(&w, udp_bytes, 0, dnssec_ok);
	return put_header(&w, id, DNS_RD | flags);
}

void
dns_write_again(void *data, size_t bytes, uint16_t id, const struct dns_question *question)
{
	uint8_t *m = data;

	assert(bytes >= DNS_HEADER_BYTES);
	set16(m, id);
	if (get16(m + 4) == 1 && bytes >= DNS_HEADER_BYTES + (size_t)question->name.length)
		memcpy(m + DNS_HEADER_BYTES, question->name.bytes, question->name.length);
}
