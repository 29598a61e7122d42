/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store as a file, out and in, and the recovery of a cluster that lost its writer. The
 * scheduler makes and reads the file; here it only passes through. One with the authority's key is
 * given to root alone, who could read it from the disk as well.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "api/body.h"
#include "api/route.h"
#include "api/upload.h"
#include "api/view.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"

enum {
	ANSWER_MAX = 64 << 10,
	SLICE_BYTES = 64 << 10,
	BACKUP_MS = 120000,
	RESTORE_MS = 600000,
	RECOVER_MS = 60000,
	KEYS_BYTES = 16 << 10,
};
#define RESTORE_BYTES_MAX (512ull << 20)

/* ---- backup ---- */

struct download {
	int fd;
	off_t at;
};

static void
download_free(struct call *call)
{
	struct download *d = call->stream;

	fd_close(&d->fd);
	mem_free(d);
	call->stream = NULL;
}

/* What was sent is no whole backup, and says so by its missing end. */
static void
pump(struct call *call)
{
	struct download *d = call->stream;
	char slice[SLICE_BYTES / 4];

	while (call->conn && call->stream && call_room(call)) {
		ssize_t n = pread(d->fd, slice, sizeof(slice), d->at);

		if (n <= 0) {
			call_end(call);
			return;
		}
		d->at += n;
		call_write(call, slice, (size_t)n);
	}
}

static void
backed_up(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	struct download *d;
	struct err err = {0};

	(void)body;
	if (bytes != sizeof(struct msg_backed_up) || count != 1 || !fd_is_sealed(fds[0])) {
		call_damaged(call, "scheduler");
		return;
	}
	d = mem_zalloc(MEM_API, sizeof(*d));
	if (!d) {
		err_set(&err, ERR_NO_MEMORY, "no memory for a backup");
		call_problem(call, &err);
		return;
	}
	d->fd = fd_take(&fds[0]);
	call->stream = d;
	call->stream_free = download_free;
	call_stream(call, "application/vnd.zlayer.backup");
	call->on_drained = pump;
	pump(call);
}

static int
take_backup(void *arg, const char *key, json_t *value, struct err *err)
{
	struct msg_backup *q = arg;

	if (strcmp(key, "keys") == 0)
		return body_bool(value, key, &q->keys, err);
	return body_unknown(key, "keys", err);
}

void
backup_make(struct call *call)
{
	struct msg_backup q = {.who_uid = call->conn->user->uid};
	struct err err = {0};

	if (!body_each(call, take_backup, &q))
		return;
	if (q.keys && q.who_uid != 0) {
		err_set(&err, ERR_DENIED, "only root may have the authority's key");
		err_fix(&err, "without keys; or as root");
		call_problem(call, &err);
		return;
	}
	call_ask(call, ROLE_SCHEDULER, MSG_OP_BACKUP, &q, sizeof(q), NULL, 0, BACKUP_MS, backed_up);
}

/* ---- restore ---- */

static void
restored(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_restored *a = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "scheduler", bytes == sizeof(*a), ANSWER_MAX, &b, &j))
		return;
	VIEW_TEXT(&j, "node", a->node);
	view_time(&j, "created", a->created_wall_ns);
	json_u64(&j, "deployments", a->deployments);
	json_u64(&j, "services", a->services);
	json_u64(&j, "revisions", a->revisions);
	json_u64(&j, "removed", a->removed);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

static void
uploaded(struct call *call, int fd, const void *data)
{
	call_ask(call, ROLE_SCHEDULER, MSG_OP_RESTORE, data, sizeof(struct msg_restore), &fd, 1,
		 RESTORE_MS, restored);
}

void
backup_restore(struct call *call)
{
	static const struct upload_kind kind = {
		.what = "the backup",
		.fix = "send a backup (POST /v1/backup gives one)",
		.bytes_max = RESTORE_BYTES_MAX,
		.done = uploaded,
	};
	struct msg_restore q = {.who_uid = call->conn->user->uid};
	struct world world;
	bool replace = false;

	world_real(&world);
	q.nonce = world_random_u64(&world);
	if (!call_query_bool(call, "replace", &replace))
		return;
	q.replace = replace;
	upload_begin(call, &kind, &q, sizeof(q));
}

/* ---- recovery ---- */

struct recover {
	struct msg_recover question;
	char keys[KEYS_BYTES];
};

static const char *const hows[] = {
	[MSG_RECOVER_SINGLE] = "force-single",
	[MSG_RECOVER_FOLLOW] = "rejoin",
};

static int
take_recover(void *arg, const char *key, json_t *value, struct err *err)
{
	struct recover *q = arg;

	if (strcmp(key, "dry_run") == 0)
		return body_bool(value, key, &q->question.dry_run, err);
	if (strcmp(key, "keys") == 0)
		return body_text(value, key, q->keys, sizeof(q->keys), err);
	if (strcmp(key, "how") != 0)
		return body_unknown(key, "how, keys, dry_run", err);
	for (uint32_t how = MSG_RECOVER_SINGLE; how <= MSG_RECOVER_FOLLOW; how++) {
		if (strcmp(json_read_string(value), hows[how]) == 0)
			q->question.how = how;
	}
	return 0;
}

static void
recovered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_recovered *a = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "scheduler", bytes == sizeof(*a), ANSWER_MAX, &b, &j))
		return;
	json_bool(&j, "done", a->done != 0);
	VIEW_TEXT(&j, "writer", a->writer);
	json_u64(&j, "term", a->term);
	json_u64(&j, "sequence", a->sequence);
	json_bool(&j, "keeper", a->keeper != 0);
	json_u64(&j, "others", a->others);
	json_u64(&j, "alive", a->alive);
	view_time(&j, "certificate_not_after", a->not_after_s * 1000000000);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

static void
ask_to_recover(struct call *call, const struct recover *q)
{
	struct err err = {0};
	size_t length = strlen(q->keys);
	defer_close int fd = -1;

	if (!q->question.how) {
		err_set(&err, ERR_INVALID, "\"how\" must be force-single or rejoin");
		call_problem(call, &err);
		return;
	}
	if (length > 0)
		fd = fd_memfd_sealed("keys", q->keys, length);
	if (length > 0 && fd < 0) {
		err_set(&err, ERR_NO_MEMORY, "no memory for the keys");
		call_problem(call, &err);
		return;
	}
	call_ask(call, ROLE_SCHEDULER, MSG_OP_RECOVER, &q->question, sizeof(q->question), &fd,
		 length > 0, RECOVER_MS, recovered);
}

void
backup_recover(struct call *call)
{
	struct recover q = {0};

	call_ref(call); /* its body is wiped, whoever has answered */
	if (body_each(call, take_recover, &q))
		ask_to_recover(call, &q);
	if (call->body.length)
		mem_wipe(call->body.data, call->body.length);
	mem_wipe(&q, sizeof(q));
	call_unref(call);
}
