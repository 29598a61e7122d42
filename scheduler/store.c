/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store without its engine: keeps the rules of a transaction and reads back what was written.
 * The list of changes is made before they are sent, so that no allocation stands between a commit
 * and its check. Knows nothing of deployments.
 */
#include "scheduler/store.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include "base/list.h"
#include "base/mem.h"
#include "scheduler/store_lease.h"

enum { CHANGES_MAX = 65536 };

/* What must be found after the commit: version 0, no row. */
struct change {
	enum store_kind kind;
	uint64_t id;
	uint64_t version;
};

struct store {
	const struct store_engine *calls;
	void *engine;
	bool open; /* a transaction */
	bool failed;
	bool submitted;
	store_done_fn done; /* of what was submitted */
	void *done_arg;
	struct change *changes;
	size_t changes_count;
	size_t changes_capacity;
	void *row; /* scratch, of the largest kind */
	struct list leases;
	uint64_t leases_since_ns;
};

int
store_new(const struct store_engine *calls, void *engine, struct store **out, struct err *err)
{
	struct store *s = mem_zalloc(MEM_SCHEDULER, sizeof(*s));
	size_t row_bytes = 0;

	for (unsigned k = 0; k < STORE_KINDS_; k++) {
		if (store_shape(k)->row_bytes > row_bytes)
			row_bytes = store_shape(k)->row_bytes;
	}
	if (s)
		s->row = mem_zalloc(MEM_SCHEDULER, row_bytes);
	if (!s || !s->row) {
		calls->close(engine);
		mem_free(s);
		return err_set(err, ERR_NO_MEMORY, "no memory for the store");
	}
	list_init(&s->leases);
	s->calls = calls;
	s->engine = engine;
	*out = s;
	return 0;
}

void
store_free(struct store *s)
{
	if (!s)
		return;
	if (s->open)
		store_abort(s);
	s->calls->close(s->engine);
	store_lease_forget(s);
	mem_free(s->changes);
	mem_free(s->row);
	mem_free(s);
}

static int
fail(struct store *s)
{
	s->failed = true;
	return -1;
}

static void
remember(struct store *s, enum store_kind kind, uint64_t id, uint64_t version)
{
	assert(s->changes_count < s->changes_capacity);
	for (size_t i = s->changes_count; i-- > 0;) {
		struct change *c = &s->changes[i];

		if (c->kind == kind && c->id == id) {
			c->version = version;
			return;
		}
	}
	s->changes[s->changes_count++] = (struct change){kind, id, version};
}

static int
reserve(struct store *s, struct err *err)
{
	if (s->changes_count < s->changes_capacity)
		return 0;
	if (s->changes_count >= CHANGES_MAX) {
		err_set(err, ERR_LIMIT, "more than %d changes at once", CHANGES_MAX);
		return fail(s);
	}
	size_t more = s->changes_capacity ? s->changes_capacity * 2 : 32;
	void *p = mem_resize(MEM_SCHEDULER, s->changes, more, sizeof(struct change));
	if (!p) {
		err_set(err, ERR_NO_MEMORY, "no memory for a change of the store");
		return fail(s);
	}
	s->changes = p;
	s->changes_capacity = more;
	return 0;
}

void *
store_engine_of(struct store *s, const struct store_engine *engine)
{
	return s->calls == engine ? s->engine : NULL;
}

struct store *
store_local(struct store *s)
{
	return s->calls->local ? s->calls->local(s->engine) : s;
}

int
store_begin(struct store *s, struct err *err)
{
	assert(!s->open);
	if (s->submitted)
		return err_set(err, ERR_CONFLICT, "another change of the store is on its way");
	s->changes_count = 0;
	s->failed = false;
	if (s->calls->begin(s->engine, err) < 0)
		return -1;
	s->open = true;
	return 0;
}

void
store_abort(struct store *s)
{
	assert(s->open);
	s->calls->abort(s->engine);
	s->open = false;
}

enum found { AS_WRITTEN, OTHERWISE, UNKNOWN };

static enum found
read_back(struct store *s, struct err *err)
{
	for (size_t i = 0; i < s->changes_count; i++) {
		const struct change *c = &s->changes[i];
		uint64_t version = 0;

		if (s->calls->version(s->engine, c->kind, c->id, &version, err) < 0)
			return UNKNOWN;
		if (version != c->version) {
			err_set(err, ERR_CONFLICT, "the store did not keep what was written");
			err_why(err, "%s %" PRIu64 " is version %" PRIu64 ", not %" PRIu64,
				store_shape(c->kind)->table, c->id, version, c->version);
			return OTHERWISE;
		}
	}
	return AS_WRITTEN;
}

int
store_commit(struct store *s, struct err *err)
{
	struct err found_err = {0};

	assert(s->open && !s->failed && !s->calls->submit);
	int rc = s->calls->commit(s->engine, err);
	if (rc < 0)
		s->calls->abort(s->engine);
	s->open = false;
	enum found found = read_back(s, &found_err);
	/* When it cannot be read the engine's word is all there is. */
	if (found == UNKNOWN || (rc < 0 && s->changes_count == 0))
		return rc;
	if (found == OTHERWISE && rc == 0)
		*err = found_err;
	return found == AS_WRITTEN ? 0 : -1;
}

static void
submit_ends(void *arg, const struct err *err)
{
	struct store *s = arg;

	assert(s->submitted);
	s->submitted = false;
	s->done(s->done_arg, err);
}

void
store_submit(struct store *s, store_done_fn done, void *arg)
{
	struct err err = {0};

	if (!s->calls->submit) {
		int rc = store_commit(s, &err);

		done(arg, rc < 0 ? &err : NULL);
		return;
	}
	assert(s->open && !s->failed && !s->submitted);
	s->open = false;
	s->submitted = true;
	s->done = done;
	s->done_arg = arg;
	s->calls->submit(s->engine, submit_ends, s);
}

bool
store_busy(const struct store *s)
{
	return s->submitted;
}

int
store_put(struct store *s, enum store_kind kind, void *row, struct err *err)
{
	uint64_t head[2];

	assert(s->open && !s->failed);
	if (reserve(s, err) < 0)
		return -1;
	if (s->calls->put(s->engine, kind, row, err) < 0)
		return fail(s);
	memcpy(head, row, sizeof(head));
	remember(s, kind, head[0], head[1]);
	return 0;
}

int
store_drop(struct store *s, enum store_kind kind, uint64_t id, uint64_t version, struct err *err)
{
	assert(s->open && !s->failed);
	if (reserve(s, err) < 0)
		return -1;
	if (s->calls->drop(s->engine, kind, id, version, err) < 0)
		return fail(s);
	remember(s, kind, id, 0);
	return 0;
}

int
store_drop_through(struct store *s, enum store_kind kind, uint64_t id, struct err *err)
{
	assert(s->open && !s->failed);
	return s->calls->drop_through(s->engine, kind, id, err) < 0 ? fail(s) : 0;
}

int
store_put_blob(struct store *s, enum store_blob blob, uint64_t id, const void *data, size_t bytes,
	       struct err *err)
{
	assert(s->open && !s->failed);
	return s->calls->put_blob(s->engine, blob, id, data, bytes, err) < 0 ? fail(s) : 0;
}

int
store_place(struct store *s, enum store_kind kind, const void *row, struct err *err)
{
	assert(s->open && !s->failed);
	return s->calls->place(s->engine, kind, row, err) < 0 ? fail(s) : 0;
}

int
store_put_note(struct store *s, const char *name, const char *value, struct err *err)
{
	assert(s->open && !s->failed);
	return s->calls->put_note(s->engine, name, value, err) < 0 ? fail(s) : 0;
}

int
store_get_note(struct store *s, const char *name, char *out, size_t cap, struct err *err)
{
	return s->calls->get_note(s->engine, name, out, cap, err);
}

int
store_get(struct store *s, enum store_kind kind, uint64_t id, void *row, struct err *err)
{
	return s->calls->get(s->engine, kind, id, row, err);
}

int
store_get_blob(struct store *s, enum store_blob blob, uint64_t id, struct buf *out, struct err *err)
{
	return s->calls->get_blob(s->engine, blob, id, out, err);
}

int
store_each(struct store *s, enum store_kind kind, uint64_t above, uint64_t parent,
	   store_visit_fn visit, void *arg, struct err *err)
{
	return s->calls->each(s->engine, kind, above, parent, s->row, visit, arg, err);
}

void
store_status(struct store *s, struct store_status *out)
{
	memset(out, 0, sizeof(*out));
	if (s->calls->status)
		s->calls->status(s->engine, out);
	else
		out->writable = true;
}

void
store_watch(struct store *s, store_news_fn fn, void *arg)
{
	if (s->calls->watch)
		s->calls->watch(s->engine, fn, arg);
}

void
store_check(struct store *s, store_done_fn done, void *arg)
{
	if (s->calls->check)
		s->calls->check(s->engine, done, arg);
	else
		done(arg, NULL);
}

int
store_highest_id(struct store *s, uint64_t *out, struct err *err)
{
	if (!s->calls->highest_id)
		return err_set(err, ERR_UNSUPPORTED, "this store does not number its rows");
	return s->calls->highest_id(s->engine, out, err);
}

const struct store_engine *
store_calls(const struct store *s, void **engine_out)
{
	*engine_out = s->engine;
	return s->calls;
}

struct list *
store_leases(struct store *s)
{
	return &s->leases;
}

uint64_t *
store_leases_since_ns(struct store *s)
{
	return &s->leases_since_ns;
}
