/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolving says which digest a name means under a pull policy, without fetching more than that:
 *   never            what is here
 *   if_not_present   what is here, else what the registry says
 *   always           what the registry says
 *   newer            what the registry says; what is here when it cannot be asked
 *
 * Pins come as a table and are kept as a set: while no scheduler has published one, everything is
 * pinned.
 */
#include "runtime/image_ask.h"

#include <string.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "spec/image_ref.h"

enum { ASKS_MAX = 64, RESOLVE_MS = 20000, MARGIN_MS = 500 };

struct ask {
	struct image_ask *all;
	struct station_request request;
	struct msg_pull body;
	char name[MSG_IMAGE];
};

struct image_ask {
	struct station *st;
	struct image_store *store;
	struct image_ops *ops;
	struct pulls *pulls;
	struct map pins; /* digest -> struct pin */
	bool known;      /* the set is whole */
	size_t asks;
};

int
image_ask_name(const char *text, char name[MSG_IMAGE], char digest[MSG_DIGEST], struct err *err)
{
	struct image_ref ref;
	char full[IMAGE_REF_TEXT_BYTES];
	enum image_ref_status status = image_ref_parse(text, &ref);

	if (status != IMAGE_REF_OK) {
		err_set(err, ERR_INVALID, "the image's name %s is not a reference", text);
		return err_why(err, "%s", image_ref_why(status));
	}
	if (ref.digest[0] && !text_starts(ref.digest, "sha256:"))
		return err_set(err, ERR_UNSUPPORTED, "only sha256 digests can be checked");
	text_copy(digest, MSG_DIGEST, ref.digest);
	if (ref.tag[0])
		ref.digest[0] = '\0';
	image_ref_put(&ref, full, sizeof(full));
	if (!text_copy(name, MSG_IMAGE, full))
		return err_set(err, ERR_LIMIT, "the image's name is too long");
	return 0;
}

/* ---- pins ---- */

struct pin {
	uint32_t revision;
	bool serves;
	char deployment[MSG_NAME];
};

static void
say_pin(const struct pin *p, struct err *err)
{
	if (!p) {
		err_why(err, "it is not known yet which images revisions need");
		err_fix(err, "try again in a few seconds");
	} else if (p->serves) {
		err_why(err, "revision %u of %s serves with it", p->revision, p->deployment);
		err_fix(err, "deploy another image first, or: zlayer rm %s", p->deployment);
	} else {
		err_why(err, "%s can be rolled back with it to revision %u", p->deployment,
			p->revision);
		err_fix(err,
			"when that revision is no longer in zlayer history %s, zlayer image prune "
			"removes the image; so it does after zlayer rm %s",
			p->deployment, p->deployment);
	}
}

static bool
is_pinned(void *arg, const char *digest, struct err *err)
{
	const struct image_ask *a = arg;
	const struct pin *p = map_get_str(&a->pins, digest);

	if (a->known && !p)
		return false;
	if (err)
		say_pin(p, err);
	return true;
}

static void
drop_pins(struct image_ask *a)
{
	struct map_iter it = {0};

	while (map_next(&a->pins, &it))
		mem_free(it.value);
	map_fini(&a->pins);
	map_init(&a->pins, MEM_RUNTIME);
}

static bool
keep_pin(struct image_ask *a, const struct msg_pin *row)
{
	struct pin *p = mem_zalloc(MEM_RUNTIME, sizeof(*p));

	if (!p)
		return false;
	p->revision = row->revision;
	p->serves = row->serves;
	text_copy(p->deployment, sizeof(p->deployment), row->deployment);
	if (!map_get_str(&a->pins, row->digest) && map_put_str(&a->pins, row->digest, p) == 0)
		return true;
	mem_free(p);
	return false;
}

static bool
take_pin(void *arg, uint64_t key, const void *row)
{
	struct image_ask *a = arg;
	const struct msg_pin *pin = row;

	if (key == MSG_PIN_MORE || !MSG_OK(pin->digest) || !MSG_OK(pin->deployment) ||
	    !keep_pin(a, pin)) {
		a->known = false;
		return false;
	}
	return true;
}

void
image_ask_pins(struct image_ask *a, const struct ring_reader *scheduler)
{
	drop_pins(a);
	a->known = scheduler && ring_table_version(scheduler, MSG_TABLE_PIN) > 0;
	if (!a->known)
		return;
	ring_table_each(scheduler, MSG_TABLE_PIN, take_pin, a);
	image_store_unpinned(a->store);
	image_ops_publish(a->ops);
}

/* ---- answers ---- */

static struct ask *
ask_new(struct image_ask *a, const struct station_request *request, const struct msg_pull *body,
	struct err *err)
{
	struct ask *ask = a->asks < ASKS_MAX ? mem_zalloc(MEM_RUNTIME, sizeof(*ask)) : NULL;

	if (!ask) {
		err_set(err, ERR_LIMIT, "too many images are asked for at once");
		return NULL;
	}
	ask->all = a;
	ask->request = *request;
	ask->body = *body;
	a->asks++;
	return ask;
}

static void
ask_free(struct ask *ask)
{
	ask->all->asks--;
	mem_free(ask);
}

static uint64_t
left_ms(const struct station_request *request)
{
	uint64_t now = world_mono_ns();
	uint64_t left =
		request->deadline_mono_ns > now ? (request->deadline_mono_ns - now) / 1000000 : 0;

	return left > 2 * MARGIN_MS ? left - MARGIN_MS : left;
}

/* ---- resolve ---- */

static void
answer_digest(struct image_ask *a, const struct station_request *request, const char *digest)
{
	struct msg_resolved answer = {0};

	text_copy(answer.digest, sizeof(answer.digest), digest);
	answer.present = image_store_digest(a->store, digest)[0] != '\0';
	station_answer(a->st, request, &answer, sizeof(answer), NULL, 0);
}

static void
resolved(void *arg, int status, const struct err *why, const void *body, size_t bytes, int *fds,
	 size_t count)
{
	struct ask *ask = arg;
	struct image_ask *a = ask->all;
	const struct msg_fetched *answer = body;
	const char *here = image_store_digest(a->store, ask->name);
	struct err err = {0};

	(void)fds, (void)count;
	if (status == 0 && bytes == sizeof(*answer) && MSG_OK(answer->digest)) {
		answer_digest(a, &ask->request, answer->digest);
	} else if (status && ask->body.policy == MSG_PULL_NEWER && here[0]) {
		log_err(LOG_WARN, "a registry cannot be asked: the image that is here is taken",
			why);
		answer_digest(a, &ask->request, here);
	} else if (status) {
		image_pull_err(ask->name, why, &err);
		station_answer_err(a->st, &ask->request, &err);
	} else {
		err_set(&err, ERR_CORRUPT, "fetch gave an answer that does not hold");
		station_answer_err(a->st, &ask->request, &err);
	}
	ask_free(ask);
}

static int
resolve(struct image_ask *a, const struct station_request *request, const struct msg_pull *body,
	struct err *err)
{
	struct msg_fetch op = {.head = 1, .quick = 1};
	uint64_t left = left_ms(request);

	if (image_ask_name(body->name, op.name, op.digest, err) < 0)
		return -1;
	const char *here = image_store_digest(a->store, op.name);
	bool ask_registry = body->policy == MSG_PULL_ALWAYS || body->policy == MSG_PULL_NEWER ||
			    (body->policy == MSG_PULL_IF_NOT_PRESENT && !here[0]);
	if (op.digest[0] || (!ask_registry && here[0])) {
		answer_digest(a, request, op.digest[0] ? op.digest : here);
		return 0;
	}
	if (!ask_registry) {
		err_set(err, ERR_NOT_FOUND, "the image %s is not on this node", op.name);
		err_why(err, "its pull_policy is never");
		return err_fix(err, "import it: zlayer image import FILE.tar");
	}
	struct ask *ask = ask_new(a, request, body, err);
	if (!ask)
		return -1;
	text_copy(ask->name, sizeof(ask->name), op.name);
	if (station_ask(a->st, ROLE_FETCH, 0, MSG_OP_FETCH_IMAGE, &op, sizeof(op), NULL, 0,
			left < RESOLVE_MS ? left : RESOLVE_MS, resolved, ask, err) == 0)
		return 0;
	ask_free(ask);
	return -1;
}

/* ---- pull ---- */

static void
pulled(void *arg, uint64_t tag, const struct err *err, const struct msg_imported *imported,
       const struct pull_progress *progress)
{
	struct ask *ask = arg;
	struct image_ask *a = ask->all;

	(void)tag, (void)progress;
	image_ops_publish(a->ops);
	if (err)
		station_answer_err(a->st, &ask->request, err);
	else
		station_answer(a->st, &ask->request, imported, sizeof(*imported), NULL, 0);
	ask_free(ask);
}

static const struct pull_calls pull_calls = {.done = pulled};

static int
pull(struct image_ask *a, const struct station_request *request, const struct msg_pull *body,
     struct err *err)
{
	char name[MSG_IMAGE], digest[MSG_DIGEST];

	if (image_ask_name(body->name, name, digest, err) < 0)
		return -1;
	struct ask *ask = ask_new(a, request, body, err);
	if (!ask)
		return -1;
	if (image_pull_want(a->pulls, name, digest, &pull_calls, ask, 0, err) == 0)
		return 0;
	ask_free(ask);
	return -1;
}

/* ---- prune ---- */

static int
prune(struct image_ask *a, const struct station_request *request, const struct msg_prune *body,
      struct err *err)
{
	struct image_pruned pruned;
	struct msg_pruned answer = {0};
	struct metric_labels labels = {0};

	if (!a->known) {
		err_set(err, ERR_CONFLICT, "images cannot be removed now");
		err_why(err, "the scheduler has not said which revisions it keeps");
		return err_fix(err, "try again in a moment");
	}
	if (image_store_prune(a->store, body->dry_run != 0, &pruned, err) < 0)
		return -1;
	answer.images = pruned.images;
	answer.layers = pruned.layers;
	answer.bytes = pruned.bytes;
	if (!body->dry_run) {
		metric_label(&labels, "kind", "images");
		metric_add(metrics_get(station_metrics(a->st), METRICS_STORAGE_RECLAIMED, &labels),
			   pruned.bytes);
		log_event(LOG_INFO, "images pruned", log_u("images", pruned.images),
			  log_u("layers", pruned.layers), log_u("bytes", pruned.bytes), LOG_END);
		image_ops_publish(a->ops);
	}
	station_answer(a->st, request, &answer, sizeof(answer), NULL, 0);
	return 0;
}

/* ---- */

bool
image_ask_request(struct image_ask *a, const struct station_request *request, const void *body,
		  size_t bytes)
{
	struct err err = {0};
	struct msg_pull op;
	struct msg_prune what;
	int rc;

	if (request->op != MSG_OP_IMAGE_PULL && request->op != MSG_OP_IMAGE_RESOLVE &&
	    request->op != MSG_OP_IMAGE_PRUNE)
		return false;
	if (request->op == MSG_OP_IMAGE_PRUNE && bytes == sizeof(what)) {
		memcpy(&what, body, sizeof(what));
		rc = prune(a, request, &what, &err);
	} else if (request->op != MSG_OP_IMAGE_PRUNE && bytes == sizeof(op)) {
		memcpy(&op, body, sizeof(op));
		if (!MSG_OK(op.name))
			rc = err_set(&err, ERR_INVALID, "the request for an image does not hold");
		else if (request->op == MSG_OP_IMAGE_PULL)
			rc = pull(a, request, &op, &err);
		else
			rc = resolve(a, request, &op, &err);
	} else {
		rc = err_set(&err, ERR_INVALID, "the request for an image does not hold");
	}
	if (rc < 0)
		station_answer_err(a->st, request, &err);
	return true;
}

int
image_ask_new(struct station *st, struct image_store *store, struct image_ops *ops,
	      struct pulls *pulls, struct image_ask **out, struct err *err)
{
	struct image_ask *a = mem_zalloc(MEM_RUNTIME, sizeof(*a));

	if (!a)
		return err_set(err, ERR_NO_MEMORY, "no memory for images");
	a->st = st;
	a->store = store;
	a->ops = ops;
	a->pulls = pulls;
	map_init(&a->pins, MEM_RUNTIME);
	image_store_pins(store, is_pinned, a);
	*out = a;
	return 0;
}
