/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PROBE_H
#define OVERLAY_PROBE_H

/*
 * How large a packet to one peer may be, found out by sending some (packetization layer path MTU
 * discovery for datagrams, RFC 8899): nothing that a router on the way says is needed or believed.
 *
 *   BASE      is PROBE_DEFAULT right? Until that is known it is taken to be
 *   SEARCH    it is, and more is tried
 *   ERROR     it is not: what is tried lies below, and PROBE_MIN holds meanwhile
 *   COMPLETE  found; confirmed now and then, and more is tried after PROBE_RAISE_MS
 *
 * Each attempt is two datagrams: a small one, and one of the size in question. Only when the small
 * one is answered and the other is not, PROBE_TRIES times, the size does not pass; a peer that is
 * silent altogether says nothing about sizes. When that happens to the size in use, the path has
 * become a black hole for it: PROBE_MIN from that moment on, and BASE again.
 *
 * A core without I/O and memory of its own: time and randomness come in, datagrams go out. Sizes
 * are those of IP packets within the tunnel, with their headers, in bytes; each end finds out its
 * own direction.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/world.h"

enum {
	PROBE_MIN = 1280,     /* every path of IPv6 takes that (RFC 8200, section 5) */
	PROBE_DEFAULT = 1420, /* Ethernet's 1500 without IPv6, UDP and WireGuard */
	PROBE_MAX = 65535,
	PROBE_SMALL = 128,       /* the datagram that passes everywhere */
	PROBE_STEP = 16,         /* exact enough: WireGuard pads to that */
	PROBE_TRIES = 3,         /* MAX_PROBES */
	PROBE_FIRST_MS = 3000,   /* waited for an answer while the round trip is not known */
	PROBE_WAIT_MS = 1000,    /* and at least, when it is */
	PROBE_SILENT_MS = 30000, /* longest time between two attempts with a peer that is silent */
	PROBE_CONFIRM_MS = 20000,
	PROBE_RAISE_MS = 600000, /* PMTU_RAISE_TIMER */
	PROBE_SENDS = 2,
};

enum probe_state { PROBE_BASE, PROBE_SEARCH, PROBE_ERROR, PROBE_COMPLETE };

struct probe {
	enum probe_state state;
	uint32_t mtu;     /* good for now */
	uint32_t max;     /* never more */
	uint32_t floor;   /* passes, or is taken to */
	uint32_t ceiling; /* does not pass, or is more than max */
	uint32_t size;    /* of the attempt under way */
	unsigned tries;   /* of that size that were lost alone */
	unsigned quiet;   /* attempts without any answer, in a row */
	uint64_t token;   /* of the attempt under way */
	bool flying;      /* there is one */
	bool small_came;
	uint64_t sent_ns, due_ns, raise_ns;
	uint64_t rtt_ns; /* smoothed; 0: not known */
};

struct probe_send {
	uint32_t size;
	uint64_t token;
};

/* max: what the tunnel's device takes, PROBE_MIN to PROBE_MAX. The first attempt is due at once. */
void probe_init(struct probe *p, uint32_t max, uint64_t now_ns);
/* Another max: what is known beyond it is forgotten. */
void probe_set_max(struct probe *p, uint32_t max, uint64_t now_ns);
/* The peer has moved: what is in use is confirmed at once, and its round trip learnt anew. */
void probe_moved(struct probe *p, uint64_t now_ns);
/* What is due. Gives how many datagrams are to be sent, 0 or PROBE_SENDS. */
size_t probe_tick(struct probe *p, const struct world *w, struct probe_send out[PROBE_SENDS]);
/* An answer came. False: to nothing that is under way. */
bool probe_answered(struct probe *p, uint64_t now_ns, uint64_t token, uint32_t size);
/* No tick is needed before. */
uint64_t probe_deadline(const struct probe *p);
uint32_t probe_mtu(const struct probe *p);

/* ---- datagrams ----
 *
 *   "zLpr", u8 version 1, u8 kind, u16 size, u64 token, zeros
 *
 * Numbers are big endian. A probe fills up to its size; an answer says the size of the probe that
 * came, and is short. Besides: whether the other end knows a key that the sender announced, the
 * token says which, and that it does; both are short, and their size is 0.
 */
enum { PROBE_BYTES = 16 };
enum probe_kind { PROBE_ASKS = 1, PROBE_ANSWERS, PROBE_KEY, PROBE_KEY_KNOWN };

struct probe_message {
	enum probe_kind kind;
	uint32_t size;
	uint64_t token;
};

/* Writes PROBE_BYTES. */
void probe_put(const struct probe_message *m, uint8_t out[PROBE_BYTES]);
/* A UDP payload of so many bytes, of which no more than PROBE_BYTES are read, and the bytes of IP
 * and UDP before it: a probe must be as long as it says. False: none of ours, *out is left alone.
 */
bool probe_take(const uint8_t *data, size_t bytes, size_t headers, struct probe_message *out);

#endif
