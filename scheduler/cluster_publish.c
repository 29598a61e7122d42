/* SPDX-License-Identifier: Apache-2.0 */
/* The tables member and cluster, and the metrics of gossip. A node that is in no cluster has one
 * row of each, of itself. */
#include "scheduler/cluster_inside.h"

#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "ring/metrics.h"
#include "scheduler/publish_parts.h"
#include "scheduler/publish_table.h"

_Static_assert((int)GOSSIP_AGE_BOUNDS < (int)METRIC_BOUNDS, "ages fit a histogram");

/* ---- members ---- */

static uint32_t
state_of(const struct cluster *c, const struct cluster_node *n)
{
	if (n->row.node == c->keep.node)
		return MSG_MEMBER_READY;
	switch (n->state) {
	case GOSSIP_ALIVE:
		return MSG_MEMBER_READY;
	case GOSSIP_SUSPECT:
		return MSG_MEMBER_SUSPECT;
	case GOSSIP_DEAD:
		return MSG_MEMBER_DEAD;
	case GOSSIP_LEFT:
		return MSG_MEMBER_LEFT;
	case GOSSIP_UNKNOWN:
		break;
	}
	return MSG_MEMBER_NEW;
}

static bool
has_key(const char *pairs, const char *key)
{
	size_t length = strlen(key);

	for (const char *at = pairs; *at; at += strcspn(at, "\n") + (at[strcspn(at, "\n")] != 0))
		if (strncmp(at, key, length) == 0 && at[length] == '=')
			return true;
	return false;
}

/* Those that were set by hand, then those of node.yaml that have other keys. */
static void
merge_labels(const char *own, const struct tidings_facts *f, char out[MSG_PAIRS])
{
	text_copy(out, MSG_PAIRS, own);
	for (size_t i = 0; i < f->labels_count; i++) {
		const struct tidings_label *l = &f->labels[i];
		size_t used = strlen(out);

		if (!has_key(own, l->key) &&
		    !text_format(out + used, MSG_PAIRS - used, "%s=%s\n", l->key, l->value))
			out[used] = '\0';
	}
}

static void
put_facts(const struct tidings_facts *f, const struct tidings_load *l, struct msg_member *out)
{
	text_copy(out->zone, sizeof(out->zone), f->zone);
	text_copy(out->version, sizeof(out->version), f->version);
	text_copy(out->platform, sizeof(out->platform), f->platform);
	out->cpu_milli = f->cpu_milli;
	out->memory_bytes = f->memory_bytes;
	out->cpu_free_milli = l->cpu_free_milli;
	out->memory_free_bytes = l->memory_free_bytes;
	out->store_sequence = l->sequence;
}

static void
put_voter(struct cluster *c, const struct cluster_node *n, struct msg_member *out)
{
	const struct store_voter *row = cluster_voters_row(c, n->row.node);
	struct tidings_voter said = n->voter;
	bool there = out->state == MSG_MEMBER_READY || out->state == MSG_MEMBER_SUSPECT;

	if (out->self)
		cluster_voters_of(c, &said);
	out->voter_able =
		(said.flags & (TIDINGS_VOTER_ABLE | TIDINGS_VOTER_FAILS)) == TIDINGS_VOTER_ABLE;
	text_copy(out->etcd, sizeof(out->etcd), said.version);
	text_copy(out->voter_reason, sizeof(out->voter_reason), said.reason);
	if (!row)
		return;
	out->voter = row->phase == STORE_VOTER_VOTES  ? MSG_VOTER_VOTES
		     : row->phase == STORE_VOTER_GOES ? MSG_VOTER_GOES
						      : MSG_VOTER_LEARNS;
	out->voter_since_wall_ns = row->since_wall_ns;
	out->voter_up = there && said.life == row->life && said.flags & TIDINGS_VOTER_UP;
	out->voter_leads = out->voter_up && said.flags & TIDINGS_VOTER_LEADS;
}

void
cluster_publish_member(struct cluster *c, const struct cluster_node *n, struct msg_member *out)
{
	static const struct addr none;
	bool self = n->row.node == c->keep.node;
	struct tidings_facts facts = n->facts;
	struct tidings_load load = n->load;

	if (self) {
		cluster_facts_of(c, &facts);
		cluster_facts_load(c, &load);
	}
	*out = (struct msg_member){
		.node = n->row.node,
		.state = state_of(c, n),
		.self = self,
		.accuser = n->accuser,
		.draining = n->row.draining,
		.keeper = self ? cluster_keeper(c) : n->row.keeper,
		.writer = n->row.node == cluster_writer(c),
		.since_wall_ns = n->since_wall_ns,
		.admitted_wall_ns = n->row.admitted_wall_ns,
		.dials_out = self ? c->config->node.advertise_none : cluster_link_hidden(n),
		.via = n->via,
		.unreached_wall_ns = n->unreached_wall_ns,
		.sealed_port = self ? 0 : cluster_heard_port(c, n),
		.clock_ms = cluster_clocks_ahead_ms(c, n->row.node),
		.refused_wall_ns = cluster_stuck_since(c, n),
	};
	text_copy(out->name, sizeof(out->name), n->row.name);
	put_facts(&facts, &load, out);
	if (self && cluster_link_addresses(c, &out->address, 1) == 0)
		out->address = c->listen.addr;
	else if (!self && !out->dials_out)
		(void)cluster_address(c, n->row.node, &out->address);
	merge_labels(n->row.labels, &facts, out->labels);
	out->replicas =
		self ? cluster_facts_own_replicas(c) : cluster_facts_replicas(c, n->row.node);
	text_copy(out->taints, sizeof(out->taints), n->row.taints);
	out->backend = cluster_mesh_backend(c, n);
	put_voter(c, n, out);
	out->twin = !self             ? n->twin
		    : c->twin.found   ? c->twin.at
		    : c->twin.copy_ns ? c->twin.copy_at
				      : none;
}

static void
publish_alone(struct cluster *c, struct publish_table *t)
{
	struct msg_member row = {.node = 1, .state = MSG_MEMBER_READY, .self = 1, .writer = 1};
	struct tidings_facts facts;
	struct tidings_load load;

	cluster_facts_of(c, &facts);
	cluster_facts_load(c, &load);
	put_facts(&facts, &load, &row);
	text_copy(row.name, sizeof(row.name), facts.name);
	merge_labels("", &facts, row.labels);
	row.replicas = cluster_facts_own_replicas(c);
	publish_table_row(t, 1, &row);
}

static void
publish_members(struct cluster *c)
{
	struct publish_table t;
	struct map_iter it = {0};
	struct msg_member row;
	size_t others = 0;

	publish_table_begin(&t, c->m, MSG_TABLE_MEMBER);
	if (!c->member)
		publish_alone(c, &t);
	while (c->member && map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		bool self = n->row.node == c->keep.node;

		/* Too many are said by cluster_mesh.c. */
		if (!self && (n->row.removed || ++others >= MSG_PEERS_MAX))
			continue;
		cluster_publish_member(c, n, &row);
		publish_table_row(&t, row.node, &row);
	}
	publish_table_commit(&t);
}

/* ---- the cluster ---- */

static uint32_t
engine_of(const struct cluster *c, const struct store_status *status)
{
	if (!c->member)
		return MSG_STORE_ALONE;
	if (c->etcd)
		return MSG_STORE_ETCD;
	if (cluster_writer(c) == c->keep.node)
		return MSG_STORE_WRITER;
	return status->shared ? MSG_STORE_FOLLOWER : MSG_STORE_ALONE;
}

static void
put_nameless(size_t count, struct msg_reason *out)
{
	struct err err = {0};

	err_set(&err, ERR_LIMIT, "%zu replicas of the cluster are cut off from those of this node",
		count);
	err_why(&err, "the data path knows at most %d replicas by their addresses",
		PUBLISH_IDENTITIES_MAX);
	err_fix(&err, "run fewer replicas, or divide the cluster");
	msg_reason_from(&err, out);
}

static void
put_trouble(const struct cluster *c, struct msg_cluster *row)
{
	if (c->twin.err.kind)
		msg_reason_from(&c->twin.err, &row->trouble);
	else if (c->fenced)
		msg_reason_from(&c->fence_err, &row->trouble);
	else if (c->renewal_err.kind)
		msg_reason_from(&c->renewal_err, &row->trouble);
	else if (c->unbound.kind)
		msg_reason_from(&c->unbound, &row->trouble);
	else if (c->mesh_err.kind)
		msg_reason_from(&c->mesh_err, &row->trouble);
	else if (c->unreached_err.kind)
		msg_reason_from(&c->unreached_err, &row->trouble);
	else if (c->clock_err.kind)
		msg_reason_from(&c->clock_err, &row->trouble);
	else if (c->m->nameless)
		put_nameless(c->m->nameless, &row->trouble);
	else
		cluster_outside_trouble(c, &row->trouble);
}

static void
put_voters(struct cluster *c, struct msg_cluster *row)
{
	for (size_t i = 0; i < c->voters.rows_count; i++) {
		const struct store_voter *v = &c->voters.rows[i];
		const struct cluster_node *n = cluster_roster_find(c, v->node);
		struct msg_member member = {0};

		if (v->phase != STORE_VOTER_VOTES && v->phase != STORE_VOTER_GOES)
			continue;
		row->voters++;
		if (!n)
			continue;
		member.self = v->node == c->keep.node;
		member.state = state_of(c, n);
		put_voter(c, n, &member);
		row->voters_up += member.voter_up;
	}
	if (c->voters.has_status) {
		const struct etcd_member_status *own = &c->voters.status;

		row->member_bytes = own->data_bytes;
		row->member_quota = (uint64_t)MSG_ETCD_QUOTA_MIB << 20;
		row->member_behind = own->index > own->applied ? own->index - own->applied : 0;
	}
	cluster_voters_note(c, row->voters_note, sizeof(row->voters_note));
}

static void
make_cluster(struct cluster *c, struct msg_cluster *row)
{
	struct store_status status;

	memset(row, 0, sizeof(*row));
	store_status(c->m->store, &status);
	row->engine = engine_of(c, &status);
	row->writable = status.writable;
	if (!status.writable)
		msg_reason_from(&status.why, &row->why);
	row->store_sequence = status.sequence;
	if (c->member)
		put_voters(c, row);
	if (c->config->listen.gossip.on)
		row->gossip = c->config->listen.gossip.addr;
	if (c->member) {
		row->self = c->keep.node;
		row->listens = !c->heard && !c->twin.found;
		row->admission = c->row.admission ? c->row.admission : MSG_ADMISSION_TOKEN;
		text_hex(c->keep.authority.cluster, IDENTITY_CLUSTER, row->id, sizeof(row->id));
		row->gossip = c->listen.addr;
		row->certificate_not_after_s = c->not_after_s;
	}
	put_trouble(c, row);
	cluster_outside_where(c, row->outside, sizeof(row->outside));
}

static void
publish_cluster(struct cluster *c)
{
	struct publish_table t;
	struct msg_cluster row;

	make_cluster(c, &row);
	publish_table_begin(&t, c->m, MSG_TABLE_CLUSTER);
	publish_table_row(&t, 1, &row);
	publish_table_commit(&t);
}

void
cluster_publish(struct cluster *c)
{
	c->dirty = false;
	if (!c->m || !c->m->writer)
		return;
	publish_members(c);
	publish_cluster(c);
	cluster_order_publish(c);
	station_kick(c->st);
}

static bool
is_shown(const struct cluster *c, uint16_t table, uint64_t key, const void *row, size_t bytes)
{
	const void *shown = ring_table_own(c->m->writer, table, key);

	return shown && memcmp(shown, row, bytes) == 0;
}

bool
cluster_publish_is_old(struct cluster *c)
{
	const struct cluster_node *self = cluster_roster_find(c, c->keep.node);
	struct msg_cluster row;
	struct msg_member own;

	if (!c->m || !c->m->writer || !c->member)
		return false;
	make_cluster(c, &row);
	if (!is_shown(c, MSG_TABLE_CLUSTER, 1, &row, sizeof(row)))
		return true;
	if (!self)
		return false;
	cluster_publish_member(c, self, &own);
	return !is_shown(c, MSG_TABLE_MEMBER, own.node, &own, sizeof(own));
}

void
cluster_publish_changed(struct cluster *c)
{
	cluster_roster_read(c);
	cluster_publish(c);
	c->dirty = true;
}

/* ---- metrics ---- */

static void
count_members(struct cluster *c)
{
	static const char *const names[] = {[MSG_MEMBER_NEW] = "new",
					    [MSG_MEMBER_READY] = "ready",
					    [MSG_MEMBER_SUSPECT] = "suspect",
					    [MSG_MEMBER_DEAD] = "dead",
					    [MSG_MEMBER_LEFT] = "left"};
	int64_t counts[MSG_MEMBER_LEFT + 1] = {[MSG_MEMBER_READY] = !c->member};
	struct map_iter it = {0};

	while (c->member && map_next(&c->nodes, &it)) {
		const struct cluster_node *n = it.value;

		counts[state_of(c, n)] += !n->row.removed;
	}
	for (unsigned i = MSG_MEMBER_NEW; i <= MSG_MEMBER_LEFT; i++) {
		struct metric_labels labels = {0};

		metric_label(&labels, "state", names[i]);
		metric_set(metrics_get(c->m->metrics, METRICS_CLUSTER_MEMBERS, &labels), counts[i]);
	}
}

static void
count(struct cluster *c, enum metrics_id id, const char *kind, const char *direction,
      const char *outcome, uint64_t more)
{
	struct metric_labels labels = {0};

	if (kind)
		metric_label(&labels, "kind", kind);
	if (direction)
		metric_label(&labels, "direction", direction);
	if (outcome)
		metric_label(&labels, "outcome", outcome);
	metric_add(metrics_get(c->m->metrics, id, &labels), more);
}

static void
count_messages(struct cluster *c, const struct gossip_counters *now)
{
	static const char *const kinds[GOSSIP_MESSAGES_] = {
		[GOSSIP_PING] = "ping",         [GOSSIP_ACK] = "ack",
		[GOSSIP_PING_REQ] = "ping_req", [GOSSIP_NACK] = "nack",
		[GOSSIP_MEMBERS] = "members",   [GOSSIP_CHANGES] = "changes",
		[GOSSIP_IHAVE] = "ihave",       [GOSSIP_GRAFT] = "graft",
		[GOSSIP_PRUNE] = "prune",       [GOSSIP_GONE] = "gone",
		[GOSSIP_SYNC] = "sync"};
	const struct gossip_counters *was = &c->counted;

	for (unsigned i = 0; i < GOSSIP_MESSAGES_; i++) {
		count(c, METRICS_GOSSIP_MESSAGES, kinds[i], "sent", NULL,
		      now->sent[i] - was->sent[i]);
		count(c, METRICS_GOSSIP_MESSAGES, kinds[i], "received", NULL,
		      now->received[i] - was->received[i]);
	}
	count(c, METRICS_GOSSIP_SUSPICIONS, NULL, NULL, "raised",
	      now->suspicions_raised - was->suspicions_raised);
	count(c, METRICS_GOSSIP_SUSPICIONS, NULL, NULL, "refuted",
	      now->suspicions_refuted - was->suspicions_refuted);
	count(c, METRICS_GOSSIP_SUSPICIONS, NULL, NULL, "confirmed",
	      now->suspicions_confirmed - was->suspicions_confirmed);
}

static void
count_passed(struct cluster *c, const struct shell_counters *now)
{
	count(c, METRICS_GOSSIP_PASSED, NULL, NULL, "passed", now->passed - c->carried.passed);
	count(c, METRICS_GOSSIP_PASSED, NULL, NULL, "refused", now->unpassed - c->carried.unpassed);
	c->carried = *now;
}

/* The core's own classes of ages, each put where the family's bounds say. */
static void
count_ages(struct cluster *c, const struct gossip_counters *now)
{
	const uint64_t *bounds = metrics_bounds_of(METRICS_SECONDS);
	struct metric_series *s = metrics_get(c->m->metrics, METRICS_GOSSIP_CONVERGENCE, NULL);

	for (unsigned i = 0; i <= GOSSIP_AGE_BOUNDS; i++) {
		uint64_t more = now->age[i] - c->counted.age[i], at = METRIC_BOUNDS;

		for (unsigned b = METRIC_BOUNDS; i < GOSSIP_AGE_BOUNDS && b-- > 0;)
			if ((uint64_t)gossip_age_bounds_ms[i] * 1000000 <= bounds[b])
				at = b;
		__atomic_fetch_add(&s->values[at], more, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&s->values[METRIC_VALUES - 1],
			   (now->age_sum_us - c->counted.age_sum_us) * 1000, __ATOMIC_RELAXED);
}

static void
set_gauge(struct cluster *c, enum metrics_id id, bool shown, int64_t value)
{
	struct metric_series *s = metrics_get(c->m->metrics, id, NULL);

	if (shown)
		metric_set(s, value);
	else
		metric_hide(s);
}

/* Of this node's own member; without one there is nothing to be seen. */
static void
show_store(struct cluster *c)
{
	const struct etcd_member_status *e = &c->voters.status;
	bool has = c->voters.has_status;
	struct store_status store;

	store_status(c->m->store, &store);
	set_gauge(c, METRICS_STORE_WRITABLE, true, !c->member || !store.shared || store.writable);
	set_gauge(c, METRICS_ETCD_HAS_LEADER, has, e->leader != 0);
	set_gauge(c, METRICS_ETCD_IS_LEADER, has, e->leader == e->member);
	set_gauge(c, METRICS_ETCD_IS_LEARNER, has, e->learner);
	set_gauge(c, METRICS_ETCD_BEHIND, has,
		  e->index > e->applied ? (int64_t)(e->index - e->applied) : 0);
	set_gauge(c, METRICS_ETCD_DATA, has, (int64_t)e->data_bytes);
}

void
cluster_publish_metrics(struct cluster *c)
{
	if (!c->m || !c->m->metrics)
		return;
	count_members(c);
	show_store(c);
	if (!c->gossip)
		return;
	const struct gossip_counters *now = gossip_counters(c->gossip);
	count_messages(c, now);
	count_ages(c, now);
	if (c->shell)
		count_passed(c, shell_counters(c->shell));
	c->counted = *now;
}
