/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger of the one node: cores and memory that documents reserve (resources.cpu and memory,
 * times replicas), against what the machine has less what is kept for it (node.reserve). What says
 * no resources reserves none.
 */
#include "scheduler/capacity.h"

#include <inttypes.h>
#include <sys/utsname.h>
#include "base/text.h"

/* A document may say more than there are numbers for: it must not come out as little. */
static uint64_t
times(uint64_t a, uint64_t b)
{
	uint64_t out;

	return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}

static uint64_t
plus(uint64_t a, uint64_t b)
{
	uint64_t out;

	return __builtin_add_overflow(a, b, &out) ? UINT64_MAX : out;
}

static void
add(struct capacity_sum *sum, const struct doc_service *s, uint32_t replicas)
{
	sum->cpu_milli = plus(sum->cpu_milli, times(s->resources.cpu_milli, replicas));
	sum->memory_bytes = plus(sum->memory_bytes, times(s->resources.memory_bytes, replicas));
}

static void
add_deployment(struct model *m, struct deployment *d, struct capacity_sum *sum)
{
	uint32_t number = d->row.revision ? d->row.revision : d->row.target;
	struct list *it, *next;

	list_each (it, next, &d->services) {
		struct service *s = container_of(it, struct service, link);
		const struct doc_service *spec = model_service_doc(m, s, number);

		if (spec)
			add(sum, spec, d->row.revision ? s->row.desired : s->row.wanted);
	}
}

static int
short_of(struct model *m, const char *name, const struct capacity_want *wants, size_t count,
	 const struct capacity_sum *free, bool memory, struct err *err)
{
	const struct capacity_want *worst = &wants[0];
	uint64_t left = memory ? free->memory_bytes : free->cpu_milli;
	char have[32], need[32];

	for (size_t i = 1; i < count; i++) {
		const struct doc_resources *a = &wants[i].service->resources;
		const struct doc_resources *b = &worst->service->resources;
		uint64_t x = times(memory ? a->memory_bytes : a->cpu_milli, wants[i].replicas);
		uint64_t y = times(memory ? b->memory_bytes : b->cpu_milli, worst->replicas);

		if (x > y)
			worst = &wants[i];
	}
	const struct doc_resources *r = &worst->service->resources;
	err_set(err, ERR_LIMIT, "cannot place %s: %s does not fit on %s", name,
		worst->service->name, m->node);
	if (memory) {
		text_human_bytes(left, have, sizeof(have));
		text_human_bytes(r->memory_bytes, need, sizeof(need));
		err_why(err, "%s has %s of memory left; %s needs %u x %s", m->node, have,
			worst->service->name, worst->replicas, need);
	} else {
		err_why(err, "%s has %.2f cores left; %s needs %u x %.2f", m->node,
			(double)left / 1000, worst->service->name, worst->replicas,
			r->cpu_milli / 1000.0);
	}
	return err_fix(err,
		       "lower resources.%s or scale of %s, or remove what is not needed "
		       "(zlayer status)",
		       memory ? "memory" : "cpu", worst->service->name);
}

static uint64_t
less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void
add_others(struct model *m, const struct deployment *d, struct capacity_sum *used)
{
	struct list *it, *next;

	list_each (it, next, &m->deployments) {
		struct deployment *other = container_of(it, struct deployment, link);

		if (other != d && !other->gone)
			add_deployment(m, other, used);
	}
}

void
capacity_used(struct model *m, struct capacity_sum *out)
{
	*out = (struct capacity_sum){0};
	add_others(m, NULL, out);
}

static bool
has_label(const struct config_node *node, const struct doc_pair *asked)
{
	for (uint32_t i = 0; i < node->labels_count; i++) {
		if (text_equal(node->labels[i].key, asked->key))
			return text_equal(node->labels[i].value, asked->value);
	}
	return false;
}

static int
check_labels(const struct model *m, const char *name, const struct doc_service *s, struct err *err)
{
	const struct doc_pairs *labels = &s->placement.selector.labels;

	for (size_t i = 0; i < labels->count; i++) {
		if (has_label(&m->config->node, &labels->items[i]))
			continue;
		err_set(err, ERR_LIMIT, "cannot place %s: %s does not fit %s", name, s->name,
			m->node);
		err_why(err, "label %s=%s is asked, and there is no other node",
			labels->items[i].key, labels->items[i].value);
		return err_fix(err,
			       "give %s the label in node.yaml (node.labels), or add a node "
			       "(zlayer invite)",
			       m->node);
	}
	return 0;
}

void
capacity_platform(char *out, size_t cap)
{
	struct utsname system;

	text_copy(out, cap, "");
	if (uname(&system) == 0)
		text_format(out, cap, "linux/%s",
			    text_equal(system.machine, "x86_64")    ? "amd64"
			    : text_equal(system.machine, "aarch64") ? "arm64"
								    : system.machine);
}

static int
check_platform(const struct model *m, const char *name, const struct doc_service *s,
	       struct err *err)
{
	char own[32];

	capacity_platform(own, sizeof(own));
	if (!s->platform || text_equal(own, s->platform))
		return 0;
	err_set(err, ERR_UNSUPPORTED, "cannot place %s: %s does not fit %s", name, s->name,
		m->node);
	err_why(err, "it wants %s, %s is %s, and there is no other node", s->platform, m->node,
		own);
	return err_fix(err, "leave `platform` out, or add a node of that platform (zlayer invite)");
}

static bool
any_other(struct model *m, const struct deployment *d, const struct capacity_want *wants,
	  size_t count, const struct doc_service *self)
{
	struct list *it, *next;

	for (size_t i = 0; i < count; i++) {
		if (wants[i].service != self && wants[i].replicas)
			return true;
	}
	list_each (it, next, &m->deployments) {
		const struct deployment *other = container_of(it, struct deployment, link);

		if (other != d && !other->gone)
			return true;
	}
	return false;
}

/* What a service asks of its node, where there is one node only. */
static int
check_places(struct model *m, const struct deployment *d, const char *name,
	     const struct capacity_want *wants, size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct doc_service *s = wants[i].service;
		bool alone = s->placement.mode == DOC_NODE_EXCLUSIVE;

		if (check_platform(m, name, s, err) < 0 ||
		    (wants[i].replicas && check_labels(m, name, s, err) < 0))
			return -1;
		if (s->placement.mode == DOC_NODE_SHARED || !wants[i].replicas ||
		    (wants[i].replicas == 1 && !(alone && any_other(m, d, wants, count, s))))
			continue;
		err_set(err, ERR_LIMIT, "cannot place %s: %s does not fit %s", name, s->name,
			m->node);
		err_why(err, alone ? "it wants a node for itself (node.mode exclusive), and there "
				     "is one only"
				   : "each replica wants a node of its own (node.mode dedicated), "
				     "and there is one only");
		return err_fix(err, "add a node (zlayer invite), or let node.mode be shared");
	}
	return 0;
}

int
capacity_check(struct model *m, const struct deployment *d, const char *name,
	       const struct capacity_want *wants, size_t count, struct err *err)
{
	const struct config_reserve *reserve = &m->config->node.reserve;
	struct capacity_sum used = {0}, want = {0}, free;

	/* Other nodes have room, too; what has none waits for it (placing.h). */
	if (m->placing)
		return 0;
	if (check_places(m, d, name, wants, count, err) < 0)
		return -1;
	add_others(m, d, &used);
	for (size_t i = 0; i < count; i++)
		add(&want, wants[i].service, wants[i].replicas);
	free.cpu_milli = less(less(m->node_cpu_milli, reserve->cpu_milli), used.cpu_milli);
	free.memory_bytes =
		less(less(m->node_memory_bytes, reserve->memory_bytes), used.memory_bytes);
	if (m->node_cpu_milli && want.cpu_milli > free.cpu_milli)
		return short_of(m, name, wants, count, &free, false, err);
	if (m->node_memory_bytes && want.memory_bytes > free.memory_bytes)
		return short_of(m, name, wants, count, &free, true, err);
	return 0;
}
