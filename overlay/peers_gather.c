/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the peers are, from node.yaml and the scheduler's table. Rows are collected, put in order of
 * their nodes, and taken as long as nobody before has the same prefixes: the lower id has it, as
 * the scheduler judges. What was known of a node may have become another's since. Then they are put
 * in order of their names, so that the same peers are the same list. All of it takes time as the
 * number of peers does.
 */
#include "overlay/peers.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/text.h"
#include "ring/ring_rows.h"

/* Bytes of an address that its prefix has: all are /24 and /64 (peers_row_holds). */
enum { BYTES4 = 12 + 3, BYTES6 = 8 };

struct gathering {
	const struct peers *before;
	struct peers *made;
	struct map by_hand; /* names of the configuration */
	struct map known;   /* id -> row of `before` */
	struct map taken4, taken6;
	struct ring_rows rows; /* struct msg_mesh */
	bool failed;           /* no memory */
};

/* A /24 and a /64, as node asks of its own. */
bool
peers_row_holds(const struct msg_mesh *row)
{
	return MSG_OK(row->name) && row->name[0] && !addr_is_zero(&row->address) &&
	       addr_is_v4(&row->v4.base) && row->v4.bits == 120 && !addr_is_v4(&row->v6.base) &&
	       row->v6.bits == 64;
}

/* ---- rows ---- */

static void
collect(struct gathering *g, const struct msg_mesh *row)
{
	if (!row || map_get_str(&g->by_hand, row->name))
		return;
	g->failed |= !ring_rows_add(&g->rows, row);
}

static bool
take_row(void *arg, uint64_t key, const void *data)
{
	struct gathering *g = arg;
	const struct msg_mesh *row = data;

	(void)key;
	if (row->self) {
		g->made->self = row->node;
		g->made->rotate_wall_s = row->rotate_wall_s;
	} else if (row->v4.bits == 0) {
		/* One of whom the scheduler has not heard yet. */
		collect(g, map_get_u64(&g->known, row->node));
	} else if (peers_row_holds(row)) {
		collect(g, row);
	}
	return !g->failed;
}

/* What was said before, beside what the configuration has now. */
static void
take_before(struct gathering *g)
{
	g->made->rotate_wall_s = g->before->rotate_wall_s;
	g->made->self = g->before->self;
	for (size_t i = 0; i < g->before->mesh_count && !g->failed; i++)
		collect(g, &g->before->mesh[i]);
}

static int
by_node(const void *a, const void *b)
{
	const struct msg_mesh *const *x = a, *const *y = b;

	return ((*x)->node > (*y)->node) - ((*x)->node < (*y)->node);
}

static int
by_name(const void *a, const void *b)
{
	const struct msg_mesh *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Those that stay do so for the next ones. */
static bool
is_free(struct gathering *g, const struct msg_mesh *row)
{
	const uint8_t *four = row->v4.base.ip, *six = row->v6.base.ip;

	if (map_get(&g->taken4, four, BYTES4) || map_get(&g->taken6, six, BYTES6))
		return false;
	g->failed |= map_put(&g->taken4, four, BYTES4, g, NULL) < 0 ||
		     map_put(&g->taken6, six, BYTES6, g, NULL) < 0;
	return true;
}

/* Of too many the later names are left out. */
static void
choose(struct gathering *g)
{
	size_t stay = 0, most = PEERS_MAX - g->made->by_hand;
	const struct msg_mesh **rows = (const struct msg_mesh **)g->rows.items;

	if (g->rows.count == 0)
		return;
	qsort(rows, g->rows.count, sizeof(rows[0]), by_node);
	for (size_t i = 0; i < g->rows.count && !g->failed; i++)
		if (is_free(g, rows[i]))
			rows[stay++] = rows[i];
	qsort(rows, stay, sizeof(rows[0]), by_name);
	g->made->left_out = stay > most ? stay - most : 0;
	g->made->mesh_count = stay - g->made->left_out;
	for (size_t i = 0; i < g->made->mesh_count; i++)
		g->made->mesh[i] = *rows[i];
}

/* ---- peers ---- */

static void
peer_of(const struct msg_mesh *row, struct config_peer *out)
{
	memset(out, 0, sizeof(*out));
	text_copy(out->name, sizeof(out->name), row->name);
	out->address = row->address;
	out->address.port = 0;
	out->prefix4 = row->v4;
	out->prefix6 = row->v6;
}

/* Most of the room is empty. */
static void
copy(struct peers *to, const struct peers *from)
{
	memcpy(to->all, from->all, from->count * sizeof(from->all[0]));
	memcpy(to->mesh, from->mesh, from->mesh_count * sizeof(from->mesh[0]));
	to->count = from->count;
	to->by_hand = from->by_hand;
	to->mesh_count = from->mesh_count;
	to->left_out = from->left_out;
	to->self = from->self;
	to->rotate_wall_s = from->rotate_wall_s;
}

static void
begin(struct gathering *g, const struct config *config)
{
	struct peers *made = g->made;

	made->count = made->by_hand = made->self = 0;
	made->mesh_count = made->left_out = 0;
	made->rotate_wall_s = 0;
	ring_rows_init(&g->rows, MEM_OVERLAY);
	map_init(&g->by_hand, MEM_OVERLAY);
	map_init(&g->known, MEM_OVERLAY);
	map_init(&g->taken4, MEM_OVERLAY);
	map_init(&g->taken6, MEM_OVERLAY);
	for (uint32_t i = 0; config && i < config->overlay.peers_count; i++) {
		made->all[made->by_hand++] = config->overlay.peers[i];
		g->failed |= map_put_str(&g->by_hand, config->overlay.peers[i].name, g) < 0;
	}
	for (size_t i = 0; i < g->before->mesh_count && !g->failed; i++)
		g->failed |= map_put_u64(&g->known, g->before->mesh[i].node,
					 (void *)(uintptr_t)&g->before->mesh[i]) < 0;
}

static void
end(struct gathering *g)
{
	ring_rows_fini(&g->rows);
	map_fini(&g->by_hand);
	map_fini(&g->known);
	map_fini(&g->taken4);
	map_fini(&g->taken6);
}

bool
peers_gather(const struct config *config, const struct ring_reader *scheduler, struct peers *out)
{
	static struct peers made;
	struct gathering g = {.before = out, .made = &made};

	begin(&g, config);
	if (scheduler && ring_table_version(scheduler, MSG_TABLE_MESH) > 1)
		ring_table_each(scheduler, MSG_TABLE_MESH, take_row, &g);
	else
		take_before(&g);
	if (!g.failed)
		choose(&g);
	end(&g);
	if (g.failed) {
		log_event(LOG_ERROR, "no memory for the other nodes: they stay as they were",
			  LOG_END);
		return false;
	}
	made.count = made.by_hand;
	for (size_t i = 0; i < made.mesh_count; i++)
		peer_of(&made.mesh[i], &made.all[made.count++]);
	if (made.left_out && made.left_out != out->left_out)
		log_event(LOG_ERROR,
			  "the cluster has more nodes than this one can have peers: containers of "
			  "some are not reached",
			  log_u("most", PEERS_MAX), log_u("left_out", made.left_out), LOG_END);
	copy(out, &made);
	return true;
}
