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
	return world->wall_ns / SECOND;
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
}

/* "name HEX SECONDS\n": *at moves behind it. */
static bool
take_line(const char **at, const char *name, uint8_t key[KEYS_BYTES], int64_t *since_s)
{
	char number[24];

	if (!text_starts(*at, name))
		return false;
	const char *hex = *at + strlen(name);
	const char *end = strchr(hex, '\n');
	uint64_t value;
	if (!end || end - hex < HEX_BYTES + 2 || hex[HEX_BYTES] != ' ' ||
	    text_unhex(hex, HEX_BYTES, key, KEYS_BYTES) != KEYS_BYTES)
		return false;
	size_t length = (size_t)(end - hex) - HEX_BYTES - 1;
	if (length >= sizeof(number))
		return false;
	text_ncopy(number, sizeof(number), hex + HEX_BYTES + 1, length);
	if (!text_u64(number, INT64_MAX, &value) || value == 0)
		return false;
	*since_s = (int64_t)value;
	*at = end + 1;
	return true;
}

int
keys_parse(const char *text, struct keys *out, struct err *err)
{
	const char *at = text;

	memset(out, 0, sizeof(*out));
	bool good = take_line(&at, "key ", out->key, &out->since_s);
	if (good && *at)
		good = take_line(&at, "next ", out->next, &out->next_since_s);
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

enum keys_step
keys_turn(struct keys *k, const struct world *world, bool asked, uint64_t every_s)
{
	int64_t age = age_s(world, k->next_since_s);

	if (!k->next_since_s) {
		if (!asked && (every_s == 0 || age_s(world, k->since_s) < (int64_t)every_s))
			return KEYS_STAY;
		make(world, k->next);
		k->next_since_s = now_s(world);
		return KEYS_ANNOUNCED;
	}
	if (age < 0)
		k->next_since_s = now_s(world);
	if (age < KEYS_HOLD_S)
		return KEYS_STAY;
	memcpy(k->key, k->next, KEYS_BYTES);
	k->since_s = now_s(world);
	mem_wipe(k->next, KEYS_BYTES);
	k->next_since_s = 0;
	return KEYS_CHANGED;
}

uint64_t
keys_due_s(const struct keys *k, const struct world *world)
{
	int64_t left = KEYS_HOLD_S - age_s(world, k->next_since_s);

	return left < 0 ? 0 : left > KEYS_HOLD_S ? KEYS_HOLD_S : (uint64_t)left;
}
