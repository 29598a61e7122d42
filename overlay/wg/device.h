/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_DEVICE_H
#define OVERLAY_WG_DEVICE_H

/*
 * A WireGuard device (WireGuard whitepaper, sections 5 and 6): one identity and its peers. It makes
 * and answers handshakes, keeps each peer's sessions and timers, knows where a peer is and which
 * addresses are its own.
 *
 * A core without I/O: datagrams, time and randomness come in as data, what is to be done goes out
 * through struct device_calls. The world that a call is given must not be older than that of the
 * call before. Bulk data does not pass through here: threads seal and open with sessions
 * (session.h) and tell in sums what they did (device_sent(), device_received()). device_seal() and
 * device_open() are the same for one packet, for small needs and tests.
 *
 * Staged packets, those that wait for a handshake, are the caller's: at most DEVICE_STAGED_MAX for
 * each peer, the oldest go first.
 *
 * A device has at most SETUP_PEERS_MAX peers and ALLOWED_PREFIXES_MAX prefixes of them. Most of a
 * large cluster's peers are asleep: they have their keys, their place, their prefixes and the
 * greatest timestamp that they said, and nothing else. What goes to one wakes it, and so does an
 * initiation of it that is found to be genuine; it is asleep again when its last keys are wiped. Of
 * more than DEVICE_AWAKE_MAX at a time that was longest without use falls asleep. Those with a
 * keepalive and a place are always awake, and not counted.
 * Peers are borrowed pointers, valid until they are removed (`gone`).
 * Threading: one owner (or a lock), for all of a device. Sessions may leave it: session_ref().
 */

#include "base/addr.h"
#include "base/err.h"
#include "base/world.h"
#include "overlay/wg/allowed.h"
#include "overlay/wg/session.h"
#include "overlay/wg/setup.h"

enum {
	DEVICE_STAGED_MAX = 128,
	DEVICE_QUEUE_LOADED = 512, /* handshake messages that wait: from then on it is under load */
	DEVICE_LOADED_MS = 1000,   /* and for so long after that */
	DEVICE_INITIATIONS_MS = 20, /* between two of one peer */
	DEVICE_TICK_PEERS = 64,     /* that one tick looks after */
	DEVICE_AWAKE_MAX = 4096,    /* peers with sessions or a handshake, but for those kept so */
	DEVICE_MTU_DEFAULT = 1420,
};

struct device;
struct device_peer;

struct device_datagram {
	struct device_peer *peer; /* NULL: a cookie reply, to anybody */
	const struct addr *to;
	const void *data;
	size_t bytes;
	bool handshake; /* not data (a keepalive is): to be marked as urgent */
	bool retry;     /* earlier ones had no answer: a source address that was kept is not good */
};

enum device_keys { DEVICE_KEYS_NEW, DEVICE_KEYS_CURRENT, DEVICE_KEYS_GONE };

/* All are called from within calls to the device. Only `ready` may call it again: device_seal(),
 * device_wants_send() and device_sent(); it is the last thing that such a call does with a peer. */
struct device_calls {
	void *arg;
	void (*send)(void *arg, const struct device_datagram *datagram);
	size_t (*staged)(void *arg, struct device_peer *peer); /* how many packets wait */
	void (*ready)(void *arg, struct device_peer *peer);    /* they may go */
	void (*give_up)(void *arg, struct device_peer *peer);  /* they wait in vain: drop them */
	/* A session may be received with from now on, is the one to send with, or is neither. */
	void (*keys)(void *arg, struct device_peer *peer, struct session *session,
		     enum device_keys what);
	void (*gone)(void *arg, struct device_peer *peer); /* the peer is removed */
};

enum device_result {
	DEVICE_OK,
	DEVICE_KEEPALIVE,   /* a data packet without a text */
	DEVICE_WAIT,        /* no session to send with: a handshake is under way */
	DEVICE_UNREACHABLE, /* nor can there be one: no endpoint, no private key, or a bad key */
	DEVICE_MALFORMED,   /* no message of the protocol, or no IP packet in it */
	DEVICE_FORGED,      /* not for this device, or not from whom it says */
	DEVICE_UNKNOWN,     /* of no peer, handshake or session that there is */
	DEVICE_EXPIRED,     /* with keys whose time is over */
	DEVICE_REPLAYED,    /* was here before, or is older than one that was */
	DEVICE_TOO_SOON,    /* after the last initiation of this peer */
	DEVICE_COOKIE,      /* under load: a cookie was sent, the message was not looked at */
	DEVICE_LIMITED,     /* under load: too many from this address */
	DEVICE_NOT_ALLOWED, /* from an inner address that is not the peer's */
	DEVICE_TOO_LONG,
	DEVICE_NO_MEMORY,
};

/* calls: copied; all of them are needed. */
int device_new(const struct device_calls *calls, const struct world *w, struct device **out,
	       struct err *err) MUST_CHECK;
/* Removes all peers; NULL is fine. */
void device_free(struct device *d);

/* ---- datagrams ---- */

/* A handshake message or a cookie reply. queued: how many more of them wait behind it. */
enum device_result device_receive(struct device *d, const struct world *w, const struct addr *from,
				  const uint8_t *data, size_t bytes, size_t queued);
/* What is due of up to DEVICE_TICK_PEERS peers. */
void device_tick(struct device *d, const struct world *w);
/* No tick is needed before; may be in the past, and then another one is. UINT64_MAX: none. */
uint64_t device_deadline(const struct device *d);

/* ---- data ---- */

/* DEVICE_OK: session_out (borrowed) is to be sent with. DEVICE_WAIT: stage the packet. */
enum device_result device_wants_send(struct device *d, struct device_peer *peer,
				     const struct world *w, struct session **session_out);
/* Packets were sent with a session of the peer: bytes of all the datagrams; data: not only
 * keepalives. */
void device_sent(struct device *d, struct device_peer *peer, const struct world *w, uint64_t bytes,
		 bool data);
/* Packets that were found to be genuine and new came with s, the last one from there. NULL: the
 * session is no longer one of the device's, drop them. */
struct device_peer *device_received(struct device *d, const struct session *s,
				    const struct world *w, const struct addr *from, uint64_t bytes,
				    bool data);
/* A packet that a peer sent, without its padding: the length that its header says. 0: it is no IP
 * packet or its source is not the peer's. */
size_t device_inner(const struct device *d, const struct device_peer *peer, const uint8_t *text,
		    size_t bytes);
/* Whose the destination of an IP packet is, or NULL. */
struct device_peer *device_route(const struct device *d, const uint8_t *packet, size_t bytes);
/* Of a datagram's receiver; borrowed, or NULL. */
struct session *device_session(const struct device *d, uint32_t number);

/* One packet: out has cap bytes, NOISE_OVERHEAD + SESSION_PAD more than the text always suffice.
 * DEVICE_OK, _WAIT, _UNREACHABLE, _TOO_LONG or _NO_MEMORY. bytes 0: a keepalive. */
enum device_result device_seal(struct device *d, struct device_peer *peer, const struct world *w,
			       const void *text, size_t bytes, uint8_t *out, size_t cap,
			       size_t *bytes_out);

struct device_opened {
	struct device_peer *peer;
	const uint8_t *text; /* within the datagram */
	size_t bytes;
};
/* A data message, opened in place. out: only with DEVICE_OK. */
enum device_result device_open(struct device *d, const struct world *w, const struct addr *from,
			       uint8_t *data, size_t bytes, struct device_opened *out);

/* ---- configuration: what the UAPI has ---- */

/* NULL or zeros: none. All handshakes under way end, nothing more is sent with the sessions that
 * there are, and a peer that has this very key is removed. The same key again changes nothing.
 * Without a key what is staged is given up. */
int device_set_private_key(struct device *d, const uint8_t *private_key,
			   struct err *err) MUST_CHECK;
/* The same, of an identity that is made already (noise_identity_set()): no curve is computed here.
 * NULL: none. */
int device_set_identity(struct device *d, const struct noise_identity *identity,
			struct err *err) MUST_CHECK;
/* What padding may not exceed. */
void device_set_mtu(struct device *d, size_t mtu);

struct device_prefix {
	struct addr_prefix prefix;
	bool remove;
};

struct device_change { /* of one peer */
	uint8_t public_key[PRIMITIVE_KEY];
	bool remove;
	bool update_only; /* no new peer */
	bool quiet;       /* nothing is sent: that is for a device_speak() later */
	bool replace_prefixes;
	const uint8_t *psk;          /* PRIMITIVE_KEY bytes, zeros: none; NULL: as it was */
	const struct addr *endpoint; /* likewise */
	bool has_keepalive;
	uint16_t keepalive_s; /* 0: off */
	const struct device_prefix *prefixes;
	size_t prefixes_count;
};
/* The peer is made when there is none. *out: it, or NULL when there is none afterwards; one with
 * this device's own key is passed over. A prefix that another peer had is taken from it.
 * ERR_LIMIT, ERR_NO_MEMORY: nothing has changed. */
int device_change(struct device *d, const struct device_change *c, const struct world *w,
		  struct device_peer **out, struct err *err) MUST_CHECK;
/* The next changes, which add no more than so many prefixes to peers that there are already, cannot
 * fail, until device_release(). ERR_LIMIT, ERR_NO_MEMORY: nothing is reserved. */
int device_reserve(struct device *d, size_t prefixes, struct err *err) MUST_CHECK;
void device_release(struct device *d);
/* An empty packet, or a handshake when there is no session for it. False: there is no memory for
 * that now. */
bool device_speak(struct device *d, struct device_peer *peer, const struct world *w);
void device_remove(struct device *d, struct device_peer *peer);
void device_remove_all(struct device *d);

/* ---- reading ---- */

struct device_peer_state {
	uint8_t public_key[PRIMITIVE_KEY];
	uint8_t psk[PRIMITIVE_KEY]; /* a secret */
	struct addr endpoint;
	bool has_endpoint;
	uint16_t keepalive_s;
	int64_t handshake_wall_ns;   /* of the last one that was completed; 0: none */
	uint64_t rx_bytes, tx_bytes; /* of UDP */
};

struct device_peer *device_find(const struct device *d, const uint8_t public_key[PRIMITIVE_KEY]);
/* The first one (NULL) or the next one, in the order in which they were made; or NULL. */
struct device_peer *device_next(const struct device *d, const struct device_peer *peer);
size_t device_count(const struct device *d);
void device_peer_state(const struct device_peer *peer, struct device_peer_state *out);
const struct addr *device_peer_endpoint(const struct device_peer *peer); /* NULL: unknown */
bool device_peer_kept(const struct device_peer *peer); /* alive: it has a keepalive and a place */
bool device_peer_awake(const struct device_peer *peer);
/* In the order in which they became its own. */
void device_each_prefix(const struct device_peer *peer,
			void (*visit)(void *arg, const struct addr_prefix *prefix), void *arg);
size_t device_prefixes(const struct device_peer *peer);
/* Whose an address is, or NULL. */
struct device_peer *device_whose4(const struct device *d, const uint8_t ip[4]);
struct device_peer *device_whose6(const struct device *d, const uint8_t ip[16]);
/* False: there is none. */
bool device_identity(const struct device *d, struct noise_identity *out);
/* The caller's own, NULL at first. */
void *device_peer_user(const struct device_peer *peer);
void device_peer_set_user(struct device_peer *peer, void *user);

#endif
