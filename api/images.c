/* SPDX-License-Identifier: Apache-2.0 */
/* Images. A pull is done by runtime and its roles: the call waits for its end. An upload is taken
 * by the runtime when all of it is there. Nothing of it is looked at here. */
#include <string.h>
#include "api/route.h"
#include "api/rows.h"
#include "api/upload.h"
#include "api/view.h"
#include "base/text.h"

enum { ANSWER_MAX = 8 << 20, IMPORT_MS = 1800000, PULL_MS = 7200000 };
#define UPLOAD_BYTES_MAX (32ull << 30)

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

/* ---- upload ---- */

static void
uploaded(struct call *call, int fd, const void *data)
{
	call_ask(call, ROLE_RUNTIME, MSG_OP_IMAGE_IMPORT, data, sizeof(struct msg_import), &fd, 1,
		 IMPORT_MS, imported);
}

void
images_post(struct call *call)
{
	static const struct upload_kind kind = {
		.what = "the image",
		.fix = "send a tar archive of an OCI layout",
		.bytes_max = UPLOAD_BYTES_MAX,
		.done = uploaded,
	};
	struct msg_import import = {0};

	call_query(call, "name", import.name, sizeof(import.name));
	if (!call->answered)
		upload_begin(call, &kind, &import, sizeof(import));
}
