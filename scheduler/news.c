/* SPDX-License-Identifier: Apache-2.0 */
/*
 * News come row by row and can be read when their transaction is complete: until then only ids are
 * noted. A note that finds no memory becomes "everything".
 */
#include "scheduler/news.h"

#include <string.h>
#include "base/log.h"
#include "scheduler/cronjob.h"

#define SECOND_NS 1000000000ull

static void
note(struct model *m, struct map *ids, uint64_t id)
{
	if (id && map_put_u64(ids, id, m) < 0)
		m->news.all = true;
}

/* Noted as this node's own: the value says so. */
static void
note_own(struct model *m, uint64_t id)
{
	if (!map_get_u64(&m->news.deployments, id) &&
	    map_put_u64(&m->news.deployments, id, &m->news) < 0)
		m->news.all = true;
}

static void
note_service(struct model *m, uint64_t id)
{
	const struct service *s = model_service_by_id(m, id);

	/* One that is not here comes with its deployment. */
	if (s)
		note(m, &m->news.deployments, s->deployment->row.id);
}

static void
note_revision(struct model *m, uint64_t id)
{
	const struct revision *r = model_revision_by_id(m, id);
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		if (r && model_revision(d, r->row.revision) == r)
			note(m, &m->news.deployments, d->row.id);
	}
}

static void
hear_row(struct model *m, unsigned kind, const void *row)
{
	switch (kind) {
	case STORE_DEPLOYMENT:
		note(m, &m->news.deployments, ((const struct store_deployment *)row)->id);
		break;
	case STORE_SERVICE:
		note(m, &m->news.deployments, ((const struct store_service *)row)->deployment);
		break;
	case STORE_REVISION:
		note(m, &m->news.deployments, ((const struct store_revision *)row)->deployment);
		break;
	case STORE_PIN:
		note_revision(m, ((const struct store_pin *)row)->revision);
		break;
	case STORE_ROUTE:
		note_service(m, ((const struct store_route *)row)->service);
		break;
	case STORE_CRON:
		cronjob_hear(m, ((const struct store_cron *)row)->service);
		break;
	case STORE_FIRING:
		cronjob_hear(m, ((const struct store_firing *)row)->service);
		break;
	case STORE_OPERATION:
		note(m, &m->news.operations, ((const struct store_operation *)row)->id);
		note(m, &m->news.deployments, ((const struct store_operation *)row)->deployment);
		break;
	case STORE_NODE:
	case STORE_TICKET:
	case STORE_CLUSTER:
	case STORE_VOTER:
		m->news.cluster = true;
		break;
	default:
		break;
	}
}

static void
hear_gone(struct model *m, unsigned kind, uint64_t id)
{
	switch (kind) {
	case STORE_DEPLOYMENT:
		note(m, &m->news.deployments, id);
		break;
	case STORE_SERVICE:
		note_service(m, id);
		break;
	case STORE_REVISION:
		note_revision(m, id);
		break;
	case STORE_OPERATION:
		note(m, &m->news.operations, id);
		break;
	case STORE_NODE:
	case STORE_TICKET:
	case STORE_CLUSTER:
	case STORE_VOTER:
		m->news.cluster = true;
		break;
	default:
		/* A pin or route goes with what it belongs to. */
		break;
	}
}

static void
hear(void *arg, const struct store_news *news)
{
	struct model *m = arg;

	switch (news->what) {
	case STORE_NEWS_ROW:
		hear_row(m, news->kind, news->row);
		return;
	case STORE_NEWS_GONE:
		hear_gone(m, news->kind, news->id);
		return;
	case STORE_NEWS_BLOB:
		return; /* a document comes with its revision and stays as it is */
	case STORE_NEWS_ALL:
		m->news.all = m->news.cluster = true;
		cronjob_hear(m, 0);
		break;
	case STORE_NEWS_END:
		break;
	}
	model_stir(m);
	news_read(m);
	if (m->news.cluster && m->hooks.cluster_rows)
		m->hooks.cluster_rows(m->hooks.arg);
	m->news.cluster = false;
}

static int
read_noted(struct model *m, struct err *err)
{
	struct map_iter it = {0}, at = {0};
	int rc = 0;

	/* Operations first: a deployment is linked to its own. */
	while (rc == 0 && map_next(&m->news.operations, &it)) {
		uint64_t id;

		memcpy(&id, it.key, sizeof(id));
		rc = model_sync_operation(m, id, err);
	}
	while (rc == 0 && map_next(&m->news.deployments, &at)) {
		uint64_t id;

		memcpy(&id, at.key, sizeof(id));
		rc = model_sync_deployment(m, id, at.value == &m->news, err);
	}
	return rc;
}

static void
forget(struct map *ids)
{
	map_fini(ids);
	map_init(ids, MEM_SCHEDULER);
}

void
news_read(struct model *m)
{
	struct err err = {0};

	if (!m->news.all && !map_count(&m->news.deployments) && !map_count(&m->news.operations))
		return;
	int rc = m->news.all ? model_sync_all(m, &err) : read_noted(m, &err);
	if (rc < 0) {
		log_err(LOG_WARN, "what the store says now cannot be read", &err);
		m->news.all = true;
		model_wake_at(m, m->now_ns + SECOND_NS);
		return;
	}
	model_forget_operations(m);
	m->news.all = false;
	forget(&m->news.deployments);
	forget(&m->news.operations);
}

void
news_all(struct model *m)
{
	m->news.all = true;
	news_read(m);
}

void
news_own(struct model *m, uint64_t deployment)
{
	struct err err = {0};

	if (model_sync_deployment(m, deployment, true, &err) == 0)
		return;
	log_err(LOG_WARN, "what the store says now cannot be read", &err);
	note_own(m, deployment);
}

void
news_follow(struct model *m)
{
	store_watch(m->store, hear, m);
}
