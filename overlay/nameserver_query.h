/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_NAMESERVER_QUERY_H
#define OVERLAY_NAMESERVER_QUERY_H

/* One query, whichever way it came: UDP (nameserver.c) or TCP (nameserver_tcp.c). */

#include "overlay/forward.h"

enum nameserver_query {
	NAMESERVER_ANSWER,  /* *length_out bytes stand in out */
	NAMESERVER_WAIT,    /* nameserver_tcp_answered() or a datagram follows */
	NAMESERVER_NOTHING, /* no answer: garbage, or too fast */
};

/* asker: from, to, way and serial are set; the query is filled in. cap: room in out. */
enum nameserver_query nameserver_query(struct forward_asker *asker, bool tcp, const void *data,
				       size_t bytes, uint8_t *out, size_t cap, size_t *length_out);
/* The answer when nobody could be asked. */
size_t nameserver_query_failed(const struct forward_asker *asker, uint8_t *out, size_t cap);
/* Whether this is the address that containers know us by. */
bool nameserver_query_is_own(const struct addr *to);

/* TCP: a listener from node (fd is given), and an answer for a connection (NULL: none). */
void nameserver_tcp_listen(struct station *st, int fd);
void nameserver_tcp_answered(const struct forward_asker *asker, void *message, size_t bytes);

#endif
