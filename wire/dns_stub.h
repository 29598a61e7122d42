/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_DNS_STUB_H
#define WIRE_DNS_STUB_H

/*
 * A stub resolver's side of DNS (RFC 1035, EDNS0 of RFC 6891): the question for a name's addresses,
 * the addresses in its answer, and the two files that say how a machine resolves names. Bytes in,
 * bytes out: no sockets, no clock. Answers are hostile: every length and every compressed name is
 * bounded.
 * Threading: pure functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"

enum {
	DNS_STUB_QUERY_BYTES = 512,
	DNS_STUB_ANSWER_BYTES = 1232,
	DNS_STUB_NAME_BYTES = 256,
	DNS_STUB_ADDRS_MAX = 16,
	DNS_STUB_SERVERS_MAX = 3,
	DNS_STUB_SEARCH_MAX = 6,
};

enum dns_stub_type { DNS_STUB_A = 1, DNS_STUB_AAAA = 28 };

enum dns_stub_status {
	DNS_STUB_OK,      /* no error; maybe no address of this type */
	DNS_STUB_NO_NAME, /* the name does not exist */
	DNS_STUB_FAILED,  /* the server cannot tell: ask another one */
	DNS_STUB_FOREIGN, /* not an answer to this question: wait for the right one */
};

struct dns_stub_addrs {
	struct addr items[DNS_STUB_ADDRS_MAX]; /* port 0 */
	size_t count;
};

/* 0 when the name is none (a label of more than 63 bytes, an empty one ...). */
size_t dns_stub_query(uint16_t id, const char *name, enum dns_stub_type type,
		      uint8_t out[DNS_STUB_QUERY_BYTES]);
/* Adds the addresses to out, following the names that the answer says are others'. */
enum dns_stub_status dns_stub_answer(const void *data, size_t bytes, uint16_t id, const char *name,
				     enum dns_stub_type type, struct dns_stub_addrs *out);

/* resolv.conf(5) */
struct dns_stub_conf {
	struct addr servers[DNS_STUB_SERVERS_MAX]; /* port 53 */
	size_t servers_count;
	char search[DNS_STUB_SEARCH_MAX][DNS_STUB_NAME_BYTES];
	size_t search_count;
	uint32_t ndots;
};

/* Lines that do not hold are passed over, as the C library does; without a server it is the one on
 * this machine. */
void dns_stub_conf(const char *text, size_t bytes, struct dns_stub_conf *out);
/* The names to ask for, in order: the i-th, or false when there are no more. */
bool dns_stub_candidate(const struct dns_stub_conf *conf, const char *name, size_t i, char *out,
			size_t cap);
/* hosts(5): adds the addresses of the name. */
void dns_stub_hosts(const char *text, size_t bytes, const char *name, struct dns_stub_addrs *out);

#endif
