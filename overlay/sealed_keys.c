/* SPDX-License-Identifier: Apache-2.0 */
/* The file and the clock around keys.c. */
#include "overlay/sealed_keys.h"

#include <string.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "overlay/wg/primitive.h"

static const char file[] = "keys";

static int
keep(int folder, const struct keys *keys, struct err *err)
{
	char text[KEYS_TEXT_BYTES];

	keys_put(keys, text);
	int rc = fd_replace(folder, file, text, strlen(text), 0600, err);
	mem_wipe(text, sizeof(text));
	return rc < 0 ? err_where(err, "overlay/%s below the data folder", file) : 0;
}

static int
make(struct sealed_keys *k, struct err *err)
{
	struct world world;

	world_real(&world);
	keys_make(&world, &k->keys);
	return keep(k->folder, &k->keys, err);
}

static int
make_public(struct sealed_keys *k, struct err *err)
{
	memset(k->next_public, 0, sizeof(k->next_public));
	if (primitive_public(k->keys.key, k->public_key) &&
	    (!k->keys.next_since_s || primitive_public(k->keys.next, k->next_public)))
		return 0;
	return err_set(err, ERR_NO_MEMORY, "no memory for the keys of sealed traffic");
}

int
sealed_keys_load(struct sealed_keys *k, int folder, struct err *err)
{
	struct buf b;
	int rc;

	k->folder = folder;
	buf_init(&b, MEM_OVERLAY, KEYS_TEXT_BYTES);
	if (fd_read_file(folder, file, &b, err) < 0) {
		rc = err->kind == ERR_NOT_FOUND ? (err_clear(err), make(k, err)) : -1;
	} else {
		rc = keys_parse(buf_cstr(&b), &k->keys, err);
		if (rc < 0)
			err_where(err, "overlay/%s below the data folder", file);
	}
	if (b.data)
		mem_wipe(b.data, b.length);
	buf_fini(&b);
	return rc < 0 ? -1 : make_public(k, err);
}

void
sealed_keys_wipe(struct sealed_keys *k)
{
	keys_wipe(&k->keys);
}

enum keys_step
sealed_keys_turn(struct sealed_keys *k, int64_t asked_wall_s, uint64_t every_s, bool known)
{
	struct keys next = k->keys;
	struct world world;
	struct err err = {0};

	world_real(&world);
	enum keys_step step = keys_turn(&next, &world, asked_wall_s, every_s, known);
	if (step != KEYS_STAY && keep(k->folder, &next, &err) < 0)
		step = KEYS_STAY;
	if (step != KEYS_STAY)
		k->keys = next;
	if ((step == KEYS_CHANGED || step == KEYS_ANNOUNCED) && make_public(k, &err) == 0)
		log_event(LOG_INFO,
			  step == KEYS_CHANGED ? "the key of sealed traffic was changed"
					       : "the key of sealed traffic is about to be "
						 "changed: the others hear of it",
			  LOG_END);
	if (err.kind)
		log_err(LOG_WARN, "the key of sealed traffic is not changed; it is tried again",
			&err);
	keys_wipe(&next);
	return step;
}

uint64_t
sealed_keys_due_ms(const struct sealed_keys *k)
{
	struct world world;

	world_real(&world);
	return k->keys.next_since_s ? (keys_due_s(&k->keys, &world) + 1) * 1000 : 0;
}
