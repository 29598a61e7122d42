/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_ENGINE_H
#define OVERLAY_ENGINE_ENGINE_H

/*
 * Our WireGuard: the queues of a TUN device on one side, UDP sockets on the other, a device
 * (wg/device.h) between them, and threads that carry. Each queue has a thread that reads it, cuts
 * what it reads into datagrams (segment.h), seals and sends them; each receiver takes datagrams
 * from the sockets, opens them, joins what belongs together (merge.h) and writes to its queue. A
 * peer's packets stay in order. Handshakes, timers and changes are one thread's, under a lock that
 * data takes only once per super-packet.
 *
 * With up to ENGINE_EAGER_MAX peers there is a session with each of them before there is traffic.
 * With more, a peer sleeps (wg/device.h) until something goes to it or an initiation of it comes;
 * but in its first ENGINE_GREETS_S an engine speaks to each that it is told of, up to
 * ENGINE_GREETS_MAX: those that have sessions with the engine before it send with them, and would
 * notice after 15 s only that nobody opens that;
 * what goes to it first waits for the handshake as always. Probes (overlay/prober.h) wake nobody
 * then, and keep nobody awake.
 *
 * Needs no capability, and of the kernel only what acts on its descriptors: it runs in a process
 * that can make neither TUN devices nor bound sockets.
 *
 * Threading: the functions here may be called by any one thread at a time; none waits for the
 * network. No thread of the engine calls out.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "overlay/engine/tun.h"
#include "overlay/wg/setup.h"

enum {
	ENGINE_QUEUES_MAX = 16,
	ENGINE_STAGED_BYTES_MAX = 4 << 20, /* of all packets that wait for handshakes */
	ENGINE_SUCCESSIONS_MAX = 10000,    /* keys that others are to follow: of all nodes */
	ENGINE_EAGER_MAX = 256,            /* peers; of more only those in use have sessions */
	ENGINE_GREETS_MAX = 2048,          /* peers; of more an engine that begins speaks to none */
	ENGINE_GREETS_S = 60,
};

struct engine;

struct engine_config {
	struct tun queues[ENGINE_QUEUES_MAX]; /* open; the engine's when engine_new succeeds */
	size_t queues_count;
	int udp4, udp6;   /* bound sockets, likewise; -1: not this family, but not both */
	uint32_t mtu;     /* of the TUN device */
	const char *aead; /* of the table by name (aead.h); NULL: the fastest that passes */
	/* For tests: as on a kernel without them, and how much later it is than the clocks say (a
	 * change of it is seen at the next engine_change); NULL: not at all. */
	bool no_gso, no_gro;
	const _Atomic uint64_t *ahead_ns;
};

/* Nothing is sent before there is a peer. NULL: ERR_INVALID, ERR_NO_MEMORY, what the system says;
 * descriptors are still the caller's then, with options set. */
struct engine *engine_new(const struct engine_config *config, struct err *err) MUST_CHECK;
/* Ends the threads, wipes all keys, closes queues and sockets. NULL is fine. */
void engine_free(struct engine *e);

/* All of the change or nothing. A peer that is new and has an endpoint is spoken to at once, all of
 * them are after a new private key; of more than ENGINE_EAGER_MAX, when the engine has not just
 * begun, only those that are kept alive, and, after a new key, those that are awake. With
 * replace_peers one that is named again keeps its sessions and its endpoint. The port is the
 * sockets': another one is ERR_UNSUPPORTED. A peer that both goes and comes is ERR_INVALID.
 * ERR_LIMIT, ERR_NO_MEMORY; ERR_DENIED: a mark without the capability. */
int engine_change(struct engine *e, const struct setup *change, struct err *err) MUST_CHECK;
/* out: initialised and empty; has secrets. */
int engine_state(struct engine *e, struct setup *out, struct err *err) MUST_CHECK;
/* `next` is the key that the owner of `now` changes to: as soon as there is a session with `next`,
 * that one has the prefixes, the preshared key and the keepalive of `now`, without a packet lost
 * between, and that is done with. Until then `next` is a peer with the preshared key of `now` that
 * engine_state does not tell of, unless a change names it. Neither needs to be a peer yet. */
struct engine_heir {
	const uint8_t *now, *next; /* next NULL: forget that */
	bool followed;             /* out; false: there are too many */
};
/* Of others nothing changes. Time grows with their number. ERR_NO_MEMORY: none of those that are
 * not followed yet is. */
int engine_follow(struct engine *e, struct engine_heir *list, size_t count,
		  struct err *err) MUST_CHECK;
/* Packets to this peer are not longer; those that are, are answered as a router does (RFC 1191,
 * 8201; of large ones that are to be cut what counts is the pieces). Probes (overlay/prober.h) go
 * all the same. 0: the TUN's. ERR_NOT_FOUND, ERR_INVALID: less than TUN_MTU_MIN. */
int engine_set_peer_mtu(struct engine *e, const uint8_t key[SETUP_KEY], uint32_t mtu,
			struct err *err) MUST_CHECK;

/* What the peers with these keys send to each other by way of this one's sockets is passed on, as
 * it is (overlay/relay.h); instead of what was said before. None, or one: nothing is. ERR_LIMIT,
 * ERR_NO_MEMORY: as it was. */
int engine_relay(struct engine *e, const uint8_t (*keys)[SETUP_KEY], size_t count,
		 struct err *err) MUST_CHECK;

enum engine_count {
	ENGINE_IN_PACKETS,  /* of containers, opened and written */
	ENGINE_OUT_PACKETS, /* sealed and sent */
	ENGINE_HANDSHAKES,  /* completed, either way */
	ENGINE_COOKIES,     /* sent: it was under load */
	ENGINE_RELAYED,     /* datagrams of others that were passed on */
	/* dropped */
	ENGINE_DROP_MALFORMED,   /* no datagram of the protocol */
	ENGINE_DROP_FORGED,      /* a wrong key, or changed on its way */
	ENGINE_DROP_UNKNOWN,     /* of no session or peer that there is */
	ENGINE_DROP_REPLAYED,    /* was here before, or far too late */
	ENGINE_DROP_SOURCE,      /* an inner address that is not that peer's */
	ENGINE_DROP_LIMITED,     /* too many handshakes from there */
	ENGINE_DROP_NO_PEER,     /* to an address that is nobody's */
	ENGINE_DROP_UNREACHABLE, /* a peer without an endpoint, or that did not answer */
	ENGINE_DROP_TOO_BIG,     /* for that peer's path */
	ENGINE_DROP_STAGED,      /* too many waited for a handshake */
	ENGINE_DROP_ABSENT,      /* to be passed on to one that is not there */
	ENGINE_DROP_TUN,         /* the TUN device did not take it */
	ENGINE_DROP_SOCKET,      /* the socket did not take it */
	ENGINE_COUNTS,
};
void engine_counts(const struct engine *e, uint64_t out[ENGINE_COUNTS]);
const char *engine_count_name(enum engine_count which); /* for metrics: "handshakes" .. */
const char *engine_aead(const struct engine *e);

#endif
