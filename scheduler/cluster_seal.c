/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nodes seal their containers' traffic with. Each node's WireGuard key is made by its overlay
 * and said by gossip (ipam.h); what makes a key good for anything is the preshared key of the pair,
 * which follows from the X25519 keys that admission certified (docs/decisions/016). Those keys are
 * this process's, so it computes them, and gives overlay the result over the leash, in a sealed
 * file: never over the ring, which others read.
 */
#include "scheduler/cluster_inside.h"

#include <errno.h>
#include <string.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/event.h"

static const char purpose[] = "zlayer-wg-psk-1";

/* The version of a table that its producer has not committed yet. */
enum { UNSAID = 1 };

static const struct msg_sealed *
own_row(const struct cluster *c)
{
	struct ring_reader *overlay = station_reader(c->st, ROLE_OVERLAY, 0);

	return overlay ? ring_table_get(overlay, MSG_TABLE_SEALED, 1) : NULL;
}

/* While dataplane is replaced what it has put into the kernel goes on. */
static void
read_datapath(struct cluster *c)
{
	const struct msg_datapath *row =
		c->m->dataplane ? ring_table_get(c->m->dataplane, MSG_TABLE_DATAPATH, 1) : NULL;

	if (row)
		c->ways.clients = row->across != 0;
}

static const struct msg_tunnel *
own_tunnel(const struct cluster *c)
{
	return c->m->supervisor ? ring_table_get(c->m->supervisor, MSG_TABLE_TUNNEL, 1) : NULL;
}

static uint32_t
backend(const struct cluster *c)
{
	const struct msg_tunnel *t = own_tunnel(c);

	return t ? t->backend : 0;
}

/* The key changes as its file says, whoever reads this: what was before this process is not told.
 */
static void
tell_keys(struct cluster *c, const struct msg_sealed *row)
{
	static const uint8_t none[MSG_KEY];
	const struct ipam_ways *w = &c->ways;

	if (!c->member || memcmp(w->key, none, sizeof(none)) == 0)
		return;
	if (memcmp(row->next_key, none, sizeof(none)) != 0 &&
	    memcmp(row->next_key, w->next_key, sizeof(w->next_key)) != 0)
		event_node(c->m, "node.rotating", LOG_INFO, NULL,
			   "%s has made another key of its sealed traffic, and tells the others",
			   c->keep.name);
	if (memcmp(row->key, w->key, sizeof(w->key)) != 0)
		event_node(c->m, "node.rotated", LOG_INFO, NULL,
			   "%s uses its new key of sealed traffic", c->keep.name);
}

void
cluster_seal_read(struct cluster *c)
{
	const struct msg_sealed *row = own_row(c);
	const struct config_listeners *listen = &c->config->listen;
	struct ipam_ways *w = &c->ways;

	w->said = true;
	w->plain = listen->vxlan.on;
	w->trusted = !c->config->cluster.encrypt;
	read_datapath(c);
	w->kernel = backend(c) == MSG_BACKEND_KERNEL;
	w->port = listen->overlay.on && !c->config->node.advertise_none ? listen->overlay.addr.port
									: 0;
	c->ways_read |= !cluster_seal_waits(c);
	/* While overlay is replaced its keys stay: its successor has the same. One that is about to
	 * serve has no row yet. */
	if (listen->overlay.on && (!row || (!row->serves && !row->reason.kind)))
		return;
	if (listen->overlay.on && row->serves)
		tell_keys(c, row);
	memset(w->key, 0, sizeof(w->key));
	memset(w->next_key, 0, sizeof(w->next_key));
	if (!row || !row->serves || !listen->overlay.on)
		return;
	memcpy(w->key, row->key, sizeof(w->key));
	memcpy(w->next_key, row->next_key, sizeof(w->next_key));
}

bool
cluster_seal_waits(const struct cluster *c)
{
	const struct ring_reader *overlay = station_reader(c->st, ROLE_OVERLAY, 0);

	return c->config->listen.overlay.on &&
	       (!overlay || ring_table_version(overlay, MSG_TABLE_SEALED) <= UNSAID) &&
	       !c->ways_read;
}

bool
cluster_seal_why(const struct cluster *c, struct err *err)
{
	const struct msg_sealed *row = own_row(c);

	if (!c->config->listen.overlay.on) {
		err_set(err, ERR_UNSUPPORTED, "this node has no sealed way to the others");
		err_why(err, "`listen.overlay` is off");
		err_fix(err, "give `listen.overlay` an address in node.yaml, then reload");
		return true;
	}
	const struct msg_tunnel *t = own_tunnel(c);
	if (row && row->serves)
		return false;
	err_set(err, ERR_UNSUPPORTED, "this node has no sealed way to the others");
	if (t && t->reason.kind)
		err_why(err, "%s", t->reason.what);
	else if (row && row->reason.kind)
		err_why(err, "%s", row->reason.what);
	return true;
}

/* ---- pairs ---- */

static bool
make_pair(struct cluster *c, struct cluster_node *n)
{
	struct err err = {0};

	if (n->has_pair && memcmp(n->pair_of, n->row.gossip_public, sizeof(n->pair_of)) == 0)
		return true;
	n->has_pair = false;
	memcpy(n->pair_of, n->row.gossip_public, sizeof(n->pair_of));
	if (envelope_pair_key(&c->self, n->row.node, n->row.gossip_public, purpose, n->pair, &err) <
	    0)
		log_err(LOG_WARN, "a node of the cluster gets no sealed traffic", &err);
	else
		n->has_pair = true;
	return n->has_pair;
}

static size_t
gather(struct cluster *c, struct leash_pair *out, size_t max)
{
	struct map_iter it = {0};
	size_t count = 0;

	while (map_next(&c->nodes, &it) && count < max) {
		struct cluster_node *n = it.value;

		if (n->row.node == c->keep.node || n->row.node == 0 || n->row.removed ||
		    !make_pair(c, n))
			continue;
		out[count].node = n->row.node;
		memcpy(out[count++].key, n->pair, sizeof(n->pair));
	}
	return count;
}

static void
give(struct cluster *c, const struct leash_pair *pairs, size_t count)
{
	struct leash_message message;
	struct err err = {0};
	defer_close int fd = fd_memfd_sealed("pairs", pairs, count * sizeof(*pairs));

	leash_init(&message, LEASH_PAIRS);
	message.to_role = ROLE_OVERLAY;
	if (fd < 0)
		(void)err_sys(&err, errno, "cannot make a file for them");
	if (fd < 0 || station_send(c->st, &message, &fd, 1, &err) < 0) {
		log_err(LOG_WARN, "overlay does not get the keys of sealed traffic", &err);
		c->pairs_digest = 0;
	}
}

void
cluster_seal_pairs(struct cluster *c)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 8};
	struct ring_reader *overlay = station_reader(c->st, ROLE_OVERLAY, 0);
	size_t room = map_count(&c->nodes);

	if (!overlay || !c->has_self || room == 0)
		return;
	room = room < LEASH_PAIRS_MAX ? room : LEASH_PAIRS_MAX;
	struct leash_pair *pairs = mem_array(MEM_SCHEDULER, room, sizeof(*pairs));
	if (!pairs)
		return; /* once more in a second */
	size_t count = gather(c, pairs, room);
	uint64_t digest = map_siphash(key, pairs, count * sizeof(*pairs)) | 1;
	uint32_t generation = ring_reader_generation(overlay);
	if (digest != c->pairs_digest || generation != c->pairs_generation) {
		c->pairs_digest = digest;
		c->pairs_generation = generation;
		give(c, pairs, count);
	}
	mem_wipe(pairs, room * sizeof(*pairs));
	mem_free(pairs);
}
