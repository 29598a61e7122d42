/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_WG_DEVICE_CORE_H
#define OVERLAY_WG_DEVICE_CORE_H

/*
 * What the files of a device share; nobody else in the product includes it. device.c has the
 * identity, the clock and reading, device_peer.c what is configured, device_awake.c who is awake,
 * device_handshake.c handshakes, device_data.c data. A peer that is awake always has its place in
 * the heap of deadlines (at `never` when nothing is due), so that moving it cannot fail; the place
 * may be early, never late.
 */

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "overlay/wg/cookie.h"
#include "overlay/wg/device.h"
#include "overlay/wg/limiter.h"
#include "overlay/wg/timers.h"

struct device {
	struct device_calls calls;
	struct primitive primitive;
	struct noise_identity identity;
	bool has_identity;
	struct cookie_checker checker;
	struct limiter *limiter;
	struct allowed allowed;
	struct map peers;      /* by public key */
	struct map handshakes; /* peers, by the number of the handshake that they began */
	struct map sessions;   /* by number */
	struct list all;
	struct heap deadlines;
	bool reserved; /* prefixes, for more than one change */
	uint64_t loaded_until_ns;
	size_t mtu;
	struct list used; /* those awake that may be put to sleep, who was used last at the end */
	size_t used_count;
	size_t awake_max;
};

/* What a peer needs to be spoken to. */
struct device_awake {
	struct device_peer *peer;
	struct list used;
	struct heap_item deadline;
	struct noise handshake; /* that this end began */
	struct cookie_maker cookie;
	struct session_slots slots;
	struct timers timers;
};

struct device_peer {
	struct list all;
	struct allowed_owner places;
	struct noise_peer key;
	struct device_awake *awake; /* NULL: it is asleep */
	uint16_t keepalive_s;       /* 0: none */
	struct addr endpoint;
	bool has_endpoint;
	bool consumed;                     /* an initiation, ever: */
	uint8_t greatest[NOISE_TIMESTAMP]; /* what the last one said */
	uint64_t consumed_ns;              /* and when it came */
	int64_t stamped_ns;                /* what the last one of this end said */
	int64_t handshake_wall_ns;
	uint64_t rx_bytes, tx_bytes;
	void *user;
};

/* device.c: after any change of the timers of a peer that is awake. */
void device_arm(struct device *d, struct device_peer *p);

/* device_awake.c. False: no memory; one that is awake already stays so. Another one may fall asleep
 * for it. */
bool device_wake(struct device *d, struct device_peer *p, const struct world *w);
/* It is in use, or is kept awake from now on, or is not any more. */
void device_use(struct device *d, struct device_peer *p);
/* Wipes what it has of keys and handshakes; what waits for one is given up. */
void device_sleep(struct device *d, struct device_peer *p);
/* If nothing is left that it needs to be awake for. */
void device_doze(struct device *d, struct device_peer *p);

/* device_handshake.c: begins one unless that was done a moment ago. retry: nobody asks for it but
 * the timer. */
void device_begin(struct device *d, struct device_peer *p, const struct world *w, bool retry);
/* Whether a handshake with it is possible at all. */
bool device_reachable(const struct device *d, const struct device_peer *p);
void device_drop_handshake(struct device *d, struct device_peer *p);
void device_drop_sessions(struct device *d, struct device_peer *p);
/* The sessions that left a peer's slots leave the device. */
void device_let_go(struct device *d, struct device_peer *p, struct session_gone *gone);
/* Both ends have the keys. */
void device_completed(struct device *d, struct device_peer *p, const struct world *w);

#endif
