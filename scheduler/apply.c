/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a document to a revision under way, as a list of steps that each may refuse. Up to the last
 * one nothing is changed; what is then written, and takes effect, is apply_write.c's.
 */
#include "scheduler/apply_private.h"

#include <string.h>
#include "base/mem.h"
#include "base/text.h"
#include "ring/plan.h"
#include "scheduler/capacity.h"
#include "scheduler/diff.h"
#include "scheduler/places.h"
#include "scheduler/plan_make.h"

enum { ARENA_BYTES = 4 << 20, PREFIXES_MAX = 8, DRIFT_BYTES = 512 };

/* ---- reading ---- */

static int
parse(struct apply *a, const char *text, size_t bytes, struct err *err)
{
	struct diag_list *diags = mem_zalloc(MEM_SCHEDULER, sizeof(*diags));
	struct doc_update defaults;
	int rc;

	if (!diags)
		return err_set(err, ERR_NO_MEMORY, "no memory for a document");
	diag_list_init(diags);
	rc = doc_parse(text, bytes, "document", &a->doc, diags);
	if (rc == 0) {
		config_update_defaults(a->m->config, &defaults);
		doc_set_update_defaults(a->doc, &defaults);
		doc_set_log_defaults(a->doc, a->m->config->logs.containers.max_size_bytes,
				     a->m->config->logs.containers.max_files);
		rc = doc_check_available(a->doc, diags);
	}
	if (rc < 0)
		diag_err(diags, err);
	diag_list_fini(diags);
	mem_free(diags);
	if (rc < 0)
		return -1;
	if (!text_equal(a->doc->deployment, a->request->name))
		return err_set(err, ERR_INVALID, "the document is of \"%s\", not of \"%s\"",
			       a->doc->deployment, a->request->name);
	doc_dump_yaml(a->doc, &a->text);
	if (!buf_ok(&a->text))
		return err_set(err, ERR_NO_MEMORY, "no memory for a document");
	plan_sha256(a->text.data, a->text.length, a->sha256);
	return 0;
}

static int
check_limits(const struct doc *doc, struct err *err)
{
	for (size_t i = 0; i < doc->services_count; i++) {
		const struct doc_service *s = &doc->services[i];

		if (s->endpoints_count > MSG_ENDPOINTS_MAX)
			return err_set(err, ERR_LIMIT, "%s has more than %d endpoints", s->name,
				       MSG_ENDPOINTS_MAX);
		for (size_t k = 0; k < s->endpoints_count; k++) {
			const struct doc_limits *l = &s->endpoints[k].limits;

			if (l->allow.count > PREFIXES_MAX || l->deny.count > PREFIXES_MAX)
				return err_set(err, ERR_LIMIT,
					       "%s: an endpoint allows or denies more than %d "
					       "networks",
					       s->name, PREFIXES_MAX);
		}
	}
	return 0;
}

/* ---- what is there ---- */

static int
check_state(struct apply *a, struct request *r, struct err *err)
{
	const struct msg_apply *q = a->request;
	uint32_t newest = a->d ? a->d->row.newest : 0;

	if (a->d && a->d->gone) {
		err_set(err, ERR_CONFLICT, "%s is being removed", q->name);
		return err_fix(err, "deploy it again in a moment");
	}
	if (q->has_expect && q->expect_revision != newest) {
		err_set(err, ERR_CONFLICT, "%s is at revision %u, not %u", q->name, newest,
			q->expect_revision);
		return err_fix(err, "see what changed: zlayer history %s", q->name);
	}
	if (a->d && a->d->operation && !q->dry_run) {
		r->busy = true;
		err_set(err, ERR_CONFLICT, "something else is being done with %s", q->name);
		return err_fix(err, "wait for it: zlayer status %s", q->name);
	}
	if (!a->d && a->m->deployments_count >= MODEL_DEPLOYMENTS_MAX)
		return err_set(err, ERR_LIMIT, "a node has at most %d deployments",
			       MODEL_DEPLOYMENTS_MAX);
	return 0;
}

/* ---- pins and sizes ---- */

struct finding {
	const char *name;
	char *digest;
};

static bool
match_image(void *arg, uint64_t key, const void *row)
{
	const struct msg_image *image = row;
	struct finding *f = arg;

	(void)key;
	if (!MSG_OK(image->name) || !MSG_OK(image->digest) || !text_equal(image->name, f->name))
		return true;
	text_copy(f->digest, MSG_DIGEST, image->digest);
	return false;
}

static const char *
told_digest(const struct apply *a, const char *service)
{
	for (size_t i = 0; i < a->in->pins_count; i++) {
		const struct msg_apply_pin *pin = &a->in->pins[i];

		if (MSG_OK(pin->service) && MSG_OK(pin->digest) &&
		    text_equal(pin->service, service))
			return pin->digest;
	}
	return "";
}

static void
find_digest(struct apply *a, const struct doc_service *s, struct store_pin *pin)
{
	const struct store_pin *before = model_pin(a->serving, s->name);
	const struct store_pin *then = model_pin(a->from, s->name);
	char name[IMAGE_REF_TEXT_BYTES];
	struct finding f = {name, pin->image_digest};

	image_ref_put(&s->image.ref, name, sizeof(name));
	text_copy(pin->image, sizeof(pin->image), s->image.name);
	if (then && then->image_digest[0]) {
		memcpy(pin->image_digest, then->image_digest, sizeof(pin->image_digest));
		return;
	}
	/* What only the registry can say, and did not: the replica asks it again, and says why not.
	 */
	bool registry =
		s->image.pull_policy == DOC_PULL_ALWAYS || s->image.pull_policy == DOC_PULL_NEWER;
	if (s->image.ref.digest[0])
		text_copy(pin->image_digest, sizeof(pin->image_digest), s->image.ref.digest);
	else
		text_copy(pin->image_digest, sizeof(pin->image_digest), told_digest(a, s->name));
	if (pin->image_digest[0] || registry)
		return;
	if (a->m->runtime)
		ring_table_each(a->m->runtime, MSG_TABLE_IMAGE, match_image, &f);
	/* An image that went away does not make the service another one. */
	if (!pin->image_digest[0] && before && text_equal(before->image, pin->image))
		memcpy(pin->image_digest, before->image_digest, sizeof(pin->image_digest));
}

static uint32_t
size_of(const struct apply *a, const struct part *p)
{
	const struct doc_scale *scale = &p->doc->scale;
	bool serves = p->service && a->serving && doc_service_find(a->serving->doc, p->doc->name);
	uint32_t now = serves ? p->service->row.desired : 0;

	if (p->doc->rtype != DOC_RTYPE_SERVICE)
		return 0;

	if (!serves)
		return scale->mode == DOC_SCALE_ADAPTIVE ? scale->min : scale->replicas;
	switch (scale->mode) {
	case DOC_SCALE_ADAPTIVE:
		return now < scale->min ? scale->min : now > scale->max ? scale->max : now;
	case DOC_SCALE_MANUAL:
		return now;
	case DOC_SCALE_FIXED:
		break;
	}
	return scale->replicas; /* also where another was set by hand */
}

/* What sleeps and is another one now is run once, so that a deploy proves it all the same. */
static bool
is_unproven(const struct apply *a, const struct part *p)
{
	const struct store_pin *before = model_pin(a->serving, p->doc->name);

	return p->doc->scale.mode == DOC_SCALE_ADAPTIVE && p->row.wanted == 0 &&
	       p->doc->rtype == DOC_RTYPE_SERVICE &&
	       (!before || memcmp(before->make, p->pin.make, sizeof(p->pin.make)) != 0);
}

static int
make_parts(struct apply *a, struct err *err)
{
	a->parts_count = a->doc->services_count;
	a->parts = arena_array(&a->arena, a->parts_count + 1, sizeof(*a->parts));
	if (!a->parts)
		return err_set(err, ERR_NO_MEMORY, "no memory for a document");
	for (size_t i = 0; i < a->parts_count; i++) {
		struct part *p = &a->parts[i];

		p->doc = &a->doc->services[i];
		p->service = a->d ? model_service(a->d, p->doc->name) : NULL;
		if (p->service)
			p->row = p->service->row;
		text_copy(p->row.name, sizeof(p->row.name), p->doc->name);
		text_copy(p->pin.service, sizeof(p->pin.service), p->doc->name);
		find_digest(a, p->doc, &p->pin);
		p->row.wanted = size_of(a, p);
		if (p->row.wanted != p->row.desired)
			p->row.operator= 0;
		struct plan_make_input in = {
			.config = a->m->config,
			.deployment = a->doc->deployment,
			.service = p->doc,
			.image_digest = p->pin.image_digest,
		};
		if (plan_make_digest(&in, p->pin.make, err) < 0)
			return -1;
		if (is_unproven(a, p))
			p->row.wanted = 1;
	}
	return 0;
}

static int
check_capacity(struct apply *a, struct err *err)
{
	struct capacity_want *wants = arena_array(&a->arena, a->parts_count + 1, sizeof(*wants));

	if (!wants)
		return err_set(err, ERR_NO_MEMORY, "no memory for a document");
	for (size_t i = 0; i < a->parts_count; i++)
		wants[i] = (struct capacity_want){a->parts[i].doc, a->parts[i].row.wanted};
	return capacity_check(a->m, a->d, a->doc->deployment, wants, a->parts_count, err);
}

static bool
pin_differs(const struct apply *a, const struct part *p)
{
	const struct store_pin *before = model_pin(a->serving, p->doc->name);

	return before && !text_equal(before->image_digest, p->pin.image_digest);
}

static bool
is_halted(const struct service *s)
{
	struct list *it, *next;

	list_each (it, next, &s->replicas) {
		const struct replica *p = container_of(it, struct replica, link);

		if (p->life.order == LIFECYCLE_STOP && !p->row.job)
			return true;
	}
	return false;
}

static bool
is_stopped(const struct deployment *d)
{
	struct list *it, *next;

	list_each (it, next, &d->services) {
		if (is_halted(container_of(it, struct service, link)))
			return true;
	}
	return d->row.stopped;
}

static bool
is_unchanged(const struct apply *a)
{
	if (!a->serving || a->d->row.target != a->d->row.revision || is_stopped(a->d) ||
	    a->d->rollout.phase == ROLLOUT_PAUSED ||
	    memcmp(a->serving->row.sha256, a->sha256, sizeof(a->sha256)) != 0)
		return false;
	for (size_t i = 0; i < a->parts_count; i++) {
		const struct store_pin *before = model_pin(a->serving, a->parts[i].doc->name);

		if (!before ||
		    memcmp(before->make, a->parts[i].pin.make, sizeof(before->make)) != 0 ||
		    a->parts[i].row.wanted != a->parts[i].service->row.desired)
			return false;
	}
	return true;
}

/* What is otherwise than this document says, though the document says nothing new: "! web ..." */
static void
tell_drift(const struct apply *a, struct buf *out)
{
	char line[256];

	for (size_t i = 0; i < a->parts_count; i++) {
		const struct part *p = &a->parts[i];
		const struct doc_service *doc = p->doc;

		line[0] = 0;
		if (!p->service || !a->serving || !doc_service_find(a->serving->doc, doc->name))
			continue;
		if (is_halted(p->service))
			text_format(line, sizeof(line), "! %s is stopped\n", doc->name);
		else if (doc->scale.mode == DOC_SCALE_FIXED &&
			 p->service->row.operator&& p->row.wanted != p->service->row.desired)
			text_format(line, sizeof(line),
				    "! %s runs %u replicas, set by hand; the document says %u\n",
				    doc->name, p->service->row.desired, p->row.wanted);
		if (out->length + strlen(line) < sizeof(((struct msg_apply_answer *)0)->changes))
			buf_puts(out, line);
	}
}

static int
tell_changes(struct apply *a, struct msg_apply_answer *answer, struct err *err)
{
	struct diff_pin *pins = arena_array(&a->arena, a->parts_count + 1, sizeof(*pins));
	size_t count = 0;
	struct buf lines;

	if (!pins)
		return err_set(err, ERR_NO_MEMORY, "no memory for a document");
	for (size_t i = 0; i < a->parts_count; i++) {
		if (pin_differs(a, &a->parts[i]))
			pins[count++] = (struct diff_pin){
				a->parts[i].doc->name,
				model_pin(a->serving, a->parts[i].doc->name)->image_digest,
				a->parts[i].pin.image_digest,
			};
	}
	buf_init(&lines, MEM_SCHEDULER, sizeof(answer->changes) + 64);
	int rc = diff_lines(a->serving ? a->serving->doc : NULL, a->doc, pins, count,
			    sizeof(answer->changes) - DRIFT_BYTES, &lines, err);
	if (rc == 0) {
		tell_drift(a, &lines);
		text_copy(answer->changes, sizeof(answer->changes), buf_cstr(&lines));
		answer->changes_bytes = (uint32_t)strlen(answer->changes);
	}
	buf_fini(&lines);
	return rc;
}

/* ---- the steps ---- */

static int
go(struct apply *a, struct request *r, struct err *err)
{
	struct msg_apply_answer *answer = &r->answer.applied;

	if (a->d && a->d->row.revision) {
		a->serving = model_document(a->m, a->d, a->d->row.revision, err);
		if (!a->serving)
			return -1;
	}
	if (check_limits(a->doc, err) < 0 || check_state(a, r, err) < 0 ||
	    places_check(a->m, a->d, a->doc, err) < 0 || make_parts(a, err) < 0 ||
	    check_capacity(a, err) < 0 || tell_changes(a, answer, err) < 0)
		return -1;
	answer->previous_revision = a->serving ? a->d->row.revision : 0;
	answer->revision = a->d ? a->d->row.newest + 1 : 1;
	if (is_unchanged(a)) {
		answer->unchanged = 1;
		answer->revision = a->d->row.revision;
	}
	if (a->request->dry_run)
		return REQUEST_ANSWERED;
	if (answer->unchanged)
		return write_confirm(a->m, a->d, STORE_DEPLOYMENT, &a->d->row, r, err);
	return apply_write(a, r, err);
}

static int
run(struct model *m, const struct apply_input *in, const struct revision *from, struct request *r,
    struct err *err)
{
	struct apply a = {.m = m, .request = in->request, .in = in, .from = from};

	memset(&r->answer, 0, sizeof(r->answer));
	arena_init(&a.arena, MEM_SCHEDULER, ARENA_BYTES);
	buf_init(&a.text, MEM_SCHEDULER, DOC_BYTES_MAX);
	int rc = parse(&a, in->text, in->bytes, err);
	if (rc == 0) {
		a.d = model_deployment(m, in->request->name);
		rc = go(&a, r, err);
	}
	doc_free(a.doc);
	buf_fini(&a.text);
	arena_fini(&a.arena);
	return rc < 0 ? err_where(err, "%s", in->request->name) : rc;
}

int
apply_document(struct model *m, const struct apply_input *in, struct request *r, struct err *err)
{
	return run(m, in, NULL, r, err);
}

static struct revision *
choose(struct deployment *d, uint32_t number, struct err *err)
{
	struct revision *r = number ? model_revision(d, number) : model_last_good(d);

	if (r)
		return r;
	if (number)
		err_set(err, ERR_NOT_FOUND, "%s has no revision %u", d->row.name, number);
	else
		err_set(err, ERR_NOT_FOUND, "%s has no earlier revision that served", d->row.name);
	err_fix(err, "see which are kept: zlayer history %s", d->row.name);
	return NULL;
}

int
apply_rollback(struct model *m, const struct msg_rollback *q, struct request *answer,
	       struct err *err)
{
	struct msg_apply request = {.dry_run = q->dry_run, .who_uid = q->who_uid};
	struct deployment *d = model_deployment(m, q->name);
	struct buf text;

	if (!d || d->gone)
		return err_set(err, ERR_NOT_FOUND, "there is no deployment %s", q->name);
	struct revision *r = choose(d, q->revision, err);
	if (!r)
		return -1;
	text_copy(request.name, sizeof(request.name), q->name);
	buf_init(&text, MEM_SCHEDULER, DOC_BYTES_MAX);
	int rc = store_get_blob(m->store, STORE_DOCUMENT, r->row.id, &text, err);
	struct apply_input in = {
		.request = &request, .text = (const char *)text.data, .bytes = text.length};
	if (rc == 0)
		rc = run(m, &in, r, answer, err);
	buf_fini(&text);
	return rc;
}
