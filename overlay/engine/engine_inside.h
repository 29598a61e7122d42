/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_ENGINE_ENGINE_INSIDE_H
#define OVERLAY_ENGINE_ENGINE_INSIDE_H

/*
 * What the files of the engine share; nobody else in the product includes it.
 *
 *   engine.c          its making and end, counts
 *   engine_change.c   what is configured, and how it is
 *   engine_peer.c     what threads see of a peer (the table), and what the device calls
 *   engine_control.c  the thread of handshakes and timers
 *   engine_staged.c   packets that wait for a handshake
 *   engine_seal.c     sealing and sending, in batches
 *   engine_out.c      threads that read the TUN
 *   engine_in.c       threads that read the sockets
 *   engine_relay.c    what is passed on between others
 *   engine_open.c     opening, checking and writing what these read
 *
 * Four locks, taken in this order:
 *
 *   lock     the device and all that is its user's: staged packets, successions. Held for as long
 *            as a handshake takes to compute: threads of data do not wait for it while they carry,
 *            they keep sums of what they did and hand them over when they come to rest, at times
 *            when nobody has the lock, or when something changes by them.
 *   relay    what is passed on between others: one at a time.
 *   table    a read-write lock: whose an address is, which session a datagram is for, and of each
 *            peer what is needed to send to it. Read once per super-packet, written with `lock`
 *            held.
 *   letters  the queue of handshake messages. A leaf.
 *
 * and `receiving`, which a receiver has while it waits for datagrams, before all others.
 */

#include <pthread.h>
#include <stdatomic.h>
#include "base/list.h"
#include "base/map.h"
#include "overlay/engine/engine.h"
#include "overlay/engine/inner.h"
#include "overlay/engine/merge.h"
#include "overlay/engine/segment.h"
#include "overlay/engine/too_big.h"
#include "overlay/engine/turn.h"
#include "overlay/engine/udp.h"
#include "overlay/relay.h"
#include "overlay/wg/aead.h"
#include "overlay/wg/device.h"

enum {
	ENGINE_UNPOLLED_MAX = 16, /* receptions from one socket, lest the other wait */
	ENGINE_KEYS = 4,          /* sessions of a peer at a time; a device has three */
	ENGINE_BUCKETS = 16384,   /* of sessions by number: a power of two */
	ENGINE_LETTERS = 4096,    /* handshake messages that wait */
	ENGINE_LETTERS_AT_ONCE = 64,
	ENGINE_FRESH_AT_ONCE = 8, /* handshakes begun with the lock held */
	ENGINE_RUNS = 64,         /* of a batch */
	ENGINE_JOBS = 256,
	ENGINE_SEALED_BYTES = 2 * SEGMENT_RUN_BYTES,
	ENGINE_BATCH_BYTES = 48 << 10, /* enough to be worth sealing and sending */
	ENGINE_OPENED = 512,           /* datagrams that are opened together */
	ENGINE_SPANS = 64,             /* of different peers or buffers among them */
	ENGINE_SUMS = 8,
	ENGINE_SUMS_MS = 10, /* for so long sums are kept, and longer while the lock is taken */
	ENGINE_SUMS_LATE_MS = 100, /* but no longer than that */
};

struct engine_counts {
	_Atomic uint64_t n[ENGINE_COUNTS];
};

/* ---- the table ---- */

struct engine_key {              /* a session that may be received with; in a peer */
	struct session *session; /* counted; NULL: free */
	struct engine_peer *peer;
	struct engine_key *next; /* of its bucket */
	bool completed;
};

struct engine_peer {
	_Atomic uint32_t references;
	uint8_t key[SETUP_KEY];
	/* table */
	struct session *session; /* to send with, counted; NULL: the device is to be asked */
	struct addr endpoint;
	struct udp_source source;
	bool has_endpoint;
	uint32_t mtu; /* 0: the TUN's */
	struct engine_key keys[ENGINE_KEYS];
	struct engine_peer *before; /* whose prefixes it took over; counted, or NULL */
	/* nobody's: when something other than a probe went or came last, exact to a second; 0:
	 * never */
	_Atomic uint64_t used_ns;
	/* lock */
	struct device_peer *peer; /* NULL: removed */
	struct list staged;
	size_t staged_count;
	struct list fresh;      /* it is to be spoken to without anybody asking */
	bool heir;              /* made for a succession; nobody has configured it yet */
	bool made, stays, goes; /* by the change that is under way */
};

/* What is needed to send to a peer. */
struct engine_route {
	struct engine_peer *peer; /* counted; NULL: nobody */
	struct session *session;  /* likewise */
	struct addr to;
	struct udp_source from;
	bool has_to;
	uint32_t mtu;
};

/* ---- threads ---- */

struct engine_sum { /* what went through a session, to be told to the device */
	struct engine_peer *peer;
	struct session *session; /* received with; NULL: sent */
	struct addr from;        /* of what was received */
	struct udp_source to;
	uint64_t bytes;
	bool data;
};

struct engine_sums {
	struct engine_sum items[ENGINE_SUMS];
	unsigned count;
	uint64_t since_ns;
};

struct engine_run { /* of a batch: one send */
	struct engine_peer *peer;
	struct session *session;
	unsigned first, count; /* jobs */
};

struct engine_sealer {
	struct aead aead;
	struct engine_counts *counts;
	struct engine_sums *sums;
	struct udp *udp; /* of all runs */
	unsigned runs_count, jobs_count;
	uint32_t used;
	struct engine_run runs[ENGINE_RUNS];
	struct udp_send sends[ENGINE_RUNS];
	struct aead_job jobs[ENGINE_JOBS];
	uint8_t data[ENGINE_SEALED_BYTES];
};

struct engine_out {
	struct engine *e;
	const struct tun *tun;
	struct engine_counts counts;
	struct engine_sums sums;
	struct engine_sealer sealer;
	struct too_big_rate rate;
	struct virtio_net_hdr header;
	uint8_t packet[TUN_PACKET_MAX];
};

struct engine_span { /* datagrams of one buffer that are of one session */
	struct engine_peer *peer;
	struct session *session;
	unsigned first, count;
	const struct udp_received *received;
	bool usual; /* from where the peer is known to be, with the session that it uses */
};

struct engine_opened {
	struct engine *e;
	struct aead aead;
	struct engine_counts *counts;
	struct engine_sums *sums;
	unsigned jobs_count, spans_count;
	struct engine_span spans[ENGINE_SPANS];
	struct aead_job jobs[ENGINE_OPENED];
	struct inner inner[ENGINE_OPENED];
	struct merge merge;
};

struct engine_in {
	struct engine *e;
	struct engine_counts counts;
	struct engine_sums sums;
	struct udp_inbox *inbox;
	struct engine_opened opened;
};

struct engine_letter {
	struct addr from;
	struct udp_source to;
	uint8_t data[NOISE_INITIATION];
	uint32_t bytes;
};

struct engine_letters {
	pthread_mutex_t lock;
	size_t first, count;
	struct engine_letter items[ENGINE_LETTERS];
};

struct engine_succession {
	uint8_t now[SETUP_KEY], next[SETUP_KEY];
	bool due;   /* there is a session with next */
	bool over;  /* now is gone: there is nothing to take over any more */
	bool fresh; /* asked for, and its heir is not there yet */
};

struct engine_relay { /* with its lock */
	pthread_mutex_t lock;
	struct relay *core; /* NULL: nobody was ever to be relayed */
	uint8_t (*keys)[SETUP_KEY];
	struct engine_peer **peers; /* of each key, counted; NULL: there is none now */
	size_t count;
	uint64_t looked_ns; /* where they are; 0: is to be done */
	uint64_t ticked_ns;
};

struct engine {
	/* constant */
	const struct aead_way *way;
	const _Atomic uint64_t *ahead_ns;
	struct tun queues[ENGINE_QUEUES_MAX];
	size_t queues_count;
	struct udp udp4, udp6;
	uint32_t mtu;
	int stop, wake; /* eventfd */
	uint64_t began_ns;

	atomic_bool stopping;
	struct engine_counts counts; /* of what is done under the lock */

	pthread_mutex_t receiving;
	struct turn turn;
	bool ready[2];     /* udp4, udp6: more may be there */
	unsigned received; /* times since the last poll */

	pthread_mutex_t lock;
	struct device *device;
	struct map successions; /* now -> struct engine_succession */
	bool succession_due;
	struct list fresh;
	size_t staged_bytes;
	uint64_t sleeps_until_ns;      /* the control thread does */
	const struct addr *heard_from; /* what the device is told of now; or NULL */
	const struct udp_source *heard_at;
	struct engine_sealer *sealer; /* of what was staged */
	unsigned table_depth;
	uint32_t fwmark;

	pthread_rwlock_t table;
	struct engine_key *buckets[ENGINE_BUCKETS];

	struct engine_letters letters;
	struct engine_relay relay;
	atomic_bool relays; /* there is somebody to relay between */
	atomic_bool lazy;   /* more peers than are spoken to without need */

	pthread_t threads[2 * ENGINE_QUEUES_MAX + 1];
	size_t threads_count;
	struct engine_out *outs[ENGINE_QUEUES_MAX];
	struct engine_in *ins[ENGINE_QUEUES_MAX];
};

/* ---- engine.c ---- */

static inline void
engine_count(struct engine_counts *c, enum engine_count which, uint64_t n)
{
	atomic_fetch_add_explicit(&c->n[which], n, memory_order_relaxed);
}

uint64_t engine_now(const struct engine *e);
void engine_world(const struct engine *e, struct world *w); /* with the lock held */
/* The socket for an address, or NULL. */
struct udp *engine_socket(struct engine *e, const struct addr *to);
/* Leaving the lock does what must not be done within calls of the device, and sees to it that the
 * control thread does not oversleep. */
void engine_lock(struct engine *e);
void engine_unlock(struct engine *e);
void engine_wake(struct engine *e);

/* ---- engine_peer.c ---- */

void engine_peer_calls(struct engine *e, struct device_calls *out);
struct engine_peer *engine_peer_new(const uint8_t key[SETUP_KEY]); /* NULL: no memory */
struct engine_peer *engine_peer_ref(struct engine_peer *p);
void engine_peer_unref(struct engine_peer *p); /* NULL is fine */
struct engine_peer *engine_peer_of(const struct device_peer *peer);
/* Nested is fine; with the lock held. */
void engine_table_begin(struct engine *e);
void engine_table_end(struct engine *e);
/* The thread of handshakes will speak to it, without anybody asking; wake it. */
void engine_peer_begin(struct engine *e, struct engine_peer *p);
/* Something that is no probe goes to it or came from it. */
void engine_peer_use(struct engine_peer *p, uint64_t now_ns);
/* What threads see of where a peer is becomes what the device knows. */
void engine_peer_sync(struct engine *e, struct engine_peer *p);
/* From now on data goes with s without asking. */
void engine_peer_publish(struct engine *e, struct engine_peer *p, struct session *s);
/* A source that the kernel did not take. */
void engine_peer_lose_source(struct engine *e, struct engine_peer *p);
void engine_peer_route(struct engine *e, const uint8_t *packet, const struct inner *in,
		       struct engine_route *out);
void engine_route_fill(struct engine_peer *p, struct engine_route *out); /* table held */
void engine_route_drop(struct engine_route *r);
/* Both counted; false: no such session. */
bool engine_peer_session(struct engine *e, uint32_t number, const struct udp_received *r,
			 struct engine_span *out);

/* ---- engine_follow.c ---- */

void engine_succeed(struct engine *e); /* with the lock held: those that are due */
void engine_follow_nobody(struct engine *e);

/* ---- engine_relay.c ---- */

void engine_relay_init(struct engine_relay *r);
void engine_relay_fini(struct engine_relay *r);
/* With the lock held: peers may have come or gone. */
void engine_relay_resolve(struct engine *e);
/* Forgets flows that are over, once in a minute; nothing wakes up for that. */
void engine_relay_tick(struct engine *e);
/* A datagram of no session or handshake of ours, or a run of one session's data; false: nor is it
 * anybody's that is relayed. Done with and counted otherwise. */
bool engine_relay_take(struct engine *e, struct engine_counts *counts, const struct addr *from,
		       const uint8_t *data, uint32_t bytes, uint32_t stride);
/* The same for data, from datagram `at` on: gives how many of them are done with. */
unsigned engine_relay_run(struct engine *e, struct engine_counts *counts,
			  const struct udp_received *r, unsigned at);

/* ---- engine_control.c ---- */

void *engine_control(void *engine);
/* A handshake message that came; dropped when too many wait. */
void engine_letter_put(struct engine *e, struct engine_counts *counts, const struct udp_received *r,
		       const uint8_t *data, uint32_t bytes);

/* ---- engine_staged.c ---- */

/* A packet for which there was no session. True: route has one now, send it. False: it was taken
 * care of. */
bool engine_stage(struct engine *e, struct engine_counts *counts, struct engine_route *route,
		  const struct virtio_net_hdr *header, const uint8_t *packet, size_t bytes);
/* With the lock held. */
void engine_staged_send(struct engine *e, struct engine_peer *p);
void engine_staged_drop(struct engine *e, struct engine_peer *p, enum engine_count why);
void engine_staged_move(struct engine_peer *from, struct engine_peer *to);

/* ---- engine_seal.c ---- */

int engine_sealer_init(struct engine_sealer *s, const struct engine *e, struct engine_counts *c,
		       struct engine_sums *sums, struct err *err) MUST_CHECK;
void engine_sealer_fini(struct engine_sealer *s);
/* Cuts, adds to the batch; false: the session cannot be sent with, nothing was taken. */
bool engine_seal(struct engine *e, struct engine_sealer *s, const struct engine_route *route,
		 struct segment *segment);
void engine_seal_flush(struct engine *e, struct engine_sealer *s);
/* References are taken. The sums are handed over when there is no room for more. */
void engine_sums_add(struct engine *e, struct engine_sums *s, const struct engine_sum *more);
void engine_sums_tell(struct engine *e, struct engine_sums *s);
/* If they are old and nobody has the lock. */
void engine_sums_try(struct engine *e, struct engine_sums *s);

/* ---- engine_out.c, engine_in.c, engine_open.c ---- */

/* One of overlay/prober.h: not cut, of UDP, to its port. */
bool engine_is_probe(const uint8_t *packet, const struct inner *in);
void *engine_out(void *out);
void *engine_in(void *in);
/* One that came, or some: datagrams from `at` on, as many as fit. Gives how many. */
unsigned engine_open_add(struct engine_opened *o, const struct udp_received *r, unsigned at);
void engine_open_all(struct engine_opened *o);
/* In turn. */
void engine_open_deliver(struct engine_opened *o);

#endif
