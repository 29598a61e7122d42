/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of containers of others on other nodes, for this node's name server; those of this node
 * it has from the runtime. A row is of the node that has the id in table identity, which comes
 * first in a pass: what is nobody's for the data path has no name either. Of more than
 * PUBLISH_GUESTS_MAX those stay that have a row.
 */
#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/publish_parts.h"
#include "scheduler/publish_table.h"
#include "scheduler/tidings.h"

struct pass {
	struct publish_table t;
	size_t count, left_out;
	bool known; /* only those that have a row, or only the others */
};

static bool
is_of(const struct model *m, uint32_t node, uint64_t id)
{
	const struct msg_identity *row = ring_table_own(m->writer, MSG_TABLE_IDENTITY, id);

	return row && row->node == node && node != m->node_id;
}

static void
put(void *arg, uint32_t node, uint64_t id, const struct tidings_guest *guest)
{
	struct pass *pass = arg;
	struct msg_guest row = {.addr4 = guest->addr4, .addr6 = guest->addr6, .node = node};
	bool known = ring_table_own(pass->t.m->writer, MSG_TABLE_GUEST, id) != NULL;

	if (known != pass->known || !msg_attachment_id(id) || !is_of(pass->t.m, node, id) ||
	    map_get_u64(pass->t.before, id) == (void *)pass->t.pass ||
	    !text_is_label(guest->network) || !text_is_label(guest->name))
		return;
	if (pass->count == PUBLISH_GUESTS_MAX) {
		pass->left_out++;
		return;
	}
	pass->count++;
	text_copy(row.network, sizeof(row.network), guest->network);
	text_copy(row.name, sizeof(row.name), guest->name);
	publish_table_row(&pass->t, id, &row);
}

static void
tell(struct model *m, size_t left_out)
{
	if (left_out && !m->guests_left_out)
		log_event(LOG_WARN, "more containers of others have names than can be known here",
			  log_u("left_out", left_out), log_u("max", PUBLISH_GUESTS_MAX), LOG_END);
	m->guests_left_out = left_out;
}

void
publish_guests(struct model *m)
{
	struct pass pass = {.known = true};

	publish_table_begin(&pass.t, m, MSG_TABLE_GUEST);
	if (m->hooks.guests) {
		m->hooks.guests(m->hooks.arg, put, &pass);
		pass.known = false;
		m->hooks.guests(m->hooks.arg, put, &pass);
	}
	publish_table_commit(&pass.t);
	tell(m, pass.left_out);
}
