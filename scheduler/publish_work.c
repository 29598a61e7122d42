/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runtime and probe are to make true: claims, the images that are kept for them, and checks.
 */
#include "scheduler/publish_parts.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/gate.h"
#include "scheduler/publish_table.h"
#include "scheduler/unique.h"

enum { FAST_MS = 500 };

static void
put_claim(struct publish_table *t, struct replica *p)
{
	uint32_t desired = p->remote ? 0 : lifecycle_claim(&p->life);
	const struct doc_service *spec = desired ? model_spec(t->m, p) : NULL;
	struct msg_claim row = {
		.replica = p->row.id,
		.service = p->service->row.id,
		.index = p->row.index,
		.revision = p->row.revision,
		.attempt = p->life.attempt,
		.desired = desired,
		.stop_grace_ms = p->row.stop_grace_ms,
		.stop_signal = spec ? (uint32_t)spec->stop_signal : 15,
		.remove_volumes = p->row.remove_volumes,
		.held = p->held,
		.measured = scaling_measures(p->service),
	};

	if (!desired)
		return;
	unique_claim(t->m, p, &row);
	if (!row.stop_grace_ms)
		row.stop_grace_ms = spec ? (uint32_t)spec->stop_grace_period_ms : 10000;
	text_copy(row.deployment_name, sizeof(row.deployment_name),
		  p->service->deployment->row.name);
	text_copy(row.service_name, sizeof(row.service_name), p->service->row.name);
	memcpy(row.plan_sha256, p->row.plan_sha256, sizeof(row.plan_sha256));
	publish_table_row(t, p->row.id, &row);
}

static void
put_probes(struct publish_table *t, struct replica *p)
{
	enum lifecycle_probing probing =
		p->remote ? LIFECYCLE_NO_PROBES : lifecycle_probing(&p->life);
	const struct doc_service *spec = probing ? model_spec(t->m, p) : NULL;
	struct gate_check checks[MODEL_CHECKS_MAX];
	struct addr addr;

	if (!spec || !model_address(p, &addr))
		return;
	size_t count = gate_checks(spec, checks);
	for (size_t i = 0; i < count; i++) {
		const struct gate_check *c = &checks[i];
		struct msg_probe row = {
			.replica = p->row.id,
			.attempt = p->life.attempt,
			.check = c->check == CAUSE_HTTP  ? MSG_CHECK_HTTP
				 : c->check == CAUSE_UDP ? MSG_CHECK_UDP
							 : MSG_CHECK_TCP,
			.addr = addr,
			.expect_status = c->expect_status,
			.interval_ms = c->interval_ms,
			.timeout_ms = c->timeout_ms,
		};

		if (c->n == MODEL_COMMAND_CHECK)
			continue;
		if (probing == LIFECYCLE_PROBE_FAST && row.interval_ms > FAST_MS)
			row.interval_ms = FAST_MS;
		row.addr.port = c->port;
		text_copy(row.host, sizeof(row.host), c->host ? c->host : "");
		text_copy(row.path, sizeof(row.path), c->path ? c->path : "");
		text_copy(row.request, sizeof(row.request), c->request ? c->request : "");
		text_copy(row.expect, sizeof(row.expect), c->expect ? c->expect : "");
		model_label(p->service, row.service_label);
		publish_table_row(t, p->row.id << 8 | c->n, &row);
	}
}

/* ---- images ---- */

/* A revision that failed is no place to go back to. */
static bool
serves(const struct deployment *d, const struct revision *r)
{
	return r->row.revision == d->row.revision || r->row.revision == d->row.target;
}

static bool
is_kept(const struct deployment *d, const struct revision *r)
{
	return serves(d, r) || r->row.result == STORE_RESULT_GOOD ||
	       r->row.result == STORE_RESULT_PENDING;
}

static uint64_t
pin_key(const char *digest)
{
	const char *hex = strchr(digest, ':');
	uint8_t first[8] = {0};
	uint64_t key = 0;

	if (!hex || text_unhex(hex + 1, 16, first, sizeof(first)) != (long)sizeof(first))
		return 0;
	for (size_t i = 0; i < sizeof(first); i++)
		key = key << 8 | first[i];
	return key > MSG_PIN_MORE ? key : MSG_PIN_MORE + 1;
}

static void
put_pins(struct publish_table *t, const struct deployment *d, const struct revision *r,
	 size_t *count)
{
	for (size_t i = 0; i < r->pins_count; i++) {
		uint64_t key = pin_key(r->pins[i].image_digest);
		struct msg_pin row = {0};

		/* The first that needs it is named: those that serve come first. */
		if (!key || map_get_u64(t->before, key) == (void *)t->pass)
			continue;
		if (*count >= MSG_PINS_MAX - 1) {
			publish_table_row(t, MSG_PIN_MORE, &row);
			return;
		}
		text_copy(row.digest, sizeof(row.digest), r->pins[i].image_digest);
		text_copy(row.deployment, sizeof(row.deployment), d->row.name);
		row.revision = r->row.revision;
		row.serves = serves(d, r);
		publish_table_row(t, key, &row);
		*count = map_count(t->before);
	}
}

static void
put_kept(struct publish_table *t, const struct model *m, bool serving, size_t *count)
{
	struct list *it, *next, *at, *after;

	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->revisions) {
			const struct revision *r = container_of(at, struct revision, link);

			if (!d->gone && is_kept(d, r) && serves(d, r) == serving)
				put_pins(t, d, r, count);
		}
	}
}

static void
put_images(struct model *m)
{
	struct publish_table t;
	size_t count = 0;

	publish_table_begin(&t, m, MSG_TABLE_PIN);
	put_kept(&t, m, true, &count);
	put_kept(&t, m, false, &count);
	publish_table_commit(&t);
	publish_table_mark(m, MSG_TABLE_PIN);
}

void
publish_work(struct model *m)
{
	struct publish_table t;

	/* Before the claims: what a replica needs is kept before it is asked for. */
	put_images(m);
	publish_table_begin(&t, m, MSG_TABLE_CLAIM);
	publish_table_replicas(&t, put_claim);
	publish_table_commit(&t);
	publish_table_mark(m, MSG_TABLE_CLAIM);
	publish_table_begin(&t, m, MSG_TABLE_PROBE);
	publish_table_replicas(&t, put_probes);
	publish_table_commit(&t);
}
