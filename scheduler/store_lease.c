/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases of an engine that has none of its own. There is one process, so that who has one stands in
 * its memory; the epoch is a note, written before it is given. When they are to outlive the process
 * the note says who has it and for how long, too: "EPOCH TTL HOLDER".
 */
#include "scheduler/store_lease.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/list.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum { NAME_BYTES = 256, HOLDER_BYTES = 128, NUMBER_BYTES = 24, NOTE_BYTES = 256 };

#define SECOND_NS 1000000000ull
#define NOTE "lease."
#define NOTE_FLOOR "leases.floor"

struct held {
	struct list link;
	char name[NAME_BYTES];
	char holder[HOLDER_BYTES];
	uint64_t epoch;
	uint64_t ttl_ns;
	uint64_t until_ns;
};

static struct held *
add(struct store *s, const char *name, const char *holder, uint64_t ttl_s)
{
	struct held *h = mem_zalloc(MEM_SCHEDULER, sizeof(*h));

	if (!h)
		return NULL;
	text_copy(h->name, sizeof(h->name), name);
	text_copy(h->holder, sizeof(h->holder), holder);
	h->ttl_ns = ttl_s * SECOND_NS;
	list_push(store_leases(s), &h->link);
	return h;
}

static int
get_note(struct store *s, const char *name, char *out, struct err *err)
{
	char note[sizeof(NOTE) + NAME_BYTES];

	text_format(note, sizeof(note), NOTE "%s", name);
	return store_get_note(s, note, out, NOTE_BYTES, err);
}

static int
put_note(struct store *s, const char *name, const char *value, struct err *err)
{
	char note[sizeof(NOTE) + NAME_BYTES];

	text_format(note, sizeof(note), NOTE "%s", name);
	if (store_begin(s, err) < 0)
		return -1;
	if (store_put_note(s, note, value, err) == 0)
		return store_commit(s, err);
	store_abort(s);
	return -1;
}

/* Held when the process before this one ended, and perhaps still. */
static int
find_from_before(struct store *s, const char *name, struct held **out, struct err *err)
{
	uint64_t since_ns = *store_leases_since_ns(s), epoch, ttl_s;
	char note[NOTE_BYTES], *at = note;

	*out = NULL;
	if (!since_ns)
		return 0;
	if (get_note(s, name, note, err) < 0)
		return -1;
	const char *epoch_text = strsep(&at, " "), *ttl_text = strsep(&at, " ");
	if (!ttl_text || !at || !text_u64(epoch_text, INT64_MAX, &epoch) ||
	    !text_u64(ttl_text, STORE_LEASE_TTL_S_MAX, &ttl_s) ||
	    since_ns + ttl_s * SECOND_NS <= world_mono_ns())
		return 0;
	*out = add(s, name, at, ttl_s);
	if (!*out)
		return err_set(err, ERR_NO_MEMORY, "no memory for a lease");
	(*out)->epoch = epoch;
	(*out)->until_ns = since_ns + ttl_s * SECOND_NS;
	return 0;
}

static int
find(struct store *s, const char *name, struct held **out, struct err *err)
{
	struct list *it, *next;

	list_each (it, next, store_leases(s)) {
		struct held *h = container_of(it, struct held, link);

		if (!text_equal(h->name, name))
			continue;
		/* One that has ended stays until it is taken again: it is not from before. */
		*out = h->until_ns > world_mono_ns() ? h : NULL;
		return 0;
	}
	return find_from_before(s, name, out, err);
}

static void
forget(struct store *s, const char *name)
{
	struct list *it, *next;

	list_each (it, next, store_leases(s)) {
		struct held *h = container_of(it, struct held, link);

		if (!text_equal(h->name, name))
			continue;
		list_remove(&h->link);
		mem_free(h);
	}
}

static int
read_floor(struct store *s, uint64_t *out, struct err *err)
{
	char note[NUMBER_BYTES];

	*out = 0;
	if (store_get_note(s, NOTE_FLOOR, note, sizeof(note), err) < 0)
		return -1;
	if (note[0] && !text_u64(note, INT64_MAX - 1, out))
		return err_set(err, ERR_CORRUPT, "the store's lowest epoch is none");
	return 0;
}

/* Of a store that went on from another one, whose holders it does not know. */
static int
may_be_held(struct store *s, const char *name, uint32_t ttl_s, struct err *err)
{
	uint64_t floor, since_ns = *store_leases_since_ns(s);
	char note[NOTE_BYTES];

	if (get_note(s, name, note, err) < 0 || read_floor(s, &floor, err) < 0)
		return -1;
	if (note[0] || !floor || since_ns + ttl_s * SECOND_NS <= world_mono_ns())
		return 0;
	err_set(err, ERR_CONFLICT, "%s may be held", name);
	return err_why(err, "by one to whom the writer before this one gave it");
}

static int
next_epoch(struct store *s, const struct held *h, uint64_t *epoch_out, struct err *err)
{
	char note[NOTE_BYTES], *at = note;
	uint64_t floor;

	if (get_note(s, h->name, note, err) < 0)
		return -1;
	*epoch_out = 0;
	const char *number = strsep(&at, " ");
	if (number[0] && !text_u64(number, INT64_MAX - 1, epoch_out))
		return err_set(err, ERR_CORRUPT, "the store's epoch of %s is none", h->name);
	if (read_floor(s, &floor, err) < 0)
		return -1;
	if (*epoch_out < floor)
		*epoch_out = floor;
	++*epoch_out;
	if (*store_leases_since_ns(s))
		text_format(note, sizeof(note), "%" PRIu64 " %" PRIu64 " %s", *epoch_out,
			    (uint64_t)(h->ttl_ns / SECOND_NS), h->holder);
	else
		text_format(note, sizeof(note), "%" PRIu64, *epoch_out);
	return put_note(s, h->name, note, err);
}

static int
take(struct store *s, const char *name, const char *holder, uint32_t ttl_s, uint64_t *epoch_out,
     struct err *err)
{
	struct held *other;

	if (find(s, name, &other, err) < 0)
		return -1;
	if (other) {
		err_set(err, ERR_CONFLICT, "%s is held", name);
		return err_why(err, "%s", other->holder);
	}
	if (may_be_held(s, name, ttl_s, err) < 0)
		return -1;
	forget(s, name);
	struct held *h = add(s, name, holder, ttl_s);
	if (!h)
		return err_set(err, ERR_NO_MEMORY, "no memory for a lease");
	if (next_epoch(s, h, &h->epoch, err) < 0) {
		forget(s, name);
		return -1;
	}
	h->until_ns = world_mono_ns() + h->ttl_ns;
	*epoch_out = h->epoch;
	return 0;
}

static int
keep(struct store *s, const char *name, uint64_t *epoch_out, struct err *err)
{
	struct held *h;

	if (find(s, name, &h, err) < 0)
		return -1;
	if (!h)
		return err_set(err, ERR_NOT_FOUND, "%s is not held any more", name);
	h->until_ns = world_mono_ns() + h->ttl_ns;
	*epoch_out = h->epoch;
	return 0;
}

static int
drop(struct store *s, const char *name, struct err *err)
{
	char number[NUMBER_BYTES];
	struct held *h;

	if (find(s, name, &h, err) < 0)
		return -1;
	if (!h)
		return 0;
	text_format(number, sizeof(number), "%" PRIu64, h->epoch);
	if (*store_leases_since_ns(s) && put_note(s, name, number, err) < 0)
		return -1;
	forget(s, name);
	return 0;
}

uint64_t
store_lease_epoch(struct store *s, const char *name)
{
	struct err ignored = {0};
	struct held *h;

	return find(s, name, &h, &ignored) == 0 && h ? h->epoch : 0;
}

void
store_lease_outlive(struct store *s)
{
	*store_leases_since_ns(s) = world_mono_ns();
}

static bool
is_name(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length < NAME_BYTES &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == length;
}

bool
store_lease_fits(enum store_lease_verb verb, const char *name, const char *holder, uint32_t ttl_s)
{
	if (!is_name(name))
		return false;
	return verb != STORE_LEASE_TAKE ||
	       (holder[0] && strlen(holder) < HOLDER_BYTES && !strchr(holder, ' ') &&
		ttl_s >= STORE_LEASE_TTL_S_MIN && ttl_s <= STORE_LEASE_TTL_S_MAX);
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
		rc = drop(s, name, &err);
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

bool
store_lease_adopt(struct store *s, const char *name, uint64_t epoch)
{
	void *engine;
	const struct store_engine *calls = store_calls(s, &engine);

	assert(is_name(name));
	return !calls->adopt || calls->adopt(engine, name, epoch);
}

uint64_t
store_lease_mine(struct store *s, const char *name)
{
	void *engine;
	const struct store_engine *calls = store_calls(s, &engine);

	return calls->mine ? calls->mine(engine, name) : store_lease_epoch(s, name);
}

/* Engines know one of each name. */
void
store_lease_keep(struct store *s, const char *name, uint64_t epoch, store_lease_fn done, void *arg)
{
	struct err err = {0};

	if (epoch == store_lease_mine(s, name)) {
		act(s, STORE_LEASE_KEEP, name, "", 0, done, arg);
		return;
	}
	err_set(&err, ERR_NOT_FOUND, "%s is not held any more", name);
	done(arg, 0, &err);
}

void
store_lease_drop(struct store *s, const char *name, uint64_t epoch, store_lease_fn done, void *arg)
{
	if (epoch == store_lease_mine(s, name))
		act(s, STORE_LEASE_DROP, name, "", 0, done, arg);
	else
		done(arg, 0, NULL);
}

int
store_lease_raise(struct store *s, uint64_t epoch, struct err *err)
{
	char number[NUMBER_BYTES];
	uint64_t floor;

	if (read_floor(s, &floor, err) < 0)
		return -1;
	text_format(number, sizeof(number), "%" PRIu64, epoch > floor ? epoch : floor);
	return store_put_note(s, NOTE_FLOOR, number, err);
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
