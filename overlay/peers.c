/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers from node.yaml into the table and the book of names. A peer's id is made of its name, so
 * that counters and maps of the data path stay with it when the list changes.
 */
#include "overlay/peers.h"

#include <string.h>
#include "base/map.h"
#include "base/text.h"
#include "overlay/prefix.h"
#include "ring/msg.h"

struct ring_table_layout
peers_layout(void)
{
	return (struct ring_table_layout){
		.table = MSG_TABLE_PEER,
		.version = 1,
		.row_bytes = sizeof(struct msg_peer),
		.rows_max = PEERS_MAX,
	};
}

static uint64_t
id_of(const char *name)
{
	static const uint64_t key[2] = {UINT64_C(0x7a6c61796572), 5};

	return map_siphash(key, name, strlen(name)) | 1;
}

static void
row_of(const struct config_peer *from, struct msg_peer *out)
{
	memset(out, 0, sizeof(*out));
	out->id = id_of(from->name);
	text_copy(out->name, sizeof(out->name), from->name);
	out->address = from->address;
	out->v4 = from->prefix4;
	out->v6 = from->prefix6;
}

bool
peers_publish(struct ring_writer *w, const struct config *config)
{
	static uint64_t published[PEERS_MAX];
	static uint32_t published_count;
	uint32_t count = config->overlay.peers_count;
	uint64_t version = ring_table_own_version(w, MSG_TABLE_PEER);
	struct msg_peer row;

	ring_table_begin(w, MSG_TABLE_PEER);
	for (uint32_t i = 0; i < published_count; i++) {
		bool stays = false;

		for (uint32_t k = 0; k < count && !stays; k++)
			stays = id_of(config->overlay.peers[k].name) == published[i];
		if (!stays)
			ring_table_remove(w, MSG_TABLE_PEER, published[i]);
	}
	for (uint32_t i = 0; i < count; i++) {
		row_of(&config->overlay.peers[i], &row);
		(void)ring_table_set(w, MSG_TABLE_PEER, row.id, &row, NULL);
		published[i] = row.id;
	}
	published_count = count;
	ring_table_commit(w, MSG_TABLE_PEER);
	return ring_table_own_version(w, MSG_TABLE_PEER) != version;
}

void
peers_add_names(const struct config *config, struct names *names)
{
	for (uint32_t i = 0; i < config->overlay.peers_count; i++) {
		const struct config_peer *p = &config->overlay.peers[i];
		struct addr own4 = prefix_own(&p->prefix4), own6 = prefix_own(&p->prefix6);

		names_add_node(names, p->name, &own4, &own6);
	}
}
