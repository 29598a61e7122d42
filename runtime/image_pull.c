/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pull goes RESOLVING (fetch) -> LOOKING (unpack) -> LAYERS (both) -> COMMITTING (unpack). Each
 * question to another role holds the pull or layer until its answer came; what ended meanwhile is
 * freed then.
 *
 * Layers are shared by the pulls that need them (pull_layers.h): whenever one has ended, each pull
 * looks at its own.
 */
#include "runtime/image_pull.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/image_ops.h"
#include "runtime/pull_layers.h"

enum {
	PULLS_MAX = 64,
	RESTARTS_MAX = 3,
	RESOLVE_MS = 300000,
	LOOK_MS = 60000,
	COMMIT_MS = 600000,
};
static const uint64_t STILL_NS = UINT64_C(180) * 1000000000;

enum pull_phase { RESOLVING, LOOKING, LAYERS, COMMITTING, OVER };

struct waiter {
	struct list link;
	const struct pull_calls *calls;
	void *arg;
	uint64_t tag;
};

struct pull {
	struct list link;
	struct pulls *pulls;
	enum pull_phase phase;
	char name[MSG_IMAGE];
	char wanted[MSG_DIGEST]; /* as it was asked for */
	char digest[MSG_DIGEST];
	uint32_t endpoint;
	int documents;
	struct pull_layer *layers[MSG_COMMIT_LAYERS_MAX]; /* NULL: here */
	size_t count;
	struct pull_progress progress;
	struct list waiters;
	unsigned asks, restarts;
	bool importing; /* the store was told */
	uint64_t moved_ns;
};

struct pulls {
	struct station *st;
	struct image_store *store;
	struct list pulls;
	size_t count;
	struct pull_layers layers;
};

static void look(struct pull *p);

/* ---- the end of a pull ---- */

static void
release_layers(struct pull *p)
{
	for (size_t i = 0; i < p->count; i++) {
		pull_layers_unref(p->layers[i]);
		p->layers[i] = NULL;
	}
	p->count = 0;
}

static void
pull_free(struct pull *p)
{
	if (p->asks || p->phase != OVER)
		return;
	fd_close(&p->documents);
	list_remove(&p->link);
	p->pulls->count--;
	mem_free(p);
}

static void
finish(struct pull *p, const struct err *err, const struct msg_imported *imported)
{
	struct list waiters;
	struct pulls *ps = p->pulls;

	if (p->phase == OVER)
		return;
	p->phase = OVER;
	release_layers(p);
	if (p->importing)
		image_store_import_end(ps->store);
	p->importing = false;
	if (err)
		log_err(LOG_WARN, "an image was not pulled", err);
	list_init(&waiters);
	while (!list_empty(&p->waiters)) {
		struct list *first = p->waiters.next;

		list_remove(first);
		list_push(&waiters, first);
	}
	while (!list_empty(&waiters)) {
		struct waiter *w = container_of(waiters.next, struct waiter, link);

		list_remove(&w->link);
		w->calls->done(w->arg, w->tag, err, imported, &p->progress);
		mem_free(w);
	}
	pull_free(p);
	pull_layers_start(&ps->layers);
}

void
image_pull_err(const char *name, const struct err *cause, struct err *out)
{
	*out = *cause;
	if (!strstr(cause->what, name))
		text_format(out->what, sizeof(out->what), "cannot pull %s: %s", name, cause->what);
}

static void
fail(struct pull *p, const struct err *cause)
{
	struct err err;

	if (p->phase == OVER)
		return;
	image_pull_err(p->name, cause, &err);
	finish(p, &err, NULL);
}

static void
fail_with(struct pull *p, enum err_kind kind, const char *what)
{
	struct err err = {0};

	err_set(&err, kind, "%s", what);
	fail(p, &err);
}

/* unpack was restarted, or lost a layer: all of it once more. */
static bool
begin_again(struct pull *p, const struct err *err)
{
	if (err->kind != ERR_INTERRUPTED && err->kind != ERR_CONFLICT)
		return false;
	if (++p->restarts > RESTARTS_MAX)
		return false;
	log_event(LOG_INFO, "a pull begins anew", log_s("image", p->name), LOG_END);
	release_layers(p);
	look(p);
	return true;
}

static void
tell_moved(struct pull *p)
{
	struct list *it, *next;

	list_each (it, next, &p->waiters) {
		struct waiter *w = container_of(it, struct waiter, link);

		if (w->calls->moved)
			w->calls->moved(w->arg, w->tag, &p->progress);
	}
}

/* ---- commit ---- */

static void
committed(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
	  size_t count)
{
	struct pull *p = arg;
	struct msg_imported imported = {0};
	struct err err = {0};

	p->asks--;
	if (p->phase == OVER) {
		pull_free(p);
		return;
	}
	if (status) {
		if (!begin_again(p, why))
			fail(p, why);
		return;
	}
	for (size_t i = 0; i < p->count; i++) {
		if (p->layers[i])
			p->layers[i]->consumed = true;
	}
	if (image_ops_take_record(p->pulls->store, p->name, body, bytes, fds, count, &imported,
				  &err) < 0) {
		fail(p, &err);
		return;
	}
	p->progress.bytes = p->progress.total_bytes;
	log_event(LOG_INFO, "image pulled", log_s("image", p->name), log_s("digest", p->digest),
		  log_u("bytes", p->progress.total_bytes), LOG_END);
	finish(p, NULL, &imported);
}

static void
commit(struct pull *p)
{
	struct msg_commit op = {0};
	struct err err = {0};

	p->phase = COMMITTING;
	text_copy(op.name, sizeof(op.name), p->name);
	text_copy(op.digest, sizeof(op.digest), p->digest);
	for (size_t i = 0; i < p->count; i++)
		op.folders[i] = p->layers[i] ? p->layers[i]->folder : 0;
	if (station_ask(p->pulls->st, ROLE_UNPACK, pull_layers_peer(p->pulls->st, ROLE_UNPACK),
			MSG_OP_UNPACK_COMMIT, &op, sizeof(op), &p->documents, 1, COMMIT_MS,
			committed, p, &err) < 0)
		fail(p, &err);
	else
		p->asks++;
}

/* ---- layers ---- */

/* What every pull that has the layer does about its end. Ends of pulls change the list. */
static void
layer_ended(void *arg)
{
	struct pulls *ps = arg;
	bool again = true;

	while (again) {
		struct list *it, *next;

		again = false;
		list_each (it, next, &ps->pulls) {
			struct pull *p = container_of(it, struct pull, link);
			size_t done = 0;
			struct err err = {0};

			if (p->phase != LAYERS)
				continue;
			for (size_t i = 0; i < p->count; i++) {
				const struct pull_layer *l = p->layers[i];

				done += !l || l->state == PULL_LAYER_DONE;
				if (l && l->state == PULL_LAYER_FAILED && !err.kind)
					err = l->err;
			}
			if (err.kind) {
				if (!begin_again(p, &err))
					fail(p, &err);
				again = true;
				break;
			}
			if (done == p->count) {
				commit(p);
				again = true;
				break;
			}
		}
	}
	pull_layers_start(&ps->layers);
}

/* ---- looking ---- */

static int
take_layers(struct pull *p, int fd, struct err *err)
{
	struct msg_layer row;
	struct stat st;

	if (!fd_is_sealed(fd) || fstat(fd, &st) < 0 || st.st_size % (off_t)sizeof(row) != 0 ||
	    st.st_size > (off_t)sizeof(row) * MSG_COMMIT_LAYERS_MAX)
		return err_set(err, ERR_CORRUPT, "unpack gave layers that do not hold");
	size_t count = (size_t)st.st_size / sizeof(row);
	p->progress = (struct pull_progress){.layers = (uint32_t)count};
	for (size_t i = 0; i < count; i++) {
		if (pread(fd, &row, sizeof(row), (off_t)(i * sizeof(row))) !=
			    (ssize_t)sizeof(row) ||
		    !MSG_OK(row.digest) || !MSG_OK(row.diff_id) || !MSG_OK(row.folder))
			return err_set(err, ERR_CORRUPT, "unpack gave layers that do not hold");
		p->layers[i] =
			row.here ? NULL
				 : pull_layers_get(&p->pulls->layers, p->name, p->endpoint, &row);
		p->count = i + 1;
		if (row.here)
			p->progress.layers_here++;
		else if (!p->layers[i])
			return err_set(err, ERR_NO_MEMORY, "no memory to pull an image");
		else
			p->progress.total_bytes += row.bytes;
	}
	return 0;
}

static void
looked(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
       size_t count)
{
	struct pull *p = arg;
	struct err err = {0};

	(void)body, (void)bytes;
	p->asks--;
	if (p->phase == OVER) {
		pull_free(p);
		return;
	}
	if (status) {
		fail(p, why);
		return;
	}
	if (count != 1)
		err_set(&err, ERR_CORRUPT, "unpack gave an answer that does not hold");
	else
		(void)take_layers(p, fds[0], &err);
	if (err.kind) {
		fail(p, &err);
		return;
	}
	p->phase = LAYERS;
	p->moved_ns = world_mono_ns();
	tell_moved(p);
	layer_ended(p->pulls);
}

static void
look(struct pull *p)
{
	struct msg_commit op = {0};
	struct err err = {0};

	p->phase = LOOKING;
	text_copy(op.name, sizeof(op.name), p->name);
	text_copy(op.digest, sizeof(op.digest), p->digest);
	if (!p->importing)
		image_store_import_begin(p->pulls->store);
	p->importing = true;
	if (station_ask(p->pulls->st, ROLE_UNPACK, pull_layers_peer(p->pulls->st, ROLE_UNPACK),
			MSG_OP_UNPACK_LOOK, &op, sizeof(op), &p->documents, 1, LOOK_MS, looked, p,
			&err) < 0)
		fail(p, &err);
	else
		p->asks++;
}

/* ---- resolving ---- */

/* The tag may have moved to an image that is here: then it only needs its name. */
static bool
is_here(struct pull *p)
{
	struct msg_imported imported = {0};
	struct err err = {0};

	if (!image_store_digest(p->pulls->store, p->digest)[0])
		return false;
	if (image_store_name(p->pulls->store, p->name, p->digest, &err) < 0) {
		fail(p, &err);
		return true;
	}
	text_copy(imported.name, sizeof(imported.name), p->name);
	text_copy(imported.digest, sizeof(imported.digest), p->digest);
	finish(p, NULL, &imported);
	return true;
}

static void
resolved(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct pull *p = arg;
	const struct msg_fetched *answer = body;

	p->asks--;
	if (p->phase == OVER) {
		pull_free(p);
		return;
	}
	if (status) {
		fail(p, why);
	} else if (bytes != sizeof(*answer) || count != 1 || !MSG_OK(answer->digest)) {
		fail_with(p, ERR_CORRUPT, "fetch gave an answer that does not hold");
	} else if (p->wanted[0] && strcmp(answer->digest, p->wanted) != 0) {
		fail_with(p, ERR_CORRUPT, "fetch gave another image than was asked for");
	} else {
		text_copy(p->digest, sizeof(p->digest), answer->digest);
		p->endpoint = answer->endpoint;
		p->documents = fd_take(&fds[0]);
		if (!is_here(p))
			look(p);
	}
}

static int
resolve(struct pull *p, struct err *err)
{
	struct msg_fetch op = {0};

	text_copy(op.name, sizeof(op.name), p->name);
	text_copy(op.digest, sizeof(op.digest), p->wanted);
	if (station_ask(p->pulls->st, ROLE_FETCH, pull_layers_peer(p->pulls->st, ROLE_FETCH),
			MSG_OP_FETCH_IMAGE, &op, sizeof(op), NULL, 0, RESOLVE_MS, resolved, p,
			err) < 0)
		return -1;
	p->asks++;
	return 0;
}

/* ---- wanting ---- */

static struct pull *
find(struct pulls *ps, const char *name, const char *digest)
{
	struct list *it, *next;

	list_each (it, next, &ps->pulls) {
		struct pull *p = container_of(it, struct pull, link);

		if (p->phase != OVER && !strcmp(p->name, name) && !strcmp(p->wanted, digest))
			return p;
	}
	return NULL;
}

static struct pull *
pull_new(struct pulls *ps, const char *name, const char *digest, struct err *err)
{
	struct pull *p = ps->count < PULLS_MAX ? mem_zalloc(MEM_RUNTIME, sizeof(*p)) : NULL;

	if (!p) {
		err_set(err, ERR_LIMIT, "too many images are pulled at once");
		return NULL;
	}
	p->pulls = ps;
	p->documents = -1;
	p->moved_ns = world_mono_ns();
	text_copy(p->name, sizeof(p->name), name);
	text_copy(p->wanted, sizeof(p->wanted), digest);
	list_init(&p->waiters);
	if (resolve(p, err) < 0) {
		mem_free(p);
		return NULL;
	}
	list_push(&ps->pulls, &p->link);
	ps->count++;
	return p;
}

int
image_pull_want(struct pulls *ps, const char *name, const char *digest,
		const struct pull_calls *calls, void *arg, uint64_t tag, struct err *err)
{
	struct waiter *w = mem_zalloc(MEM_RUNTIME, sizeof(*w));
	struct pull *p = find(ps, name, digest);

	if (!w)
		return err_set(err, ERR_NO_MEMORY, "no memory to pull an image");
	if (!p)
		p = pull_new(ps, name, digest, err);
	if (!p) {
		struct err why = *err;

		image_pull_err(name, &why, err);
		mem_free(w);
		return -1;
	}
	w->calls = calls;
	w->arg = arg;
	w->tag = tag;
	list_push(&p->waiters, &w->link);
	return 0;
}

void
image_pull_forget(struct pulls *ps, void *arg, uint64_t tag)
{
	struct list *it, *next, *at, *after;
	struct pull *idle = NULL;

	list_each (it, next, &ps->pulls) {
		struct pull *p = container_of(it, struct pull, link);

		list_each (at, after, &p->waiters) {
			struct waiter *w = container_of(at, struct waiter, link);

			if (w->arg != arg || w->tag != tag)
				continue;
			list_remove(&w->link);
			mem_free(w);
			idle = list_empty(&p->waiters) && p->phase != COMMITTING ? p : idle;
		}
	}
	if (idle)
		fail_with(idle, ERR_INTERRUPTED, "nobody waits for the image any more");
}

/* ---- progress ---- */

void
image_pull_moved(struct pulls *ps, const struct ring_reader *fetch)
{
	struct list *it, *next;

	pull_layers_moved(&ps->layers, fetch);
	list_each (it, next, &ps->pulls) {
		struct pull *p = container_of(it, struct pull, link);
		uint64_t bytes = 0;

		for (size_t i = 0; i < p->count; i++)
			bytes += p->layers[i] ? p->layers[i]->fetched : 0;
		if (p->phase != LAYERS || bytes == p->progress.bytes)
			continue;
		p->progress.bytes = bytes;
		p->moved_ns = world_mono_ns();
		tell_moved(p);
	}
}

/* None of its layers is under way: it stands behind those of others. */
static bool
is_queued(const struct pull *p)
{
	bool waits = false;

	for (size_t i = 0; i < p->count; i++) {
		if (p->layers[i] && p->layers[i]->state == PULL_LAYER_RUNNING)
			return false;
		waits |= p->layers[i] && p->layers[i]->state == PULL_LAYER_WAITING;
	}
	return waits;
}

void
image_pull_tick(struct pulls *ps)
{
	struct list *it, *next;
	uint64_t now = world_mono_ns();

	list_each (it, next, &ps->pulls) {
		struct pull *p = container_of(it, struct pull, link);

		if (p->phase == LAYERS && is_queued(p))
			p->moved_ns = now;
		if (p->phase != LAYERS || now - p->moved_ns < STILL_NS)
			continue;
		fail_with(p, ERR_TIMEOUT, "nothing of the image has come for 3 minutes");
		return; /* the list may be another one now; the rest has its turn next time */
	}
}

int
image_pull_open(struct station *st, struct image_store *store, struct pulls **out, struct err *err)
{
	struct pulls *ps = mem_zalloc(MEM_RUNTIME, sizeof(*ps));

	if (!ps)
		return err_set(err, ERR_NO_MEMORY, "no memory to pull images");
	ps->st = st;
	ps->store = store;
	list_init(&ps->pulls);
	pull_layers_init(&ps->layers, st, layer_ended, ps);
	*out = ps;
	return 0;
}
