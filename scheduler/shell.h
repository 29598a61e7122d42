/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_SHELL_H
#define SCHEDULER_SHELL_H

/*
 * The cores' hands in the world (scheduler/step.h says what they may ask for): one UDP socket whose
 * datagrams are sealed per peer (gossip/envelope.h), channels between nodes (channel.h), timers and
 * files, on one libuv loop. It decides nothing: who is a peer, and where, is set from outside, and
 * what a core tells goes to the owner.
 *
 * Several cores share the socket: the first byte of a datagram's plaintext, and the first byte of a
 * stream, says which (the core's service number). What comes for a service that is not there is
 * counted and dropped.
 *
 * What a core sends to its own node comes back to it as a datagram, in the loop's next turn.
 *
 * Addresses: a peer is sent to where it was last set or, newer than that, to where an authenticated
 * datagram of it came from; so nodes may move. Streams go to the same address and port, by TCP.
 *
 * Two nodes that only dial out (shell_peer_dials) have the address of a third one for each other:
 * it knows both and passes their datagrams on as they are (shell_datagram.c). No stream is opened
 * to such a node.
 *
 * Time-outs, batching: datagrams that wait in the socket are always given before a timer's input,
 * so that a process that stood still hears what it missed before it judges anybody.
 *
 * Threading: the loop's; files are written in libuv's pool, one after the other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "base/addr.h"
#include "base/err.h"
#include "scheduler/channel.h"
#include "scheduler/gossip/envelope.h"
#include "scheduler/step.h"

enum {
	SHELL_CORES_MAX = 5,
	SHELL_FILES_MAX = 4,            /* of one core */
	SHELL_FILE_MAX = 8 << 20,       /* bytes of one that is read at start */
	SHELL_CHANNELS_MAX = 64,        /* that others opened; more are refused */
	SHELL_ACCEPT_PAUSE_MS = 100,    /* when there are no descriptors for a connection */
	SHELL_EARLY_MAX = 1 << 20,      /* written to a stream before it was up */
	SHELL_PASS_PER_S = 1000,        /* datagrams of one node that are passed on to others, */
	SHELL_PASS_UNPROVEN_PER_S = 20, /* and with a session that it has not proven here */
	SHELL_OLDER_MS = 3000,          /* a datagram of an older session of a peer is looked at */
};

struct shell;

struct shell_core {
	uint8_t service; /* not 0; one of a kind */
	void *core;
	void (*step)(void *core, const struct step_input *in, struct step_actions *out);
	/* What it tells: valid during the call. May be NULL. */
	void (*tell)(void *arg, uint16_t what, uint32_t node, uint64_t token, const void *data,
		     size_t bytes);
	void *arg;
	/* Names in the folder by the number the core uses; NULL: none. */
	const char *files[SHELL_FILES_MAX];
};

struct shell_config {
	uv_loop_t *loop;
	int udp_fd;                       /* bound; taken over */
	int tcp_fd;                       /* listening; taken over. -1: none */
	int folder;                       /* borrowed; -1: no core has files */
	const struct envelope_self *self; /* borrowed */
	struct channel_rules *rules;      /* a reference is taken */
	/* A channel that came up for admission: the owner takes it (channel_give) or aborts it.
	 * NULL: refused. */
	void (*admission)(void *arg, struct channel *c);
	/* Likewise one of a peer for the store. */
	void (*store)(void *arg, struct channel *c);
	/* Likewise one of a peer that calls (cluster_far_serve.c). */
	void (*call)(void *arg, struct channel *c);
	/* Likewise one of a peer that was asked to come, or that is to be passed on
	 * (cluster_callback.c). */
	void (*callback)(void *arg, struct channel *c);
	/* Likewise one of a peer, or of who shows this node's own certificate (twin.h). */
	void (*who)(void *arg, struct channel *c);
	/* That peer speaks from there in a session that is older than its newest one, which came
	 * from p (at most once in SHELL_OLDER_MS for a peer). May be NULL. */
	void (*older)(void *arg, uint32_t node, const struct addr *from, uint64_t newest,
		      const struct addr *newest_from);
	void *arg;
};

/* On failure the descriptors are closed. */
int shell_new(const struct shell_config *config, struct shell **out, struct err *err) MUST_CHECK;
/* Streams end without a word, the loop must run once more for libuv to let go. NULL is fine. */
void shell_free(struct shell *s);

/* Reads the core's files, gives them (STEP_FILE) and STEP_START. The core is borrowed. */
int shell_add(struct shell *s, const struct shell_core *core, struct err *err) MUST_CHECK;
/* STEP_LOCAL for a core: what, token and data are passed on. */
void shell_local(struct shell *s, uint8_t service, uint16_t what, uint64_t token, const void *data,
		 size_t bytes);

/* A peer, or another address of one. The address may be zero: not known yet. */
int shell_peer(struct shell *s, uint32_t node, const uint8_t public_key[ENVELOPE_KEY],
	       const struct addr *address, struct err *err) MUST_CHECK;
/* Its streams end; members of the cluster that are no peers can open none. */
void shell_peer_remove(struct shell *s, uint32_t node);
/* Nobody can connect to it; of a peer. */
void shell_peer_dials(struct shell *s, uint32_t node, bool dials);
/* Where it is now; false: not a peer. */
bool shell_peer_address(const struct shell *s, uint32_t node, struct addr *out);
/* When a datagram of it last came (monotonic); 0: none has. */
uint64_t shell_peer_heard_ns(const struct shell *s, uint32_t node);
/* After a renewal; existing channels go on with theirs. */
void shell_rules(struct shell *s, struct channel_rules *rules);

struct shell_counters {
	uint64_t sent, sent_bytes, received, received_bytes; /* datagrams, as on the wire */
	uint64_t unsent;    /* no address, no room in the socket, refused by the system */
	uint64_t malformed; /* not for us, another version, unknown service */
	uint64_t strangers; /* from an id that is no peer */
	uint64_t forged;
	uint64_t replayed;
	uint64_t passed;   /* on, between two others */
	uint64_t unpassed; /* those from elsewhere, too many, or the other one is not known */
	uint64_t channels_refused;
	uint64_t accepts_failed; /* no descriptors, no memory: a pause each */
};
const struct shell_counters *shell_counters(const struct shell *s);

#endif
