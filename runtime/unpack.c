/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unpack process: requests wait in a queue and are worked on by the threads of libuv's pool, so
 * the loop goes on beating. A crash in the middle leaves tmp/ only, which the successor empties;
 * the asker's station asks it again. Layers that were unpacked for a runtime that died are dropped.
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
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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
#include "runtime/unpack_image.h"
#include "wire/json_read.h"

enum { QUEUE_MAX = 64, RUNNING_MAX = 8, LAYERS_BYTES_MAX = 256 * sizeof(struct msg_layer) };

struct job {
	struct list link;
	uv_work_t work;
	struct station_request request;
	bool told; /* somebody waits for an answer */
	union {
		struct msg_import import;
		struct msg_commit commit;
		struct msg_layer layer;
		struct msg_unpacked drop;
	} body;
	int fd; /* archive, documents or stream */
	/* The result, written by the thread. */
	int rc;
	int given; /* sealed memfd */
	struct msg_imported imported;
	struct msg_unpacked unpacked;
	struct err err;
};

/* A layer below tmp/ that was told to the runtime. */
struct folder {
	struct list link;
	uint64_t number;
};

struct unpack_state {
	struct station *st;
	int images;
	struct list queue;
	size_t waiting;
	struct list running;
	size_t running_count;
	struct list folders;
};

static struct unpack_state unpack;

static void
job_free(struct job *job)
{
	fd_close(&job->fd);
	fd_close(&job->given);
	mem_free(job);
}

/* ---- on a thread of the pool ---- */

static void
give(struct job *job, const char *name, const struct buf *data)
{
	if (job->rc != 0)
		return;
	job->given = fd_memfd_sealed(name, data->data, data->length);
	if (job->given < 0)
		job->rc = err_sys(&job->err, errno, "cannot hand over what an image is");
}

static void
work_record(struct job *job)
{
	struct import_request request = {.archive = job->fd, .name = job->body.import.name};
	struct buf record;

	buf_init(&record, MEM_RUNTIME, IMAGE_RECORD_BYTES_MAX);
	if (job->request.op == MSG_OP_UNPACK)
		job->rc = import_run(unpack.images, &request, &record, &job->imported, &job->err);
	else
		job->rc = unpack_image_commit(unpack.images, job->fd, &job->body.commit, &record,
					      &job->imported, &job->err);
	give(job, "image", &record);
	buf_fini(&record);
}

static void
work_look(struct job *job)
{
	struct buf layers;

	buf_init(&layers, MEM_RUNTIME, LAYERS_BYTES_MAX);
	job->rc = unpack_image_look(unpack.images, job->fd, &job->body.commit, &layers, &job->err);
	give(job, "layers", &layers);
	buf_fini(&layers);
}

static void
work(uv_work_t *work)
{
	struct job *job = work->data;

	switch (job->request.op) {
	case MSG_OP_UNPACK_LOOK:
		work_look(job);
		break;
	case MSG_OP_UNPACK_LAYER:
		job->rc = unpack_image_layer(unpack.images, job->fd, &job->body.layer,
					     &job->unpacked, &job->err);
		break;
	case MSG_OP_UNPACK_DROP:
		unpack_image_drop(unpack.images, job->body.drop.folder);
		break;
	default:
		work_record(job);
		break;
	}
}

/* ---- answers ---- */

static void run_next(void);

static void
enqueue(struct job *job)
{
	job->work.data = job;
	list_push(&unpack.queue, &job->link);
	unpack.waiting++;
	run_next();
}

static void
drop_folder(uint64_t number)
{
	struct job *job = mem_zalloc(MEM_RUNTIME, sizeof(*job));

	if (!job)
		return; /* emptied at the next start */
	job->request.op = MSG_OP_UNPACK_DROP;
	job->request.deadline_mono_ns = UINT64_MAX;
	job->body.drop.folder = number;
	job->fd = job->given = -1;
	list_init(&job->link);
	enqueue(job);
}

static void
forget_folder(uint64_t number)
{
	struct list *it, *next;

	list_each (it, next, &unpack.folders) {
		struct folder *f = container_of(it, struct folder, link);

		if (f->number != number)
			continue;
		list_remove(&f->link);
		mem_free(f);
	}
}

/* Until somebody commits or drops it. */
static void
note_folder(uint64_t number)
{
	struct folder *f = mem_zalloc(MEM_RUNTIME, sizeof(*f));

	if (!f)
		return;
	f->number = number;
	list_init(&f->link);
	list_push(&unpack.folders, &f->link);
}

static void
answer_record(const struct job *job)
{
	log_event(LOG_INFO, "image unpacked", log_s("image", job->imported.name),
		  log_s("digest", job->imported.digest), log_u("bytes", job->imported.bytes),
		  log_u("layers_new", job->imported.layers_new), LOG_END);
	if (job->request.op == MSG_OP_UNPACK_COMMIT) {
		for (size_t i = 0; i < MSG_COMMIT_LAYERS_MAX; i++)
			forget_folder(job->body.commit.folders[i]);
	}
	station_answer(unpack.st, &job->request, &job->imported, sizeof(job->imported), &job->given,
		       1);
}

static void
answer(const struct job *job)
{
	if (job->rc < 0) {
		if (job->err.kind != ERR_INTERRUPTED)
			log_err(LOG_WARN, "an image was not unpacked", &job->err);
		station_answer_err(unpack.st, &job->request, &job->err);
		return;
	}
	switch (job->request.op) {
	case MSG_OP_UNPACK_LAYER:
		note_folder(job->unpacked.folder);
		station_answer(unpack.st, &job->request, &job->unpacked, sizeof(job->unpacked),
			       NULL, 0);
		break;
	case MSG_OP_UNPACK_LOOK:
		station_answer(unpack.st, &job->request, NULL, 0, &job->given, 1);
		break;
	case MSG_OP_UNPACK_DROP:
		station_answer(unpack.st, &job->request, NULL, 0, NULL, 0);
		break;
	default:
		answer_record(job);
		break;
	}
}

static void
done(uv_work_t *work, int status)
{
	struct job *job = work->data;

	(void)status;
	list_remove(&job->link);
	unpack.running_count--;
	if (job->told)
		answer(job);
	else if (job->rc == 0 && job->request.op == MSG_OP_UNPACK_LAYER)
		drop_folder(job->unpacked.folder);
	job_free(job);
	run_next();
}

/* ---- requests ---- */

/* Requests whose time is over before their turn are not begun. */
static void
run_next(void)
{
	while (unpack.running_count < RUNNING_MAX && !list_empty(&unpack.queue)) {
		struct job *job = container_of(unpack.queue.next, struct job, link);

		list_remove(&job->link);
		unpack.waiting--;
		if (job->request.deadline_mono_ns < world_mono_ns()) {
			job_free(job);
			continue;
		}
		list_push(&unpack.running, &job->link);
		unpack.running_count++;
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

static bool
is_in(struct list *jobs, const struct station_request *request)
{
	struct list *it, *next;

	list_each (it, next, jobs) {
		const struct job *job = container_of(it, struct job, link);

		if (job->told && job->request.id == request->id &&
		    job->request.index == request->index)
			return true;
	}
	return false;
}

/* What a request's body is, and whether it has a descriptor. */
static bool
is_well_formed(uint16_t op, const void *body, size_t bytes, size_t count)
{
	const struct msg_import *import = body;
	const struct msg_commit *commit = body;
	const struct msg_layer *layer = body;

	switch (op) {
	case MSG_OP_UNPACK:
		return bytes == sizeof(*import) && count == 1 && MSG_OK(import->name);
	case MSG_OP_UNPACK_LOOK:
	case MSG_OP_UNPACK_COMMIT:
		return bytes == sizeof(*commit) && count == 1 && MSG_OK(commit->name) &&
		       MSG_OK(commit->digest);
	case MSG_OP_UNPACK_LAYER:
		return bytes == sizeof(*layer) && count == 1 && MSG_OK(layer->digest) &&
		       MSG_OK(layer->diff_id) && MSG_OK(layer->folder);
	case MSG_OP_UNPACK_DROP:
		return bytes == sizeof(struct msg_unpacked) && count == 0;
	default:
		return false;
	}
}

static void
take_request(struct station *st, const struct station_request *request, const void *body,
	     size_t bytes, int *fds, size_t count)
{
	(void)st;
	if (!is_well_formed(request->op, body, bytes, count)) {
		refuse(request, ERR_INVALID, "the request to unpack an image does not hold");
		return;
	}
	/* The asker's station may ask again what is under way. */
	if (is_in(&unpack.running, request) || is_in(&unpack.queue, request))
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
	job->told = true;
	memcpy(&job->body, body, bytes);
	job->fd = count ? fd_take(&fds[0]) : -1;
	job->given = -1;
	if (request->op == MSG_OP_UNPACK_DROP)
		forget_folder(job->body.drop.folder);
	list_init(&job->link);
	enqueue(job);
}

/* A new runtime: nobody waits for what its predecessor asked for, and what it had is nobody's. */
static void
on_peer(struct station *st, struct ring_reader *reader)
{
	struct list *it, *next;

	(void)st;
	if (ring_reader_role(reader) != ROLE_RUNTIME)
		return;
	list_each (it, next, &unpack.queue) {
		struct job *job = container_of(it, struct job, link);

		if (!job->told)
			continue;
		list_remove(&job->link);
		unpack.waiting--;
		job_free(job);
	}
	list_each (it, next, &unpack.running) {
		struct job *job = container_of(it, struct job, link);

		job->told = false;
		if (job->request.op == MSG_OP_UNPACK_LAYER)
			shutdown(job->fd, SHUT_RDWR); /* wakes the thread */
	}
	list_each (it, next, &unpack.folders) {
		struct folder *f = container_of(it, struct folder, link);

		drop_folder(f->number);
		list_remove(&f->link);
		mem_free(f);
	}
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
	/* As many threads as jobs: one that waits for a registry must not hold up the others. */
	setenv("UV_THREADPOOL_SIZE", "8", 1);
	if (inflate_load(err) < 0 || layout_load(err) < 0)
		return -1;
	return json_read_open(err);
}

static int
start(struct station *st, struct err *err)
{
	unpack.st = st;
	unpack.images = station_folder(st, 0);
	list_init(&unpack.queue);
	list_init(&unpack.running);
	list_init(&unpack.folders);
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
	.peer = on_peer,
	.request = take_request,
};
