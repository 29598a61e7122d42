/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that faces registries. It keeps nothing: documents go to runtime in a sealed memfd,
 * blobs through a socket to whoever holds its other end, packet by packet, each with its offset, so
 * that a successor of this process may begin anew and a reader passes over what it has. A reader
 * that is slow stops the transfer (and, through TCP, the registry); one that is gone ends it.
 *
 * What node's table has to give it: the host's network namespace, sockets of its own, nothing else.
 * Before confinement it loads libcurl and reads the machine's certificates. Logins, further
 * certificates, resolv.conf and hosts come as descriptors from node, for each registry when it is
 * asked (node/registries.c); names are resolved by runtime/lookup.c, since the C library would want
 * files and modules.
 */
#include "runtime/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fd.h"
#include "base/list.h"
#include "base/log.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "runtime/fetch_image.h"
#include "runtime/layout.h"
#include "wire/json_read.h"

enum {
	JOBS_MAX = 64,
	PACKET_BYTES = 32 << 10,
	SHOW_MS = 200,
	METRIC_SERIES = 256,
};

struct job {
	struct list link;
	struct station_request request;
	struct fetch_image *image;
	/* A blob. */
	struct courier *courier;
	struct msg_fetch_blob blob;
	struct image_ref ref;
	char path[128];
	int stream;
	uv_poll_t poll;
	bool polled; /* the handle was initialised */
	uint64_t sent, counted;
	size_t part; /* of the piece that is given again: sent already */
	bool gone;   /* the reader is */
};

static struct {
	struct station *st;
	struct transfers *transfers;
	struct couriers *couriers;
	struct list jobs;
	size_t count;
	uv_timer_t show;
	uint8_t packet[8 + PACKET_BYTES];
} fetch;

static void show(uv_timer_t *timer);

/* ---- jobs ---- */

static void
poll_closed(uv_handle_t *handle)
{
	struct job *job = handle->data;

	fd_close(&job->stream);
	mem_free(job);
}

static void
job_free(struct job *job)
{
	list_remove(&job->link);
	if (--fetch.count == 0)
		uv_timer_stop(&fetch.show);
	if (job->blob.key)
		ring_table_remove(station_writer(fetch.st), MSG_TABLE_TRANSFER, job->blob.key);
	if (job->polled) {
		uv_close((uv_handle_t *)&job->poll, poll_closed);
		return;
	}
	fd_close(&job->stream);
	mem_free(job);
}

static void
refuse(const struct station_request *request, const struct err *err)
{
	station_answer_err(fetch.st, request, err);
}

/* The asker's station may ask again what is under way. */
static bool
is_known(const struct station_request *request)
{
	struct list *it, *next;

	list_each (it, next, &fetch.jobs) {
		const struct job *job = container_of(it, struct job, link);

		if (job->request.id == request->id && job->request.index == request->index)
			return true;
	}
	return false;
}

static struct job *
job_new(const struct station_request *request, struct err *err)
{
	struct job *job = fetch.count < JOBS_MAX ? mem_zalloc(MEM_RUNTIME, sizeof(*job)) : NULL;

	if (!job) {
		err_set(err, ERR_LIMIT, "too many transfers at once");
		return NULL;
	}
	job->request = *request;
	job->stream = -1;
	list_push(&fetch.jobs, &job->link);
	if (fetch.count++ == 0)
		uv_timer_start(&fetch.show, show, SHOW_MS, SHOW_MS);
	return job;
}

/* ---- documents ---- */

static void
image_done(void *arg, const struct err *err, const struct msg_fetched *answer,
	   const struct buf *documents)
{
	struct job *job = arg;
	struct err why = {0};

	if (err) {
		refuse(&job->request, err);
	} else if (documents->length <= 4) {
		station_answer(fetch.st, &job->request, answer, sizeof(*answer), NULL, 0);
	} else {
		int fd = fd_memfd_sealed("documents", documents->data, documents->length);

		if (fd < 0) {
			err_sys(&why, errno, "cannot hand over an image's documents");
			refuse(&job->request, &why);
		} else {
			station_answer(fetch.st, &job->request, answer, sizeof(*answer), &fd, 1);
		}
		fd_close(&fd);
	}
	job_free(job);
}

static void
take_image(const struct station_request *request, const void *body, size_t bytes)
{
	const struct msg_fetch *what = body;
	struct err err = {0};

	if (bytes != sizeof(*what) || !MSG_OK(what->name) || !MSG_OK(what->digest)) {
		err_set(&err, ERR_INVALID, "the request for an image does not hold");
		refuse(request, &err);
		return;
	}
	struct job *job = job_new(request, &err);
	if (job) {
		job->image = fetch_image_start(fetch.couriers, what, image_done, job, &err);
		if (job->image)
			return;
		job_free(job);
	}
	refuse(request, &err);
}

/* ---- blobs ---- */

static void
count_bytes(struct job *job)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "registry", job->ref.registry);
	metric_add(metrics_get(station_metrics(fetch.st), METRICS_IMAGE_PULL_BYTES, &labels),
		   job->sent - job->counted);
	job->counted = job->sent;
}

static void
blob_done(void *arg, const struct err *err, const struct transfer_result *result, size_t endpoint)
{
	struct job *job = arg;

	(void)result;
	(void)endpoint;
	job->courier = NULL;
	count_bytes(job);
	if (err)
		refuse(&job->request, err);
	else
		station_answer(fetch.st, &job->request, NULL, 0, NULL, 0);
	job_free(job);
}

static void
reader_gone(uv_poll_t *poll)
{
	struct job *job = poll->data;
	struct err err = {0};

	courier_cancel(job->courier);
	err_set(&err, ERR_INTERRUPTED, "nobody wants the blob any more");
	refuse(&job->request, &err);
	job_free(job);
}

static void
on_room(uv_poll_t *poll, int status, int events)
{
	struct job *job = poll->data;

	(void)events;
	uv_poll_stop(poll);
	if (status < 0 || job->gone)
		reader_gone(poll);
	else if (job->courier)
		courier_resume(job->courier);
}

/* False: not now. */
static bool
send_packet(struct job *job, const uint8_t *data, size_t bytes)
{
	memcpy(fetch.packet, &job->sent, sizeof(job->sent));
	memcpy(fetch.packet + 8, data, bytes);
	ssize_t n = send(job->stream, fetch.packet, 8 + bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n == (ssize_t)(8 + bytes)) {
		job->sent += bytes;
		return true;
	}
	/* From the loop: libcurl's callback may not end the transfer. */
	job->gone = n >= 0 || (errno != EAGAIN && errno != EINTR && errno != ENOBUFS);
	uv_poll_start(&job->poll, UV_WRITABLE, on_room);
	return false;
}

static bool
on_data(void *arg, const void *data, size_t bytes)
{
	struct job *job = arg;
	const uint8_t *at = data;

	while (job->part < bytes) {
		size_t n = bytes - job->part < PACKET_BYTES ? bytes - job->part : PACKET_BYTES;

		if (job->gone || !send_packet(job, at + job->part, n))
			return false;
		job->part += n;
	}
	job->part = 0;
	return true;
}

static const struct courier_calls blob_calls = {.data = on_data, .done = blob_done};

static int
start_blob(struct job *job, const struct msg_fetch_blob *blob, int *fds, struct err *err)
{
	struct courier_order order = {
		.image = job->blob.name,
		.ref = &job->ref,
		.path = job->path,
		.accept = "*/*",
		.first = blob->endpoint,
	};
	int kind = 0;
	socklen_t length = sizeof(kind);

	job->blob = *blob;
	job->stream = fd_take(&fds[0]);
	if (image_ref_parse(job->blob.name, &job->ref) != IMAGE_REF_OK ||
	    strncmp(job->blob.digest, "sha256:", 7) != 0)
		return err_set(err, ERR_INVALID, "the request for a blob does not hold");
	if (getsockopt(job->stream, SOL_SOCKET, SO_TYPE, &kind, &length) < 0 ||
	    kind != SOCK_SEQPACKET)
		return err_set(err, ERR_INVALID, "a blob wants a socket of packets");
	snprintf(job->path, sizeof(job->path), "blobs/%s", job->blob.digest);
	if (uv_poll_init(station_loop(fetch.st), &job->poll, job->stream) < 0)
		return err_set(err, ERR_SYSTEM, "the blob's socket cannot be watched");
	job->poll.data = job;
	job->polled = true;
	job->courier = courier_start(fetch.couriers, &order, &blob_calls, job, err);
	return job->courier ? 0 : -1;
}

static void
take_blob(const struct station_request *request, const void *body, size_t bytes, int *fds,
	  size_t count)
{
	const struct msg_fetch_blob *blob = body;
	struct err err = {0};

	if (bytes != sizeof(*blob) || count != 1 || !MSG_OK(blob->name) || !MSG_OK(blob->digest)) {
		err_set(&err, ERR_INVALID, "the request for a blob does not hold");
		refuse(request, &err);
		return;
	}
	struct job *job = job_new(request, &err);
	if (job) {
		if (start_blob(job, blob, fds, &err) == 0)
			return;
		job_free(job);
	}
	refuse(request, &err);
}

static void
take_request(struct station *st, const struct station_request *request, const void *body,
	     size_t bytes, int *fds, size_t count)
{
	struct err err = {0};

	(void)st;
	if (is_known(request))
		return;
	if (request->op == MSG_OP_FETCH_IMAGE) {
		take_image(request, body, bytes);
	} else if (request->op == MSG_OP_FETCH_BLOB) {
		take_blob(request, body, bytes, fds, count);
	} else {
		err_set(&err, ERR_UNSUPPORTED, "the fetch process does not know this request");
		refuse(request, &err);
	}
}

/* ---- the role ---- */

/* Nobody waits for it any more: a registry that gives a byte now and then holds no place. */
static void
give_up(struct job *job)
{
	struct err err = {0};

	fetch_image_cancel(job->image);
	courier_cancel(job->courier);
	err_set(&err, ERR_TIMEOUT, "the registry took too long");
	refuse(&job->request, &err);
	job_free(job);
}

static void
show(uv_timer_t *timer)
{
	struct list *it, *next;
	bool any = false;
	uint64_t now = world_mono_ns();

	(void)timer;
	list_each (it, next, &fetch.jobs) {
		struct job *job = container_of(it, struct job, link);
		struct msg_transfer row = {.bytes = job->sent};
		bool changed = false;

		if (job->request.deadline_mono_ns < now) {
			give_up(job);
			continue;
		}
		if (!job->blob.key)
			continue;
		ring_table_set(station_writer(fetch.st), MSG_TABLE_TRANSFER, job->blob.key, &row,
			       &changed);
		any |= changed;
		count_bytes(job);
	}
	if (any)
		station_kick(fetch.st);
}

/* A new runtime: nobody waits for what its predecessor asked for. */
static void
on_peer(struct station *st, struct ring_reader *reader)
{
	struct list *it, *next;

	(void)st;
	if (ring_reader_role(reader) != ROLE_RUNTIME)
		return;
	list_each (it, next, &fetch.jobs) {
		struct job *job = container_of(it, struct job, link);

		fetch_image_cancel(job->image);
		courier_cancel(job->courier);
		job_free(job);
	}
}

static void
on_message(struct station *st, const struct leash_message *m, int *fds, size_t count)
{
	(void)st;
	if (m->kind == LEASH_REGISTRY_FILES)
		courier_files(fetch.couriers, m, fds, count);
	else if (m->kind == LEASH_LOGIN_PIPE)
		courier_login(fetch.couriers, m, fds, count);
}

static void
layout(const struct leash_welcome *welcome, struct ring_layout *out)
{
	(void)welcome;
	out->tables[0] = (struct ring_table_layout){MSG_TABLE_TRANSFER, 1,
						    sizeof(struct msg_transfer), JOBS_MAX};
	out->tables_count = 1;
	out->answers[0] = (struct ring_answers_layout){
		.role = ROLE_RUNTIME,
		.instances = 2,
		.slots = MSG_SLOTS,
		.body_bytes = RING_BODY_MAX,
	};
	out->answers_count = 1;
	out->metric_series = METRIC_SERIES;
}

static int
open_libraries(struct station *st, struct err *err)
{
	if (transfer_load(err) < 0 || layout_load(err) < 0 || json_read_open(err) < 0)
		return -1;
	return transfer_open(station_loop(st), &fetch.transfers, err);
}

static int
start(struct station *st, struct err *err)
{
	fetch.st = st;
	list_init(&fetch.jobs);
	uv_timer_init(station_loop(st), &fetch.show);
	return courier_open(st, fetch.transfers, &fetch.couriers, err);
}

const struct station_role fetch_role = {
	.role = ROLE_FETCH,
	.layout = layout,
	.open = open_libraries,
	.start = start,
	.peer = on_peer,
	.request = take_request,
	.message = on_message,
};
