/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unpack process: requests wait in a queue, one at a time is worked on by a thread of libuv's
 * pool, so the loop goes on beating. A crash in the middle leaves tmp/ only, which the successor
 * empties; the asker's station asks it again.
 *
 * What node's table has to give it: folder 0 is images/ (read and write, landlock), no network, and
 * a user namespace with the identity mapping in which it holds CAP_CHOWN, CAP_DAC_OVERRIDE,
 * CAP_FOWNER, CAP_FSETID and CAP_SETFCAP (keep_caps): files get the owners, modes and attributes of
 * the image. RLIMIT_NOFILE of 1024 suffices. No device node is made but whiteouts (0:0), which need
 * no privilege. System calls beyond those of every role: openat2, mkdirat, mknodat, symlinkat,
 * linkat, unlinkat, renameat2, fchown, fchownat, fchmod, fchmodat, fsetxattr, utimensat, syncfs,
 * fsync, getdents64, pread64, memfd_create, fcntl(F_ADD_SEALS), clone3 (the pool's threads).
 */
#include "runtime/unpack.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "runtime/image_record.h"
#include "runtime/import.h"
#include "runtime/inflate.h"
#include "runtime/layout.h"

enum { QUEUE_MAX = 16 };

struct job {
	struct list link;
	uv_work_t work;
	struct station_request request;
	struct msg_import body;
	int archive;
	/* The result, written by the thread. */
	int rc;
	int record; /* sealed memfd */
	struct msg_imported imported;
	struct err err;
};

struct unpack_state {
	struct station *st;
	int images;
	struct list queue;
	size_t waiting;
	struct job *running;
};

static struct unpack_state unpack;

static void
job_free(struct job *job)
{
	fd_close(&job->archive);
	fd_close(&job->record);
	mem_free(job);
}

/* On a thread of the pool. */
static void
work(uv_work_t *work)
{
	struct job *job = work->data;
	struct import_request request = {.archive = job->archive, .name = job->body.name};
	struct buf record;

	buf_init(&record, MEM_RUNTIME, IMAGE_RECORD_BYTES_MAX);
	job->rc = import_run(unpack.images, &request, &record, &job->imported, &job->err);
	if (job->rc == 0) {
		job->record = fd_memfd_sealed("image", record.data, record.length);
		if (job->record < 0)
			job->rc = err_sys(&job->err, errno, "cannot hand over the image's record");
	}
	buf_fini(&record);
}

static void run_next(void);

static void
done(uv_work_t *work, int status)
{
	struct job *job = work->data;

	(void)status;
	unpack.running = NULL;
	if (job->rc == 0) {
		log_event(LOG_INFO, "image unpacked", log_s("image", job->imported.name),
			  log_s("digest", job->imported.digest),
			  log_u("bytes", job->imported.bytes),
			  log_u("layers_new", job->imported.layers_new), LOG_END);
		station_answer(unpack.st, &job->request, &job->imported, sizeof(job->imported),
			       &job->record, 1);
	} else {
		log_err(LOG_WARN, "an image was not unpacked", &job->err);
		station_answer_err(unpack.st, &job->request, &job->err);
	}
	job_free(job);
	run_next();
}

/* Requests whose time is over before their turn are not begun. */
static void
run_next(void)
{
	while (!unpack.running && !list_empty(&unpack.queue)) {
		struct job *job = container_of(unpack.queue.next, struct job, link);

		list_remove(&job->link);
		unpack.waiting--;
		if (job->request.deadline_mono_ns < world_mono_ns()) {
			job_free(job);
			continue;
		}
		unpack.running = job;
		uv_queue_work(station_loop(unpack.st), &job->work, work, done);
	}
}

static void
refuse(const struct station_request *request, enum err_kind kind, const char *what)
{
	struct err err = {0};

	err_set(&err, kind, "%s", what);
	station_answer_err(unpack.st, request, &err);
}

/* The asker's station may ask again what is under way: after its own restart, or a late answer. */
static bool
is_known(const struct station_request *request)
{
	struct list *it, *next;

	if (unpack.running && unpack.running->request.id == request->id &&
	    unpack.running->request.index == request->index)
		return true;
	list_each (it, next, &unpack.queue) {
		const struct job *job = container_of(it, struct job, link);

		if (job->request.id == request->id && job->request.index == request->index)
			return true;
	}
	return false;
}

static void
take_request(struct station *st, const struct station_request *request, const void *body,
	     size_t bytes, int *fds, size_t count)
{
	(void)st;
	if (request->op != MSG_OP_UNPACK) {
		refuse(request, ERR_UNSUPPORTED, "the unpack process does not know this request");
		return;
	}
	if (bytes != sizeof(struct msg_import) || count != 1 ||
	    !MSG_OK(((const struct msg_import *)body)->name)) {
		refuse(request, ERR_INVALID, "the request to unpack an image does not hold");
		return;
	}
	if (is_known(request))
		return;
	if (unpack.waiting >= QUEUE_MAX) {
		refuse(request, ERR_LIMIT, "too many images wait to be unpacked");
		return;
	}
	struct job *job = mem_zalloc(MEM_RUNTIME, sizeof(*job));
	if (!job) {
		refuse(request, ERR_NO_MEMORY, "no memory to unpack an image");
		return;
	}
	job->request = *request;
	memcpy(&job->body, body, sizeof(job->body));
	job->archive = fd_take(&fds[0]);
	job->record = -1;
	job->work.data = job;
	list_init(&job->link);
	list_push(&unpack.queue, &job->link);
	unpack.waiting++;
	run_next();
}

/* ---- the role ---- */

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->answers[0] = (struct ring_answers_layout){
		.role = ROLE_RUNTIME,
		.instances = 2,
		.slots = MSG_SLOTS,
		.body_bytes = RING_BODY_MAX,
	};
	out->answers_count = 1;
	out->metric_series = 16;
}

static int
open_libraries(struct station *st, struct err *err)
{
	(void)st;
	return inflate_load(err) < 0 ? -1 : layout_load(err);
}

static int
start(struct station *st, struct err *err)
{
	unpack.st = st;
	unpack.images = station_folder(st, 0);
	list_init(&unpack.queue);
	if (unpack.images < 0)
		return err_set(err, ERR_INTERNAL, "node gave no folder for images");
	umask(0);
	return import_prepare(unpack.images, err);
}

const struct station_role unpack_role = {
	.role = ROLE_UNPACK,
	.layout = layout,
	.open = open_libraries,
	.start = start,
	.request = take_request,
};
