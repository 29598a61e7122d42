/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ANSWER_H
#define OVERLAY_ANSWER_H

/*
 * One question to the name server, from bytes to bytes: what may be asked, and the answer from the
 * book of names. No I/O, no clock, no allocation.
 * Threading: plain values.
 */

#include "overlay/names.h"

enum answer {
	ANSWER_RECORDS,
	ANSWER_NODATA,
	ANSWER_NXDOMAIN,
	ANSWER_REFUSED,
	ANSWER_MALFORMED, /* or not implemented */
	ANSWER_DROP,      /* nothing may be sent back; nothing stands in out */
	ANSWER_FOREIGN,   /* to be forwarded; nothing stands in out */
};

/* Who asked and how. */
struct answer_asker {
	struct addr from;
	bool tcp;
	unsigned turn; /* another number for each question: rotates the records */
};

/* names: NULL: nothing is known, every name is refused. *query_out is set but for ANSWER_DROP. out
 * has room for cap bytes, at least DNS_UDP_BYTES; by UDP no more is used than the asker takes. */
enum answer answer_query(const struct names *names, const struct answer_asker *asker,
			 const void *data, size_t bytes, struct dns_query *query_out, uint8_t *out,
			 size_t cap, size_t *length_out);
/* An answer without records. Gives its length. */
size_t answer_empty(const struct dns_query *query, enum dns_rcode rcode, uint8_t *out, size_t cap);

#endif
