/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table figures: what each node uses for, and is asked of, an adaptive service, as it is known
 * here. Nodes beyond the table's end are left out: that is said to people, nothing goes by it.
 */
#include "scheduler/publish_parts.h"

#include <string.h>
#include "base/text.h"
#include "scheduler/placing.h"
#include "scheduler/publish_table.h"

struct rows {
	struct publish_table t;
	const struct service *s;
	size_t count;
};

/* Two rows of one key would have to agree in 64 bits. */
static uint64_t
key_of(uint64_t service, uint32_t node)
{
	uint64_t x = service ^ (node + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void
put(struct rows *r, uint32_t node, const char *name, struct msg_figures *row)
{
	uint64_t key = key_of(r->s->row.id, node);

	if (!key || r->count >= PUBLISH_FIGURES_MAX)
		return;
	r->count++;
	row->service = r->s->row.id;
	text_copy(row->node, sizeof(row->node), name);
	publish_table_row(&r->t, key, row);
}

static void
put_other(void *arg, const struct placing_figures *f)
{
	struct msg_figures row = {
		.ready = f->said.ready,
		.waiting = f->said.waiting,
		.in_flight = f->said.in_flight,
	};

	if (f->there ? f->good && f->said.whole : f->good)
		row.flags |= MSG_FIGURES_WHOLE;
	if (!f->there && !f->good)
		row.flags |= MSG_FIGURES_SILENT;
	for (size_t i = 0; i < MSG_SCALE_METRICS; i++)
		row.sum[i] = f->said.sum[i];
	put(arg, f->node, f->name, &row);
}

static void
put_own(struct rows *r)
{
	const struct figures *own = &r->s->scaling->own;
	struct msg_figures row = {
		.flags = MSG_FIGURES_SELF | (own->whole ? (uint32_t)MSG_FIGURES_WHOLE : 0),
		.ready = own->ready,
		.waiting = own->waiting,
		.in_flight = own->in_flight,
	};

	for (size_t i = 0; i < MSG_SCALE_METRICS; i++)
		row.sum[i] = own->sum[i];
	put(r, r->t.m->node_id, r->t.m->node, &row);
}

void
publish_figures(struct model *m)
{
	struct list *it, *next, *at, *after;
	struct rows r = {0};

	publish_table_begin(&r.t, m, MSG_TABLE_FIGURES);
	list_each (it, next, &m->deployments) {
		struct deployment *d = container_of(it, struct deployment, link);

		list_each (at, after, &d->services) {
			r.s = container_of(at, struct service, link);
			if (d->gone || d->lost || !r.s->scaling)
				continue;
			put_own(&r);
			if (m->placing)
				placing_figures_each(m->placing, r.s, put_other, &r);
		}
	}
	publish_table_commit(&r.t);
}
