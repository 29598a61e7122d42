/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_CHANNEL_H
#define SCHEDULER_CHANNEL_H

/*
 * A connection between two nodes: TCP with mutual TLS 1.3 on a libuv loop. Both sides show a
 * certificate; what it is worth is said as the channel's standing, and the owner decides what a
 * peer of that standing may do:
 *
 *   MEMBER    of this cluster, in time
 *   LAPSED    of this cluster, but its certificate has ended: it may ask for a new one
 *   STRANGER  signed by its own key: it may show a ticket, if the owner lets strangers in
 *
 * A client connects to one node: another one that answers, be it a member, is refused.
 * The first byte that a client sends says what the channel is for (enum channel_kind); the server's
 * owner learns it with `up`.
 *
 * Threading: the loop's. Callbacks may call every function here on their channel.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/addr.h"
#include "base/err.h"
#include "scheduler/identity.h"

enum {
	CHANNEL_HANDSHAKE_MS = 10000, /* from the first packet to `up`; then time is the owner's */
	CHANNEL_QUEUE_MAX = 4 << 20, /* written and not yet sent: one that lets more pile up ends */
};

enum channel_standing { CHANNEL_MEMBER, CHANNEL_LAPSED, CHANNEL_STRANGER };
enum channel_kind {
	CHANNEL_GOSSIP = 1,
	CHANNEL_ADMISSION = 2,
	CHANNEL_STORE = 3,
	CHANNEL_CALL = 4,
	CHANNEL_CALLBACK = 5, /* a CALL, of which the server is who asks (callback.h) */
	CHANNEL_THROUGH = 6,  /* a CALL, of a third node */
	CHANNEL_WHO = 7,      /* who are you (twin.h); also of one that is this node itself */
};

struct channel;

struct channel_calls {
	/* The handshake is done and the peer known. Server: kind is what the client asked for.
	 * Client: what the server thinks of us is not known yet; if it refuses, `down` follows. */
	void (*up)(void *arg, struct channel *c);
	void (*data)(void *arg, struct channel *c, const void *data, size_t bytes);
	void (*room)(void *arg, struct channel *c); /* all that was written has been sent */
	/* Exactly once for each channel, and the last: kind ERR_NONE when the peer closed in
	 * order. Not after channel_close or channel_abort. */
	void (*down)(void *arg, struct channel *c, const struct err *why);
};

/* How this node shows itself and judges others; channels keep a reference. */
struct channel_rules;

/* Copies what it needs. chain: of identity_issue. authority: must outlive the rules; NULL: of a
 * node that is in no cluster yet, which shows a certificate of its own making and trusts the one
 * cluster whose id is `cluster` (of a ticket). strangers: whether they are let in. */
struct channel_rules_config {
	const struct identity_keys *keys;
	const void *chain;
	size_t chain_bytes;
	const struct identity_authority *authority;
	const uint8_t *cluster;
	bool strangers;
};
int channel_rules_new(const struct channel_rules_config *config, struct channel_rules **out,
		      struct err *err) MUST_CHECK;
/* So many seconds the other nodes' clocks are ahead of this one's: a certificate that is good by
 * theirs is. 0 at first. */
void channel_rules_clock(struct channel_rules *rules, int64_t ahead_s);
void channel_rules_ref(struct channel_rules *rules);
void channel_rules_unref(struct channel_rules *rules); /* NULL is fine */

/* node: who must answer; 0: any member. */
int channel_connect(uv_loop_t *loop, struct channel_rules *rules, const struct addr *to,
		    uint32_t node, enum channel_kind kind, const struct channel_calls *calls,
		    void *arg, struct channel **out, struct err *err) MUST_CHECK;
/* fd: an accepted connection; taken in every case. */
int channel_accept(uv_loop_t *loop, struct channel_rules *rules, int fd,
		   const struct channel_calls *calls, void *arg, struct channel **out,
		   struct err *err) MUST_CHECK;

/* Takes nothing more of the other side, which then stops sending; or goes on. */
void channel_pause(struct channel *c, bool on);
/* Written and not yet sent. */
size_t channel_pending(const struct channel *c);

/* Another owner from now on: also from within `up`. */
void channel_give(struct channel *c, const struct channel_calls *calls, void *arg);

/* After `up`. False: too much is queued or out of memory; the channel ends (`down` follows). */
bool channel_write(struct channel *c, const void *data, size_t bytes);
/* Ends it after what was written has been sent (or its time-out). The pointer is dead. */
void channel_close(struct channel *c);
/* At once. NULL is fine. The pointer is dead. */
void channel_abort(struct channel *c);

/* After `up`. */
enum channel_standing channel_standing(const struct channel *c);
enum channel_kind channel_kind(const struct channel *c);
/* What the certificate says; of a stranger only sign_public is true. */
const struct identity *channel_peer(const struct channel *c);
/* Where it comes from, or goes to. */
const struct addr *channel_address(const struct channel *c);

#endif
