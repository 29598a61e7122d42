/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers of others (podman, containerd) in a cluster: each node says which it has, because the
 * data paths of all must know who is behind an address (publish_identity.c), and their name servers
 * by which name (publish_guests.c). What a node says
 * counts for addresses of its own prefixes only.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/text.h"

static bool
say(void *arg, uint64_t id, const void *bytes)
{
	struct cluster *c = arg;
	const struct msg_attachment *row = bytes;
	struct tidings_guest guest = {.addr4 = row->addr4, .addr6 = row->addr6};
	struct tidings_value v;

	if (!MSG_OK(row->key.network))
		return true;
	text_copy(guest.network, sizeof(guest.network), row->key.network);
	if (MSG_OK(row->name))
		text_copy(guest.name, sizeof(guest.name), row->name);
	tidings_put_guest(&guest, &v);
	enum gossip_result result = gossip_put(c->gossip, TIDINGS_GUEST, id, v.data, v.bytes);
	c->put |= result == GOSSIP_OK;
	if (result != GOSSIP_OK && result != GOSSIP_UNCHANGED)
		log_event(LOG_WARN, "the others do not hear of a container of others here",
			  log_u("id", id), LOG_END);
	return true;
}

/* One at a time: dropping ends the walk. */
static bool
drop_one(struct cluster *c, const struct ring_reader *runtime)
{
	struct gossip_walk walk = {.node = c->keep.node};
	struct gossip_entry e;

	while (gossip_each(c->gossip, &walk, &e)) {
		if (e.type != TIDINGS_GUEST || ring_table_get(runtime, MSG_TABLE_ATTACHMENT, e.id))
			continue;
		c->put |= gossip_drop(c->gossip, TIDINGS_GUEST, e.id) == GOSSIP_OK;
		return true;
	}
	return false;
}

void
cluster_guests_say(struct cluster *c)
{
	const struct ring_reader *runtime = c->m->runtime;

	/* Its first word says all that it has. */
	if (!c->gossip || !runtime || ring_table_version(runtime, MSG_TABLE_ATTACHMENT) == 0)
		return;
	for (size_t i = 0; i < MSG_ATTACHMENTS_MAX && drop_one(c, runtime); i++)
		continue;
	ring_table_each(runtime, MSG_TABLE_ATTACHMENT, say, c);
}

void
cluster_guests(const struct cluster *c, model_guest_fn visit, void *visit_arg)
{
	struct gossip_walk walk = {0};
	struct tidings_guest guest;
	struct gossip_entry e;

	while (c->member && c->gossip && gossip_each(c->gossip, &walk, &e)) {
		if (e.type != TIDINGS_GUEST || e.node == c->keep.node ||
		    !tidings_take_guest(e.value, e.bytes, &guest))
			continue;
		if (!cluster_owns(c, e.node, &guest.addr4))
			memset(&guest.addr4, 0, sizeof(guest.addr4));
		if (!cluster_owns(c, e.node, &guest.addr6))
			memset(&guest.addr6, 0, sizeof(guest.addr6));
		if (!addr_is_zero(&guest.addr4) || !addr_is_zero(&guest.addr6))
			visit(visit_arg, e.node, e.id, &guest);
	}
}
