/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_KNOWN_H
#define OVERLAY_SEALED_KNOWN_H

/*
 * Who knows the key that this node is about to change to. The others hear of it by gossip; each of
 * those that it speaks to is then asked, over the tunnel (overlay/prober.h), until it says that its
 * data path waits for that key. When all have, nothing is gained by waiting any longer (keys.h).
 * Those without a handshake of late are asked, too: they may be there with nothing to say (nodes
 * that go plain between them probe nothing by the sealed way), and what they are sent next would be
 * lost until gossip has reached them. Most are not there, so the others wait for them only a while.
 *
 * A question is a token: the first eight bytes of the key. No I/O, no clock. Threading: one owner.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/map.h"
#include "overlay/wg/setup.h"
#include "ring/msg_network.h"

enum {
	SEALED_KNOWN_LIVE_S = 180, /* since the last handshake: keys are good for no longer */
	SEALED_KNOWN_IDLE_S = 5,   /* waited for those that had none, of KEYS_HOLD_S */
};

struct sealed_known {
	uint64_t token;       /* of the key that is announced; 0: none */
	int64_t since_wall_s; /* that it is asked for */
	struct map says;      /* ids of table peer: those who know it */
};

void sealed_known_init(struct sealed_known *k);
void sealed_known_fini(struct sealed_known *k);

/* 0: of no key. */
uint64_t sealed_known_token(const uint8_t key[SETUP_KEY]);
/* An answer. Of a key that is not the one in question it is passed over. */
void sealed_known_take(struct sealed_known *k, uint64_t id, uint64_t token);

struct sealed_known_in {
	const uint8_t *next; /* that is announced */
	const struct msg_mesh *rows;
	size_t count;
	const struct setup *is; /* the device, with the handshakes that there were */
	int64_t wall_s;
	uint64_t (*id)(const char *name);
	void (*ask)(uint64_t id, uint64_t token);
};
/* Asks those that have not said so. True: some live, all of them have said so, and so have the idle
 * ones, or had time to. */
bool sealed_known_by_all(struct sealed_known *k, const struct sealed_known_in *in);

#endif
