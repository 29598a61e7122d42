/* SPDX-License-Identifier: Apache-2.0 */
/* What this node says of itself to the others; the core passes on only what is different. */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/text.h"
#include "scheduler/capacity.h"
#include "scheduler/placing.h"

static void
put_labels(const struct config_node *node, struct tidings_facts *out)
{
	for (uint32_t i = 0; i < node->labels_count && i < TIDINGS_LABELS_MAX; i++) {
		struct tidings_label *l = &out->labels[out->labels_count++];

		text_copy(l->key, sizeof(l->key), node->labels[i].key);
		text_copy(l->value, sizeof(l->value), node->labels[i].value);
	}
}

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

void
cluster_facts_of(struct cluster *c, struct tidings_facts *out)
{
	const struct config_reserve *reserve = &c->config->node.reserve;
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);
	*out = (struct tidings_facts){.draining = self && self->row.draining,
				      .passes_said = true,
				      .passes = CALLBACK_VERSION};
	text_copy(out->name, sizeof(out->name),
		  c->member ? c->keep.name : station_welcome(c->st)->node);
	text_copy(out->zone, sizeof(out->zone), c->config->node.zone);
	text_copy(out->version, sizeof(out->version), ZLAYER_VERSION);
	capacity_platform(out->platform, sizeof(out->platform));
	put_labels(&c->config->node, out);
	if (!c->m)
		return;
	out->cpu_milli = (uint32_t)less(c->m->node_cpu_milli, reserve->cpu_milli);
	out->memory_bytes = less(c->m->node_memory_bytes, reserve->memory_bytes);
	cluster_link_own(c, &out->address);
}

void
cluster_facts_load(struct cluster *c, struct tidings_load *out)
{
	const struct config_reserve *reserve = &c->config->node.reserve;
	struct store_status status;
	struct capacity_sum used;

	store_status(c->m->store, &status);
	capacity_used(c->m, &used);
	*out = (struct tidings_load){
		.cpu_free_milli = (uint32_t)less(less(c->m->node_cpu_milli, reserve->cpu_milli),
						 used.cpu_milli),
		.memory_free_bytes = less(less(c->m->node_memory_bytes, reserve->memory_bytes),
					  used.memory_bytes),
		.sequence = status.sequence,
	};
	if (c->placing)
		placing_free_room(c->placing, &out->cpu_free_milli, &out->memory_free_bytes);
}

/* A run that has ended is kept to be read; a drain does not wait for it. */
static bool
is_past(uint32_t job, uint32_t state)
{
	return job && (state == MSG_REPLICA_STOPPED || state == MSG_REPLICA_FAILED);
}

uint32_t
cluster_facts_replicas(struct cluster *c, uint32_t node)
{
	struct gossip_walk walk = {.node = node};
	struct tidings_replica r;
	struct gossip_entry e;
	uint32_t count = 0;

	while (c->gossip && gossip_each(c->gossip, &walk, &e))
		count +=
			e.type == TIDINGS_REPLICA && !(tidings_take_replica(e.value, e.bytes, &r) &&
						       is_past(r.flags & TIDINGS_JOB, r.state));
	return count;
}

uint32_t
cluster_facts_own_replicas(const struct cluster *c)
{
	struct map_iter it = {0};
	uint32_t count = 0;

	while (map_next(&c->m->replicas, &it)) {
		const struct replica *p = it.value;

		count += !p->remote && !is_past(p->row.job, p->life.state);
	}
	return count;
}

static void
put(struct cluster *c, uint16_t type, const struct tidings_value *value)
{
	c->put |= gossip_put(c->gossip, type, TIDINGS_ONE, value->data, value->bytes) == GOSSIP_OK;
}

void
cluster_facts_put(struct cluster *c)
{
	struct tidings_facts facts;
	struct tidings_load load;
	struct tidings_value value;
	struct err err = {0};

	if (!c->gossip)
		return;
	cluster_facts_of(c, &facts);
	if (tidings_put_facts(&facts, &value, &err) == 0)
		put(c, TIDINGS_FACTS, &value);
	else if (!c->unsaid)
		log_err(LOG_WARN, "the others do not hear what this node is", &err);
	c->unsaid = err.kind != ERR_NONE;
	cluster_facts_load(c, &load);
	tidings_put_load(&load, &value);
	put(c, TIDINGS_LOAD, &value);
}
