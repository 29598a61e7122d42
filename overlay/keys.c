/* SPDX-License-Identifier: Apache-2.0 */
/* Making, writing and reading of keys, and when they change. */
#include "overlay/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "overlay/wg/primitive.h"

_Static_assert((int)KEYS_BYTES == (int)PRIMITIVE_KEY, "X25519's");

enum { SECOND = 1000000000, HEX_BYTES = 2 * KEYS_BYTES };

static int64_t
now_s(const struct world *world)
{
	int64_t s = world->wall_ns / SECOND;

	return s > 0 ? s : 1; /* 0 says that there is none */
}

static void
make(const struct world *world, uint8_t out[KEYS_BYTES])
{
	world_random(world, out, KEYS_BYTES);
	primitive_clamp(out);
}

void
keys_make(const struct world *world, struct keys *out)
{
	memset(out, 0, sizeof(*out));
	make(world, out->key);
	out->since_s = now_s(world);
}

void
keys_wipe(struct keys *k)
{
	mem_wipe(k, sizeof(*k));
}

/* ---- the file ---- */

static const char heeded[] = "heeded ";

static void
put_line(const char *name, const uint8_t key[KEYS_BYTES], int64_t since_s, char *out, size_t cap)
{
	char hex[HEX_BYTES + 1];

	text_hex(key, KEYS_BYTES, hex, sizeof(hex));
	text_format(out, cap, "%s %s %" PRId64 "\n", name, hex, since_s);
	mem_wipe(hex, sizeof(hex));
}

void
keys_put(const struct keys *k, char *out)
{
	size_t used;

	put_line("key", k->key, k->since_s, out, KEYS_TEXT_BYTES);
	used = strlen(out);
	if (k->next_since_s)
		put_line("next", k->next, k->next_since_s, out + used, KEYS_TEXT_BYTES - used);
	used = strlen(out);
	if (k->heeded_s)
		text_format(out + used, KEYS_TEXT_BYTES - used, "%s%" PRId64 "\n", heeded,
			    k->heeded_s);
}

/* "SECONDS\n": *at moves behind it. */
static bool
take_seconds(const char **at, int64_t *out_s)
{
	const char *end = strchr(*at, '\n');
	char number[24];
	uint64_t value;

	if (!end || (size_t)(end - *at) >= sizeof(number))
		return false;
	text_ncopy(number, sizeof(number), *at, (size_t)(end - *at));
	if (!text_u64(number, INT64_MAX, &value) || value == 0)
		return false;
	*out_s = (int64_t)value;
	*at = end + 1;
	return true;
}

/* "name HEX SECONDS\n": likewise. */
static bool
take_line(const char **at, const char *name, uint8_t key[KEYS_BYTES], int64_t *since_s)
{
	if (!text_starts(*at, name))
		return false;
	const char *hex = *at + strlen(name);
	const char *end = strchr(hex, '\n');
	if (!end || end - hex < HEX_BYTES + 2 || hex[HEX_BYTES] != ' ' ||
	    text_unhex(hex, HEX_BYTES, key, KEYS_BYTES) != KEYS_BYTES)
		return false;
	*at = hex + HEX_BYTES + 1;
	return take_seconds(at, since_s);
}

int
keys_parse(const char *text, struct keys *out, struct err *err)
{
	const char *at = text;

	memset(out, 0, sizeof(*out));
	bool good = take_line(&at, "key ", out->key, &out->since_s);
	if (good && text_starts(at, "next "))
		good = take_line(&at, "next ", out->next, &out->next_since_s);
	if (good && text_starts(at, heeded)) {
		at += strlen(heeded);
		good = take_seconds(&at, &out->heeded_s);
	}
	if (good && !*at)
		return 0;
	keys_wipe(out);
	err_set(err, ERR_CORRUPT, "the kept keys of this node's sealed traffic are damaged");
	return err_fix(err, "remove that file: the node makes new ones, and the others hear of it");
}

/* ---- changes ---- */

static int64_t
age_s(const struct world *world, int64_t since_s)
{
	return now_s(world) - since_s;
}

/* True: it was ahead. */
static bool
bring_back(const struct world *world, int64_t *since_s)
{
	if (age_s(world, *since_s) >= 0)
		return false;
	*since_s = now_s(world);
	return true;
}

/* True: one that was not heeded yet; it is now. */
static bool
take_request(struct keys *k, int64_t asked_s)
{
	if (asked_s <= 0 || asked_s == k->heeded_s)
		return false;
	k->heeded_s = asked_s;
	return true;
}

static void
change(struct keys *k, const struct world *world)
{
	memcpy(k->key, k->next, KEYS_BYTES);
	k->since_s = now_s(world);
	mem_wipe(k->next, KEYS_BYTES);
	k->next_since_s = 0;
}

enum keys_step
keys_turn(struct keys *k, const struct world *world, int64_t asked_s, uint64_t every_s, bool known)
{
	bool mended = bring_back(world, &k->since_s);
	bool asked = take_request(k, asked_s);

	if (k->next_since_s) {
		mended |= bring_back(world, &k->next_since_s) | asked;
		if (!known && age_s(world, k->next_since_s) < KEYS_HOLD_S)
			return mended ? KEYS_MENDED : KEYS_STAY;
		change(k, world);
		return KEYS_CHANGED;
	}
	if (!asked && (every_s == 0 || age_s(world, k->since_s) < (int64_t)every_s))
		return mended ? KEYS_MENDED : KEYS_STAY;
	make(world, k->next);
	k->next_since_s = now_s(world);
	return KEYS_ANNOUNCED;
}

uint64_t
keys_due_s(const struct keys *k, const struct world *world)
{
	int64_t left = KEYS_HOLD_S - age_s(world, k->next_since_s);

	return left < 0 ? 0 : left > KEYS_HOLD_S ? KEYS_HOLD_S : (uint64_t)left;
}
