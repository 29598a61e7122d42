/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pull goes RESOLVING (fetch) -> LOOKING (unpack) -> LAYERS (both) -> COMMITTING (unpack). Each
 * question to another role holds the pull or layer until its answer came; what ended meanwhile is
 * freed then.
 *
 * A layer has two halves under way, and both must answer. When one fails the other follows, since
 * the socket between them ends: the half that failed first for a reason of its own is the cause (an
 * unpack that says that the stream ended too early only repeats what fetch knows better).
 *
 * The reading end of the socket is held here, too: shutting it down ends both halves.
 */
#include "runtime/image_pull.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
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

enum {
	PULLS_MAX = 64,
	LAYERS_AT_ONCE = 4,
	RESTARTS_MAX = 3,
	RESOLVE_MS = 300000,
	LOOK_MS = 60000,
	LAYER_MS = 7200000,
	COMMIT_MS = 600000,
};
static const uint64_t STILL_NS = UINT64_C(180) * 1000000000;

enum pull_phase { RESOLVING, LOOKING, LAYERS, COMMITTING, OVER };
enum layer_state { WAITING, RUNNING, DONE, FAILED };

struct pull_layer {
	struct list link;
	struct pulls *pulls;
	char digest[MSG_DIGEST];
	char diff_id[MSG_DIGEST];
	char folder_name[MSG_DIGEST];
	uint64_t bytes;
	uint64_t key; /* of msg_transfer */
	char name[MSG_IMAGE];
	uint32_t endpoint;
	unsigned users;
	enum layer_state state;
	bool fetching, unpacking;
	struct err fetch_err, unpack_err, err;
	uint64_t folder, fetched;
	bool consumed; /* committed: its folder is in its place */
	int stream;
};

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
	struct list layers;
	size_t running;
	uint64_t next_key;
};

static void start_layers(struct pulls *ps);
static void look(struct pull *p);

/* ---- layers: users and ends ---- */

static void
drop_answered(void *arg, int status, const struct err *err, const void *body, size_t bytes,
	      int *fds, size_t count)
{
	(void)arg, (void)status, (void)err, (void)body, (void)bytes, (void)fds, (void)count;
}

static uint16_t
index_of(struct pulls *ps, uint16_t role)
{
	uint16_t index = 0;

	for (uint16_t i = 0; i < 2; i++) {
		if (station_reader(ps->st, role, i))
			index = i;
	}
	return index;
}

static void
drop_folder(struct pulls *ps, uint64_t folder)
{
	struct msg_unpacked op = {.folder = folder};
	struct err ignored = {0};

	/* What cannot be asked for now goes with the next start of unpack. */
	if (station_ask(ps->st, ROLE_UNPACK, index_of(ps, ROLE_UNPACK), MSG_OP_UNPACK_DROP, &op,
			sizeof(op), NULL, 0, COMMIT_MS, drop_answered, NULL, &ignored) < 0)
		log_event(LOG_WARN, "a layer's folder is left for later", LOG_END);
}

static void
layer_free(struct pull_layer *l)
{
	if (l->users || l->fetching || l->unpacking)
		return;
	if (l->state == DONE && !l->consumed)
		drop_folder(l->pulls, l->folder);
	fd_close(&l->stream);
	list_remove(&l->link);
	mem_free(l);
}

static void
layer_unref(struct pull_layer *l)
{
	if (!l)
		return;
	assert(l->users > 0);
	if (--l->users == 0 && l->stream >= 0)
		shutdown(l->stream, SHUT_RDWR);
	layer_free(l);
}

static struct pull_layer *
layer_get(struct pull *p, const struct msg_layer *row)
{
	struct pulls *ps = p->pulls;
	struct list *it, *next;

	list_each (it, next, &ps->layers) {
		struct pull_layer *l = container_of(it, struct pull_layer, link);

		if (l->users && l->state != FAILED && !l->consumed &&
		    !strcmp(l->folder_name, row->folder)) {
			l->users++;
			return l;
		}
	}
	struct pull_layer *l = mem_zalloc(MEM_RUNTIME, sizeof(*l));
	if (!l)
		return NULL;
	l->pulls = ps;
	l->users = 1;
	l->stream = -1;
	l->bytes = row->bytes;
	l->key = ++ps->next_key;
	l->endpoint = p->endpoint;
	text_copy(l->digest, sizeof(l->digest), row->digest);
	text_copy(l->diff_id, sizeof(l->diff_id), row->diff_id);
	text_copy(l->folder_name, sizeof(l->folder_name), row->folder);
	text_copy(l->name, sizeof(l->name), p->name);
	list_push(&ps->layers, &l->link);
	return l;
}

/* ---- the end of a pull ---- */

static void
release_layers(struct pull *p)
{
	for (size_t i = 0; i < p->count; i++) {
		layer_unref(p->layers[i]);
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
	start_layers(ps);
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
	if (station_ask(p->pulls->st, ROLE_UNPACK, index_of(p->pulls, ROLE_UNPACK),
			MSG_OP_UNPACK_COMMIT, &op, sizeof(op), &p->documents, 1, COMMIT_MS,
			committed, p, &err) < 0)
		fail(p, &err);
	else
		p->asks++;
}

/* ---- layers ---- */

/* What every pull that has the layer does about its end. Ends of pulls change the list. */
static void
layer_ended(struct pulls *ps)
{
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

				done += !l || l->state == DONE;
				if (l && l->state == FAILED && !err.kind)
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
	start_layers(ps);
}

static void
half_ended(struct pull_layer *l)
{
	struct pulls *ps = l->pulls;

	if (l->fetching || l->unpacking)
		return;
	ps->running--;
	fd_close(&l->stream);
	if (l->unpack_err.kind && l->unpack_err.kind != ERR_INTERRUPTED)
		l->err = l->unpack_err;
	else if (l->fetch_err.kind)
		l->err = l->fetch_err;
	else
		l->err = l->unpack_err;
	/* It has all of it: that the other half was told that nobody reads any more is no failure.
	 */
	if (!l->unpack_err.kind)
		err_clear(&l->err);
	l->state = l->err.kind ? FAILED : DONE;
	if (l->state == DONE)
		l->fetched = l->bytes;
	l->users++; /* the ends of pulls let go of it */
	layer_ended(ps);
	layer_unref(l);
	start_layers(ps);
}

static void
fetched(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
	size_t count)
{
	struct pull_layer *l = arg;

	(void)body, (void)bytes, (void)fds, (void)count;
	l->fetching = false;
	if (status)
		l->fetch_err = *why;
	half_ended(l);
}

static void
unpacked(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct pull_layer *l = arg;

	(void)fds, (void)count;
	l->unpacking = false;
	if (status)
		l->unpack_err = *why;
	else if (bytes == sizeof(struct msg_unpacked))
		l->folder = ((const struct msg_unpacked *)body)->folder;
	else
		err_set(&l->unpack_err, ERR_CORRUPT, "unpack gave an answer that does not hold");
	/* Nobody reads any more: fetch need not go on. */
	if (l->fetching && l->stream >= 0)
		shutdown(l->stream, SHUT_RDWR);
	half_ended(l);
}

static int
ask_layer(struct pull_layer *l, int pair[2], struct err *err)
{
	struct pulls *ps = l->pulls;
	struct msg_fetch_blob blob = {.bytes = l->bytes, .key = l->key, .endpoint = l->endpoint};
	struct msg_layer layer = {.bytes = l->bytes};

	text_copy(blob.name, sizeof(blob.name), l->name);
	text_copy(blob.digest, sizeof(blob.digest), l->digest);
	text_copy(layer.digest, sizeof(layer.digest), l->digest);
	text_copy(layer.diff_id, sizeof(layer.diff_id), l->diff_id);
	text_copy(layer.folder, sizeof(layer.folder), l->folder_name);
	if (station_ask(ps->st, ROLE_UNPACK, index_of(ps, ROLE_UNPACK), MSG_OP_UNPACK_LAYER, &layer,
			sizeof(layer), &pair[1], 1, LAYER_MS, unpacked, l, err) < 0)
		return -1;
	l->unpacking = true;
	if (station_ask(ps->st, ROLE_FETCH, index_of(ps, ROLE_FETCH), MSG_OP_FETCH_BLOB, &blob,
			sizeof(blob), &pair[0], 1, LAYER_MS, fetched, l, err) < 0)
		l->fetch_err = *err; /* unpack will see the end of the socket */
	else
		l->fetching = true;
	return 0;
}

static void
start_layer(struct pull_layer *l)
{
	int pair[2] = {-1, -1};
	struct err err = {0};
	int rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		rc = err_sys(&err, errno, "cannot make a socket for a layer");
	else
		rc = ask_layer(l, pair, &err);
	fd_close(&pair[0]);
	if (rc == 0) {
		l->stream = fd_take(&pair[1]);
		l->state = RUNNING;
		l->pulls->running++;
		return;
	}
	fd_close(&pair[1]);
	l->err = err;
	l->state = FAILED;
}

static void
start_layers(struct pulls *ps)
{
	struct list *it, *next;
	bool failed = false;

	list_each (it, next, &ps->layers) {
		struct pull_layer *l = container_of(it, struct pull_layer, link);

		if (l->state != WAITING || !l->users || ps->running >= LAYERS_AT_ONCE)
			continue;
		start_layer(l);
		failed |= l->state == FAILED;
	}
	if (failed)
		layer_ended(ps);
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
		p->layers[i] = row.here ? NULL : layer_get(p, &row);
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
	if (station_ask(p->pulls->st, ROLE_UNPACK, index_of(p->pulls, ROLE_UNPACK),
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
	if (station_ask(p->pulls->st, ROLE_FETCH, index_of(p->pulls, ROLE_FETCH),
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

	list_each (it, next, &ps->layers) {
		struct pull_layer *l = container_of(it, struct pull_layer, link);
		const struct msg_transfer *row =
			l->state == RUNNING ? ring_table_get(fetch, MSG_TABLE_TRANSFER, l->key)
					    : NULL;

		if (row && row->bytes > l->fetched)
			l->fetched = row->bytes < l->bytes ? row->bytes : l->bytes;
	}
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
		if (p->layers[i] && p->layers[i]->state == RUNNING)
			return false;
		waits |= p->layers[i] && p->layers[i]->state == WAITING;
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
	list_init(&ps->layers);
	*out = ps;
	return 0;
}
