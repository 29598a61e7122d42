/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is behind an address: a row for each replica of the cluster, with the overlays that its
 * packets may take (docs/decisions/016-sealed-and-plain.md).
 *
 * The overlays are those of model_spec: they are no part of what a replica is made of, so that a
 * revision that changes nothing else counts for the replicas that run from the moment it is
 * deployed; a replica that is yet to be replaced keeps those that it was made with. A document that
 * cannot be had leaves the row as it is.
 *
 * A node speaks for addresses of its own prefix only: what it says of others is not published.
 * Replicas of this node stand in the table before they are claimed, at first without addresses:
 * the data path has those from the runtime itself, and a container does not start before.
 *
 * Containers of others (ring/msg_attachment.h) stand in it, too: those of this node as its runtime
 * says, those of the others as they say by gossip.
 *
 * When there are more than PUBLISH_IDENTITIES_MAX, this node's come first, then those that stand
 * in the table already; what is left out is dropped by the data path as nobody's, and said.
 */
#include "scheduler/publish_parts.h"

#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "ring/identity.h"
#include "scheduler/publish_table.h"
#include "scheduler/tidings.h"

struct pass {
	struct publish_table t;
	size_t count, left_out;
	bool known; /* guests of others: only those whose row is that node's already */
};

uint32_t
publish_identity_flags(const struct doc_overlays *o)
{
	return (o->service.enabled ? MSG_IDENTITY_SERVICE_ON : 0u) |
	       (o->service.encrypted ? MSG_IDENTITY_SERVICE_SEALED : 0u) |
	       (o->service.isolated ? MSG_IDENTITY_SERVICE_ISOLATED : 0u) |
	       (o->global.enabled ? MSG_IDENTITY_GLOBAL_ON : 0u) |
	       (o->global.encrypted ? MSG_IDENTITY_GLOBAL_SEALED : 0u) |
	       (o->global.isolated ? MSG_IDENTITY_GLOBAL_ISOLATED : 0u);
}

/* The address, or none when it is not for that replica's node to give. */
static struct addr
owned(const struct model *m, const struct replica *p, const struct addr *a)
{
	static const struct addr none;

	if (addr_is_zero(a) ||
	    (p->remote && m->hooks.owns && !m->hooks.owns(m->hooks.arg, p->node_id, a)))
		return none;
	return *a;
}

/* False: there is nothing to be said of it (yet). */
static bool
make_row(struct model *m, struct replica *p, struct msg_identity *out)
{
	const struct msg_identity *before =
		ring_table_own(m->writer, MSG_TABLE_IDENTITY, p->row.id);
	const struct doc_service *spec;

	*out = (struct msg_identity){
		.deployment = p->service->deployment->row.id,
		.service = p->service->row.id,
		.node = p->remote ? p->node_id : m->node_id,
	};
	if (p->remote || p->has_container) {
		out->addr4 = owned(m, p, &p->container.addr4);
		out->addr6 = owned(m, p, &p->container.addr6);
	}
	out->addr4.port = out->addr6.port = 0;
	if (addr_is_zero(&out->addr4) && addr_is_zero(&out->addr6) &&
	    (p->remote || !lifecycle_claim(&p->life)))
		return false;
	spec = model_spec(m, p);
	if (!spec && !before)
		return false;
	out->flags = spec ? publish_identity_flags(&spec->network.overlays) : before->flags;
	return true;
}

static void
put(struct pass *pass, struct replica *p)
{
	struct msg_identity row;

	if (!make_row(pass->t.m, p, &row))
		return;
	if (pass->count >= PUBLISH_IDENTITIES_MAX) {
		pass->left_out++;
		return;
	}
	pass->count++;
	publish_table_row(&pass->t, p->row.id, &row);
}

static void
put_own(struct publish_table *t, struct replica *p)
{
	if (!p->remote)
		put(container_of(t, struct pass, t), p);
}

static void
put_known(struct publish_table *t, struct replica *p)
{
	if (p->remote && map_get_u64(t->before, p->row.id))
		put(container_of(t, struct pass, t), p);
}

static void
put_new(struct publish_table *t, struct replica *p)
{
	if (p->remote && !map_get_u64(t->before, p->row.id))
		put(container_of(t, struct pass, t), p);
}

/* ---- containers of others ---- */

static void
put_guest(struct pass *pass, uint32_t node, uint64_t id, const struct tidings_guest *guest)
{
	const struct identity who = identity_of_network(guest->network);
	const struct msg_identity row = {
		.addr4 = guest->addr4,
		.addr6 = guest->addr6,
		.deployment = who.deployment,
		.service = who.service,
		.node = node,
		.flags = who.flags,
	};

	if (!msg_attachment_id(id))
		return;
	if (pass->count >= PUBLISH_IDENTITIES_MAX) {
		pass->left_out++;
		return;
	}
	pass->count++;
	publish_table_row(&pass->t, id, &row);
}

/* Whose id is another node's already, of this pass or of the one before, does not take it. */
static void
put_far_guest(void *arg, uint32_t node, uint64_t id, const struct tidings_guest *guest)
{
	struct pass *pass = arg;
	const struct msg_identity *before =
		ring_table_own(pass->t.m->writer, MSG_TABLE_IDENTITY, id);
	bool known = before && before->node == node;

	if (node != pass->t.m->node_id && known == pass->known &&
	    map_get_u64(pass->t.before, id) != (void *)pass->t.pass)
		put_guest(pass, node, id, guest);
}

static bool
put_own_guest(void *arg, uint64_t id, const void *bytes)
{
	struct pass *pass = arg;
	const struct msg_attachment *row = bytes;
	struct tidings_guest guest = {.addr4 = row->addr4, .addr6 = row->addr6};

	if (!MSG_OK(row->key.network))
		return true;
	text_copy(guest.network, sizeof(guest.network), row->key.network);
	put_guest(pass, pass->t.m->node_id, id, &guest);
	return true;
}

static void
put_far_guests(struct pass *pass)
{
	const struct model *m = pass->t.m;

	if (!m->hooks.guests)
		return;
	pass->known = true;
	m->hooks.guests(m->hooks.arg, put_far_guest, pass);
	pass->known = false;
	m->hooks.guests(m->hooks.arg, put_far_guest, pass);
}

static bool
knows_guests(const struct model *m)
{
	return m->runtime && ring_table_version(m->runtime, MSG_TABLE_ATTACHMENT) > 0;
}

/* A runtime that is started again has not lost them: their packets pass meanwhile. */
static void
keep_guests(struct pass *pass)
{
	const struct model *m = pass->t.m;
	uint64_t ids[MSG_ATTACHMENTS_MAX];
	struct map_iter it = {0};
	size_t count = 0;

	while (map_next(pass->t.before, &it) && count < MSG_ATTACHMENTS_MAX) {
		const struct msg_identity *row;

		memcpy(&ids[count], it.key, sizeof(ids[count]));
		row = ring_table_own(m->writer, MSG_TABLE_IDENTITY, ids[count]);
		count += msg_attachment_id(ids[count]) && row && row->node == m->node_id;
	}
	for (size_t i = 0; i < count; i++) {
		const struct msg_identity row = *(const struct msg_identity *)ring_table_own(
			m->writer, MSG_TABLE_IDENTITY, ids[i]);

		pass->count++;
		publish_table_row(&pass->t, ids[i], &row);
	}
}

static void
put_own_guests(struct pass *pass)
{
	if (knows_guests(pass->t.m))
		ring_table_each(pass->t.m->runtime, MSG_TABLE_ATTACHMENT, put_own_guest, pass);
	else
		keep_guests(pass);
}

static bool
count_guest(void *arg, uint64_t id, const void *row)
{
	(void)id, (void)row;
	++*(size_t *)arg;
	return true;
}

size_t
publish_identity_guests(const struct model *m)
{
	size_t count = 0;

	if (knows_guests(m))
		ring_table_each(m->runtime, MSG_TABLE_ATTACHMENT, count_guest, &count);
	return count;
}

static void
tell(struct model *m, size_t left_out)
{
	if (left_out && !m->nameless)
		log_event(LOG_ERROR,
			  "there are more replicas than the data path can know: those that are "
			  "left out are cut off",
			  log_u("left_out", left_out), log_u("max", PUBLISH_IDENTITIES_MAX),
			  LOG_END);
	m->nameless = left_out;
}

void
publish_identity(struct model *m)
{
	const struct msg_identity whole = {.node = m->node_id};
	struct pass pass = {0};

	publish_table_begin(&pass.t, m, MSG_TABLE_IDENTITY);
	publish_table_replicas(&pass.t, put_own);
	put_own_guests(&pass);
	publish_table_replicas(&pass.t, put_known);
	publish_table_replicas(&pass.t, put_new);
	put_far_guests(&pass);
	if (m->identity_whole)
		publish_table_row(&pass.t, MSG_IDENTITY_WHOLE, &whole);
	publish_table_commit(&pass.t);
	tell(m, pass.left_out);
}

/* The runtime has said what runs here, the nodes what runs there. Who reads it takes what is not
 * among the backends for gone: they come first. */
void
publish_identity_whole(struct model *m)
{
	if (m->identity_whole || !publish_traffic_settled(m) ||
	    (m->hooks.heard && !m->hooks.heard(m->hooks.arg)))
		return;
	m->identity_whole = true;
	publish_identity(m);
}
