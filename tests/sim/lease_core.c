/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One simulated node of the profile `lease`: two tenures, and the jobs that run at certain times,
 * judged by firing.h. What stands around these two in the product is played here as their headers
 * say: a client of the store that gives up after a while, and who runs what a record says. He
 * writes down that he starts a try before he does; so after a crash he knows what he may have
 * started. What he finds written, and neither running nor ended, is lost: it is over, or tried
 * again, as the job says.
 */
#include "tests/sim/lease.h"

#include <assert.h>
#include <string.h>
#include "base/mem.h"

enum {
	ASKS_MAX = 24,
	RUNS_MAX = 128,
	NODES_MAX = 128,
	FILE_RUNS = 1,
	POLL_MS = 250,
	SOON_MS = 5,
};

enum run_state {
	RUN_FREE,
	RUN_FOUND,   /* in the file, and not heard of yet */
	RUN_WRITING, /* it begins when that is durable */
	RUN_BEGUN,
	RUN_ENDED,
	RUN_LOST, /* or it may be */
};

struct run {
	struct lease_run run;
	enum run_state state;
	uint64_t token;
};

/* What the store was asked and has not answered; id 0: none. */
struct question {
	uint64_t id;
	uint64_t until_ns;
	uint32_t verb, thing;
	uint32_t number; /* the tenure's */
};

struct job {
	struct question question;
	uint64_t due_ns;
};

struct core {
	struct sim_core_config config;
	struct lease_rules rules;
	struct tenure tenures[LEASE_LEASES];
	uint64_t tenure_due_ns[LEASE_LEASES];
	struct question asks[ASKS_MAX]; /* of tenures */
	struct job jobs[LEASE_JOBS];
	struct run runs[RUNS_MAX];
	bool dead[NODES_MAX + 1];
	bool booted;
	uint64_t ids, tokens, timer_ns;
	const struct step_input *in; /* of this step */
	struct step_actions *out;
};

static void
tell(struct core *c, enum lease_word what, uint64_t token, const void *data, size_t bytes)
{
	struct step_action *a = step_add(c->out, STEP_TELL, data, bytes);

	a->what = (uint16_t)what;
	a->token = token;
}

static void
ask(struct core *c, struct question *q, struct lease_ask ask)
{
	ask.id = ++c->ids;
	ask.boot = c->config.boot;
	ask.node = c->config.node;
	if (q)
		*q = (struct question){.id = ask.id,
				       .until_ns = c->in->now_ns + c->rules.patience_ms * SIM_MS,
				       .verb = ask.verb,
				       .thing = ask.thing,
				       .number = q->number};
	tell(c, LEASE_ASK, 0, &ask, sizeof(ask));
}

/* ---- leases ---- */

static struct question *
question_new(struct core *c, uint32_t number)
{
	for (size_t i = 0; i < ASKS_MAX; i++)
		if (c->asks[i].id == 0) {
			c->asks[i].number = number;
			return &c->asks[i];
		}
	assert(!"more questions than a tenure has");
	return NULL;
}

static void
feed(struct core *c, uint32_t lease, struct tenure_input in)
{
	struct tenure_actions a;

	in.now_ns = c->in->now_ns;
	tenure_step(&c->tenures[lease], &in, &a);
	for (unsigned i = 0; i < a.count; i++) {
		struct lease_hold hold = {
			.epoch = a.items[i].epoch, .until_ns = a.items[i].until_ns, .lease = lease};
		struct lease_ask what = {.thing = lease, .epoch = a.items[i].epoch};

		switch (a.items[i].verb) {
		case TENURE_ASK_TAKE:
			what.verb = LEASE_TAKE;
			ask(c, question_new(c, a.items[i].question), what);
			break;
		case TENURE_ASK_KEEP:
			what.verb = LEASE_KEEP;
			ask(c, question_new(c, a.items[i].question), what);
			break;
		case TENURE_ASK_DROP:
			what.verb = LEASE_DROP;
			ask(c, NULL, what);
			break;
		case TENURE_HOLD:
			tell(c, LEASE_HOLD, 0, &hold, sizeof(hold));
			break;
		case TENURE_LOSE:
			tell(c, LEASE_LOSE, lease, NULL, 0);
			break;
		}
	}
	c->tenure_due_ns[lease] = a.due_ns;
}

/* Who acts was told by the process before this one: it goes on with that. */
static void
resume(struct core *c)
{
	struct lease_hold hold;

	memcpy(&hold, c->in->data, sizeof(hold));
	tenure_resume(&c->tenures[hold.lease], c->rules.ttl_ms, hold.epoch, hold.until_ns);
	feed(c, hold.lease, (struct tenure_input){.kind = TENURE_TIME});
}

static void
answer_lease(struct core *c, struct question *q, enum err_kind error, uint64_t epoch)
{
	struct tenure_input in = {
		.kind = q->verb == LEASE_TAKE ? TENURE_TAKEN : TENURE_KEPT,
		.question = q->number,
		.epoch = epoch,
		.error = error,
	};
	uint32_t lease = q->thing;

	q->id = 0;
	feed(c, lease, in);
}

/* ---- runs ---- */

static struct run *
find_run(struct core *c, const struct lease_run *run)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (c->runs[i].state != RUN_FREE && memcmp(&c->runs[i].run, run, sizeof(*run)) == 0)
			return &c->runs[i];
	return NULL;
}

static struct run *
add_run(struct core *c, const struct lease_run *run, enum run_state state)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (c->runs[i].state == RUN_FREE) {
			c->runs[i] = (struct run){.run = *run, .state = state};
			return &c->runs[i];
		}
	return NULL;
}

static void
write_runs(struct core *c, uint64_t token)
{
	struct lease_run all[RUNS_MAX];
	struct step_action *a;
	size_t count = 0;

	for (size_t i = 0; i < RUNS_MAX; i++)
		if (c->runs[i].state != RUN_FREE)
			all[count++] = c->runs[i].run;
	a = step_add(c->out, STEP_REPLACE, all, count * sizeof(all[0]));
	a->what = FILE_RUNS;
	a->token = token;
}

static void
begin_run(struct core *c, const struct lease_run *run)
{
	struct run *r = add_run(c, run, RUN_WRITING);

	if (!r)
		return; /* later, when others have ended */
	r->token = ++c->tokens;
	write_runs(c, r->token);
	tell(c, LEASE_RUN, 0, run, sizeof(*run));
	c->out->items[c->out->count - 1].after = r->token;
}

static void
disk_done(struct core *c)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (c->runs[i].state == RUN_WRITING && c->runs[i].token == c->in->token)
			c->runs[i].state = c->in->status == 0 ? RUN_BEGUN : RUN_LOST;
}

static void
hear_of_run(struct core *c, enum run_state state)
{
	struct lease_run run;
	struct run *r;

	assert(c->in->bytes == sizeof(run));
	memcpy(&run, c->in->data, sizeof(run));
	r = find_run(c, &run);
	if (r)
		r->state = state;
}

static void
take_boot(struct core *c)
{
	for (size_t i = 0; i < RUNS_MAX; i++)
		if (c->runs[i].state == RUN_FOUND)
			c->runs[i].state = RUN_LOST;
	c->booted = true;
}

/* ---- jobs ---- */

static bool
is_judge(const struct core *c)
{
	const struct tenure *t = &c->tenures[LEASE_CRON];

	return c->rules.all_judge || (t->state == TENURE_HELD && c->in->now_ns < t->until_ns);
}

/* Of what is mine: begins it, or says what became of it. True: something was asked. */
static bool
do_mine(struct core *c, uint32_t job, const struct lease_open *open)
{
	struct lease_run run = {.at_s = open->at_s, .job = job, .tries = open->tries};
	struct run *r = find_run(c, &run);
	struct lease_ask what = {.thing = job, .at_s = open->at_s, .tries = open->tries};

	if (!r) {
		begin_run(c, &run);
		return false;
	}
	if (r->state != RUN_ENDED && r->state != RUN_LOST)
		return false;
	what.verb = LEASE_OVER;
	what.well = r->state == RUN_ENDED;
	if (r->state == RUN_LOST && c->rules.jobs[job].retry)
		what.verb = LEASE_AGAIN;
	ask(c, &c->jobs[job].question, what);
	return true;
}

/* What the store no longer has as mine is of no interest. */
static void
forget_runs(struct core *c, uint32_t job, const struct lease_answer *a)
{
	for (size_t i = 0; i < RUNS_MAX; i++) {
		struct run *r = &c->runs[i];
		bool mine = false;

		if (r->state == RUN_FREE || r->run.job != job)
			continue;
		for (uint32_t k = 0; k < a->count; k++)
			mine |= a->open[k].at_s == r->run.at_s && a->open[k].tries == r->run.tries;
		if (!mine)
			r->state = RUN_FREE;
	}
}

static bool
take_over(struct core *c, uint32_t job, const struct lease_open *open)
{
	struct lease_ask what = {
		.verb = LEASE_AGAIN, .thing = job, .at_s = open->at_s, .tries = open->tries};

	if (!c->dead[open->node] || !c->rules.jobs[job].retry || !is_judge(c))
		return false;
	ask(c, &c->jobs[job].question, what);
	return true;
}

static void
judge(struct core *c, uint32_t job, const struct lease_answer *a)
{
	const struct lease_job *j = &c->rules.jobs[job];
	struct firing_rule rule = {&j->schedule, j->catch_up, j->overlap, true};
	struct firing_now now = {.wall_s = c->in->wall_ns / (int64_t)SIM_S, .mark_s = a->mark_s};
	struct firing_step step;

	for (uint32_t i = 0; i < a->count; i++) {
		now.unsure |= c->dead[a->open[i].node];
		now.running += !c->dead[a->open[i].node];
	}
	step = firing_step(&rule, &now);
	if (step.verb == FIRING_WAIT)
		return;
	ask(c, &c->jobs[job].question,
	    (struct lease_ask){.verb = LEASE_MARK,
			       .thing = job,
			       .version = a->version,
			       .at_s = step.at_s,
			       .wall_s = now.wall_s,
			       .fire = step.verb == FIRING_FIRE,
			       .reason = step.reason});
}

static void
look_at_job(struct core *c, uint32_t job, const struct lease_answer *a)
{
	bool asked = false;

	if (!c->booted)
		return;
	forget_runs(c, job, a);
	for (uint32_t i = 0; i < a->count && !asked; i++)
		asked = a->open[i].node == c->config.node ? do_mine(c, job, &a->open[i])
							  : take_over(c, job, &a->open[i]);
	if (!asked && is_judge(c) && a->count < LEASE_OPEN_STOP)
		judge(c, job, a);
}

static void
answer_job(struct core *c, uint32_t job, const struct lease_answer *a)
{
	struct job *j = &c->jobs[job];
	bool read = j->question.verb == LEASE_READ;

	j->question.id = 0;
	j->due_ns = c->in->now_ns + (read ? POLL_MS : SOON_MS) * SIM_MS;
	if (read && a->error == ERR_NONE)
		look_at_job(c, job, a);
}

/* ---- inputs ---- */

static void
answer(struct core *c)
{
	struct lease_answer a = {0};

	assert(c->in->bytes <= sizeof(a));
	memcpy(&a, c->in->data, c->in->bytes);
	if (a.boot != c->config.boot)
		return;
	for (size_t i = 0; i < ASKS_MAX; i++)
		if (c->asks[i].id == a.id) {
			answer_lease(c, &c->asks[i], (enum err_kind)a.error, a.epoch);
			return;
		}
	for (uint32_t job = 0; job < LEASE_JOBS; job++)
		if (c->jobs[job].question.id == a.id) {
			answer_job(c, job, &a);
			return;
		}
}

static void
local(struct core *c)
{
	const uint8_t *data = c->in->data;

	switch ((enum lease_word)c->in->what) {
	case LEASE_WANT:
		feed(c, (uint32_t)c->in->token,
		     (struct tenure_input){.kind = TENURE_WANT, .wanted = data[0] != 0});
		break;
	case LEASE_ANSWER:
		answer(c);
		break;
	case LEASE_STOPPED:
		feed(c, (uint32_t)c->in->token, (struct tenure_input){.kind = TENURE_STOPPED});
		break;
	case LEASE_PEER:
		c->dead[c->in->token] = data[0] != 0;
		break;
	case LEASE_RUNNING:
		hear_of_run(c, RUN_BEGUN);
		break;
	case LEASE_ENDED:
		hear_of_run(c, RUN_ENDED);
		break;
	case LEASE_ACTS:
		resume(c);
		break;
	case LEASE_BOOTED:
		take_boot(c);
		break;
	default:
		assert(!"a word of the core's own");
	}
}

static void
read_file(struct core *c)
{
	const struct lease_run *all = c->in->data;

	for (size_t i = 0; i < c->in->bytes / sizeof(*all); i++)
		add_run(c, &all[i], RUN_FOUND);
}

/* ---- time ---- */

static void
give_up(struct core *c)
{
	static const struct lease_answer none = {.error = ERR_TIMEOUT};

	for (size_t i = 0; i < ASKS_MAX; i++)
		if (c->asks[i].id && c->in->now_ns >= c->asks[i].until_ns)
			answer_lease(c, &c->asks[i], ERR_TIMEOUT, 0);
	for (uint32_t job = 0; job < LEASE_JOBS; job++)
		if (c->jobs[job].question.id && c->in->now_ns >= c->jobs[job].question.until_ns)
			answer_job(c, job, &none);
}

static void
do_due(struct core *c)
{
	for (uint32_t lease = 0; lease < LEASE_LEASES; lease++)
		if (c->in->now_ns >= c->tenure_due_ns[lease])
			feed(c, lease, (struct tenure_input){.kind = TENURE_TIME});
	for (uint32_t job = 0; job < LEASE_JOBS; job++)
		if (c->jobs[job].question.id == 0 && c->in->now_ns >= c->jobs[job].due_ns)
			ask(c, &c->jobs[job].question,
			    (struct lease_ask){.verb = LEASE_READ, .thing = job});
}

static uint64_t
sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void
set_timer(struct core *c)
{
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < LEASE_LEASES; i++)
		at = sooner(at, c->tenure_due_ns[i]);
	for (size_t i = 0; i < ASKS_MAX; i++)
		at = sooner(at, c->asks[i].id ? c->asks[i].until_ns : UINT64_MAX);
	for (size_t i = 0; i < LEASE_JOBS; i++)
		at = sooner(at, c->jobs[i].question.id ? c->jobs[i].question.until_ns
						       : c->jobs[i].due_ns);
	if (at == c->timer_ns)
		return;
	step_add(c->out, STEP_SET_TIMER, NULL, 0)->at_ns = at;
	c->timer_ns = at;
}

static void
step(void *core, const struct step_input *in, struct step_actions *out)
{
	struct core *c = core;

	c->in = in;
	c->out = out;
	switch (in->kind) {
	case STEP_FILE:
		read_file(c);
		return;
	case STEP_TIMER:
		c->timer_ns = UINT64_MAX;
		give_up(c);
		do_due(c);
		break;
	case STEP_DISK_DONE:
		disk_done(c);
		break;
	case STEP_LOCAL:
		local(c);
		break;
	default:
		break;
	}
	set_timer(c);
}

static void *
start(const struct sim_core_config *config)
{
	struct core *c = mem_zalloc(MEM_BASE, sizeof(*c));

	assert(c && config->nodes <= NODES_MAX);
	c->config = *config;
	lease_rules_draw(&c->rules, config->plan_seed);
	c->timer_ns = UINT64_MAX;
	for (uint32_t lease = 0; lease < LEASE_LEASES; lease++) {
		tenure_init(&c->tenures[lease], c->rules.ttl_ms);
		c->tenure_due_ns[lease] = UINT64_MAX;
	}
	return c;
}

const struct sim_core_calls lease_core_calls = {start, step, mem_free};
