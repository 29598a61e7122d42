/* SPDX-License-Identifier: Apache-2.0 */
/* The body waits while node opens the file, and is taken off the connection as fast as the disk
 * takes it: nothing of it stays in memory. */
#include "api/upload.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "api/route.h"
#include "base/fd.h"
#include "base/mem.h"

enum { UPLOADS_MAX = 4, DATA_BYTES_MAX = 1024 };

struct upload {
	struct list link;
	struct call *call;
	const struct upload_kind *kind;
	uint64_t id;
	uint64_t bytes;
	int fd; /* -1: not given yet */
	_Alignas(8) uint8_t data[DATA_BYTES_MAX];
};

static void
upload_free(struct call *call)
{
	struct upload *u = call->stream;

	list_remove(&u->link);
	fd_close(&u->fd);
	mem_free(u);
	call->stream = NULL;
}

static void
on_body(struct call *call, const char *data, size_t bytes)
{
	struct upload *u = call->stream;
	struct err err = {0};

	u->bytes += bytes;
	if (u->bytes > u->kind->bytes_max)
		err_set(&err, ERR_LIMIT, "%s is too large: at most %" PRIu64 " MiB", u->kind->what,
			u->kind->bytes_max >> 20);
	else if (fd_write_all(u->fd, data, bytes, &err) == 0)
		return;
	call_problem(call, &err);
}

static void
refuse_empty(struct call *call, const struct upload_kind *kind)
{
	struct err err = {0};

	err_set(&err, ERR_INVALID, "the body is empty");
	err_fix(&err, "%s", kind->fix);
	call_problem(call, &err);
}

static void
on_body_end(struct call *call)
{
	struct upload *u = call->stream;
	struct err err = {0};

	if (u->bytes == 0) {
		refuse_empty(call, u->kind);
	} else if (lseek(u->fd, 0, SEEK_SET) < 0) {
		err_sys(&err, errno, "cannot go back to the beginning of %s", u->kind->what);
		call_problem(call, &err);
	} else {
		u->kind->done(call, u->fd, u->data);
	}
}

static struct upload *
upload_new(struct call *call, const struct upload_kind *kind)
{
	struct server *s = call->server;
	struct list *it, *next;
	size_t count = 0;

	list_each (it, next, &s->spools) {
		count++;
	}
	if (count >= UPLOADS_MAX)
		return NULL;
	struct upload *u = mem_zalloc(MEM_API, sizeof(*u));
	if (!u)
		return NULL;
	u->call = call;
	u->kind = kind;
	u->fd = -1;
	u->id = ++s->spool_id;
	list_push(&s->spools, &u->link);
	call->stream = u;
	call->stream_free = upload_free;
	return u;
}

void
upload_begin(struct call *call, const struct upload_kind *kind, const void *data, size_t bytes)
{
	struct leash_message m;
	struct err err = {0};

	assert(bytes <= DATA_BYTES_MAX);
	if (call->conn->state == CONN_WAIT) { /* without any body: nothing is asked of node */
		refuse_empty(call, kind);
		return;
	}
	struct upload *u = upload_new(call, kind);
	if (!u) {
		err_set(&err, ERR_LIMIT, "too much is uploaded at once");
		call_problem_status(call, &err, 503);
		return;
	}
	memcpy(u->data, data, bytes);
	call->on_body = on_body;
	call->on_body_end = on_body_end;
	leash_init(&m, LEASH_SPOOL);
	m.to_role = ROLE_NODE;
	m.id = u->id;
	if (station_send(call->server->station, &m, NULL, 0, &err) < 0)
		call_problem_status(call, &err, 503);
	else
		call_pause(call, true);
}

void
upload_spooled(struct server *s, const struct leash_message *m, int *fds, size_t count)
{
	struct list *it, *next;
	struct err err = {0};

	list_each (it, next, &s->spools) {
		struct upload *u = container_of(it, struct upload, link);

		if (u->id != m->id || u->fd >= 0)
			continue;
		if (count == 1) {
			u->fd = fd_take(&fds[0]);
			call_pause(u->call, false);
			return;
		}
		err_sys(&err, m->code ? (int)m->code : EIO, "cannot make room for %s",
			u->kind->what);
		call_problem(u->call, &err);
		return;
	}
}
