/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_UDP_H
#define OVERLAY_ENGINE_UDP_H

/*
 * WireGuard's UDP sockets, one for IPv4, one for IPv6. Runs of datagrams of one length are handed
 * to the kernel at once (UDP_SEGMENT) and taken from it at once (UDP_GRO), where it has that: what
 * it lacks is found out while running, and datagrams then go one by one in batches (sendmmsg,
 * recvmmsg). Nothing of that is seen from outside.
 *
 * Datagrams are never fragmented: one that is larger than the device takes is EMSGSIZE, one that is
 * too large further on is lost.
 *
 * A peer is answered from the address that it sent to (IP_PKTINFO, RFC 3542), as long as that is
 * ours ("sticky source").
 * Threading: any number of threads may send and receive at once, each receiver with an inbox of its
 * own. Errors are errno values: a lost datagram is nobody's failure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/addr.h"
#include "base/err.h"

enum {
	UDP_SEND_MAX = 65507,       /* bytes of one struct udp_send */
	UDP_SEGMENTS_MAX = 64,      /* datagrams of one: what older kernels take */
	UDP_INBOX_MAX = 8,          /* what one udp_recv gives at most */
	UDP_INBOX_BYTES = 65536,    /* of each */
	UDP_KERNEL_BYTES = 7340032, /* asked for as the socket's buffers, each way */
	UDP_HANDSHAKE_TOS = 0x88,   /* DSCP AF41 (RFC 2597) */
};

struct udp {
	int fd; /* -1: closed */
	bool v6;
	bool gso; /* cleared for good when a device cannot: atomic */
	bool gro;
};

struct udp_config {
	bool v6;         /* IPv6 and nothing else */
	uint16_t port;   /* of udp_open; 0: one that is free */
	uint32_t fwmark; /* 0: none */
	bool no_gso, no_gro;
};

/* Binds to all addresses, in the network namespace of the caller. */
int udp_open(struct udp *u, const struct udp_config *c, struct err *err) MUST_CHECK;
/* The same with a bound socket that somebody else opened: u's when this succeeds. */
int udp_adopt(struct udp *u, int fd, const struct udp_config *c, struct err *err) MUST_CHECK;
/* The kernel's buffers of a socket; more than the administrator's limit takes CAP_NET_ADMIN. */
void udp_set_room(int fd);
void udp_close(struct udp *u);
uint16_t udp_port(const struct udp *u);
/* 0: none. -1 with errno: CAP_NET_ADMIN is needed. */
int udp_set_fwmark(const struct udp *u, uint32_t fwmark);

struct udp_source {
	struct addr address; /* zero: the kernel may choose; the port is not used */
	unsigned interface;  /* index; 0: whichever the route says */
};

struct udp_send {
	struct addr to;
	struct udp_source from;
	const uint8_t *data; /* datagrams of `stride` bytes, the last may be shorter */
	uint32_t bytes;      /* 1 to UDP_SEND_MAX, no more than UDP_SEGMENTS_MAX datagrams */
	uint32_t stride;
	bool handshake; /* marked with UDP_HANDSHAKE_TOS */
	/* written: */
	bool source_gone; /* `from` is not ours any more, the kernel chose: forget it */
	int error;        /* of the first datagram that could not be sent; 0 */
};

/* Tries all of each, whatever becomes of others. */
void udp_send(struct udp *u, struct udp_send *list, size_t count);

struct udp_received {
	uint8_t *data; /* the inbox's, good until the next udp_recv; may be written to */
	uint32_t bytes;
	uint32_t stride; /* of each datagram but the last */
	uint32_t count;  /* datagrams */
	struct addr from;
	struct udp_source to;
};

struct udp_inbox;

struct udp_inbox *udp_inbox_new(void); /* NULL: no memory */
void udp_inbox_free(struct udp_inbox *in);
/* Waits for the first one if told to. Gives how many came (some may be empty: count 0), and the
 * list; -1 with errno (EAGAIN: none, EINTR). */
int udp_recv(const struct udp *u, struct udp_inbox *in, bool wait,
	     const struct udp_received **list_out);
/* Datagram i, and its length. */
uint8_t *udp_datagram(const struct udp_received *r, uint32_t i, uint32_t *bytes_out);

#endif
