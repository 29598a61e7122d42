/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a member asks of nodes that have the authority's key, and asks again, with growing pauses,
 * until it is told. Asked are those whose rows say that they have it, in the order of the roster,
 * whoever is at the addresses of `cluster.join`, and who admitted this node: it may know more than
 * the rows that this one has.
 */
#include "scheduler/cluster_inside.h"

#include "base/log.h"
#include "base/world.h"

enum { FIRST_WAIT_S = 2, WAIT_MAX_S = 3600 };

size_t
cluster_ask_whom(struct cluster *c, struct addr *out, size_t max)
{
	struct map_iter it = {0};
	size_t count = 0;

	while (count < max && map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		if (n->row.keeper && !n->row.removed && n->row.node != c->keep.node &&
		    !cluster_link_hidden(n) && cluster_address(c, n->row.node, &out[count]))
			count++;
	}
	for (uint32_t i = 0; count < max && i < c->config->cluster.join_count; i++)
		count += addr_parse(c->config->cluster.join[i].text, &out[count]);
	if (count < max && c->keep.via && cluster_address(c, c->keep.via, &out[count]))
		count++;
	if (count < max && c->keep.via_address.port)
		out[count++] = c->keep.via_address;
	return count;
}

int
cluster_ask(struct cluster *c, enum admission_what what, petition_fn done, struct petition **out,
	    struct err *err)
{
	struct addr addresses[PETITION_ADDRESSES_MAX];
	struct petition_config config = {
		.loop = station_loop(c->st),
		.rules = c->rules,
		.addresses = addresses,
		.count = cluster_ask_whom(c, addresses, PETITION_ADDRESSES_MAX),
		.question = {.what = what},
		.done = done,
		.arg = c,
	};

	if (config.count == 0)
		return err_set(err, ERR_UNREACHABLE,
			       "no node is known that has the authority's key");
	cluster_link_own(c, &config.question.address);
	return petition_new(&config, out, err);
}

bool
cluster_asking_due(const struct cluster_asking *a, uint64_t now_ns)
{
	return !a->petition && now_ns >= a->at_ns;
}

void
cluster_asking_begin(struct cluster *c, struct cluster_asking *a, enum admission_what what,
		     petition_fn done, const char *log)
{
	struct err err = {0};

	if (cluster_ask(c, what, done, &a->petition, &err) < 0)
		cluster_asking_failed(a, log, &err);
}

void
cluster_asking_failed(struct cluster_asking *a, const char *log, const struct err *err)
{
	log_err(LOG_INFO, log, err);
	a->wait_s = a->wait_s ? a->wait_s * 2 : FIRST_WAIT_S;
	if (a->wait_s > WAIT_MAX_S)
		a->wait_s = WAIT_MAX_S;
	a->at_ns = world_mono_ns() + a->wait_s * CLUSTER_SECOND_NS;
}

void
cluster_asking_end(struct cluster_asking *a)
{
	petition_free(a->petition);
	a->petition = NULL;
}

void
cluster_asking_done(struct cluster_asking *a)
{
	a->wait_s = 0;
	a->at_ns = 0;
}
