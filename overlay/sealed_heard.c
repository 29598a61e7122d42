/* SPDX-License-Identifier: Apache-2.0 */
/* Expected is who is probed by the sealed way, and of whom there is all that it takes. Where both
 * nodes go plain nothing says whether the sealed way is open: it is not judged. */
#include "overlay/sealed_heard.h"

#include <stdlib.h>
#include <string.h>
#include "base/world.h"
#include "ring/msg.h"

struct ring_table_layout
sealed_heard_layout(void)
{
	return (struct ring_table_layout){
		.table = MSG_TABLE_HEARD,
		.version = 1,
		.row_bytes = sizeof(struct msg_heard),
		.rows_max = PEERS_MAX,
	};
}

void
sealed_heard_init(struct sealed_heard *h)
{
	memset(h, 0, sizeof(*h));
	heard_init(&h->heard);
}

void
sealed_heard_fini(struct sealed_heard *h)
{
	heard_fini(&h->heard);
}

void
sealed_heard_forget(struct sealed_heard *h)
{
	heard_forget(&h->heard);
}

static enum heard_how
how_is(const struct sealed_peers *p, const struct msg_mesh *row)
{
	if (!sealed_setup_row_holds(row) || !peers_probed_sealed(row->ways) ||
	    !sealed_peers_has(p, row->node))
		return HEARD_NOT;
	return sealed_peers_uses(p, row->node) ? HEARD_SPOKEN : HEARD_IDLE;
}

/* False: there is nothing to be said of it. */
static bool
make_row(const struct sealed_heard *h, const struct sealed_peers *p, const struct msg_mesh *mesh,
	 struct msg_heard *out)
{
	*out = (struct msg_heard){
		.node = mesh->node,
		.via = mesh->port ? 0 : relayed_by(&p->relayed, mesh->node),
		.silent_wall_ns = heard_silent_since(&h->heard, mesh->node),
		.unsure = heard_is_unsure(&h->heard, mesh->node),
	};
	return !mesh->self && mesh->node && (out->via || out->silent_wall_ns || out->unsure);
}

static int
by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Rows of those that were told of and are not any more go, before others come. */
static void
forget(const struct sealed_heard *h, struct ring_writer *w, const struct sealed_peers *p)
{
	static uint32_t now[PEERS_MAX];
	struct msg_heard row;
	size_t count = 0;

	for (size_t i = 0; i < p->peers->mesh_count; i++)
		if (make_row(h, p, &p->peers->mesh[i], &row))
			now[count++] = row.node;
	qsort(now, count, sizeof(now[0]), by_number);
	for (size_t i = 0; i < h->told_count; i++)
		if (!bsearch(&h->told[i], now, count, sizeof(now[0]), by_number))
			ring_table_remove(w, MSG_TABLE_HEARD, h->told[i]);
}

/* So that it is known that all is said, also when that is nothing. */
static void
mark(struct sealed_heard *h, struct ring_writer *w)
{
	const struct msg_heard nothing = {0};

	if (!h->marked && ring_table_set(w, MSG_TABLE_HEARD, UINT64_MAX, &nothing, NULL) == RING_OK)
		h->marked = ring_table_remove(w, MSG_TABLE_HEARD, UINT64_MAX);
}

static bool
tell(struct sealed_heard *h, struct ring_writer *w, const struct sealed_peers *p)
{
	uint64_t version = ring_table_own_version(w, MSG_TABLE_HEARD);
	const struct peers *all = p->peers;

	ring_table_begin(w, MSG_TABLE_HEARD);
	mark(h, w);
	forget(h, w, p);
	h->told_count = 0;
	for (size_t i = 0; i < all->mesh_count; i++) {
		struct msg_heard row;

		if (make_row(h, p, &all->mesh[i], &row) &&
		    ring_table_set(w, MSG_TABLE_HEARD, row.node, &row, NULL) == RING_OK)
			h->told[h->told_count++] = row.node;
	}
	ring_table_commit(w, MSG_TABLE_HEARD);
	return ring_table_own_version(w, MSG_TABLE_HEARD) != version;
}

bool
sealed_heard_take(struct sealed_heard *h, struct ring_writer *w, const struct sealed_peers *p,
		  const struct setup *is)
{
	const struct heard_now now = {.mono_ns = world_mono_ns(), .wall_ns = world_wall_ns()};
	const struct peers *all = p->peers;
	static enum heard_how how[PEERS_MAX];

	for (size_t i = 0; i < all->mesh_count; i++)
		how[i] = how_is(p, &all->mesh[i]);
	heard_note(&h->heard, is, all->mesh, all->mesh_count, how, &now);
	return tell(h, w, p);
}
