/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_NAMESERVER_UDP_H
#define OVERLAY_NAMESERVER_UDP_H

/*
 * The name server's datagrams: questions are read and answered many at a time, with two system
 * calls for all of them, and an answer leaves from the address that was asked.
 * Threading: one thread of a process; the batch's memory is the process's own.
 */

#include "overlay/forward.h"

enum {
	NAMESERVER_UDP_BATCH = 32,
	NAMESERVER_UDP_IN = 2048, /* bytes of a question: what is longer is none */
};

/* Has the kernel say where datagrams were sent to. The socket stays the caller's. */
void nameserver_udp_prepare(int fd);

/* One question: asker's from, to and way are set, the query is filled in. Gives the bytes of the
 * answer in out, which has DNS_EDNS_BYTES; 0: none, or later. */
typedef size_t (*nameserver_udp_fn)(void *arg, struct forward_asker *asker, const void *data,
				    size_t bytes, uint8_t *out);

struct nameserver_udp_read {
	size_t count;   /* datagrams: less than NAMESERVER_UDP_BATCH: there are no more for now */
	size_t useless; /* of them, too long or of nobody: not given to the function */
};
/* Reads what is there, at most one batch, and sends the answers. */
struct nameserver_udp_read nameserver_udp_read(int fd, void *way, nameserver_udp_fn fn, void *arg);
/* An answer that came later. One that cannot be sent is lost: it is asked again. */
void nameserver_udp_send(int fd, const struct forward_asker *asker, const void *data, size_t bytes);

#endif
