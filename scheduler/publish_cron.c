/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crons as people are shown them: when they run next, what became of their last times, and why one
 * does not run, or did not.
 */
#include "scheduler/publish_parts.h"

#include <assert.h>
#include <string.h>
#include "base/text.h"
#include "scheduler/cronjob.h"
#include "scheduler/firing.h"
#include "scheduler/publish_table.h"

#define SECOND_NS INT64_C(1000000000)

static_assert(MSG_SCHEDULE == (int)DOC_SCHEDULE_BYTES, "schedules");
static_assert((int)MSG_OVERLAP_FORBID == DOC_OVERLAP_FORBID + 1, "overlaps");
static_assert((int)MSG_OVERLAP_REPLACE == DOC_OVERLAP_REPLACE + 1, "overlaps");
static_assert((int)MSG_CATCH_UP_LAST == DOC_CATCH_UP_LAST + 1, "ways to catch up");
static_assert((int)MSG_CATCH_UP_NONE == DOC_CATCH_UP_NONE + 1, "ways to catch up");
static_assert((int)MSG_ON_LOSS_SKIP == DOC_ON_LOSS_SKIP + 1, "losses");
static_assert((int)MSG_ON_LOSS_RETRY == DOC_ON_LOSS_RETRY + 1, "losses");

static const struct cronjob_firing *
newest(const struct cronjob *job)
{
	return list_empty(&job->firings)
		       ? NULL
		       : container_of(job->firings.prev, struct cronjob_firing, link);
}

static enum msg_cron_state
state_of(const struct model *m, const struct service *s)
{
	const struct cronjob *job = s->cron;

	if (job && job->row.disabled)
		return MSG_CRON_DISABLED;
	if (s->deployment->row.stopped)
		return MSG_CRON_STOPPED;
	if (!job || !job->row.schedule[0])
		return MSG_CRON_PENDING;
	if (job->row.mark_s > m->wall_ns / SECOND_NS + FIRING_GRACE_S)
		return MSG_CRON_BEHIND;
	return job->asked && job->over ? MSG_CRON_OVER : MSG_CRON_WAITING;
}

/* ---- why ---- */

static void
say_behind(const struct service *s, const char *name, struct err *err)
{
	char at[48];

	text_time(s->cron->row.mark_s * SECOND_NS, 0, at, sizeof(at));
	err_set(err, ERR_CONFLICT, "%s waits until the clock is at %s again", name, at);
	err_why(err, "the clock was set back, and no time is run twice");
	err_fix(err, "to go on from now: zlayer cron enable %s", name);
}

static void
say_passed(const struct store_firing *f, const char *name, struct err *err)
{
	char at[48];

	text_time(f->at_s * SECOND_NS, 0, at, sizeof(at));
	if (f->reason == MSG_FIRING_OVERLAPS) {
		err_set(err, ERR_CONFLICT, "%s was not run for %s: a run was under way", name, at);
		err_fix(err, "cron: {overlap: allow} or {overlap: replace}, or fewer times");
		return;
	}
	err_set(err, ERR_INTERRUPTED, "%s was not run for %s: it was missed", name, at);
	err_why(err, "the node was down then, or its clock was set forward");
	err_fix(err, "zlayer cron trigger %s; to make up for missed times: cron: {catch_up: last}",
		name);
}

static void
say_state(const struct service *s, enum msg_cron_state state, const char *name, struct err *err)
{
	switch (state) {
	case MSG_CRON_DISABLED:
		err_set(err, ERR_CONFLICT, "%s is disabled", name);
		err_fix(err, "zlayer cron enable %s", name);
		return;
	case MSG_CRON_STOPPED:
		err_set(err, ERR_CONFLICT, "%s is stopped", s->deployment->row.name);
		err_fix(err, "zlayer start %s", s->deployment->row.name);
		return;
	case MSG_CRON_BEHIND:
		say_behind(s, name, err);
		return;
	case MSG_CRON_OVER:
		err_set(err, ERR_CONFLICT, "the schedule of %s has no time left", name);
		err_fix(err, "change the schedule in the document, then: zlayer deploy");
		return;
	case MSG_CRON_PENDING:
		err_set(err, ERR_CONFLICT, "no revision of %s serves yet", s->deployment->row.name);
		err_fix(err, "zlayer status %s", s->deployment->row.name);
		return;
	case MSG_CRON_WAITING:
		return;
	}
}

static void
say_why(const struct service *s, enum msg_cron_state state, struct msg_reason *out)
{
	const struct cronjob_firing *f = s->cron ? newest(s->cron) : NULL;
	char name[MSG_TARGET];
	struct err err = {0};

	model_label(s, name);
	say_state(s, state, name, &err);
	if (!err.kind && f && f->row.state == MSG_FIRING_PASSED)
		say_passed(&f->row, name, &err);
	if (err.kind)
		msg_reason_from(&err, out);
	else if (f && (f->row.state == MSG_FIRING_LOST || f->row.state == MSG_FIRING_DUE))
		*out = f->row.why;
}

bool
publish_cron_trouble(struct model *m, struct service *s, struct msg_reason *out)
{
	enum msg_cron_state state = state_of(m, s);
	const struct cronjob_firing *f = s->cron ? newest(s->cron) : NULL;

	if (state != MSG_CRON_BEHIND &&
	    (state != MSG_CRON_WAITING || !f || f->row.state != MSG_FIRING_LOST))
		return false;
	say_why(s, state, out);
	return out->kind != 0;
}

/* ---- rows ---- */

static void
put_firings(struct cronjob *job, struct msg_cron *row)
{
	for (struct list *it = job->firings.prev;
	     it != &job->firings && row->firings_count < MSG_FIRINGS_MAX; it = it->prev) {
		const struct store_firing *f = &container_of(it, struct cronjob_firing, link)->row;

		row->firings[row->firings_count++] = (struct msg_firing){
			.at_s = f->at_s,
			.ended_wall_ns = f->ended_wall_ns,
			.state = f->state,
			.reason = f->reason,
			.skipped = f->skipped,
			.skipped_more = f->skipped_more,
			.run = f->index,
			.tries = f->tries,
			.exit_status = (int32_t)f->exit_status,
			.exit_signal = f->exit_signal,
		};
	}
}

/* Only who conducts asks its core; the others see the same schedule and the same mark, and look
 * again when they have not heard of the run. */
static int64_t
next_of(struct model *m, const struct service *s, const struct doc_service *spec)
{
	enum { HEARD_S = 1 };

	const struct cronjob *job = s->cron;
	int64_t now_s = m->wall_ns / SECOND_NS, next = 0;

	if (model_conducts(m, s->deployment))
		return job->asked ? job->next_s : 0;
	if (!cron_next(&spec->times, now_s > job->row.mark_s ? now_s : job->row.mark_s, &next))
		return 0;
	model_wake_at(m, m->now_ns + (uint64_t)((next + HEARD_S) * SECOND_NS - m->wall_ns));
	return next;
}

static void
put_cron(struct publish_table *t, struct service *s)
{
	const struct doc_service *spec = model_in_force(t->m, s);
	struct cronjob *job = s->cron;

	if (!spec || spec->rtype != DOC_RTYPE_CRON)
		return;
	struct msg_cron row = {
		.service = s->row.id,
		.state = state_of(t->m, s),
		.overlap = (uint32_t)spec->cron.overlap + 1,
		.catch_up = (uint32_t)spec->cron.catch_up + 1,
		.on_loss = (uint32_t)spec->cron.on_loss + 1,
	};
	text_copy(row.schedule, sizeof(row.schedule), spec->schedule);
	if (job) {
		row.mark_s = job->row.mark_s;
		if (row.state == MSG_CRON_WAITING || row.state == MSG_CRON_BEHIND)
			row.next_s = next_of(t->m, s, spec);
		put_firings(job, &row);
	}
	say_why(s, row.state, &row.reason);
	publish_table_row(t, s->row.id, &row);
}

void
publish_cron(struct model *m)
{
	struct publish_table t;

	publish_table_begin(&t, m, MSG_TABLE_CRON);
	publish_table_services(&t, put_cron);
	publish_table_commit(&t);
}
