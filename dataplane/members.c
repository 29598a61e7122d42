/* SPDX-License-Identifier: Apache-2.0 */
/* Rows by what they are found by. */
#include "dataplane/members.h"

#include <string.h>

enum { PLACE_BYTES = 17 };

static void
place_of(const struct addr_prefix *p, uint8_t out[PLACE_BYTES])
{
	memcpy(out, p->base.ip, 16);
	out[16] = p->bits;
}

static bool
add_row(void *arg, uint64_t key, const void *data)
{
	const struct msg_mesh *row = data;
	struct members *m = arg;
	uint8_t place[PLACE_BYTES];

	(void)key;
	if (row->self)
		return true;
	place_of(&row->v4, place);
	if (row->v4.bits != 0)
		m->said = map_put(&m->by_prefix, place, sizeof(place), m, NULL) == 0;
	else if (MSG_OK(row->name))
		m->said = map_put_str(&m->by_name, row->name, m) == 0;
	return m->said;
}

void
members_init(struct members *m, const struct ring_reader *scheduler)
{
	map_init(&m->by_prefix, MEM_DATAPLANE);
	map_init(&m->by_name, MEM_DATAPLANE);
	m->said = scheduler && ring_table_version(scheduler, MSG_TABLE_MESH) > 1;
	if (m->said)
		ring_table_each(scheduler, MSG_TABLE_MESH, add_row, m);
}

void
members_fini(struct members *m)
{
	map_fini(&m->by_prefix);
	map_fini(&m->by_name);
}

enum members_answer
members_is(const struct members *m, const struct msg_peer *peer)
{
	uint8_t place[PLACE_BYTES];

	if (!m->said)
		return MEMBERS_AS_BEFORE;
	place_of(&peer->v4, place);
	if (map_get(&m->by_prefix, place, sizeof(place)) ||
	    (MSG_OK(peer->name) && map_get_str(&m->by_name, peer->name)))
		return MEMBERS_YES;
	return MEMBERS_NO;
}
