/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is refused before a name is looked up, and how: a message that does not hold FORMERR, other
 * operations than a query NOTIMP (RFC 1035), another version of EDNS BADVERS (RFC 6891), another
 * class than IN REFUSED. Types that are no types of data are no questions either: OPT and the
 * reserved 0 are FORMERR, transfers of zones and the rest of 249 to 254 NOTIMP (RFC 6895, 5936),
 * for names of others, too: a forwarder of single questions cannot carry a transfer.
 */
#include "overlay/answer.h"

enum { TYPE_NONE = 0, TYPE_TKEY = 249, TYPE_MAILA = 254 };

size_t
answer_empty(const struct dns_query *query, enum dns_rcode rcode, uint8_t *out, size_t cap)
{
	struct dns_write w;

	dns_write_begin(&w, out, cap);
	dns_write_question(&w, query);
	return dns_write_end(&w, query, DNS_RA, rcode);
}

/* DNS_NOERROR: it may be asked. */
static enum dns_rcode
judge(const struct dns_question *q)
{
	if (q->type == TYPE_NONE || q->type == DNS_TYPE_OPT)
		return DNS_FORMERR;
	if (q->type >= TYPE_TKEY && q->type <= TYPE_MAILA)
		return DNS_NOTIMP;
	return q->class == DNS_CLASS_IN ? DNS_NOERROR : DNS_REFUSED;
}

static enum answer
look_up(const struct names *names, const struct answer_asker *asker, const struct dns_query *q,
	uint8_t *out, size_t cap, size_t *length_out)
{
	enum dns_rcode rcode = DNS_REFUSED;
	enum names_answer answer = NAMES_REFUSED;
	struct dns_write w;

	if (!asker->tcp && cap > q->udp_bytes)
		cap = q->udp_bytes;
	dns_write_begin(&w, out, cap);
	dns_write_question(&w, q);
	if (names)
		answer = names_answer(names, &asker->from, asker->turn, &q->question, &w, &rcode);
	if (answer == NAMES_FOREIGN)
		return ANSWER_FOREIGN;
	unsigned flags = DNS_RA | (answer == NAMES_ANSWERED ? DNS_AA : 0u) | (w.cut ? DNS_TC : 0u);
	*length_out = dns_write_end(&w, q, flags, rcode);
	return answer == NAMES_REFUSED ? ANSWER_REFUSED
	       : rcode == DNS_NXDOMAIN ? ANSWER_NXDOMAIN
	       : w.counts[1] || w.cut  ? ANSWER_RECORDS
				       : ANSWER_NODATA;
}

enum answer
answer_query(const struct names *names, const struct answer_asker *asker, const void *data,
	     size_t bytes, struct dns_query *query_out, uint8_t *out, size_t cap,
	     size_t *length_out)
{
	switch (dns_read_query(data, bytes, query_out)) {
	case DNS_READ_OK:
		break;
	case DNS_READ_DROP:
		return ANSWER_DROP;
	case DNS_READ_FORMERR:
		*length_out = dns_write_error(out, cap, query_out, DNS_FORMERR);
		return ANSWER_MALFORMED;
	case DNS_READ_NOTIMP:
		*length_out = dns_write_error(out, cap, query_out, DNS_NOTIMP);
		return ANSWER_MALFORMED;
	case DNS_READ_BADVERS:
		*length_out = answer_empty(query_out, DNS_BADVERS, out, cap);
		return ANSWER_MALFORMED;
	}
	enum dns_rcode rcode = judge(&query_out->question);
	if (rcode == DNS_NOERROR)
		return look_up(names, asker, query_out, out, cap, length_out);
	*length_out = answer_empty(query_out, rcode, out, cap);
	return rcode == DNS_REFUSED ? ANSWER_REFUSED : ANSWER_MALFORMED;
}
