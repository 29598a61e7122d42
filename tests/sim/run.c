/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers are forked and take the next seed from a counter in shared memory. A worker that dies
 * leaves there which seed it had; its successor goes on. A timer ends what does not end. Ctrl-C
 * ends all: workers stand in the same process group, and the parent prints what there is.
 */
#include "tests/sim/run.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	JOBS_MAX = 64,
	FAILURES_MAX = 64,
	SEED_CPU_S_MAX = 300,
	TRIES_MAX = 200,
	MINIMISE_S_MAX = 60
};

struct failed_seed {
	uint64_t seed;
	struct sim_failure failure;
};

struct worker {
	uint64_t seed; /* at work on it; UINT64_MAX: on none */
	pid_t pid;
};

struct shared {
	uint64_t next;
	uint64_t done;
	uint64_t node_ns;
	uint64_t cpu_ns;
	uint32_t failed;
	uint32_t stop;
	struct worker workers[JOBS_MAX];
	struct failed_seed failures[FAILURES_MAX];
};

static volatile sig_atomic_t interrupted;

static void
interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static void *
share(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("sim: mmap");
		exit(1);
	}
	return p;
}

/* Of the processor: a machine that is busy or sleeps hangs nothing. */
static void
limit_time(void)
{
	const struct itimerval t = {.it_value = {.tv_sec = SEED_CPU_S_MAX}};

	setitimer(ITIMER_PROF, &t, NULL);
}

static pid_t
fork_quietly(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	const struct rlimit none = {0};
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("sim: fork");
		exit(1);
	}
	if (pid == 0) {
		for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
			signal(numbers[i], SIG_DFL);
		setrlimit(RLIMIT_CORE, &none);
		limit_time();
	}
	return pid;
}

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * SIM_S + (uint64_t)t.tv_nsec;
}

static void
draw_plan(const struct run_options *o, uint64_t seed, struct plan *plan)
{
	sim_plan_draw(plan, &o->profile->wish, seed, o->nodes, o->seconds * SIM_S, o->kinds);
}

static void
judge(const struct run_options *o, const struct plan *plan, struct trial *out)
{
	if (o->once)
		trial_run(plan, o->profile, NULL, out);
	else
		trial_run_twice(plan, o->profile, out);
}

/* How a process ended that should have given a verdict. */
static struct sim_failure
died(int status)
{
	struct sim_failure f = {.failed = true, .check = "crash"};

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
		snprintf(f.check, sizeof(f.check), "hang");
	snprintf(f.text, sizeof(f.text), "the process ended with %s %d",
		 WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return f;
}

/* ---- workers ---- */

static void
note_failure(const struct run_options *o, struct shared *sh, uint64_t seed,
	     const struct sim_failure *f)
{
	uint32_t n = __atomic_fetch_add(&sh->failed, 1, __ATOMIC_SEQ_CST);

	if (n < FAILURES_MAX)
		sh->failures[n] = (struct failed_seed){seed, *f};
	if (n + 1 >= o->failures_max)
		__atomic_store_n(&sh->stop, 1, __ATOMIC_SEQ_CST);
}

static void
work(const struct run_options *o, struct shared *sh, struct worker *w)
{
	uint64_t began = cpu_ns();

	for (;;) {
		uint64_t n = __atomic_fetch_add(&sh->next, 1, __ATOMIC_SEQ_CST), now;
		struct plan plan;
		struct trial trial;

		if (n >= o->seeds || __atomic_load_n(&sh->stop, __ATOMIC_SEQ_CST))
			break;
		w->seed = o->from + n;
		limit_time();
		draw_plan(o, w->seed, &plan);
		judge(o, &plan, &trial);
		sim_plan_fini(&plan);
		if (trial.failure.failed)
			note_failure(o, sh, w->seed, &trial.failure);
		now = cpu_ns();
		__atomic_fetch_add(&sh->done, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&sh->node_ns, trial.ns * trial.nodes * (o->once ? 1 : 2),
				   __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&sh->cpu_ns, now - began, __ATOMIC_SEQ_CST);
		began = now;
		w->seed = UINT64_MAX;
	}
}

static void
start_worker(const struct run_options *o, struct shared *sh, struct worker *w)
{
	pid_t pid;

	w->seed = UINT64_MAX;
	pid = fork_quietly();
	if (pid == 0) {
		work(o, sh, w);
		_exit(0);
	}
	w->pid = pid;
}

/* Waits for one; false when none is left. */
static bool
wait_worker(const struct run_options *o, struct shared *sh, unsigned jobs)
{
	int status;
	pid_t pid = wait(&status);

	if (pid < 0)
		return errno == EINTR;
	for (unsigned i = 0; i < jobs; i++) {
		struct worker *w = &sh->workers[i];
		struct sim_failure f;

		if (w->pid != pid)
			continue;
		w->pid = 0;
		if (interrupted || w->seed == UINT64_MAX)
			continue;
		f = died(status);
		note_failure(o, sh, w->seed, &f);
		sh->done++;
		if (!sh->stop)
			start_worker(o, sh, w);
	}
	return true;
}

/* ---- failures ---- */

struct attempt {
	const struct run_options *options;
	struct trial *shared;
	const char *check;
	time_t until;
};

static void
run_apart(const struct run_options *o, const struct plan *plan, struct trial *shared)
{
	int status;
	pid_t pid = fork_quietly();

	if (pid == 0) {
		/* What an assertion says has been seen once. */
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		judge(o, plan, shared);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		shared->failure = died(status);
}

static bool
fails_likewise(const struct plan *plan, void *data)
{
	struct attempt *a = data;

	if (interrupted || time(NULL) > a->until)
		return false;
	run_apart(a->options, plan, a->shared);
	return a->shared->failure.failed && strcmp(a->shared->failure.check, a->check) == 0;
}

static void
print_kinds(uint32_t kinds)
{
	const char *comma = " --faults ";

	for (enum plan_kind kind = PLAN_ACT + 1; kind < PLAN_KINDS; kind++)
		if (kinds >> kind & 1) {
			printf("%s%s", comma, sim_plan_kind_name(kind));
			comma = ",";
		}
	if (kinds == 0)
		printf("%snone", comma);
}

static void
print_repeat(const struct run_options *o, uint64_t seed, const struct plan *plan)
{
	const char *comma = " --only ";
	const uint32_t all = (1u << PLAN_KINDS) - 2;

	printf("  tools/sim --profile %s --seed %" PRIu64 " --seconds %" PRIu64, o->profile->name,
	       seed, o->seconds);
	if (o->nodes)
		printf(" --nodes %u", o->nodes);
	if ((o->kinds & all) != all)
		print_kinds(o->kinds & all);
	for (size_t i = 0; plan && i < plan->item_count; i++)
		if (!plan->items[i].dropped) {
			printf("%s%zu", comma, i);
			comma = ",";
		}
	if (plan && strcmp(comma, ",") != 0)
		printf(" --only none");
	printf("\n");
}

static void
print_smaller(const struct run_options *o, const struct failed_seed *f)
{
	struct attempt a = {o, share(sizeof(struct trial)), f->failure.check,
			    time(NULL) + MINIMISE_S_MAX};
	struct plan plan;
	size_t left = 0;
	unsigned tries;

	draw_plan(o, f->seed, &plan);
	tries = trial_minimise(&plan, fails_likewise, &a, TRIES_MAX);
	for (size_t i = 0; i < plan.item_count; i++)
		left += !plan.items[i].dropped;
	printf("  fails with %zu of %zu items, %u nodes (%u tries):\n", left, plan.item_count,
	       plan.nodes, tries);
	for (size_t i = 0; i < plan.item_count; i++)
		if (!plan.items[i].dropped) {
			printf("    ");
			sim_plan_print(&plan, i, stdout);
		}
	print_repeat(o, f->seed, &plan);
	sim_plan_fini(&plan);
	munmap(a.shared, sizeof(struct trial));
}

static void
print_failure(const struct run_options *o, const struct failed_seed *f)
{
	const struct sim_failure *w = &f->failure;

	printf("FAILED seed %" PRIu64 ": %s: ", f->seed, w->check);
	if (w->node)
		printf("node %u ", w->node);
	if (w->at_ns)
		printf("at %" PRIu64 ".%06" PRIu64 " s ", w->at_ns / SIM_S,
		       w->at_ns % SIM_S / 1000);
	printf("%s\n", w->text);
	print_repeat(o, f->seed, NULL);
	if (o->minimise && strcmp(w->check, "hang") != 0)
		print_smaller(o, f);
	fflush(stdout);
}

/* ---- all ---- */

static void
catch_interrupts(void)
{
	struct sigaction action = {.sa_handler = interrupt};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static void
end_workers(struct shared *sh, unsigned jobs)
{
	for (unsigned i = 0; i < jobs; i++)
		if (sh->workers[i].pid > 0)
			kill(sh->workers[i].pid, SIGTERM);
}

void
run_seeds(const struct run_options *o, struct run_result *out)
{
	struct shared *sh = share(sizeof(*sh));
	unsigned jobs = o->jobs < 1 ? 1 : o->jobs > JOBS_MAX ? JOBS_MAX : o->jobs;
	bool ended = false;

	catch_interrupts();
	for (unsigned i = 0; i < jobs; i++)
		start_worker(o, sh, &sh->workers[i]);
	while (wait_worker(o, sh, jobs))
		if (interrupted && !ended) {
			end_workers(sh, jobs);
			ended = true;
		}
	*out = (struct run_result){.done = sh->done,
				   .failed = sh->failed,
				   .node_ns = sh->node_ns,
				   .cpu_ns = sh->cpu_ns,
				   .interrupted = interrupted != 0};
	if (sh->failed > 0) {
		out->first_failed = sh->failures[0].seed;
		out->failure = sh->failures[0].failure;
	}
	for (uint32_t i = 0; !o->quiet && i < sh->failed && i < FAILURES_MAX; i++)
		print_failure(o, &sh->failures[i]);
	munmap(sh, sizeof(*sh));
}

static void
keep_only(struct plan *plan, const char *only)
{
	for (size_t i = 0; i < plan->item_count; i++)
		plan->items[i].dropped = true;
	while (*only) {
		char *end;
		unsigned long n = strtoul(only, &end, 10);

		if (end == only)
			break;
		if (n < plan->item_count)
			plan->items[n].dropped = false;
		only = *end == ',' ? end + 1 : end;
	}
}

void
run_one(const struct run_options *o, const char *only, FILE *trace, struct trial *out)
{
	struct plan plan;

	draw_plan(o, o->from, &plan);
	if (only)
		keep_only(&plan, only);
	printf("seed %" PRIu64 ": %u nodes, %zu items%s%s\n", o->from, plan.nodes, plan.item_count,
	       plan.quiet ? ", no faults" : "",
	       plan.closer_silent ? ", who closes a stream hears nothing" : "");
	for (size_t i = 0; i < plan.item_count; i++)
		if (!plan.items[i].dropped && plan.items[i].kind != PLAN_ACT)
			sim_plan_print(&plan, i, stdout);
	fflush(stdout);
	if (trace)
		trial_run(&plan, o->profile, trace, out);
	else
		judge(o, &plan, out);
	sim_plan_fini(&plan);
}
