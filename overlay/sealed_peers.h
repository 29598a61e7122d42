/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_PEERS_H
#define OVERLAY_SEALED_PEERS_H

/*
 * What an engine is to do for the other nodes: from the scheduler's table mesh (peers.h) and the
 * keys of pairs to peers, keys to follow, those to relay between, and sizes of paths. All of it
 * follows from the tables each time; only the difference is done, so nothing that is right ends for
 * nothing.
 * Threading: one owner.
 */

#include <stdbool.h>
#include <stdint.h>
#include "overlay/engine/engine.h"
#include "overlay/peers.h"
#include "overlay/relayed.h"
#include "overlay/sealed_known.h"
#include "overlay/sealed_setup.h"

enum { SEALED_PEERS_USED_S = 120 }; /* without anything else a node is not probed any more */

struct sealed_peers {
	const struct peers *peers; /* borrowed */
	struct sealed_pairs pairs;
	bool told;                       /* of them */
	struct msg_mesh rows[PEERS_MAX]; /* of peers, with only those keys that are their own */
	bool follows[PEERS_MAX]; /* of each row: its keys are those of the device, the next one, too
				  */
	size_t rows_count;
	struct sealed_known known; /* the key that this node changes to */
	struct map used;           /* nodes that were spoken to of late, of a large cluster */
	bool large;
	struct relayed relayed;
	uint64_t relay_digest; /* of whom the engine relays between */
};

void sealed_peers_init(struct sealed_peers *p, const struct peers *peers);
void sealed_peers_fini(struct sealed_peers *p);

/* LEASH_PAIRS. What does not hold is said in the log; then it is as it was, or less. */
void sealed_peers_pairs(struct sealed_peers *p, int fd);
/* All has been said that peers are made of: who they are, and the keys of pairs. Before that there
 * seem to be none. */
bool sealed_peers_told(const struct sealed_peers *p);
/* There is what it takes to seal for that node. */
bool sealed_peers_has(const struct sealed_peers *p, uint32_t node);

/* Whose keys are whose is judged anew. follows: see sealed_setup.h. */
int sealed_peers_want(struct sealed_peers *p, const struct setup *is, const uint8_t *private_key,
		      bool dials_out, bool follows, struct setup *want, struct err *err) MUST_CHECK;
/* Another node has said which key it will change to. */
bool sealed_peers_change(const struct sealed_peers *p);
/* dials_out: nobody reaches this node first. When it fails it is done in part; to be tried again.
 */
int sealed_peers_apply(struct sealed_peers *p, struct engine *e, const uint8_t *private_key,
		       bool dials_out, struct err *err) MUST_CHECK;
/* The next engine knows nothing of what this one was told. */
void sealed_peers_forget(struct sealed_peers *p);
/* Whether the device waits for a key of that peer's (of table peer) already, or uses it. */
bool sealed_peers_know(const struct sealed_peers *p, uint64_t id, uint64_t token);
/* The device has been seen so, after sealed_peers_want(): it is not the engine, which is told what
 * to follow. */
void sealed_peers_saw(struct sealed_peers *p, const struct setup *is);
/* Asks for `next`, this node's. True: all who are spoken to know it. */
bool sealed_peers_ask(struct sealed_peers *p, const struct setup *is, const uint8_t *next);
/* What the engine has received of each: now and then. */
void sealed_peers_note(struct sealed_peers *p, const struct setup *is);
/* Of a cluster in which not everybody is spoken to: who is. To be called now and then; true: there
 * are others than at the last time. */
bool sealed_peers_look_at_use(struct sealed_peers *p, const struct setup *is);
bool sealed_peers_uses(const struct sealed_peers *p, uint32_t node);

#endif
