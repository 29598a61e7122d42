/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_SEALED_KEYS_H
#define OVERLAY_SEALED_KEYS_H

/*
 * The keys of this node's sealed traffic (keys.h) and their file in overlay's folder: read once,
 * written before they are used or announced. A key that others know of is so never unknown to a
 * successor of this process.
 * Threading: one owner.
 */

#include <stdint.h>
#include "base/err.h"
#include "overlay/keys.h"

struct sealed_keys {
	int folder; /* borrowed */
	struct keys keys;
	uint8_t public_key[KEYS_BYTES];
	uint8_t next_public[KEYS_BYTES]; /* zeros: none is announced */
};

/* Makes and keeps them where there is no file. ERR_CORRUPT: it is damaged. */
int sealed_keys_load(struct sealed_keys *k, int folder, struct err *err) MUST_CHECK;
void sealed_keys_wipe(struct sealed_keys *k);

/* Whatever keys_turn() says is to be done now, done and kept; what could not be kept is as it was,
 * and comes again. KEYS_ANNOUNCED, KEYS_CHANGED: others are to hear of it. */
enum keys_step sealed_keys_turn(struct sealed_keys *k, int64_t asked_wall_s, uint64_t every_s,
				bool known);
/* Until the one that is announced is to be used. 0: none is. */
uint64_t sealed_keys_due_ms(const struct sealed_keys *k);

#endif
