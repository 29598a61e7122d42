/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_PEERS_H
#define OVERLAY_PEERS_H

/*
 * The other nodes: those that the configuration names, and those of the cluster, of which the
 * scheduler says where they are (table mesh). Where both have one of the same name the
 * configuration's goes before. They become the table peer, which the data path and node read, and
 * names.
 */

#include "overlay/names.h"
#include "ring/ring.h"
#include "spec/config.h"

enum { PEERS_MAX = MSG_PEERS_MAX };

struct peers {
	struct config_peer all[PEERS_MAX]; /* as configured, with those of the cluster behind */
	uint32_t count;
	uint32_t by_hand; /* how many of them are the configuration's */
	/* What the scheduler says of the others, in the same order. */
	struct msg_mesh mesh[PEERS_MAX];
	size_t mesh_count;
	size_t left_out;       /* nodes of the cluster that are too many, as of last */
	uint32_t self;         /* this node's id; 0: it is in no cluster */
	int64_t rotate_wall_s; /* struct msg_mesh, self */
};

struct ring_table_layout peers_layout(void);
/* Who they are now. config may be NULL, scheduler too; while that has not said anything, and of
 * those of whom it says so, `out` keeps the peers of the cluster that it had. More than PEERS_MAX
 * are left out, the later names, and that is said in the log. False: no memory, which is said too;
 * `out` is as it was. */
bool peers_gather(const struct config *config, const struct ring_reader *scheduler,
		  struct peers *out);
/* Makes the table say so, in one change. sealed: whether packets for a node of the cluster can be
 * sealed now; mtu: what is known of a peer's path, or 0. True when it said something else. */
bool peers_publish(struct ring_writer *w, const struct peers *p, bool (*sealed)(uint32_t node),
		   uint32_t (*mtu)(uint64_t id));
/* Whether a row of another node says where its packets go. */
bool peers_row_holds(const struct msg_mesh *row);
/* The id in that table. */
uint64_t peers_id(const char *name);
/* Probes go as this node's own packets do: of these ways, sealed. */
bool peers_probed_sealed(uint32_t ways);
/* Their names, for their own addresses in their prefixes, and the prefixes. */
void peers_add_names(const struct peers *p, struct names *names);
/* The prefix that the scheduler wants this node to have. False: as it is. */
bool peers_wish(const struct ring_reader *scheduler, struct addr_prefix *out);

#endif
