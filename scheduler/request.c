/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as functions of the model: documents to deploy, which are apply.c's, and what is read of
 * the model and the store. Operations on what is there already are in request_target.c. What an
 * operation then does is the next passes' business (advance.c).
 */
#include "scheduler/request.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/apply.h"
#include "spec/json.h"

enum { EVENTS_MAX = 1000 };

int
request_malformed(struct err *err)
{
	return err_set(err, ERR_CORRUPT, "a request has another form than agreed");
}

/* Sealed: anything else could make this process wait for its writer. From its beginning: a request
 * may be begun again. */
static int
read_sealed(int fd, struct buf *out, struct err *err)
{
	if (!fd_is_sealed(fd) || lseek(fd, 0, SEEK_SET) < 0)
		return request_malformed(err);
	return fd_read_all(fd, out, err);
}

static int
take_apply(struct model *m, const void *body, size_t bytes, const int *fds, size_t count,
	   struct request *r, struct err *err)
{
	struct msg_apply q;
	struct buf text, pins;

	if (bytes != sizeof(q) || count < 1)
		return request_malformed(err);
	memcpy(&q, body, sizeof(q));
	if (!MSG_OK(q.name))
		return request_malformed(err);
	buf_init(&text, MEM_SCHEDULER, DOC_BYTES_MAX);
	buf_init(&pins, MEM_SCHEDULER, MODEL_SERVICES_MAX * sizeof(struct msg_apply_pin));
	int rc = read_sealed(fds[0], &text, err);
	if (rc == 0 && count > 1)
		rc = read_sealed(fds[1], &pins, err);
	struct apply_input in = {
		.request = &q,
		.text = (const char *)text.data,
		.bytes = text.length,
		.pins = (const struct msg_apply_pin *)(const void *)pins.data,
		.pins_count = pins.length / sizeof(struct msg_apply_pin),
	};
	if (rc == 0)
		rc = apply_document(m, &in, r, err);
	buf_fini(&text);
	buf_fini(&pins);
	return rc;
}

static int
take_rollback(struct model *m, const void *body, size_t bytes, struct request *r, struct err *err)
{
	struct msg_rollback q;

	if (bytes != sizeof(q))
		return request_malformed(err);
	memcpy(&q, body, sizeof(q));
	if (!MSG_OK(q.name))
		return request_malformed(err);
	return apply_rollback(m, &q, r, err);
}

void
request_change(struct model *m, uint16_t op, const void *body, size_t bytes, const int *fds,
	       size_t count, struct request *r)
{
	struct err err = {0};
	int rc;

	if (op == MSG_OP_APPLY)
		rc = take_apply(m, body, bytes, fds, count, r, &err);
	else if (op == MSG_OP_ROLLBACK)
		rc = take_rollback(m, body, bytes, r, &err);
	else
		rc = request_target(m, op, body, bytes, r, &err);
	if (rc != REQUEST_UNDER_WAY)
		r->done(r, rc < 0 ? &err : NULL);
}

/* ---- reading ---- */

static struct deployment *
find_document(struct model *m, const void *body, size_t bytes, struct msg_document_op *q,
	      struct err *err)
{
	if (bytes != sizeof(*q)) {
		request_malformed(err);
		return NULL;
	}
	memcpy(q, body, sizeof(*q));
	if (!MSG_OK(q->deployment)) {
		request_malformed(err);
		return NULL;
	}
	struct deployment *d = model_deployment(m, q->deployment);
	if (!d || d->gone) {
		err_set(err, ERR_NOT_FOUND, "there is no deployment %s", q->deployment);
		return NULL;
	}
	return d;
}

int
request_document(struct model *m, const void *body, size_t bytes, struct buf *out, struct err *err)
{
	struct msg_document_op q;
	struct deployment *d = find_document(m, body, bytes, &q, err);

	if (!d)
		return -1;
	uint32_t number = q.revision        ? q.revision
			  : d->row.revision ? d->row.revision
					    : d->row.newest;
	struct revision *r = model_revision(d, number);
	if (!r)
		return err_set(err, ERR_NOT_FOUND, "%s has no revision %u", d->row.name, number);
	return store_get_blob(m->store, STORE_DOCUMENT, r->row.id, out, err);
}

static const char *
result_name(uint32_t result)
{
	switch (result) {
	case STORE_RESULT_GOOD:
		return "ok";
	case STORE_RESULT_FAILED:
		return "failed";
	case STORE_RESULT_ROLLED_BACK:
		return "rolled_back";
	default:
		return "pending";
	}
}

static void
put_revision(struct json *j, const struct deployment *d, const struct revision *r)
{
	char sha256[72], when[48];

	text_hex(r->row.sha256, sizeof(r->row.sha256), sha256, sizeof(sha256));
	text_time(r->row.created_wall_ns, 0, when, sizeof(when));
	json_object(j, NULL);
	json_u64(j, "revision", r->row.revision);
	json_text(j, "result", result_name(r->row.result));
	json_bool(j, "serving", r->row.revision == d->row.revision);
	json_text(j, "created", when);
	json_u64(j, "who_uid", r->row.who_uid);
	if (r->row.copy_of)
		json_u64(j, "copy_of", r->row.copy_of);
	else
		json_null(j, "copy_of");
	json_text(j, "sha256", sha256);
	json_array(j, "images");
	for (size_t i = 0; i < r->pins_count; i++) {
		const struct store_pin *pin = &r->pins[i];

		json_object(j, NULL);
		json_text(j, "service", pin->service);
		json_text(j, "image", pin->image);
		json_text(j, "digest", pin->image_digest[0] ? pin->image_digest : NULL);
		json_end(j);
	}
	json_end(j);
	json_end(j);
}

int
request_revisions(struct model *m, const void *body, size_t bytes, struct buf *out, struct err *err)
{
	struct msg_document_op q;
	struct deployment *d = find_document(m, body, bytes, &q, err);
	struct list *it, *next;
	struct json j;

	if (!d)
		return -1;
	json_init(&j, out);
	json_array(&j, NULL);
	list_each (it, next, &d->revisions)
		put_revision(&j, d, container_of(it, struct revision, link));
	json_end(&j);
	return buf_ok(out) ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for the history");
}

struct collecting {
	struct msg_event *ring; /* the newest `limit` */
	size_t limit;
	size_t seen;
};

static void
collect(void *arg, const void *row)
{
	const struct store_event *e = row;
	struct collecting *c = arg;
	struct msg_event *to = &c->ring[c->seen++ % c->limit];

	*to = e->event;
	to->id = e->id;
}

int
request_events(struct model *m, const void *body, size_t bytes, struct buf *out, struct err *err)
{
	struct msg_events_op q;
	struct list *it, *next;

	if (bytes != sizeof(q))
		return request_malformed(err);
	memcpy(&q, body, sizeof(q));
	if (q.limit < 1 || q.limit > EVENTS_MAX)
		return err_set(err, ERR_INVALID, "1 to %d events can be asked for", EVENTS_MAX);
	struct collecting c = {.limit = q.limit};
	/* Older ones would be overwritten anyway. */
	uint64_t newest = m->next_event - 1;
	uint64_t above =
		newest > q.limit && newest - q.limit > q.since ? newest - q.limit : q.since;
	c.ring = mem_array(MEM_SCHEDULER, q.limit, sizeof(*c.ring));
	if (!c.ring)
		return err_set(err, ERR_NO_MEMORY, "no memory for events");
	int rc = above > INT64_MAX ? 0
				   : store_each(store_local(m->store), STORE_EVENT, above, 0,
						collect, &c, err);
	/* Those that wait for the store. */
	list_each (it, next, &m->events) {
		const struct event *e = container_of(it, struct event, link);

		if (e->row.id > above)
			collect(&c, &e->row);
	}
	size_t count = c.seen < c.limit ? c.seen : c.limit;
	for (size_t i = 0; i < count && rc == 0; i++)
		buf_put(out, &c.ring[(c.seen - count + i) % c.limit], sizeof(*c.ring));
	mem_free(c.ring);
	if (rc == 0 && !buf_ok(out))
		return err_set(err, ERR_NO_MEMORY, "no memory for events");
	return rc;
}

int
request_plan(struct model *m, const void *body, size_t bytes, struct buf *out, struct err *err)
{
	struct msg_plan_op q;

	if (bytes != sizeof(q))
		return request_malformed(err);
	memcpy(&q, body, sizeof(q));
	if (!model_replica(m, q.replica))
		return err_set(err, ERR_NOT_FOUND, "there is no replica %" PRIu64, q.replica);
	return store_get_blob(store_local(m->store), STORE_PLAN, q.replica, out, err);
}
