/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_DNS_H
#define WIRE_DNS_H

/*
 * Messages of the domain name system (RFC 1035, 2181; EDNS0: RFC 6891; AAAA: RFC 3596; SRV: RFC
 * 2782): a strict reader of queries, a checker of answers, and a writer with name compression. No
 * I/O, no allocation: names and messages are in the caller's memory.
 * Threading: plain values.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DNS_HEADER_BYTES = 12,
	DNS_NAME_MAX = 255, /* in wire form, with the root's byte */
	DNS_LABEL_MAX = 63,
	DNS_NAME_TEXT = 1024,  /* every byte escaped as \ddd, and NUL */
	DNS_UDP_BYTES = 512,   /* without EDNS */
	DNS_EDNS_BYTES = 1232, /* what is sent and asked for by UDP: no fragments (DNS flag day) */
	DNS_MESSAGE_MAX = 65535,
	DNS_OPT_BYTES = 11,
};

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_NS = 2,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_SOA = 6,
	DNS_TYPE_PTR = 12,
	DNS_TYPE_TXT = 16,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_SRV = 33,
	DNS_TYPE_OPT = 41,
	DNS_TYPE_ANY = 255,
};

enum { DNS_CLASS_IN = 1, DNS_CLASS_ANY = 255 };

enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16, /* EDNS: the upper bits stand in OPT */
};

enum dns_flags {
	DNS_QR = 1 << 15,
	DNS_OPCODE = 15 << 11,
	DNS_AA = 1 << 10,
	DNS_TC = 1 << 9,
	DNS_RD = 1 << 8,
	DNS_RA = 1 << 7,
	DNS_AD = 1 << 5,
	DNS_CD = 1 << 4,
	DNS_RCODE = 15,
};

/* ---- names ---- */

struct dns_name {
	uint8_t length; /* of bytes in use: at least 1, the root */
	uint8_t bytes[DNS_NAME_MAX];
};

/* From "web.shop.zlayer.internal", with or without the last dot; no escapes. False when a label is
 * empty or too long, or the whole is. */
bool dns_name_parse(const char *text, struct dns_name *out);
/* With the last dot left out ("." for the root); bytes other than printable ones, dots and
 * backslashes inside labels are escaped. cap >= DNS_NAME_TEXT always suffices. */
void dns_name_put(const struct dns_name *name, char *out, size_t cap);
/* Without case (RFC 4343). */
bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);
size_t dns_name_labels(const struct dns_name *name); /* without the root */
/* Label i as text in lower case, 0 is the leftmost; false when there is none, it does not fit, or
 * it holds a NUL. */
bool dns_name_label(const struct dns_name *name, size_t i, char *out, size_t cap);

/* ---- reading ---- */

struct dns_question {
	struct dns_name name;
	uint16_t type;
	uint16_t class;
};

struct dns_query {
	uint16_t id;
	uint16_t flags;
	struct dns_question question;
	bool edns;
	bool dnssec_ok;
	uint8_t edns_version;
	uint16_t udp_bytes; /* what the asker takes by UDP: at least 512 */
};

enum dns_read {
	DNS_READ_OK,
	DNS_READ_DROP,    /* no header, or an answer: nothing may be sent back */
	DNS_READ_FORMERR, /* id and flags are set */
	DNS_READ_NOTIMP,  /* another opcode than QUERY: id and flags are set */
	DNS_READ_BADVERS, /* all is set */
};

/* Exactly one question, no answer or authority record, at most one OPT, nothing behind the end. */
enum dns_read dns_read_query(const void *data, size_t bytes, struct dns_query *out);

struct dns_record {
	struct dns_name name;
	uint16_t type;
	uint16_t class;
	uint32_t ttl;
	size_t data_at; /* offset in the message */
	size_t data_bytes;
};

/* A walk over the records of a message: answers, authorities, additional ones. */
struct dns_walk {
	const uint8_t *message;
	size_t bytes;
	size_t at;
	uint16_t id, flags;
	uint16_t questions, answers, authorities, additional; /* as the header says */
	uint32_t left;                                        /* records not yet given */
};

/* Reads the header and, when there is one, the question (name.length 0: none). False when it does
 * not hold or there are more questions. */
bool dns_walk_begin(struct dns_walk *w, const void *data, size_t bytes, struct dns_question *out);
/* The next record. False at the end, and when it does not hold: dns_walk_done() tells. */
bool dns_walk_next(struct dns_walk *w, struct dns_record *out);
/* All records were read and nothing is left over. */
bool dns_walk_done(const struct dns_walk *w);
/* A name in a record's data (CNAME, PTR, target of SRV at +6): false when it does not end inside
 * the data. */
bool dns_walk_name(const struct dns_walk *w, const struct dns_record *record, size_t skip,
		   struct dns_name *out);

/* Whether a message is a whole answer to this question with this id. *rcode_out and *flags_out are
 * its own. Answers that say an error may come without the question. */
bool dns_read_answer(const void *data, size_t bytes, uint16_t id,
		     const struct dns_question *question, uint16_t *flags_out);

/* ---- writing ---- */

enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL };

enum { DNS_WRITE_NAMES = 96 };

/* A record that does not fit is left out as a whole, and `cut` is set. */
struct dns_write {
	uint8_t *data;
	size_t cap; /* less what OPT takes */
	size_t length;
	uint16_t counts[4];
	bool cut;
	bool edns;
	bool dnssec_ok;
	uint16_t names[DNS_WRITE_NAMES]; /* offsets of names that later ones can point to */
	size_t names_count;
};

/* cap: room in data, and the most that the asker takes; at least 512. */
void dns_write_begin(struct dns_write *w, void *data, size_t cap);
/* The answer to this query repeats its question; an OPT follows when the query had one. */
void dns_write_question(struct dns_write *w, const struct dns_query *query);
/* Data as it is, and names in data: all give false when it did not fit. Sections must be written in
 * their order. */
bool dns_write_record(struct dns_write *w, enum dns_section section, const struct dns_name *name,
		      uint16_t type, uint32_t ttl_s, const void *data, size_t bytes);
/* CNAME, PTR, NS. */
bool dns_write_name(struct dns_write *w, enum dns_section section, const struct dns_name *name,
		    uint16_t type, uint32_t ttl_s, const struct dns_name *target);
bool dns_write_srv(struct dns_write *w, enum dns_section section, const struct dns_name *name,
		   uint32_t ttl_s, uint16_t priority, uint16_t weight, uint16_t port,
		   const struct dns_name *target);
/* refresh, retry and expire are of no use without secondaries: an hour, minutes, a day. */
bool dns_write_soa(struct dns_write *w, enum dns_section section, const struct dns_name *zone,
		   uint32_t ttl_s, const struct dns_name *server, const struct dns_name *mailbox,
		   uint32_t serial, uint32_t minimum_s);
/* Header and OPT; gives the length of the message. flags: RA, AA, TC ... without QR and rcode; id,
 * RD and CD are the query's. */
size_t dns_write_end(struct dns_write *w, const struct dns_query *query, unsigned flags,
		     enum dns_rcode rcode);
/* Only a header, for what could not be read: id, opcode and RD as they came. */
size_t dns_write_error(void *data, size_t cap, const struct dns_query *query, enum dns_rcode rcode);

/* A query of our own: recursion desired; flags may add CD. udp_bytes 0: no OPT. Gives the length,
 * at most DNS_HEADER_BYTES + DNS_NAME_MAX + 4 + DNS_OPT_BYTES. */
size_t dns_write_query(void *data, size_t cap, uint16_t id, unsigned flags,
		       const struct dns_question *question, uint16_t udp_bytes, bool dnssec_ok);
/* An answer to one asker made one for another: the id, and the question's name as that one wrote it
 * (equal but for case). data is an answer that dns_read_answer() took. */
void dns_write_again(void *data, size_t bytes, uint16_t id, const struct dns_question *question);

#endif
