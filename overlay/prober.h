/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PROBER_H
#define OVERLAY_PROBER_H

/*
 * Probes (overlay/probe.h) of all peers: a search for each of them, and answers to theirs. Both go
 * between the nodes' own addresses in the overlay, so what comes is from whom it says, or the
 * tunnel would not have let it in; what comes from anybody else is nothing to us. A peer gets so
 * many answers a second, and an answer is never longer than its question.
 *
 * A core without I/O. Threading: one owner.
 */

#include "base/addr.h"
#include "base/err.h"
#include "overlay/probe.h"

enum {
	PROBER_PORT = 51822,
	PROBER_PEERS_MAX = 10000, /* as MSG_PEERS_MAX */
	PROBER_ANSWERS = 50,      /* a second, to one peer */
	PROBER_ANSWERS_BURST = 100,
	PROBER_HEADERS = 28, /* of IPv4 and UDP */
};

struct prober;

struct prober_calls {
	void *arg;
	/* A datagram to a peer's port: PROBE_BYTES, and zeros up to bytes. */
	void (*send)(void *arg, const struct addr *to, const uint8_t head[PROBE_BYTES],
		     size_t bytes);
	/* What is known of a peer is another thing now: its round trip (0: not known), and, if
	 * `another`, its MTU. */
	void (*found)(void *arg, uint64_t id, uint32_t mtu, uint64_t rtt_ns, bool another);
	/* Whether this end knows the key of that peer that it asks for; it is not answered when it
	 * does not. NULL: it never does. */
	bool (*knows)(void *arg, uint64_t id, uint64_t token);
	/* A peer knows a key of this end's. NULL: nobody wants to know. */
	void (*known)(void *arg, uint64_t id, uint64_t token);
};

struct prober_peer {
	uint64_t id;
	struct addr address; /* its own in the overlay, IPv4; the port is not used */
};

/* max: as for probe_init(). NULL: no memory. */
struct prober *prober_new(const struct prober_calls *calls, uint32_t max);
void prober_free(struct prober *p); /* NULL is fine */
/* Who they are from now on, each id and address once. Those who stay go on. ERR_LIMIT,
 * ERR_NO_MEMORY: nothing has changed. */
int prober_set_peers(struct prober *p, const struct prober_peer *peers, size_t count,
		     uint64_t now_ns, struct err *err) MUST_CHECK;
void prober_set_max(struct prober *p, uint32_t max, uint64_t now_ns);
/* It has another endpoint, or none that answers any more. */
void prober_moved(struct prober *p, uint64_t id, uint64_t now_ns);

/* Asks whether it knows a key of this end's; `known` says so. */
void prober_ask_key(struct prober *p, uint64_t id, uint64_t token);

void prober_tick(struct prober *p, const struct world *w);
uint64_t prober_deadline(const struct prober *p); /* UINT64_MAX: none */
/* A UDP payload from an address. */
void prober_receive(struct prober *p, uint64_t now_ns, const struct addr *from, const uint8_t *data,
		    size_t bytes);
/* 0: no such peer. */
uint32_t prober_mtu(const struct prober *p, uint64_t id);

#endif
