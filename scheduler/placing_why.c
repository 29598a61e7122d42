/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why nodes do not take a service, in words: for who asks, with a replica that has no node, with a
 * deployment that failed. What is said is as this node knows the others; who conducts has what they
 * answered themselves.
 */
#include "scheduler/placing_inside.h"

#include <string.h>
#include "base/text.h"
#include "ring/metrics.h"
#include "scheduler/event.h"
#include "scheduler/place/whynot.h"

struct why {
	struct whynot_row rows[PLACING_WHY_NODES_MAX];
	size_t count;
	uint32_t reasons;
};

static void
look_why(const struct placing *p, const struct fleet_service *f, struct why *out)
{
	out->count = 0;
	out->reasons = 0;
	for (size_t i = 0; i < p->fleet.nodes_count; i++) {
		struct whynot_row row = {.node = p->fleet.nodes[i]};

		coordinator_why(&p->core.coordinator, f, row.node, &row.fit);
		out->reasons |= row.fit.reasons;
		if (row.fit.reasons && out->count < PLACING_WHY_NODES_MAX)
			out->rows[out->count++] = row;
	}
}

uint32_t
placing_conductor(struct placing *p, const struct deployment *d)
{
	return fleet_refresh(&p->fleet) < 0 ? 0 : fleet_coordinator(&p->fleet, d->row.id);
}

uint32_t
placing_passed_over(struct placing *p, const struct deployment *d)
{
	uint32_t first =
		fleet_refresh(&p->fleet) < 0 ? 0 : fleet_coordinator_first(&p->fleet, d->row.id);

	return first == placing_conductor(p, d) ? 0 : first;
}

static bool
has_one(const struct fleet_service *f, const struct fleet_node *n)
{
	for (struct list *it = f->claims.next; it != &f->claims; it = it->next) {
		const struct fleet_claim *c = container_of(it, struct fleet_claim, of_service);

		if (c->node == n && fleet_claim_lives(c) && c->claim.state != CLAIM_FAILED &&
		    c->claim.state != CLAIM_LEAVING)
			return true;
	}
	return false;
}

static void
put_why(const struct placing *p, const struct fleet_service *f, struct whynot_row *row,
	struct buf *out)
{
	const struct fleet_node *n = row->node;
	struct msg_why why = {
		.id = n->id,
		.cpu_free_milli = row->fit.cpu_free_milli,
		.memory_free_bytes = row->fit.memory_free_bytes,
	};

	text_copy(why.node, sizeof(why.node), n->name);
	whynot_sentence(&p->fleet, f, row, why.text, sizeof(why.text));
	why.flags = (row->fit.reasons ? 0 : MSG_WHY_FITS) | (has_one(f, n) ? MSG_WHY_HAS : 0);
	if (!(row->fit.reasons & FIT_DEAD) && n->cpu_milli)
		why.flags |= MSG_WHY_KNOWN;
	buf_put(out, &why, sizeof(why));
}

void
placing_why(struct placing *p, const struct service *s, size_t max, struct buf *out)
{
	const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	size_t count = 0;

	if (!f || !f->known)
		return;
	for (int fits = 0; fits < 2; fits++) {
		for (size_t i = 0; i < p->fleet.nodes_count && count < max; i++) {
			struct whynot_row row = {.node = p->fleet.nodes[i]};

			coordinator_why(&p->core.coordinator, f, row.node, &row.fit);
			if (!row.fit.reasons != !!fits)
				continue;
			put_why(p, f, &row, out);
			count++;
		}
	}
}

/* Each node with its reason; as many to a line as there is room for. */
static void
say_nodes(const struct placing *p, const struct fleet_service *f, const struct why *why,
	  struct err *err)
{
	char line[MSG_TEXT] = "", one[WHYNOT_TEXT_BYTES], part[WHYNOT_TEXT_BYTES + MSG_NAME];
	size_t lines = 0;

	for (size_t i = 0; i < why->count; i++) {
		size_t used = strlen(line);

		whynot_sentence(&p->fleet, f, &why->rows[i], one, sizeof(one));
		text_format(part, sizeof(part), "%s: %s", why->rows[i].node->name, one);
		if (used && used + strlen(part) + 3 > sizeof(line)) {
			if (++lines == 2)
				return;
			err_why(err, "%s", line);
			used = 0;
			line[0] = '\0';
		}
		text_format(line + used, sizeof(line) - used, "%s%s", used ? "; " : "", part);
	}
	if (line[0])
		err_why(err, "%s", line);
}

static void
say(const struct placing *p, const struct service *s, uint32_t missing, const struct why *why,
    struct err *err)
{
	const struct fleet_service *f = fleet_service(&p->fleet, s->row.id);
	char fix[ERR_TEXT_BYTES];

	err_set(err, ERR_LIMIT, "cannot place %s: %u of %u replicas ha%s no node", s->row.name,
		missing, s->row.wanted, missing == 1 ? "s" : "ve");
	if (!f)
		return;
	say_nodes(p, f, why, err);
	if (whynot_fix(f, why->rows, why->count, fix, sizeof(fix)))
		err_fix(err, "%s", fix);
}

void
placing_why_say_nodes(const struct placing *p, const struct fleet_service *f, struct err *err)
{
	char fix[ERR_TEXT_BYTES];
	static struct why why;

	look_why(p, f, &why);
	say_nodes(p, f, &why, err);
	if (whynot_fix(f, why.rows, why.count, fix, sizeof(fix)))
		err_fix(err, "%s", fix);
}

void
placing_cause(struct model *m, struct service *s, struct err *err)
{
	const struct fleet_service *f =
		m->placing ? fleet_service(&m->placing->fleet, s->row.id) : NULL;
	static struct why why;

	err_set(err, ERR_TIMEOUT, "a replica of %s did not come up", s->row.name);
	if (s->unplaced.kind)
		msg_reason_to(&s->unplaced, err);
	if (!f || s->unplaced.kind)
		return;
	look_why(m->placing, f, &why);
	if (why.count == m->placing->fleet.nodes_count)
		say(m->placing, s, 1, &why, err);
}

static const char *
reason_name(uint32_t reasons)
{
	static const struct {
		uint32_t reason;
		const char *name;
	} names[] = {
		{FIT_PLATFORM, "platform"},
		{FIT_LABEL, "label"},
		{FIT_TAINT, "taint"},
		{FIT_NEED, "device"},
		{FIT_KEEP, "volume"},
		{FIT_MEMORY, "memory"},
		{FIT_CPU, "cpu"},
		{FIT_OCCUPIED | FIT_EXCLUSIVE, "exclusive"},
		{FIT_DEDICATED, "dedicated"},
		{FIT_DRAINING | FIT_CORDONED, "draining"},
		{FIT_STORE, "store"},
		{FIT_GAVE_UP, "failed"},
		{FIT_DEAD | FIT_SUSPECT, "unreachable"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (reasons & names[i].reason)
			return names[i].name;
	}
	return "other";
}

static void
count_unplaced(struct model *m, const struct service *s, const char *reason, uint32_t count)
{
	struct metric_labels labels = {0};
	char name[MSG_TARGET];

	if (!m->metrics || !reason)
		return;
	model_label(s, name);
	metric_label(&labels, "service", name);
	metric_label(&labels, "reason", reason);
	metric_set(metrics_get(m->metrics, METRICS_SCHEDULER_UNPLACEABLE, &labels), count);
}

/* As its conductor says it; false: nothing waits. */
static bool
waits_of(struct placing *p, const struct service *s, uint32_t missing, struct tidings_waits *out)
{
	const struct tidings_waits *heard = placing_waits_heard(p, s);
	static struct why why;
	struct err err = {0};

	if (heard) {
		*out = *heard;
		return true;
	}
	if (!missing)
		return false;
	look_why(p, fleet_service(&p->fleet, s->row.id), &why);
	say(p, s, missing, &why, &err);
	*out = (struct tidings_waits){.missing = missing, .reasons = why.reasons};
	msg_reason_from(&err, &out->reason);
	return true;
}

void
placing_explain(struct placing *p, struct service *s, uint32_t missing)
{
	const char *was = s->unplaced_name;
	bool waited = s->unplaced.kind != 0, conducts = placing_conducts(p, s->deployment);
	static struct tidings_waits now;
	bool waits = waits_of(p, s, missing, &now);

	memset(&s->unplaced, 0, sizeof(s->unplaced));
	s->unplaced_name = NULL;
	if (waits) {
		s->unplaced = now.reason;
		s->unplaced_name = reason_name(now.reasons);
	}
	if (was && was != s->unplaced_name)
		count_unplaced(p->m, s, was, 0);
	if (waits)
		count_unplaced(p->m, s, s->unplaced_name, now.missing);
	placing_waits_tell(p, s, waits && conducts ? &now : NULL);
	if (waits && !waited && conducts)
		event_deployment(p->m, s->deployment, s, "placement.waiting", LOG_WARN,
				 &s->unplaced, "%s", s->unplaced.what);
}
