/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A revision is written: rows only. When they are kept, memory follows them (write.h); nothing is
 * made here that would have to be undone.
 */
#include "scheduler/apply_private.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/places.h"
#include "scheduler/ports.h"

static void
prepare_row(struct apply *a)
{
	if (a->d)
		a->row = a->d->row;
	else
		a->row.created_wall_ns = a->m->wall_ns;
	text_copy(a->row.name, sizeof(a->row.name), a->doc->deployment);
	a->row.newest++;
	a->row.target = a->row.newest;
	a->row.phase = ROLLOUT_FORWARD;
	a->row.stopped = 0;
	a->row.failed = 0;
	a->row.updated_wall_ns = a->m->wall_ns;
	memset(&a->row.reason, 0, sizeof(a->row.reason));
}

static int
put_revision(struct apply *a, struct write *w, struct err *err)
{
	struct store_revision row = {
		.deployment = a->row.id,
		.revision = a->row.newest,
		.who_uid = a->request->who_uid,
		.result = STORE_RESULT_PENDING,
		.created_wall_ns = a->m->wall_ns,
		.copy_of = a->from ? a->from->row.revision : 0,
	};

	memcpy(row.sha256, a->sha256, sizeof(row.sha256));
	if (write_row(w, STORE_REVISION, &row, err) < 0 ||
	    store_put_blob(a->m->store, STORE_DOCUMENT, row.id, a->text.data, a->text.length, err) <
		    0)
		return -1;
	for (size_t i = 0; i < a->parts_count; i++) {
		a->parts[i].pin.revision = row.id;
		if (write_row(w, STORE_PIN, &a->parts[i].pin, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_routes(struct write *w, const struct part *p, struct err *err)
{
	for (size_t i = 0; i < p->doc->endpoints_count; i++) {
		const struct doc_endpoint *e = &p->doc->endpoints[i];
		struct store_route row = {.service = p->row.id};
		bool known = false;

		for (size_t k = 0; p->service && k < p->service->routes_count; k++)
			known |= text_equal(p->service->routes[k].endpoint, e->name);
		if (known || (!places_is_edge(e) && !ports_is_stream(e)))
			continue;
		text_copy(row.endpoint, sizeof(row.endpoint), e->name);
		if (write_row(w, STORE_ROUTE, &row, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_services(struct apply *a, struct write *w, struct err *err)
{
	for (size_t i = 0; i < a->parts_count; i++) {
		struct part *p = &a->parts[i];

		p->row.deployment = a->row.id;
		if (write_row(w, STORE_SERVICE, &p->row, err) < 0 || put_routes(w, p, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_operation(struct apply *a, struct write *w, struct err *err)
{
	struct store_operation row = {
		.deployment = a->row.id,
		.kind = MSG_OPERATION_DEPLOY,
		.state = MSG_OPERATION_RUNNING,
		.revision = a->row.newest,
		.previous_revision = a->row.revision,
		.keep = a->request->no_rollback,
		.who_uid = a->request->who_uid,
		.started_wall_ns = a->m->wall_ns,
	};

	text_copy(row.deployment_name, sizeof(row.deployment_name), a->row.name);
	if (write_row(w, STORE_OPERATION, &row, err) < 0)
		return -1;
	a->row.operation = row.id;
	return write_row(w, STORE_DEPLOYMENT, &a->row, err);
}

static void
say(const struct apply *a, struct write *w)
{
	w->deployed = true;
	if (a->from)
		write_say(w, "rollback.started", "%s revision %u is deployed: what revision %u was",
			  a->row.name, a->row.target, a->from->row.revision);
	else
		write_say(w, "deploy.started", "%s revision %u is deployed", a->row.name,
			  a->row.target);
}

int
apply_write(struct apply *a, struct request *r, struct err *err)
{
	struct write *w = write_begin(a->m, a->request->name, r, err);

	if (!w)
		return -1;
	prepare_row(a);
	int rc = write_row(w, STORE_DEPLOYMENT, &a->row, err);
	if (rc == 0)
		rc = put_services(a, w, err);
	if (rc == 0)
		rc = put_revision(a, w, err);
	if (rc == 0)
		rc = put_operation(a, w, err);
	if (rc == 0) {
		r->answer.applied.operation = a->row.operation;
		w->deployment = a->row.id;
		say(a, w);
	}
	return write_end(w, rc);
}
