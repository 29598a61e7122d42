/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as they are, checked one by one when they are read: a file may be of anybody's making. */
#include "overlay/peers_keep.h"

#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/map.h"

struct head {
	char magic[8];
	uint32_t row_bytes, rows, self, pad_;
	int64_t rotate_wall_s;
	uint64_t check;
};

_Static_assert(sizeof(struct head) == PEERS_KEEP_HEAD, "written as it is");
_Static_assert(PEERS_KEEP_HEAD + PEERS_MAX * sizeof(struct msg_mesh) <= PEERS_KEEP_BYTES_MAX,
	       "all of them have room");

static const char file[] = "mesh";
static const char magic[8] = "zlMesh1";

static uint64_t
check_of(const void *rows, size_t bytes)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 12};

	return map_siphash(key, rows, bytes);
}

bool
peers_keep_put(const struct peers *p, struct buf *out)
{
	const size_t bytes = p->mesh_count * sizeof(p->mesh[0]);
	struct head h = {.row_bytes = sizeof(p->mesh[0]),
			 .rows = (uint32_t)p->mesh_count,
			 .self = p->self,
			 .rotate_wall_s = p->rotate_wall_s,
			 .check = check_of(p->mesh, bytes)};

	memcpy(h.magic, magic, sizeof(magic));
	buf_put(out, &h, sizeof(h));
	buf_put(out, p->mesh, bytes);
	return buf_ok(out);
}

struct taking {
	uint32_t self;
	struct map nodes, names; /* of rows that hold */
};

/* Each name and id once, and none of this node itself; none without memory. */
static bool
holds(struct taking *t, const struct msg_mesh *row)
{
	if (row->self || row->node == 0 || row->node == t->self || !peers_row_holds(row) ||
	    map_get_u64(&t->nodes, row->node) || map_get_str(&t->names, row->name))
		return false;
	return map_put_u64(&t->nodes, row->node, t) == 0 &&
	       map_put_str(&t->names, row->name, t) == 0;
}

static void
take_rows(const uint8_t *at, uint32_t count, struct peers *p)
{
	struct taking t = {.self = p->self};

	map_init(&t.nodes, MEM_OVERLAY);
	map_init(&t.names, MEM_OVERLAY);
	for (uint32_t i = 0; i < count; i++) {
		struct msg_mesh row;

		memcpy(&row, at + i * sizeof(row), sizeof(row));
		if (holds(&t, &row))
			p->mesh[p->mesh_count++] = row;
	}
	map_fini(&t.nodes);
	map_fini(&t.names);
}

bool
peers_keep_take(const void *data, size_t bytes, struct peers *p)
{
	const uint8_t *rows = (const uint8_t *)data + PEERS_KEEP_HEAD;
	struct head h;

	if (bytes < sizeof(h))
		return false;
	memcpy(&h, data, sizeof(h));
	if (memcmp(h.magic, magic, sizeof(magic)) != 0 || h.row_bytes != sizeof(p->mesh[0]) ||
	    h.rows > PEERS_MAX || bytes - sizeof(h) != h.rows * sizeof(p->mesh[0]) ||
	    h.check != check_of(rows, bytes - sizeof(h)))
		return false;
	p->self = h.self;
	p->rotate_wall_s = h.rotate_wall_s;
	take_rows(rows, h.rows, p);
	return true;
}

/* ---- the file ---- */

static uint64_t written; /* of what stands there; 0: not known */

void
peers_keep_load(int folder, struct peers *p)
{
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_OVERLAY, PEERS_KEEP_BYTES_MAX);
	if (fd_read_file(folder, file, &b, &err) == 0) {
		if (peers_keep_take(b.data, b.length, p))
			written = check_of(b.data, b.length) | 1;
		else
			log_event(LOG_INFO,
				  "what was known of the cluster's nodes is not of this version",
				  LOG_END);
	} else if (err.kind != ERR_NOT_FOUND) {
		log_err(LOG_WARN, "what was known of the cluster's nodes cannot be read", &err);
	}
	buf_fini(&b);
}

void
peers_keep_save(int folder, const struct peers *p)
{
	struct err err = {0};
	struct buf b;

	buf_init(&b, MEM_OVERLAY, PEERS_KEEP_BYTES_MAX);
	if (peers_keep_put(p, &b)) {
		uint64_t now = check_of(b.data, b.length) | 1;

		if (now != written && (p->self || p->mesh_count || written)) {
			if (fd_replace(folder, file, b.data, b.length, 0600, &err) == 0)
				written = now;
			else
				log_err(LOG_WARN,
					"what is known of the cluster's nodes is not kept", &err);
		}
	}
	buf_fini(&b);
}
