/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a write: begun, submitted, ended. Between the last two the model may have changed a
 * lot (other nodes' rows came, the deployment was dropped), so that nothing is kept of it but ids.
 * What cannot be read back for want of memory is read by the next pass: the store has it.
 */
#include "scheduler/write.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "scheduler/event.h"
#include "scheduler/news.h"
#include "scheduler/save.h"

/* What the conductor has done with it would be written in part, with rows of it that the change
 * writes, too; and stay so if this process ends, or another one conducts, before the rest is. */
static int
wait_for_rows(struct model *m, const char *of, struct request *r, struct err *err)
{
	const struct deployment *d = model_deployment(m, of);

	if (!d || d->lost || !(model_is_shared(m) || m->store_failing) || !save_waits(m, d))
		return 0;
	r->busy = true;
	err_set(err, ERR_CONFLICT, "what was done with %s before is not in the store yet", of);
	return err_fix(err, "try again in a moment");
}

struct write *
write_begin(struct model *m, const char *of, struct request *r, struct err *err)
{
	struct store_status status;

	store_status(m->store, &status);
	if (status.shared && !status.writable) {
		*err = status.why;
		return NULL;
	}
	if (wait_for_rows(m, of, r, err) < 0)
		return NULL;
	struct write *w = mem_zalloc(MEM_SCHEDULER, sizeof(*w));
	if (!w) {
		err_set(err, ERR_NO_MEMORY, "no memory for a change");
		return NULL;
	}
	if (store_begin(m->store, err) < 0) {
		mem_free(w);
		return NULL;
	}
	w->m = m;
	w->request = r;
	text_copy(w->name, sizeof(w->name), of);
	return w;
}

int
write_row(struct write *w, enum store_kind kind, void *row, struct err *err)
{
	return store_put(w->m->store, kind, row, err);
}

void
write_say(struct write *w, const char *type, const char *fmt, ...)
{
	va_list args;

	text_copy(w->type, sizeof(w->type), type);
	va_start(args, fmt);
	vsnprintf(w->text, sizeof(w->text), fmt, args);
	va_end(args);
}

static void
tell_weak_gates(struct model *m, struct deployment *d)
{
	struct err err = {0};
	struct revision *r = model_document(m, d, d->row.target, &err);

	if (!r) {
		log_err(LOG_ERROR, "a document cannot be read", &err);
		return;
	}
	for (size_t i = 0; i < r->doc->services_count; i++) {
		const struct doc_service *doc = &r->doc->services[i];

		if (doc->rtype == DOC_RTYPE_SERVICE && !doc->health.node)
			event_deployment(m, d, model_service(d, doc->name), "deploy.weak_gate",
					 LOG_WARN, NULL,
					 "%s has no health block: it counts as healthy when its "
					 "ports accept TCP and it stays up",
					 doc->name);
	}
}

static void
tell(const struct write *w)
{
	struct deployment *d = model_deployment_by_id(w->m, w->deployment);

	if (!d || !w->type[0])
		return;
	event_deployment(w->m, d, w->service ? model_service_by_id(w->m, w->service) : NULL,
			 w->type, LOG_INFO, NULL, "%s", w->text);
	if (w->deployed)
		tell_weak_gates(w->m, d);
}

static void
ended(void *arg, const struct err *why)
{
	struct write *w = arg;
	struct request *r = w->request;
	struct deployment *d = model_deployment_by_id(w->m, w->deployment);
	struct err err = {0};

	if (model_is_shared(w->m))
		model_stir(w->m);
	if (d)
		d->changing = false;
	if (why) {
		err = *why;
		err_where(&err, "%s", w->name);
		r->overtaken = why->kind == ERR_CONFLICT;
	} else {
		news_own(w->m, w->deployment);
		tell(w);
	}
	mem_free(w);
	r->done(r, why ? &err : NULL);
}

int
write_end(struct write *w, int rc)
{
	struct model *m = w->m;

	if (rc < 0) {
		store_abort(m->store);
		mem_free(w);
		return -1;
	}
	struct deployment *d = model_deployment_by_id(m, w->deployment);
	if (d)
		d->changing = true;
	store_submit(m->store, ended, w);
	return REQUEST_UNDER_WAY;
}

int
write_confirm(struct model *m, const struct deployment *d, enum store_kind kind, const void *row,
	      struct request *r, struct err *err)
{
	union {
		struct store_deployment deployment;
		struct store_service service;
		struct store_cron cron;
	} copy;
	size_t bytes = store_shape(kind)->row_bytes;

	if (!model_is_shared(m))
		return REQUEST_ANSWERED;
	assert(bytes <= sizeof(copy));
	struct write *w = write_begin(m, d->row.name, r, err);
	if (!w)
		return -1;
	memcpy(&copy, row, bytes);
	w->deployment = d->row.id;
	return write_end(w, write_row(w, kind, &copy, err));
}
