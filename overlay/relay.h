/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_RELAY_H
#define OVERLAY_RELAY_H

/*
 * Passing on between nodes that only dial out (docs/decisions/018). Each of the two speaks to the
 * WireGuard port of a third one, the relay, as to each other; the relay sends what is not for
 * itself to the other one, as it came. It has no key for it, and adds nothing.
 *
 * Who may: nodes that the relay was told of, from the address that their own session with it comes
 * from (relay_heard()), to another one of them that is there, too. Nobody else is
 * listened to, whatever the datagram says. To whom: an initiation says it by its first MAC, which
 * is made with the receiver's public key; all that follows has the number that the other end gave
 * itself in the handshake. The numbers that passed are kept as flows.
 *
 * A node has so many bytes and handshakes a second and so many flows; what is more is dropped, and
 * others do not notice.
 *
 * A core without I/O: datagrams and time come in, where they are to go comes out.
 * Threading: one owner, or a lock.
 */

#include "base/addr.h"
#include "base/err.h"
#include "overlay/wg/noise.h"

enum {
	RELAY_NODES_MAX = 4096,
	RELAY_FLOWS_MAX = 262144,
	RELAY_NODE_FLOWS_MAX = 8192, /* that one node asked for; the oldest go first */
	RELAY_FLOW_MS = 200000,      /* without a datagram; keys are good for 180 s */
	RELAY_PRESENT_MS = 10000,    /* since relay_heard() said so */
	RELAY_BYTES = 128 << 20,     /* a second, of one node */
	RELAY_BYTES_BURST = 16 << 20,
	RELAY_HANDSHAKES = 100, /* initiations, likewise */
	RELAY_HANDSHAKES_BURST = 500,
	RELAY_STRAYS = 20, /* initiations for nobody, likewise: who sends them may be anybody */
	RELAY_STRAYS_BURST = 100,
	RELAY_KNOWN_TRIES = 16, /* flows whose other end an initiation is for, most likely */
};

enum relay_verdict {
	RELAY_OWN,     /* from no node that is relayed, or nothing to pass on: the device's */
	RELAY_FORWARD, /* as it is */
	/* dropped */
	RELAY_UNKNOWN, /* for nobody who is relayed, or of no handshake that passed */
	RELAY_ABSENT,  /* for one that was not heard of late */
	RELAY_LIMITED, /* more than one node may */
	RELAY_VERDICTS,
};

struct relay;

/* Seeds are of its tables. NULL: no memory. */
struct relay *relay_new(const uint64_t seeds[3]);
void relay_free(struct relay *r); /* NULL is fine */
/* The nodes that are relayed, by their public keys, each once; others are forgotten, with their
 * flows. ERR_LIMIT, ERR_NO_MEMORY: nothing has changed. */
int relay_set_nodes(struct relay *r, const uint8_t (*keys)[PRIMITIVE_KEY], size_t count,
		    struct err *err) MUST_CHECK;
/* A node has a session with this one whose keys are good, and its packets come from `at`. To be
 * said again within RELAY_PRESENT_MS for as long as that is so, and at once when `at` changes.
 * False: it is none that is relayed, or there is no memory. */
bool relay_heard(struct relay *r, const uint8_t key[PRIMITIVE_KEY], const struct addr *at,
		 void *user, uint64_t now_ns);
/* It is not known any more where a node is, and `user` is not used again: until relay_heard(). Its
 * flows wait for that, as long as they may. */
void relay_gone(struct relay *r, const uint8_t key[PRIMITIVE_KEY]);
struct relay_to {
	struct addr at;
	void *user;
};
/* One datagram that the device has no use for; or a run of data of one session, of which `data` is
 * the first and `bytes` the sum. *out: with RELAY_FORWARD. */
enum relay_verdict relay_take(struct relay *r, uint64_t now_ns, const struct addr *from,
			      const uint8_t *data, size_t bytes, struct relay_to *out);
/* Forgets flows whose time is over: each minute or so. */
void relay_tick(struct relay *r, uint64_t now_ns);

size_t relay_nodes(const struct relay *r);
size_t relay_flows(const struct relay *r);
const char *relay_verdict_name(enum relay_verdict v); /* for metrics: "forwarded" .. */

#endif
