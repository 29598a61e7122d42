/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object, its core's way into a shell, and the order of a pass: what was heard is in the fleet,
 * claims become replicas (placing_own.c); the roll-outs ask (placing_ask.c); then what has changed
 * is said. Nothing is sent or written from a pass itself: the core does that in its next step.
 */
#include "scheduler/placing_inside.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "scheduler/plan_make.h"

enum { FILE_NUMBER = 0, RUN_BASE = 1u << 31 };

static const char file_name[] = "claims";

/* ---- the core in a shell ---- */

/* The shell counts files from 0. */
static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct placing *p = core;
	struct step_input given = *in;
	uint64_t waits = p->core.coordinator.counters.waits;

	if (in->kind == STEP_FILE)
		given.what = PLACEMENT_FILE;
	placement_step(&p->core, &given, out);
	/* What waits is said (placing_explain), and why it does may be another reason now. */
	if (p->core.coordinator.counters.waits != waits)
		p->link.stir(p->link.arg);
	for (size_t i = 0; i < out->count; i++) {
		if (out->items[i].kind == STEP_APPEND || out->items[i].kind == STEP_REPLACE)
			out->items[i].what = FILE_NUMBER;
	}
}

void
placing_core(struct placing *p, struct shell_core *out)
{
	*out = (struct shell_core){
		.service = PLACING_SERVICE,
		.core = p,
		.step = step,
		.tell = placing_own_tell,
		.arg = p,
		.files = {[FILE_NUMBER] = file_name},
	};
}

static void
fleet_changed(void *arg, struct fleet_service *service)
{
	struct placing *p = arg;

	p->stirred = true;
	placement_changed(&p->core, service);
	p->link.stir(p->link.arg);
}

/* ---- life ---- */

static void
number_own(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;
		uint64_t number = r->row.id & UINT32_MAX;

		if (number >= RUN_BASE) {
			if (number >= p->next_run)
				p->next_run = number + 1;
			continue;
		}
		if (!r->row.job)
			r->claim = number;
	}
}

int
placing_new(struct model *m, uint32_t self, uint64_t seed, const struct placing_link *link,
	    struct err *err)
{
	struct placing *p = mem_zalloc(MEM_SCHEDULER, sizeof(*p));

	if (!p)
		return err_set(err, ERR_NO_MEMORY, "no memory for placement");
	p->m = m;
	p->self = self;
	p->link = *link;
	p->start_ns = p->changed_ns = m->now_ns;
	p->next_run = RUN_BASE;
	fleet_init(&p->fleet);
	placement_init(&p->core, &p->fleet, self, seed);
	coordinator_asked(&p->core.coordinator);
	fleet_on_change(&p->fleet, fleet_changed, p);
	map_init(&p->peers, MEM_SCHEDULER);
	map_init(&p->claims, MEM_SCHEDULER);
	map_init(&p->told, MEM_SCHEDULER);
	map_init(&p->conducted, MEM_SCHEDULER);
	map_init(&p->heard, MEM_SCHEDULER);
	map_init(&p->told_figures, MEM_SCHEDULER);
	map_init(&p->heard_waits, MEM_SCHEDULER);
	map_init(&p->told_waits, MEM_SCHEDULER);
	number_own(p);
	m->placing = p;
	return 0;
}

void
placing_free(struct placing *p)
{
	struct map_iter it = {0};

	if (!p)
		return;
	fleet_on_change(&p->fleet, NULL, NULL);
	placement_fini(&p->core);
	placing_fleet_fini(p);
	fleet_fini(&p->fleet);
	while (map_next(&p->claims, &it))
		mem_free(it.value);
	map_fini(&p->claims);
	map_fini(&p->told);
	map_fini(&p->conducted);
	placing_figures_fini(p);
	placing_waits_fini(p);
	if (p->m->placing == p)
		p->m->placing = NULL;
	mem_free(p);
}

uint64_t
placing_run_id(struct placing *p)
{
	return (uint64_t)p->self << 32 | p->next_run++;
}

/* ---- founding ---- */

static void
put_record(struct buf *out, const struct claimlog_record *r)
{
	uint8_t *at = buf_reserve(out, claimlog_size(r));

	if (at)
		buf_commit(out, claimlog_encode(r, at));
}

static void
put_replica(struct model *m, uint32_t self, struct replica *r, struct buf *out)
{
	const struct doc_service *spec = model_spec(m, r);
	struct claimlog_record record = {
		.kind = CLAIMLOG_CLAIM,
		.claim =
			{
				.service = r->row.service,
				.slot = r->row.index - 1,
				.revision = r->row.revision,
				.node = self,
				.state = r->life.order == LIFECYCLE_REMOVE ? CLAIM_LEAVING
									   : CLAIM_STARTING,
				.number = r->row.id,
			},
		.cpu_milli = spec ? spec->resources.cpu_milli : 0,
		.memory_bytes = spec ? spec->resources.memory_bytes : 0,
	};

	if (record.claim.state == CLAIM_LEAVING)
		record.claim.reason = CLAIM_RETIRE_REMOVED;
	put_record(out, &record);
}

static void
put_journal(struct model *m, uint32_t self, struct buf *out)
{
	struct claimlog_record next = {.kind = CLAIMLOG_NEXT, .number = 1};
	struct map_iter it = {0};

	while (map_next(&m->replicas, &it)) {
		struct replica *r = it.value;

		if (r->row.id >= next.number)
			next.number = r->row.id + 1;
		if (!r->row.job && !r->life.gone)
			put_replica(m, self, r, out);
	}
	put_record(out, &next);
}

int
placing_found(struct model *m, uint32_t self, int folder, struct err *err)
{
	struct stat st;
	struct buf out;
	int rc;

	if (fstatat(folder, file_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	buf_init(&out, MEM_SCHEDULER, STEP_BYTES_MAX);
	put_journal(m, self, &out);
	rc = buf_ok(&out) ? fd_replace(folder, file_name, out.data, out.length, 0600, err)
			  : err_set(err, ERR_LIMIT, "this node has too many replicas to tell of");
	buf_fini(&out);
	return rc < 0 ? err_where(err, "claims of this node") : 0;
}

/* ---- passes ---- */

/* What other nodes have of a deployment that is no more is their affair. */
static void
forget_lost(struct placing *p)
{
	struct map_iter it = {0};

	while (map_next(&p->m->replicas, &it)) {
		struct replica *r = it.value;

		if (r->remote && r->service->deployment->lost)
			model_drop_replica(p->m, r);
	}
}

/* Who was the only one that could write is known to be dead by then. */
static void
bar(struct placing *p)
{
	uint64_t now_ns = p->m->now_ns;

	if (p->bars && now_ns >= p->bar_ns) {
		p->bar_ns = fleet_bar(&p->fleet, now_ns, PLACING_STUCK_MS * PLACING_MS_NS);
		p->bars = p->bar_ns != 0;
		p->stirred = true;
	}
	if (p->bars)
		model_wake_at(p->m, p->bar_ns);
}

void
placing_before(struct placing *p)
{
	if (p->changed)
		p->changed_ns = p->m->now_ns;
	p->changed = false;
	forget_lost(p);
	placing_fleet_services(p);
	bar(p);
	placing_entries_read(p);
	placing_entries_reap(p);
	placing_own_before(p);
	placing_ask_before(p);
}

void
placing_after(struct placing *p)
{
	placing_own_after(p);
	placing_runs_after(p);
	placing_ask_after(p);
	placing_figures_after(p);
	placing_waits_after(p);
	if (p->stirred) {
		p->stirred = false;
		p->link.local(p->link.arg, PLACEMENT_FLEET, 0, NULL, 0);
	}
}

void
placing_free_room(const struct placing *p, uint32_t *cpu_milli, uint64_t *memory_bytes)
{
	*cpu_milli = ledger_cpu_free_milli(&p->core.ledger);
	*memory_bytes = ledger_memory_free_bytes(&p->core.ledger);
}

size_t
placing_own(const struct placing *p)
{
	struct map_iter it = {0};
	size_t count = 0;

	while (map_next(&p->m->replicas, &it))
		count += !((const struct replica *)it.value)->remote;
	return count;
}
