/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of an engine that has none of its own. There is one process, so that who has one stands in
 * its memory; the epoch is a note, written before it is given.
 */
#include "scheduler/store_lease.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/list.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum { NAME_BYTES = 256, HOLDER_BYTES = 128, NUMBER_BYTES = 24 };

#define SECOND_NS 1000000000ull
#define NOTE "lease."

struct held {
	struct list link;
	char name[NAME_BYTES];
	char holder[HOLDER_BYTES];
	uint64_t epoch;
	uint64_t ttl_ns;
	uint64_t until_ns;
};

static struct held *
find(struct store *s, const char *name)
{
	struct list *it, *next;

	list_each (it, next, store_leases(s)) {
		struct held *h = container_of(it, struct held, link);

		if (!text_equal(h->name, name))
			continue;
		if (h->until_ns > world_mono_ns())
			return h;
		list_remove(&h->link);
		mem_free(h);
		return NULL;
	}
	return NULL;
}

static int
next_epoch(struct store *s, const char *name, uint64_t *epoch_out, struct err *err)
{
	char note[sizeof(NOTE) + NAME_BYTES], number[NUMBER_BYTES];

	text_format(note, sizeof(note), NOTE "%s", name);
	if (store_get_note(s, note, number, sizeof(number), err) < 0)
		return -1;
	*epoch_out = 0;
	if (number[0] && !text_u64(number, INT64_MAX - 1, epoch_out))
		return err_set(err, ERR_CORRUPT, "the store's epoch of %s is none", name);
	++*epoch_out;
	text_format(number, sizeof(number), "%" PRIu64, *epoch_out);
	if (store_begin(s, err) < 0)
		return -1;
	if (store_put_note(s, note, number, err) == 0)
		return store_commit(s, err);
	store_abort(s);
	return -1;
}

static int
take(struct store *s, const char *name, const char *holder, uint32_t ttl_s, uint64_t *epoch_out,
     struct err *err)
{
	const struct held *other = find(s, name);

	if (other) {
		err_set(err, ERR_CONFLICT, "%s is held", name);
		return err_why(err, "%s", other->holder);
	}
	struct held *h = mem_zalloc(MEM_SCHEDULER, sizeof(*h));
	if (!h)
		return err_set(err, ERR_NO_MEMORY, "no memory for a lease");
	text_copy(h->name, sizeof(h->name), name);
	text_copy(h->holder, sizeof(h->holder), holder);
	if (next_epoch(s, name, &h->epoch, err) < 0) {
		mem_free(h);
		return -1;
	}
	h->ttl_ns = ttl_s * SECOND_NS;
	h->until_ns = world_mono_ns() + h->ttl_ns;
	list_push(store_leases(s), &h->link);
	*epoch_out = h->epoch;
	return 0;
}

static int
keep(struct store *s, const char *name, uint64_t *epoch_out, struct err *err)
{
	struct held *h = find(s, name);

	if (!h)
		return err_set(err, ERR_NOT_FOUND, "%s is not held any more", name);
	h->until_ns = world_mono_ns() + h->ttl_ns;
	*epoch_out = h->epoch;
	return 0;
}

static void
drop(struct store *s, const char *name)
{
	struct held *h = find(s, name);

	if (!h)
		return;
	list_remove(&h->link);
	mem_free(h);
}

static bool
is_name(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length < NAME_BYTES &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == length;
}

static void
act(struct store *s, enum store_lease_verb verb, const char *name, const char *holder,
    uint32_t ttl_s, store_lease_fn done, void *arg)
{
	struct err err = {0};
	uint64_t epoch = 0;
	void *engine;
	int rc = 0;

	assert(is_name(name));
	const struct store_engine *calls = store_calls(s, &engine);
	if (calls->lease) {
		calls->lease(engine, verb, name, holder, ttl_s, done, arg);
		return;
	}
	if (verb == STORE_LEASE_TAKE)
		rc = take(s, name, holder, ttl_s, &epoch, &err);
	else if (verb == STORE_LEASE_KEEP)
		rc = keep(s, name, &epoch, &err);
	else
		drop(s, name);
	done(arg, epoch, rc < 0 ? &err : NULL);
}

void
store_lease_take(struct store *s, const char *name, const char *holder, uint32_t ttl_s,
		 store_lease_fn done, void *arg)
{
	assert(ttl_s >= STORE_LEASE_TTL_S_MIN && ttl_s <= STORE_LEASE_TTL_S_MAX);
	assert(strlen(holder) < HOLDER_BYTES && !strchr(holder, ' '));
	act(s, STORE_LEASE_TAKE, name, holder, ttl_s, done, arg);
}

void
store_lease_keep(struct store *s, const char *name, store_lease_fn done, void *arg)
{
	act(s, STORE_LEASE_KEEP, name, "", 0, done, arg);
}

void
store_lease_drop(struct store *s, const char *name, store_lease_fn done, void *arg)
{
	act(s, STORE_LEASE_DROP, name, "", 0, done, arg);
}

void
store_lease_forget(struct store *s)
{
	struct list *it, *next;

	list_each (it, next, store_leases(s)) {
		list_remove(it);
		mem_free(container_of(it, struct held, link));
	}
}
