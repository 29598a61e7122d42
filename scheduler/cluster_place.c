/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placement upon the cluster: the core goes into the shell before gossip's, so that claims and
 * replicas are among the first things that this process says; the roster's rows, facts and states
 * go to it at the ends of turns, and entries of gossip as they come.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include <sys/stat.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/world.h"
#include "scheduler/place/placement.h"
#include "scheduler/placing.h"

enum { TEXT_BYTES = 2 * MSG_PAIRS };

/* ---- the link ---- */

static void
local(void *arg, uint16_t what, uint64_t token, const void *data, size_t bytes)
{
	struct cluster *c = arg;

	if (c->shell)
		shell_local(c->shell, PLACING_SERVICE, what, token, data, bytes);
}

static void
put(void *arg, uint16_t type, uint64_t id, const struct tidings_value *v)
{
	struct cluster *c = arg;
	enum gossip_result result = gossip_put(c->gossip, type, id, v->data, v->bytes);

	c->put |= result == GOSSIP_OK;
	if (result != GOSSIP_OK && result != GOSSIP_UNCHANGED)
		log_event(LOG_WARN, "the others do not hear all of what this node has",
			  log_u("type", type), LOG_END);
}

static void
drop(void *arg, uint16_t type, uint64_t id)
{
	struct cluster *c = arg;

	c->put |= gossip_drop(c->gossip, type, id) == GOSSIP_OK;
}

static void
again(void *arg, uint32_t node)
{
	struct cluster *c = arg;
	struct gossip_walk walk = {.node = node};
	struct gossip_entry e;

	while (gossip_each(c->gossip, &walk, &e))
		placing_entry(c->placing, e.node, e.type, e.id, e.value, e.bytes);
}

static void
stir(void *arg)
{
	struct cluster *c = arg;

	model_stir(c->m);
}

static void
flush_drains(void *arg)
{
	struct cluster *c = arg;

	if (c->shell)
		shell_local(c->shell, DRAINS_SERVICE, 0, 0, NULL, 0);
}

static bool
has_device(void *arg, const char *path)
{
	struct stat st;

	(void)arg;
	return stat(path, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode));
}

/* ---- nodes ---- */

static void
add_line(char *text, const char *line)
{
	size_t used = strlen(text);

	text_format(text + used, TEXT_BYTES - used, "%s%s", used ? "\n" : "", line);
}

/* A label set by hand goes before that of node.yaml. */
static bool
has_key(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *at = text; at && *at;) {
		if (strncmp(at, key, length) == 0 &&
		    (at[length] == '=' || at[length] == '\n' || at[length] == '\0'))
			return true;
		at = strchr(at, '\n');
		at += at != NULL;
	}
	return false;
}

static void
merge_labels(const struct store_node *row, const struct tidings_facts *facts, char *out)
{
	char line[2 * TIDINGS_WORD];

	text_copy(out, TEXT_BYTES, row->labels);
	for (size_t i = 0; i < facts->labels_count; i++) {
		if (has_key(row->labels, facts->labels[i].key))
			continue;
		text_format(line, sizeof(line), "%s=%s", facts->labels[i].key,
			    facts->labels[i].value);
		add_line(out, line);
	}
}

static void
merge_taints(const struct store_node *row, const struct tidings_facts *facts, char *out)
{
	text_copy(out, TEXT_BYTES, row->taints);
	for (size_t i = 0; i < facts->taints_count; i++) {
		if (!has_key(row->taints, facts->taints[i]))
			add_line(out, facts->taints[i]);
	}
}

bool
cluster_place_waits(const struct cluster *c, const struct cluster_node *n)
{
	uint64_t ns = c->config->cluster.reschedule_after_ms * UINT64_C(1000000);

	return n->state == GOSSIP_DEAD && n->since_ns && world_mono_ns() - n->since_ns < ns;
}

static enum placing_state
state_of(const struct cluster *c, const struct cluster_node *n)
{
	/* It may come back (`cluster.reschedule_after`): it gets nothing and loses nothing. */
	if (cluster_place_waits(c, n))
		return PLACING_SUSPECT;
	switch (n->state) {
	case GOSSIP_UNKNOWN:
		return PLACING_NEW;
	case GOSSIP_ALIVE:
		/* Before it says what it is, it gets nothing and loses nothing. */
		return n->has_facts ? PLACING_ALIVE : PLACING_SUSPECT;
	case GOSSIP_SUSPECT:
		return PLACING_SUSPECT;
	case GOSSIP_DEAD:
	case GOSSIP_LEFT:
		break;
	}
	return PLACING_DEAD;
}

static void
give_node(struct cluster *c, struct cluster_node *n)
{
	static struct tidings_facts own;
	static char labels[TEXT_BYTES], taints[TEXT_BYTES];
	const struct tidings_facts *facts = &n->facts;
	bool self = n->row.node == c->keep.node;

	if (self) {
		cluster_facts_of(c, &own);
		facts = &own;
	}
	merge_labels(&n->row, facts, labels);
	merge_taints(&n->row, facts, taints);
	const struct placing_node node = {
		.id = n->row.node,
		.name = n->row.name,
		.zone = facts->zone,
		.platform = facts->platform,
		.cpu_milli = facts->cpu_milli,
		.memory_bytes = facts->memory_bytes,
		.labels = labels,
		.taints = taints,
		.cordoned = facts->cordoned,
		.draining = n->row.draining || facts->draining,
		.drain_until_wall_ns = n->row.drain_until_wall_ns,
	};
	if (placing_node_set(c->placing, &node) < 0) {
		log_event(LOG_ERROR, "no room for a node of the cluster",
			  log_u("node", n->row.node), LOG_END);
		return;
	}
	placing_node_stuck(c->placing, n->row.node,
			   self ? c->voters.stuck
				: n->has_voter && n->voter.flags & TIDINGS_VOTER_STUCK);
	if (self)
		return;
	placing_node_state(c->placing, n->row.node, state_of(c, n));
	if (n->has_facts && n->load.sequence)
		placing_node_load(c->placing, n->row.node, n->load.cpu_free_milli,
				  n->load.memory_free_bytes);
}

void
cluster_place_nodes(struct cluster *c)
{
	struct map_iter it = {0};

	if (!c->placing)
		return;
	while (map_next(&c->nodes, &it)) {
		struct cluster_node *n = it.value;

		if (n->row.removed)
			placing_node_remove(c->placing, n->row.node);
		else
			give_node(c, n);
	}
}

/* ---- begin and end ---- */

static void
say_running(struct cluster *c)
{
	struct map_iter it = {0};
	uint64_t *numbers =
		mem_array(MEM_SCHEDULER, map_count(&c->m->replicas) + 1, sizeof(*numbers));
	size_t count = 0;

	while (numbers && map_next(&c->m->replicas, &it)) {
		const struct replica *r = it.value;

		if (!r->remote && r->claim)
			numbers[count++] = r->claim;
	}
	if (numbers)
		local(c, PLACEMENT_RUNNING, 0, numbers, count * sizeof(*numbers));
	mem_free(numbers);
}

int
cluster_place_begin(struct cluster *c, struct err *err)
{
	const struct placing_link link = {c, local, put, drop, again, stir, has_device};
	struct shell_core core;
	struct world world;

	world_real(&world);
	if (placing_found(c->m, c->keep.node, c->folder, err) < 0 ||
	    placing_new(c->m, c->keep.node, world_random_u64(&world), &link, err) < 0)
		return -1;
	c->placing = c->m->placing;
	c->drains.arg = c;
	c->drains.stir = stir;
	c->drains.flush = flush_drains;
	placing_core(c->placing, &core);
	if (shell_add(c->shell, &core, err) < 0)
		return -1;
	drains_core(&c->drains, &core);
	if (shell_add(c->shell, &core, err) < 0)
		return -1;
	c->m->drains = &c->drains;
	cluster_place_nodes(c);
	say_running(c);
	placing_tell_all(c->placing);
	return 0;
}

/* The shell may look at the core until the loop has let go of it. */
void
cluster_place_end(struct cluster *c)
{
	if (c->placing) {
		c->m->placing = NULL;
		c->m->drains = NULL;
	}
}

/* ---- what gossip tells ---- */

void
cluster_place_entry(struct cluster *c, const struct gossip_tell_entry *told, const void *value)
{
	if (c->placing)
		placing_entry(c->placing, told->node, told->type, told->id,
			      told->dropped ? NULL : value, told->bytes);
}

void
cluster_place_reset(struct cluster *c, uint32_t node)
{
	if (c->placing)
		placing_reset(c->placing, node);
}

void
cluster_place_lost(struct cluster *c)
{
	if (c->placing)
		placing_again(c->placing);
}
