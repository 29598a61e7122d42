/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of nodes beside the store: who is in the cluster, and where, for a process that finds no
 * row of it. It comes with the admission, and is written again when the rows say otherwise; so a
 * node whose store's file is gone finds the others, and copies theirs.
 *
 * It also tells a founder that has just begun from one whose file is gone: nobody can have joined
 * the first. What is empty is never taken for the store of a cluster that has others.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"

void
cluster_list_node(const struct store_node *row, struct admission_node *out)
{
	memset(out, 0, sizeof(*out)); /* what is between its fields is hashed, too */
	out->id = row->node;
	out->removed = row->removed != 0;
	out->keeper = row->keeper != 0;
	text_copy(out->name, sizeof(out->name), row->name);
	memcpy(out->sign_public, row->sign_public, IDENTITY_KEY);
	memcpy(out->gossip_public, row->gossip_public, IDENTITY_KEY);
	(void)addr_parse(row->address, &out->address);
}

static void
gather(const struct cluster *c, struct buf *out, uint64_t *sum)
{
	static const uint64_t key[2] = {1, 1};
	struct map_iter it = {0};

	*sum = 1;
	while (map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;
		struct admission_node node;

		if (n->row.id == 0 || n->row.removed || n->row.node == c->keep.node)
			continue;
		cluster_list_node(&n->row, &node);
		buf_put(out, &node, sizeof(node));
		*sum += map_siphash(key, &node, sizeof(node)); /* in any order */
	}
}

void
cluster_list_keep(struct cluster *c)
{
	struct err err = {0};
	struct buf nodes;
	uint64_t sum;

	if (!c->member || c->row.id == 0)
		return;
	buf_init(&nodes, MEM_SCHEDULER, ADMISSION_NODES_MAX * sizeof(struct admission_node));
	gather(c, &nodes, &sum);
	if (sum != c->list_sum && buf_ok(&nodes)) {
		if (cluster_keep_put_nodes(c->folder, (const void *)nodes.data,
					   nodes.length / sizeof(struct admission_node), &err) == 0)
			c->list_sum = sum;
		else
			log_err(LOG_WARN, "the list of nodes cannot be written", &err);
	}
	buf_fini(&nodes);
}

void
cluster_list_begin(struct cluster *c)
{
	struct admission_answer list;
	struct err ignored = {0};
	struct map listed;
	struct buf bytes;

	map_init(&listed, MEM_SCHEDULER);
	buf_init(&bytes, MEM_SCHEDULER, CLUSTER_KEEP_NODES_MAX);
	int rc = cluster_keep_get_nodes(c->folder, &bytes, &list, &ignored);
	/* Without memory one is told of again. */
	for (size_t i = 0; rc == 0 && i < list.nodes_count; i++)
		(void)!map_put_u64(&listed, list.nodes[i].id, c);
	admission_answer_fini(&list);
	buf_fini(&bytes);
	c->listed = &listed;
	cluster_roster_read(c);
	c->listed = NULL;
	map_fini(&listed);
}

int
cluster_list_others(const struct cluster *c, bool *out, struct err *err)
{
	struct admission_answer list;
	struct err why = {0};
	struct buf bytes;

	*out = false;
	buf_init(&bytes, MEM_SCHEDULER, CLUSTER_KEEP_NODES_MAX);
	int rc = cluster_keep_get_nodes(c->folder, &bytes, &list, &why);
	for (size_t i = 0; rc == 0 && i < list.nodes_count; i++)
		*out |= list.nodes[i].id != c->keep.node;
	admission_answer_fini(&list);
	buf_fini(&bytes);
	if (rc < 0 && why.kind != ERR_NOT_FOUND) {
		*err = why;
		return -1;
	}
	return 0;
}
