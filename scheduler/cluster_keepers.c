/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The authority's key goes from keeper to keeper. Rows say who is to have it; a node that finds
 * itself among them asks one that has it, by the channel on which both have shown who they are, and
 * takes it if it is that of its own cluster. It is in the identity's file and nowhere else. Who is
 * to be the next is said by the keeper that was admitted first of those that live
 * (scheduler/keepers.h); two that take themselves for that one write the same row.
 */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/world.h"
#include "scheduler/event.h"
#include "scheduler/keepers.h"

enum { AGAIN_S = 15, PEM_MAX = 4096 };

static const char not_had[] = "this node is to admit others, and has not got the authority's key";

/* ---- getting it ---- */

static int
take_key(struct cluster *c, const void *pem, size_t bytes, struct err *err)
{
	struct identity_authority a;
	struct secret secret;

	if (bytes > PEM_MAX)
		return err_set(err, ERR_CORRUPT, "the authority's key is too large to be one");
	if (secret_from(&secret, pem, bytes, err) < 0)
		return -1;
	int rc = identity_authority_import(&a, &secret, err);
	secret_fini(&secret);
	if (rc < 0)
		return -1;
	if (memcmp(a.cluster, c->keep.authority.cluster, IDENTITY_CLUSTER) != 0) {
		identity_authority_fini(&a);
		return err_set(err, ERR_CORRUPT, "the key is that of another cluster");
	}
	/* Rules of channels look at the certificate: it stays where it is. */
	c->keep.authority.key = a.key;
	a.key = NULL;
	identity_authority_fini(&a);
	return 0;
}

static void
forget_key(struct cluster *c)
{
	struct identity_authority part = {.key = c->keep.authority.key};

	c->keep.authority.key = NULL;
	identity_authority_fini(&part);
}

int
cluster_keepers_take(struct cluster *c, const void *pem, size_t bytes, struct err *err)
{
	if (take_key(c, pem, bytes, err) < 0)
		return -1;
	if (cluster_keep_write(c->folder, &c->keep, err) < 0) {
		forget_key(c);
		return -1;
	}
	/* Strangers are let in from now on. Without that it can renew, and says so. */
	if (cluster_link_rules(c, err) < 0)
		log_err(LOG_WARN, "this node admits no strangers before it is started again", err);
	err_clear(err);
	c->dirty = true;
	log_event(LOG_WARN, "this node has the authority's key now, and admits others", LOG_END);
	return 0;
}

static void
answered(void *arg, const struct admission_answer *answer, const struct identity *from,
	 const struct addr *address, const struct err *failure)
{
	struct cluster *c = arg;
	struct err err = {0};

	(void)from;
	(void)address;
	if (failure)
		cluster_asking_failed(&c->key, not_had, failure);
	else if (!answer->admitted)
		cluster_asking_failed(&c->key, not_had, &answer->refused);
	else if (cluster_keepers_take(c, answer->chain, answer->chain_bytes, &err) < 0)
		cluster_asking_failed(&c->key, not_had, &err);
	else
		cluster_asking_done(&c->key);
	cluster_asking_end(&c->key);
}

/* ---- who is next ---- */

static void
node_of(const struct cluster *c, const struct cluster_node *n, uint64_t now_ns,
	struct keepers_node *out)
{
	bool self = n->row.node == c->keep.node;
	int64_t age_ns = world_wall_ns() - n->since_wall_ns;

	if (age_ns < 0 || self)
		age_ns = 0;
	*out = (struct keepers_node){
		.node = n->row.node,
		.keeper = n->row.keeper,
		.live = self || n->state == GOSSIP_ALIVE,
		.draining = n->row.draining,
		/* What has no row here yet cannot be marked in it. */
		.removed = n->row.removed || n->row.id == 0,
		.since_ns = now_ns > (uint64_t)age_ns ? now_ns - (uint64_t)age_ns : 0,
		.hidden = self ? c->config->node.advertise_none : cluster_link_hidden(n),
	};
}

static int
list(struct cluster *c, uint64_t now_ns, struct keepers_node **out, size_t *count_out)
{
	struct map_iter it = {0};
	size_t count = 0;

	*out = mem_array(MEM_SCHEDULER, map_count(&c->nodes) + 1, sizeof(**out));
	if (!*out)
		return -1;
	while (map_next(&c->nodes, &it))
		node_of(c, it.value, now_ns, &(*out)[count++]);
	*count_out = count;
	return 0;
}

static int
put_keeper(void *arg, struct store *s, struct err *err)
{
	const struct cluster *c = arg;
	const struct cluster_node *n = cluster_roster_find(c, c->next_keeper);
	struct store_node row;

	if (!n || n->row.id == 0)
		return 1;
	if (store_get(s, STORE_NODE, n->row.id, &row, err) < 0)
		return -1;
	if (row.keeper || row.removed)
		return 1;
	row.keeper = 1;
	return store_put(s, STORE_NODE, &row, err);
}

static void
keeper_put(void *arg, const struct err *err)
{
	struct cluster *c = arg;

	c->next_keeper = 0;
	if (c->freed)
		return;
	if (err)
		log_err(LOG_INFO, "another node is not made to admit others yet", err);
	c->keepers_at_ns = world_mono_ns() + (err ? (uint64_t)AGAIN_S * CLUSTER_SECOND_NS : 0);
}

static void
look_for_next(struct cluster *c, uint64_t now_ns)
{
	struct keepers_node *nodes;
	struct err err = {0};
	uint32_t next = 0;
	size_t count;

	if (list(c, now_ns, &nodes, &count) < 0)
		return;
	if (keepers_first(nodes, count) == c->keep.node)
		next = keepers_choose(nodes, count, now_ns);
	mem_free(nodes);
	if (next == 0)
		return;
	c->next_keeper = next;
	if (cluster_store_change(c, put_keeper, keeper_put, c, &err) < 0)
		keeper_put(c, &err);
}

void
cluster_keepers_tick(struct cluster *c, uint64_t now_ns)
{
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);

	if (!self || self->row.removed || c->leave || c->over)
		return;
	if (cluster_keeper(c)) {
		if (c->next_keeper == 0 && now_ns >= c->keepers_at_ns)
			look_for_next(c, now_ns);
	} else if (self->row.keeper && cluster_asking_due(&c->key, now_ns)) {
		cluster_asking_begin(c, &c->key, ADMISSION_KEY, answered, not_had);
	}
}

void
cluster_keepers_end(struct cluster *c)
{
	cluster_asking_end(&c->key);
}
