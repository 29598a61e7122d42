/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_KEYS_H
#define OVERLAY_KEYS_H

/*
 * The private keys of this node's sealed traffic: the one in use, and, while it is being changed,
 * the one that follows. A change is announced first, and made when all others that live have said
 * that they wait for the new key already (sealed_known.h), or have had KEYS_HOLD_S to hear of it:
 * who is silent holds it up for no longer. What is to be done at any moment
 * follows from the file alone, so a process may die between any two steps.
 *
 * The file, mode 0600: "key HEX SECONDS\n", since when; then maybe "next HEX SECONDS\n", since when
 * it was announced; then maybe "heeded SECONDS\n". No I/O here, and no clock.
 * Threading: plain values, to be wiped (keys_wipe).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/world.h"

enum {
	KEYS_BYTES = 32,
	KEYS_TEXT_BYTES = 256,
	/* Gossip tells all of 10,000 nodes within 10 s (docs/gossip.md). */
	KEYS_HOLD_S = 20,
};

struct keys {
	uint8_t key[KEYS_BYTES];
	int64_t since_s; /* of 1970 */
	uint8_t next[KEYS_BYTES];
	int64_t next_since_s; /* 0: there is none */
	int64_t heeded_s;     /* the request for another key that was heeded last; 0: none */
};

void keys_make(const struct world *world, struct keys *out);
void keys_wipe(struct keys *k);

/* out: room for KEYS_TEXT_BYTES; a secret. */
void keys_put(const struct keys *k, char *out);
/* ERR_CORRUPT when it is not that. */
int keys_parse(const char *text, struct keys *out, struct err *err) MUST_CHECK;

enum keys_step {
	KEYS_STAY,
	KEYS_ANNOUNCED, /* there is a next one: keep it, then say it */
	KEYS_CHANGED,   /* the next one is the one in use: keep it, then use it */
	KEYS_MENDED,    /* the keys are the same, what is said of them is not: keep it */
};
/* asked_s: the request for another key, as told; it is by some other node's clock, so it is another
 * request when it is not the one that was heeded, earlier or later; 0 or less: there was none. What
 * comes while a change is announced is for that change. every_s: how old a key becomes; 0: as old
 * as it likes. known: all who are to know the next key do. Times that have not come yet are of a
 * clock that was set back since: they count from now on, which holds up nothing for longer than
 * KEYS_HOLD_S or every_s. */
enum keys_step keys_turn(struct keys *k, const struct world *world, int64_t asked_s,
			 uint64_t every_s, bool known);
/* Seconds until one that is announced is to be used. */
uint64_t keys_due_s(const struct keys *k, const struct world *world);

#endif
