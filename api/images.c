/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images. A pull is done by runtime and its roles: the call waits for its end. An upload is written
 * to an unlinked file that node opened (this process can open none), then the runtime takes it.
 * Nothing of it is looked at here.
 */
#include "api/images.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "api/route.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/text.h"

enum { ANSWER_MAX = 8 << 20, IMPORT_MS = 1800000, PULL_MS = 7200000, UPLOADS_MAX = 4 };
#define UPLOAD_BYTES_MAX (32ull << 30)

struct upload {
	struct list link;
	struct call *call;
	uint64_t id;
	uint64_t bytes;
	int fd; /* -1: not given yet */
	struct msg_import import;
};

static void
put_image(struct json *j, struct server *s, const void *row)
{
	(void)s;
	view_image(j, row);
}

void
images_list(struct call *call)
{
	rows_answer(call, &(struct rows_list){ROLE_RUNTIME, MSG_TABLE_IMAGE, NULL, NULL,
					      rows_by_image, put_image});
}

static void
removed(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	struct buf b;
	struct json j;

	(void)body, (void)bytes, (void)fds, (void)count;
	buf_init(&b, MEM_API, 4096);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_text(&j, "name", call->param[0]);
	json_bool(&j, "removed", true);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

void
images_delete(struct call *call)
{
	struct msg_import op = {0};
	struct err err = {0};

	if (!text_copy(op.name, sizeof(op.name), call->param[0])) {
		err_set(&err, ERR_NOT_FOUND, "there is no such image");
		call_problem(call, &err);
		return;
	}
	call_ask(call, ROLE_RUNTIME, MSG_OP_IMAGE_REMOVE, &op, sizeof(op), NULL, 0, CALL_ASK_MS,
		 removed);
}

/* ---- upload ---- */

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
imported(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_imported *i = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "runtime", bytes == sizeof(*i), 8192, &b, &j))
		return;
	VIEW_TEXT(&j, "name", i->name);
	VIEW_TEXT(&j, "digest", i->digest);
	json_u64(&j, "bytes", i->bytes);
	json_u64(&j, "layers", i->layers);
	json_u64(&j, "layers_new", i->layers_new);
	json_end(&j);
	call_json(call, 201, NULL, &b);
}

/* ---- registries ---- */

void
images_pull(struct call *call)
{
	struct msg_pull op = {.policy = MSG_PULL_ALWAYS};
	struct err err = {0};

	if (!call_query(call, "name", op.name, sizeof(op.name))) {
		err_set(&err, ERR_INVALID, "the query has no name");
		err_fix(&err, "POST /v1/images/pull?name=IMAGE");
		call_problem(call, &err);
		return;
	}
	if (!call->answered)
		call_ask(call, ROLE_RUNTIME, MSG_OP_IMAGE_PULL, &op, sizeof(op), NULL, 0, PULL_MS,
			 imported);
}

static void
pruned(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_pruned *p = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "runtime", bytes == sizeof(*p), 4096, &b, &j))
		return;
	json_u64(&j, "images", p->images);
	json_u64(&j, "layers", p->layers);
	json_u64(&j, "bytes", p->bytes);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

void
images_prune(struct call *call)
{
	struct msg_prune op = {0};
	bool dry_run = false;

	if (!call_query_bool(call, "dry_run", &dry_run))
		return;
	op.dry_run = dry_run;
	call_ask(call, ROLE_RUNTIME, MSG_OP_IMAGE_PRUNE, &op, sizeof(op), NULL, 0, IMPORT_MS,
		 pruned);
}

static void
on_body(struct call *call, const char *data, size_t bytes)
{
	struct upload *u = call->stream;
	struct err err = {0};

	u->bytes += bytes;
	if (u->bytes > UPLOAD_BYTES_MAX)
		err_set(&err, ERR_LIMIT, "the image is too large: at most 32 GiB");
	else if (fd_write_all(u->fd, data, bytes, &err) == 0)
		return;
	call_problem(call, &err);
}

static void
on_body_end(struct call *call)
{
	struct upload *u = call->stream;
	struct err err = {0};

	if (!u || u->bytes == 0) { /* also without any body: then nothing was asked of node */
		err_set(&err, ERR_INVALID, "the body is empty");
		err_fix(&err, "send a tar archive of an OCI layout");
		call_problem(call, &err);
		return;
	}
	if (lseek(u->fd, 0, SEEK_SET) < 0) {
		err_sys(&err, errno, "cannot go back to the archive's beginning");
		call_problem(call, &err);
		return;
	}
	call_ask(call, ROLE_RUNTIME, MSG_OP_IMAGE_IMPORT, &u->import, sizeof(u->import), &u->fd, 1,
		 IMPORT_MS, imported);
}

static struct upload *
upload_new(struct call *call)
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
	u->fd = -1;
	u->id = ++s->spool_id;
	list_push(&s->spools, &u->link);
	call->stream = u;
	call->stream_free = upload_free;
	return u;
}

/* Called when the head is there; without a body, when the request is complete. */
void
images_post(struct call *call)
{
	char name[MSG_IMAGE];
	struct leash_message m;
	struct err err = {0};

	if (call->conn->state == CONN_WAIT) {
		on_body_end(call);
		return;
	}
	call_query(call, "name", name, sizeof(name));
	if (call->answered)
		return;
	struct upload *u = upload_new(call);
	if (!u) {
		err_set(&err, ERR_LIMIT, "too many images are imported at once");
		call_problem_status(call, &err, 503);
		return;
	}
	text_copy(u->import.name, sizeof(u->import.name), name);
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
images_spooled(struct server *s, const struct leash_message *m, int *fds, size_t count)
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
		err_sys(&err, m->code ? (int)m->code : EIO, "cannot make room for the image");
		call_problem(u->call, &err);
		return;
	}
}
