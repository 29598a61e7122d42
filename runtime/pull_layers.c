/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer has two halves under way, and both must answer. When one fails the other follows, since
 * the socket between them ends: the half that failed first for a reason of its own is the cause (an
 * unpack that says that the stream ended too early only repeats what fetch knows better).
 *
 * The reading end of the socket is held here, too: shutting it down ends both halves.
 */
#include "runtime/pull_layers.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

enum { AT_ONCE = 4, LAYER_MS = 7200000, DROP_MS = 600000 };

void
pull_layers_init(struct pull_layers *ls, struct station *st, void (*ended)(void *arg), void *arg)
{
	*ls = (struct pull_layers){.st = st, .ended = ended, .arg = arg};
	list_init(&ls->all);
}

/* ---- users ---- */

static void
drop_answered(void *arg, int status, const struct err *err, const void *body, size_t bytes,
	      int *fds, size_t count)
{
	(void)arg, (void)status, (void)err, (void)body, (void)bytes, (void)fds, (void)count;
}

uint16_t
pull_layers_peer(struct station *st, uint16_t role)
{
	uint16_t index = 0;

	for (uint16_t i = 0; i < 2; i++) {
		if (station_reader(st, role, i))
			index = i;
	}
	return index;
}

static void
drop_folder(struct pull_layers *ls, uint64_t folder)
{
	struct msg_unpacked op = {.folder = folder};
	struct err ignored = {0};

	/* What cannot be asked for now goes with the next start of unpack. */
	if (station_ask(ls->st, ROLE_UNPACK, pull_layers_peer(ls->st, ROLE_UNPACK),
			MSG_OP_UNPACK_DROP, &op, sizeof(op), NULL, 0, DROP_MS, drop_answered, NULL,
			&ignored) < 0)
		log_event(LOG_WARN, "a layer's folder is left for later", LOG_END);
}

static void
layer_free(struct pull_layer *l)
{
	if (l->users || l->fetching || l->unpacking)
		return;
	if (l->state == PULL_LAYER_DONE && !l->consumed)
		drop_folder(l->set, l->folder);
	fd_close(&l->stream);
	list_remove(&l->link);
	mem_free(l);
}

void
pull_layers_unref(struct pull_layer *l)
{
	if (!l)
		return;
	assert(l->users > 0);
	if (--l->users == 0 && l->stream >= 0)
		shutdown(l->stream, SHUT_RDWR);
	layer_free(l);
}

struct pull_layer *
pull_layers_get(struct pull_layers *ls, const char *name, uint32_t endpoint,
		const struct msg_layer *row)
{
	struct list *it, *next;

	list_each (it, next, &ls->all) {
		struct pull_layer *l = container_of(it, struct pull_layer, link);

		if (l->users && l->state != PULL_LAYER_FAILED && !l->consumed &&
		    !strcmp(l->folder_name, row->folder)) {
			l->users++;
			return l;
		}
	}
	struct pull_layer *l = mem_zalloc(MEM_RUNTIME, sizeof(*l));
	if (!l)
		return NULL;
	l->set = ls;
	l->users = 1;
	l->stream = -1;
	l->bytes = row->bytes;
	l->key = ++ls->next_key;
	l->endpoint = endpoint;
	text_copy(l->digest, sizeof(l->digest), row->digest);
	text_copy(l->diff_id, sizeof(l->diff_id), row->diff_id);
	text_copy(l->folder_name, sizeof(l->folder_name), row->folder);
	text_copy(l->name, sizeof(l->name), name);
	list_push(&ls->all, &l->link);
	return l;
}

/* ---- the two halves ---- */

static void
half_ended(struct pull_layer *l)
{
	struct pull_layers *ls = l->set;

	if (l->fetching || l->unpacking)
		return;
	ls->running--;
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
	l->state = l->err.kind ? PULL_LAYER_FAILED : PULL_LAYER_DONE;
	if (l->state == PULL_LAYER_DONE)
		l->fetched = l->bytes;
	l->users++; /* the ends of pulls let go of it */
	ls->ended(ls->arg);
	pull_layers_unref(l);
	pull_layers_start(ls);
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
	struct pull_layers *ls = l->set;
	struct msg_fetch_blob blob = {.bytes = l->bytes, .key = l->key, .endpoint = l->endpoint};
	struct msg_layer layer = {.bytes = l->bytes};

	text_copy(blob.name, sizeof(blob.name), l->name);
	text_copy(blob.digest, sizeof(blob.digest), l->digest);
	text_copy(layer.digest, sizeof(layer.digest), l->digest);
	text_copy(layer.diff_id, sizeof(layer.diff_id), l->diff_id);
	text_copy(layer.folder, sizeof(layer.folder), l->folder_name);
	if (station_ask(ls->st, ROLE_UNPACK, pull_layers_peer(ls->st, ROLE_UNPACK),
			MSG_OP_UNPACK_LAYER, &layer, sizeof(layer), &pair[1], 1, LAYER_MS, unpacked,
			l, err) < 0)
		return -1;
	l->unpacking = true;
	if (station_ask(ls->st, ROLE_FETCH, pull_layers_peer(ls->st, ROLE_FETCH), MSG_OP_FETCH_BLOB,
			&blob, sizeof(blob), &pair[0], 1, LAYER_MS, fetched, l, err) < 0)
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
		l->state = PULL_LAYER_RUNNING;
		l->set->running++;
		return;
	}
	fd_close(&pair[1]);
	l->err = err;
	l->state = PULL_LAYER_FAILED;
}

void
pull_layers_start(struct pull_layers *ls)
{
	struct list *it, *next;
	bool failed = false;

	list_each (it, next, &ls->all) {
		struct pull_layer *l = container_of(it, struct pull_layer, link);

		if (l->state != PULL_LAYER_WAITING || !l->users || ls->running >= AT_ONCE)
			continue;
		start_layer(l);
		failed |= l->state == PULL_LAYER_FAILED;
	}
	if (failed)
		ls->ended(ls->arg);
}

void
pull_layers_moved(struct pull_layers *ls, const struct ring_reader *fetch)
{
	struct list *it, *next;

	list_each (it, next, &ls->all) {
		struct pull_layer *l = container_of(it, struct pull_layer, link);
		const struct msg_transfer *row =
			l->state == PULL_LAYER_RUNNING
				? ring_table_get(fetch, MSG_TABLE_TRANSFER, l->key)
				: NULL;

		if (row && row->bytes > l->fetched)
			l->fetched = row->bytes < l->bytes ? row->bytes : l->bytes;
	}
}
