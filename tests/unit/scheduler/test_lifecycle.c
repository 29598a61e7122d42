/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define S 1000000000ull

/* A replica, and what its tables say. The trace is one letter per note. */
struct life {
	struct lifecycle l;
	struct lifecycle_event e;
	char trace[128];
};

static const struct lifecycle_policy strong = {
	.grace_ns = 5 * S,
	.patience_ns = 30 * S,
	.retries = 3,
	.drain_max_ns = 30 * S,
};

static void
write_notes(struct life *f, const struct lifecycle_notes *notes)
{
	static const char letters[] = "?csrueflLgdpPxi";
	size_t n = strlen(f->trace);

	for (size_t i = 0; i < notes->count; i++)
		f->trace[n++] = letters[notes->items[i]];
	f->trace[n] = 0;
}

static void
order(struct life *f, enum lifecycle_order what)
{
	struct lifecycle_notes notes = {0};
	struct lifecycle_event e = f->e;

	e.kind = LIFECYCLE_ORDER;
	e.order = what;
	lifecycle_step(&f->l, &e, &notes);
	write_notes(f, &notes);
}

static void
look(struct life *f)
{
	struct lifecycle_notes notes = {0};

	f->e.kind = LIFECYCLE_SEEN;
	lifecycle_step(&f->l, &f->e, &notes);
	write_notes(f, &notes);
}

static void
container(struct life *f, enum msg_container_state state, uint32_t attempt)
{
	f->e.container = state;
	f->e.attempt = attempt;
	if (state == MSG_CONTAINER_RUNNING)
		f->e.started_wall_ns = 1000 + attempt;
	look(f);
}

static void
at(struct life *f, uint64_t seconds)
{
	f->e.now_ns = seconds * S;
	look(f);
}

static void
begin(struct life *f, const struct lifecycle_policy *policy)
{
	memset(f, 0, sizeof(*f));
	lifecycle_init(&f->l, policy);
	f->e.now_ns = 100 * S;
	f->e.runtime_known = true;
	f->e.checks = 1;
	order(f, LIFECYCLE_RUN);
}

/* Runs attempt n and lets its checks pass. */
static void
come_up(struct life *f, uint32_t attempt)
{
	f->e.passed = 0;
	container(f, MSG_CONTAINER_RUNNING, attempt);
	f->e.passed = 1;
	look(f);
}

static void
test_comes_up(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	assert_int_equal(f.l.attempt, 1);
	assert_int_equal(lifecycle_claim(&f.l), MSG_RUN);
	container(&f, MSG_CONTAINER_PREPARING, 1);
	assert_int_equal(f.l.state, MSG_REPLICA_CREATING);
	container(&f, MSG_CONTAINER_RUNNING, 1);
	assert_int_equal(f.l.state, MSG_REPLICA_STARTING);
	assert_int_equal(lifecycle_probing(&f.l), LIFECYCLE_PROBE_FAST);
	assert_int_equal(lifecycle_balance(&f.l), 0);
	f.e.passed = 1;
	look(&f);
	assert_int_equal(lifecycle_balance(&f.l), MSG_BACKEND_ACTIVE);
	assert_string_equal(f.trace, "csr");
}

static void
test_events_repeat_and_come_late(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	/* Only the last word was heard: it runs and passes. */
	f.e.passed = 1;
	container(&f, MSG_CONTAINER_RUNNING, 1);
	for (int i = 0; i < 5; i++) {
		look(&f);
		order(&f, LIFECYCLE_RUN);
	}
	assert_string_equal(f.trace, "csr");
	/* Somebody else's attempt says nothing. */
	container(&f, MSG_CONTAINER_EXITED, 7);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	/* Nor does an absent row. */
	f.e.container = 0;
	f.e.runtime_known = false;
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
}

static void
test_weak_gate_waits(void **state)
{
	struct lifecycle_policy weak = strong;
	struct life f;

	(void)state;
	weak.weak = true;
	weak.stay_up_ns = 10 * S;
	begin(&f, &weak);
	come_up(&f, 1);
	assert_int_equal(f.l.state, MSG_REPLICA_STARTING);
	assert_int_equal(f.l.due_ns, 110 * S);
	at(&f, 109);
	assert_int_equal(f.l.state, MSG_REPLICA_STARTING);
	at(&f, 110);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	/* Once it has passed, a restart need not wait again. */
	container(&f, MSG_CONTAINER_EXITED, 1);
	come_up(&f, 2);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	assert_string_equal(f.trace, "csrecsr");
}

static void
test_health_leaves_and_returns(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	f.e.passed = 0;
	f.e.failed_max = 2;
	at(&f, 120);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	f.e.failed_max = 3;
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_UNHEALTHY);
	assert_int_equal(lifecycle_balance(&f.l), 0);
	assert_int_equal(lifecycle_claim(&f.l), MSG_RUN);
	f.e.passed = 1;
	f.e.failed_max = 0;
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	assert_string_equal(f.trace, "csrur");
}

static void
test_failures_in_the_grace_do_not_count(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	f.e.passed = 0;
	f.e.failed_max = 9;
	at(&f, 103);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	assert_int_equal(f.l.due_ns, 105 * S);
	at(&f, 105);
	assert_int_equal(f.l.state, MSG_REPLICA_UNHEALTHY);
}

static void
test_never_healthy(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	container(&f, MSG_CONTAINER_RUNNING, 1);
	f.e.failed_max = 50;
	at(&f, 134);
	assert_int_equal(f.l.state, MSG_REPLICA_STARTING);
	at(&f, 135);
	assert_int_equal(f.l.state, MSG_REPLICA_UNHEALTHY);
	/* An answer that contradicts itself changes nothing. */
	f.e.passed = 1;
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_UNHEALTHY);
	f.e.failed_max = 0;
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
}

static void
test_crash_policy(void **state)
{
	static const uint64_t waits[] = {0, 0, 0, 1, 2, 30, 30, 30};
	struct life f;
	uint64_t now = 100;

	(void)state;
	begin(&f, &strong);
	for (uint32_t n = 1; n <= 8; n++) {
		f.e.passed = 0;
		container(&f, MSG_CONTAINER_RUNNING, n);
		container(&f, MSG_CONTAINER_EXITED, n);
		if (waits[n - 1]) {
			assert_int_equal(f.l.state, MSG_REPLICA_BACKOFF);
			assert_true(lifecycle_in_trouble(&f.l));
			assert_int_equal(f.l.due_ns, (now + waits[n - 1]) * S);
			now += waits[n - 1];
			at(&f, now);
		}
		assert_int_equal(f.l.state, MSG_REPLICA_CREATING);
		assert_int_equal(f.l.attempt, n + 1);
	}
	assert_int_equal(f.l.restarts, 8);
	assert_string_equal(f.trace, "csecsecsecselcselcseLcseLcseLc");
	/* Five quiet minutes, and all is forgiven. */
	container(&f, MSG_CONTAINER_RUNNING, 9);
	at(&f, now + 301);
	container(&f, MSG_CONTAINER_EXITED, 9);
	assert_int_equal(f.l.state, MSG_REPLICA_CREATING);
}

static void
test_start_failures_back_off(void **state)
{
	static const uint64_t waits[] = {1, 2, 4, 8, 16, 32, 60, 60};
	struct life f;
	uint64_t now = 100;

	(void)state;
	begin(&f, &strong);
	for (uint32_t n = 1; n <= 8; n++) {
		container(&f, MSG_CONTAINER_FAILED, n);
		assert_int_equal(f.l.state, MSG_REPLICA_BACKOFF);
		assert_int_equal(f.l.due_ns, (now + waits[n - 1]) * S);
		now += waits[n - 1];
		at(&f, now);
	}
	assert_int_equal(f.l.restarts, 0);
}

static void
test_shutdown_stays_down(void **state)
{
	struct lifecycle_policy policy = strong;
	struct life f;

	(void)state;
	policy.panic = LIFECYCLE_SHUTDOWN;
	begin(&f, &policy);
	come_up(&f, 1);
	container(&f, MSG_CONTAINER_EXITED, 1);
	at(&f, 9999);
	assert_int_equal(f.l.state, MSG_REPLICA_FAILED);
	assert_string_equal(f.trace, "csreg");
	assert_int_equal(lifecycle_claim(&f.l), MSG_RUN);
	/* Only an order brings it back. */
	order(&f, LIFECYCLE_STOP);
	look(&f);
	order(&f, LIFECYCLE_RUN);
	assert_int_equal(f.l.attempt, 2);
}

static void
test_drains_then_leaves(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	order(&f, LIFECYCLE_REMOVE);
	assert_int_equal(lifecycle_balance(&f.l), MSG_BACKEND_DRAINING);
	assert_int_equal(lifecycle_claim(&f.l), MSG_RUN);
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_DRAINING);
	f.e.drained = true;
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_STOPPING);
	assert_int_equal(lifecycle_claim(&f.l), MSG_REMOVE);
	/* The runtime is away: that its row is absent says nothing. */
	f.e.container = 0;
	f.e.runtime_known = false;
	look(&f);
	assert_false(f.l.gone);
	f.e.runtime_known = true;
	look(&f);
	assert_true(f.l.gone);
	assert_int_equal(lifecycle_claim(&f.l), 0);
	assert_string_equal(f.trace, "csrdpx");
}

static void
test_drain_has_an_end(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	order(&f, LIFECYCLE_REMOVE);
	look(&f);
	assert_int_equal(f.l.due_ns, 130 * S);
	at(&f, 130);
	assert_int_equal(f.l.state, MSG_REPLICA_STOPPING);
}

static void
test_comes_back_from_draining(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	order(&f, LIFECYCLE_REMOVE);
	order(&f, LIFECYCLE_RUN);
	assert_int_equal(lifecycle_balance(&f.l), MSG_BACKEND_ACTIVE);
	/* Once it is being stopped there is no way back. */
	order(&f, LIFECYCLE_REMOVE);
	f.e.drained = true;
	look(&f);
	order(&f, LIFECYCLE_RUN);
	assert_int_equal(lifecycle_claim(&f.l), MSG_REMOVE);
	assert_string_equal(f.trace, "csrdrdp");
}

static void
test_stop_and_start(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	f.e.drained = true;
	order(&f, LIFECYCLE_STOP);
	look(&f);
	assert_int_equal(lifecycle_claim(&f.l), MSG_STOP);
	container(&f, MSG_CONTAINER_STOPPING, 1);
	assert_int_equal(f.l.state, MSG_REPLICA_STOPPING);
	container(&f, MSG_CONTAINER_EXITED, 1);
	assert_int_equal(f.l.state, MSG_REPLICA_STOPPED);
	assert_int_equal(lifecycle_claim(&f.l), MSG_STOP);
	f.e.drained = false;
	order(&f, LIFECYCLE_RUN);
	assert_int_equal(f.l.attempt, 2);
	come_up(&f, 2);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	assert_string_equal(f.trace, "csrdpPcsr");
	order(&f, LIFECYCLE_STOP);
	container(&f, MSG_CONTAINER_EXITED, 2);
	order(&f, LIFECYCLE_REMOVE);
	assert_int_equal(lifecycle_claim(&f.l), MSG_REMOVE);
	f.e.container = 0;
	look(&f);
	assert_true(f.l.gone);
}

static void
test_goes_on_after_a_restart_of_the_scheduler(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	container(&f, MSG_CONTAINER_EXITED, 1);
	come_up(&f, 2);
	/* A new scheduler, the same process: still ready, nothing to tell. */
	struct life g = {.e = f.e};
	lifecycle_init(&g.l, &strong);
	lifecycle_restore(&g.l, MSG_RUN, 2, f.l.ready_attempt, f.l.ready_started_wall_ns, 1);
	assert_int_equal(lifecycle_claim(&g.l), MSG_RUN);
	g.e.passed = 0;
	look(&g);
	assert_int_equal(g.l.state, MSG_REPLICA_READY);
	assert_string_equal(g.trace, "");
	/* After a reboot the same attempt is another process: its gate is asked for again. */
	g.e.container = MSG_CONTAINER_PREPARING;
	look(&g);
	assert_int_equal(g.l.state, MSG_REPLICA_CREATING);
	g.e.container = MSG_CONTAINER_RUNNING;
	g.e.started_wall_ns = 777777;
	look(&g);
	assert_int_equal(g.l.state, MSG_REPLICA_STARTING);
	/* The store was behind: a later attempt runs. */
	lifecycle_init(&g.l, &strong);
	lifecycle_restore(&g.l, MSG_RUN, 2, 0, 0, 0);
	container(&g, MSG_CONTAINER_RUNNING, 3);
	assert_int_equal(g.l.attempt, 3);
	/* And what was being removed goes on being removed. */
	lifecycle_init(&g.l, &strong);
	lifecycle_restore(&g.l, MSG_REMOVE, 3, 0, 0, 0);
	assert_int_equal(lifecycle_claim(&g.l), MSG_REMOVE);
	g.e.container = 0;
	look(&g);
	assert_true(g.l.gone);
}

static void
test_crash_while_draining(void **state)
{
	struct life f;

	(void)state;
	begin(&f, &strong);
	come_up(&f, 1);
	order(&f, LIFECYCLE_STOP);
	container(&f, MSG_CONTAINER_EXITED, 1);
	assert_int_equal(f.l.state, MSG_REPLICA_STOPPED);
	assert_int_equal(f.l.restarts, 0);
}

static void
test_isolated(void **state)
{
	struct lifecycle_policy policy = strong;
	struct life f;

	(void)state;
	policy.panic = LIFECYCLE_ISOLATE;
	begin(&f, &policy);
	come_up(&f, 1);
	container(&f, MSG_CONTAINER_EXITED, 1);
	assert_int_equal(f.l.attempt, 2);
	assert_int_equal(lifecycle_claim(&f.l), MSG_HOLD);
	assert_true(lifecycle_in_trouble(&f.l));
	f.e.hold = true;
	container(&f, MSG_CONTAINER_RUNNING, 2);
	assert_int_equal(f.l.state, MSG_REPLICA_ISOLATED);
	/* Checks that pass and time change nothing. */
	at(&f, 9999);
	assert_int_equal(f.l.state, MSG_REPLICA_ISOLATED);
	assert_int_equal(lifecycle_claim(&f.l), MSG_HOLD);
	assert_int_equal(lifecycle_balance(&f.l), 0);
	assert_int_equal(lifecycle_probing(&f.l), LIFECYCLE_NO_PROBES);
	assert_true(lifecycle_in_trouble(&f.l));
	assert_int_equal(f.l.restarts, 0);
	assert_string_equal(f.trace, "csrei");
	/* The machine was restarted: the same attempt, another process. */
	f.e.started_wall_ns = 1;
	look(&f);
	assert_int_equal(lifecycle_claim(&f.l), MSG_HOLD);
	look(&f);
	assert_int_equal(f.l.state, MSG_REPLICA_ISOLATED);
	assert_string_equal(f.trace, "csrei");
	/* Stopped and started it runs again. */
	order(&f, LIFECYCLE_STOP);
	assert_int_equal(lifecycle_claim(&f.l), MSG_STOP);
	container(&f, MSG_CONTAINER_EXITED, 2);
	assert_int_equal(f.l.state, MSG_REPLICA_STOPPED);
	order(&f, LIFECYCLE_RUN);
	assert_int_equal(lifecycle_claim(&f.l), MSG_RUN);
	f.e.hold = false;
	come_up(&f, 3);
	assert_int_equal(f.l.state, MSG_REPLICA_READY);
	assert_false(lifecycle_in_trouble(&f.l));
	assert_string_equal(f.trace, "csreipPcsr");
}

static void
test_what_holds_ends(void **state)
{
	struct lifecycle_policy policy = strong;
	struct life f;

	(void)state;
	policy.panic = LIFECYCLE_ISOLATE;
	begin(&f, &policy);
	come_up(&f, 1);
	container(&f, MSG_CONTAINER_EXITED, 1);
	f.e.hold = true;
	container(&f, MSG_CONTAINER_RUNNING, 2);
	container(&f, MSG_CONTAINER_EXITED, 2);
	assert_int_equal(f.l.state, MSG_REPLICA_BACKOFF);
	assert_true(lifecycle_in_trouble(&f.l));
	at(&f, 101);
	assert_int_equal(f.l.attempt, 3);
	assert_int_equal(lifecycle_claim(&f.l), MSG_HOLD);
	/* It cannot be started now: later, and again as that. */
	container(&f, MSG_CONTAINER_FAILED, 3);
	assert_int_equal(f.l.state, MSG_REPLICA_BACKOFF);
	at(&f, 102);
	assert_int_equal(lifecycle_claim(&f.l), MSG_HOLD);
	container(&f, MSG_CONTAINER_RUNNING, 4);
	assert_int_equal(f.l.state, MSG_REPLICA_ISOLATED);
	assert_string_equal(f.trace, "csreilcflc");
	order(&f, LIFECYCLE_REMOVE);
	container(&f, 0, 0);
	assert_true(f.l.gone);
}

static void
test_isolated_is_kept_over_a_restart(void **state)
{
	struct lifecycle_policy policy = strong;
	struct life f, g;

	(void)state;
	policy.panic = LIFECYCLE_ISOLATE;
	begin(&f, &policy);
	come_up(&f, 1);
	container(&f, MSG_CONTAINER_EXITED, 1);
	f.e.hold = true;
	container(&f, MSG_CONTAINER_RUNNING, 2);

	g = f;
	g.trace[0] = 0;
	lifecycle_init(&g.l, &policy);
	lifecycle_restore(&g.l, MSG_HOLD, 2, 1, f.l.ready_started_wall_ns, 0);
	assert_int_equal(lifecycle_claim(&g.l), MSG_HOLD);
	look(&g);
	assert_int_equal(g.l.state, MSG_REPLICA_ISOLATED);
	assert_string_equal(g.trace, "");

	/* The store is behind: the runtime says what its attempt is. */
	lifecycle_init(&g.l, &policy);
	lifecycle_restore(&g.l, MSG_RUN, 1, 1, f.l.ready_started_wall_ns, 0);
	look(&g);
	assert_int_equal(g.l.state, MSG_REPLICA_ISOLATED);
	assert_int_equal(lifecycle_claim(&g.l), MSG_HOLD);
}

static void
init_fails(struct life *f, uint32_t attempt)
{
	f->e.init_failed = true;
	container(f, MSG_CONTAINER_FAILED, attempt);
	f->e.init_failed = false;
}

static void
test_init_failure(void **state)
{
	struct lifecycle_policy policy = strong;
	struct life f;

	(void)state;
	begin(&f, &policy);
	init_fails(&f, 1);
	assert_int_equal(f.l.state, MSG_REPLICA_FAILED);
	assert_true(lifecycle_in_trouble(&f.l));

	policy.init = LIFECYCLE_INIT_RESTART;
	begin(&f, &policy);
	for (uint32_t attempt = 1; attempt <= 3; attempt++) {
		init_fails(&f, attempt);
		assert_int_equal(f.l.state, MSG_REPLICA_CREATING);
		assert_false(lifecycle_in_trouble(&f.l));
	}
	init_fails(&f, 4);
	assert_int_equal(f.l.state, MSG_REPLICA_FAILED);

	policy.init = LIFECYCLE_INIT_BACKOFF;
	begin(&f, &policy);
	uint64_t now = f.e.now_ns / S, wait = 1;
	for (uint32_t attempt = 1; attempt <= 5; attempt++, wait *= 2) {
		init_fails(&f, attempt);
		assert_int_equal(f.l.state, MSG_REPLICA_BACKOFF);
		assert_false(lifecycle_in_trouble(&f.l));
		at(&f, now + wait - 1);
		assert_int_equal(f.l.state, MSG_REPLICA_BACKOFF);
		now += wait;
		at(&f, now);
		assert_int_equal(f.l.state, MSG_REPLICA_CREATING);
	}
	/* What could not be started for another reason is trouble as before. */
	container(&f, MSG_CONTAINER_FAILED, 6);
	assert_true(lifecycle_in_trouble(&f.l));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comes_up),
		cmocka_unit_test(test_events_repeat_and_come_late),
		cmocka_unit_test(test_weak_gate_waits),
		cmocka_unit_test(test_init_failure),
		cmocka_unit_test(test_health_leaves_and_returns),
		cmocka_unit_test(test_failures_in_the_grace_do_not_count),
		cmocka_unit_test(test_never_healthy),
		cmocka_unit_test(test_crash_policy),
		cmocka_unit_test(test_start_failures_back_off),
		cmocka_unit_test(test_shutdown_stays_down),
		cmocka_unit_test(test_isolated),
		cmocka_unit_test(test_what_holds_ends),
		cmocka_unit_test(test_isolated_is_kept_over_a_restart),
		cmocka_unit_test(test_drains_then_leaves),
		cmocka_unit_test(test_drain_has_an_end),
		cmocka_unit_test(test_comes_back_from_draining),
		cmocka_unit_test(test_stop_and_start),
		cmocka_unit_test(test_goes_on_after_a_restart_of_the_scheduler),
		cmocka_unit_test(test_crash_while_draining),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
