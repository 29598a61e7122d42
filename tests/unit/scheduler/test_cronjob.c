/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crons on a whole scheduler with stand-ins for the others. What must hold in every story: a time
 * has at most one firing, a firing at most one run (but for tries that were asked for), and what is
 * not run is said. Runs go on until the test ends them, or end at once (NODE_EXITS).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/text.h"
#include "scheduler/cronjob.h"
#include "scheduler/publish_parts.h"
#include "scheduler/remote.h"
#include "scheduler/sqlite.h"
#include "scheduler/tidings.h"
#include "tests/support/node_world.h"

#define EACH_2S "*/2 * * * * * *"
#define EACH_MINUTE "0 * * * * * *"

static const char *
document(const char *schedule, const char *rules)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "version: v1\n"
		 "deployment: shop\n"
		 "services:\n"
		 "  tidy:\n"
		 "    rtype: cron\n"
		 "    schedule: \"%s\"\n"
		 "    image: {name: tidy:1}\n"
		 "    cron: {%s}\n",
		 schedule, rules);
	return text;
}

static void
apply(struct node_world *w, const char *text)
{
	struct msg_apply_answer answer;
	struct err err = {0};

	if (node_apply(w, "shop", text, &answer, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
	node_pass(w, 0);
}

/* At 20 s past a minute of the wall clock, with the cron deployed. */
static void
begin(struct node_world *w, const char *schedule, const char *rules)
{
	node_begin(w);
	w->now_ns += (80 - (uint64_t)(node_wall(w) / (int64_t)NODE_S) % 60) * NODE_S;
	apply(w, document(schedule, rules));
	assert_int_equal(node_deployment(w, "shop")->state, MSG_DEPLOYMENT_STABLE);
	/* A run has no gate. */
	assert_int_equal(node_events(w, "deploy.weak_gate"), 0);
}

static struct service *
service(struct node_world *w)
{
	return model_service(model_deployment(&w->m, "shop"), "tidy");
}

static const struct msg_cron *
row(struct node_world *w)
{
	return ring_table_own(w->m.writer, MSG_TABLE_CRON, service(w)->row.id);
}

static int64_t
wall_s(const struct node_world *w)
{
	return node_wall(w) / (int64_t)NODE_S;
}

/* Runs of a firing; 0: of all that were made by hand. */
static unsigned
runs_of(struct node_world *w, uint64_t firing)
{
	struct list *it, *next;
	unsigned n = 0;

	list_each (it, next, &service(w)->replicas)
		n += container_of(it, struct replica, link)->row.firing == firing;
	return n;
}

struct seen {
	int64_t at[64];
	size_t count;
};

static void
see(void *arg, const void *row)
{
	const struct store_firing *f = row;
	struct seen *seen = arg;

	for (size_t i = 0; i < seen->count; i++)
		assert_int_not_equal(seen->at[i], f->at_s);
	seen->at[seen->count++] = f->at_s;
}

/* What must hold at any time. */
static void
check(struct node_world *w, unsigned tries)
{
	const struct cronjob *job = service(w)->cron;
	struct seen seen = {0};
	struct list *it, *next;
	struct err err = {0};

	assert_int_equal(store_each(w->m.store, STORE_FIRING, 0, 0, see, &seen, &err), 0);
	assert_int_equal(seen.count, job->count);
	assert_true(job->count <= CRONJOB_FIRINGS_KEPT);
	list_each (it, next, &job->firings) {
		const struct cronjob_firing *f = container_of(it, struct cronjob_firing, link);
		unsigned runs = runs_of(w, f->row.id);

		assert_true(runs <= 1 + f->row.tries && f->row.tries <= tries);
		assert_true(runs == 0 || f->row.state != MSG_FIRING_PASSED);
		assert_false(f->dirty);
	}
}

static void
end(struct node_world *w)
{
	check(w, CRONJOB_TRIES_MAX);
	node_end(w);
}

static unsigned
count(struct node_world *w, uint32_t state)
{
	struct list *it, *next;
	unsigned n = 0;

	list_each (it, next, &service(w)->cron->firings)
		n += container_of(it, struct cronjob_firing, link)->row.state == state;
	return n;
}

static bool
finish_one(void *arg, uint64_t key, const void *container)
{
	struct msg_container now = *(const struct msg_container *)container;
	struct node_world *w = arg;

	if (now.state != MSG_CONTAINER_RUNNING)
		return true;
	now.state = MSG_CONTAINER_EXITED;
	now.exited_wall_ns = node_wall(w);
	ring_table_set(w->runtime, MSG_TABLE_CONTAINER, key, &now, NULL);
	return true;
}

/* Whatever runs ends well. */
static void
finish(struct node_world *w)
{
	ring_table_each(w->runtime_r, MSG_TABLE_CONTAINER, finish_one, w);
	node_sync(w->runtime_r, MSG_TABLE_CONTAINER, sizeof(struct msg_container));
	node_pass(w, 0);
}

static int
turn_switch(struct node_world *w, bool on)
{
	struct msg_target_op q = {.deployment = "shop", .service = "tidy"};
	struct msg_target_answer answer;
	struct err err = {0};

	w->m.now_ns = w->now_ns;
	w->m.wall_ns = node_wall(w);
	assert_int_equal(node_target(w, on ? MSG_OP_ENABLE : MSG_OP_DISABLE, &q, &answer, &err), 0);
	node_pass(w, 0);
	return answer.unchanged != 0;
}

static int
run_by_hand(struct node_world *w, struct err *err)
{
	struct msg_target_op q = {.deployment = "shop", .service = "tidy"};
	struct msg_run_answer answer;
	uint32_t elsewhere;

	return request_run(&w->m, &q, sizeof(q), NULL, 0, &answer, &elsewhere, err);
}

/* ---- times ---- */

static void
test_each_time_once(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "");
	w.behaviour[1] = NODE_EXITS;
	assert_int_equal(w.started, 0);
	assert_int_equal(row(&w)->state, MSG_CRON_WAITING);
	assert_int_equal(row(&w)->next_s, wall_s(&w) + 2);
	node_pass(&w, 10);
	assert_int_equal(w.started, 5);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 5);
	assert_int_equal(row(&w)->firings_count, 5);
	assert_int_equal(row(&w)->firings[0].at_s, wall_s(&w));
	assert_int_equal(row(&w)->firings[0].reason, MSG_FIRING_ON_TIME);
	assert_int_equal(row(&w)->firings[0].exit_status, 1);
	assert_int_equal(row(&w)->firings[0].run, 5);
	/* History has its limits: of runs, of firings, of what is published. */
	node_pass(&w, 60);
	assert_int_equal(w.started, 35);
	assert_int_equal(service(&w)->cron->count, CRONJOB_FIRINGS_KEPT);
	assert_int_equal(row(&w)->firings_count, MSG_FIRINGS_MAX);
	assert_true(map_count(&w.m.replicas) <= 11);
	end(&w);
}

static void
test_over(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, "0 0 0 1 1 * 2020", "");
	node_pass(&w, 3);
	assert_int_equal(row(&w)->state, MSG_CRON_OVER);
	assert_int_equal(row(&w)->next_s, 0);
	assert_true(row(&w)->reason.what[0]);
	assert_int_equal(w.started, 0);
	end(&w);
}

static void
test_new_schedule_begins_now(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_MINUTE, "");
	node_pass(&w, 5);
	/* Its last time was before the deploy. */
	apply(&w, document("10 * * * * * *", ""));
	node_pass(&w, 30);
	assert_int_equal(w.started, 0);
	node_pass(&w, 20);
	assert_int_equal(w.started, 1);
	finish(&w);
	/* As a job it has no times; back again, it begins anew. */
	apply(&w, "version: v1\ndeployment: shop\nservices:\n  tidy:\n    rtype: job\n"
		  "    image: {name: tidy:1}\n");
	assert_null(row(&w));
	node_pass(&w, 120);
	apply(&w, document("10 * * * * * *", ""));
	node_pass(&w, 2);
	assert_int_equal(w.started, 1);
	end(&w);
}

/* ---- overlap ---- */

static void
test_forbid(void **state)
{
	struct node_world w;
	struct err err = {0};

	(void)state;
	begin(&w, EACH_2S, "overlap: forbid");
	node_pass(&w, 10);
	assert_int_equal(w.started, 1);
	assert_int_equal(count(&w, MSG_FIRING_PASSED), 4);
	assert_int_equal(row(&w)->firings[0].reason, MSG_FIRING_OVERLAPS);
	assert_non_null(strstr(row(&w)->reason.what, "a run was under way"));
	assert_int_equal(run_by_hand(&w, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	finish(&w);
	node_pass(&w, 2);
	assert_int_equal(w.started, 2);
	assert_int_equal(row(&w)->reason.kind, 0);
	finish(&w);
	assert_int_equal(run_by_hand(&w, &err), 0);
	node_pass(&w, 0);
	assert_int_equal(w.started, 3);
	assert_int_equal(runs_of(&w, 0), 1);
	end(&w);
}

static void
test_allow(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "overlap: allow");
	node_pass(&w, 10);
	assert_int_equal(w.started, 5);
	assert_int_equal(count(&w, MSG_FIRING_STARTED), 5);
	/* With a limit. */
	node_pass(&w, 240);
	assert_int_equal(w.started, CRONJOB_RUNS_MAX);
	finish(&w);
	node_pass(&w, 2);
	assert_int_equal(w.started, CRONJOB_RUNS_MAX + 1);
	node_end(&w);
}

static void
test_replace(void **state)
{
	struct err err = {0};
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "overlap: replace");
	node_pass(&w, 2);
	assert_int_equal(w.started, 1);
	w.now_ns += 2 * NODE_S;
	reconcile_run(&w.m, w.now_ns, node_wall(&w));
	/* The second one is made, and does not start before the first one has ended. */
	assert_int_equal(count(&w, MSG_FIRING_STARTED), 2);
	assert_int_equal(w.started, 1);
	node_pass(&w, 0);
	assert_int_equal(w.started, 2);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 1);
	assert_int_equal(count(&w, MSG_FIRING_STARTED), 1);
	/* Also by hand. */
	assert_int_equal(run_by_hand(&w, &err), 0);
	node_pass(&w, 0);
	assert_int_equal(w.started, 3);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 2);
	end(&w);
}

/* Another node was given the next time: what runs here is stopped, and that one waits for it. */
static void
test_replaced_by_another_node(void **state)
{
	uint64_t id = UINT64_C(7) << 32 | 1;
	struct tidings_replica t;
	struct node_world w;

	(void)state;
	begin(&w, EACH_MINUTE, "overlap: replace");
	node_pass(&w, 40);
	assert_int_equal(count(&w, MSG_FIRING_STARTED), 1);
	struct replica *own = container_of(service(&w)->replicas.next, struct replica, link);
	remote_tell(&w.m, own, &t);
	t.index = own->row.index + 1;
	assert_true(remote_take(&w.m, 7, "edge-7", id, &t));
	node_pass(&w, 2);
	assert_int_equal(own->life.state, MSG_REPLICA_STOPPED);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 1);
	/* For an older one it waits, until that one's node has stopped it. */
	t.index = 1;
	assert_true(remote_take(&w.m, 7, "edge-7", id, &t));
	node_pass(&w, 60);
	assert_int_equal(w.started, 1);
	remote_drop(&w.m, 7, id);
	node_pass(&w, 5);
	assert_int_equal(w.started, 2);
	assert_int_equal(count(&w, MSG_FIRING_STARTED), 1);
	end(&w);
}

/* ---- on and off ---- */

static void
test_disabled(void **state)
{
	struct err err = {0};
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "catch_up: all");
	w.behaviour[1] = w.behaviour[2] = NODE_EXITS;
	assert_true(turn_switch(&w, true));
	assert_false(turn_switch(&w, false));
	assert_true(turn_switch(&w, false));
	node_pass(&w, 4);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 4);
	apply(&w, document(EACH_2S, "catch_up: all, overlap: allow"));
	node_pass(&w, 4);
	assert_int_equal(w.started, 0);
	assert_int_equal(row(&w)->state, MSG_CRON_DISABLED);
	assert_non_null(strstr(row(&w)->reason.fix, "zlayer cron enable shop/tidy"));
	/* By hand it runs all the same. */
	assert_int_equal(run_by_hand(&w, &err), 0);
	node_pass(&w, 0);
	assert_int_equal(w.started, 1);
	assert_false(turn_switch(&w, true));
	node_pass(&w, 4);
	assert_int_equal(w.started, 3);
	end(&w);
}

static void
test_stopped(void **state)
{
	struct msg_target_op q = {.deployment = "shop"};
	struct msg_target_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	begin(&w, EACH_2S, "");
	node_pass(&w, 2);
	assert_int_equal(w.started, 1);
	assert_int_equal(node_target(&w, MSG_OP_STOP, &q, &answer, &err), 0);
	node_pass(&w, 10);
	assert_int_equal(row(&w)->state, MSG_CRON_STOPPED);
	assert_int_equal(w.started, 1);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 1);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 10);
	assert_int_equal(w.started, 1);
	apply(&w, document(EACH_2S, ""));
	assert_int_equal(w.started, 1);
	node_pass(&w, 2);
	assert_int_equal(w.started, 2);
	end(&w);
}

static void
test_only_crons(void **state)
{
	struct msg_target_op q = {.deployment = "shop"};
	struct msg_target_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	begin(&w, EACH_2S, "");
	assert_int_equal(node_target(&w, MSG_OP_DISABLE, &q, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	apply(&w, "version: v1\ndeployment: shop\nservices:\n  tidy:\n    rtype: job\n"
		  "    image: {name: tidy:1}\n");
	strcpy(q.service, "tidy");
	assert_int_equal(node_target(&w, MSG_OP_ENABLE, &q, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	end(&w);
}

/* ---- what was missed ---- */

static void
down(struct node_world *w, unsigned seconds)
{
	node_stop(w);
	w->now_ns += seconds * NODE_S;
	node_start(w);
	node_pass(w, 0);
}

static void
test_missed(void **state)
{
	struct node_world w;

	(void)state;
	/* Down from 12:00:20 to 12:05:50. */
	begin(&w, EACH_MINUTE, "catch_up: last");
	w.behaviour[1] = NODE_EXITS;
	node_pass(&w, 2);
	down(&w, 328);
	assert_int_equal(w.started, 1);
	assert_int_equal(row(&w)->firings[0].reason, MSG_FIRING_CAUGHT_UP);
	assert_int_equal(row(&w)->firings[0].skipped, 4);
	end(&w);
	begin(&w, EACH_MINUTE, "catch_up: all");
	w.behaviour[1] = NODE_EXITS;
	node_pass(&w, 2);
	down(&w, 328);
	node_pass(&w, 2);
	assert_int_equal(w.started, 5);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 5);
	end(&w);
	/* No two at once: one after the other. */
	begin(&w, EACH_MINUTE, "catch_up: all, overlap: forbid");
	down(&w, 160);
	assert_int_equal(w.started, 1);
	node_pass(&w, 100);
	assert_int_equal(w.started, 1);
	for (unsigned i = 2; i < 5; i++) {
		finish(&w);
		assert_int_equal(w.started, i);
	}
	finish(&w);
	assert_int_equal(w.started, 4);
	assert_int_equal(count(&w, MSG_FIRING_PASSED), 0);
	end(&w);
	begin(&w, EACH_MINUTE, "catch_up: none");
	w.behaviour[1] = NODE_EXITS;
	node_pass(&w, 2);
	down(&w, 328);
	assert_int_equal(w.started, 0);
	assert_int_equal(row(&w)->firings[0].state, MSG_FIRING_PASSED);
	assert_int_equal(row(&w)->firings[0].reason, MSG_FIRING_MISSED);
	assert_non_null(strstr(row(&w)->reason.what, "it was missed"));
	node_pass(&w, 12);
	assert_int_equal(w.started, 1);
	end(&w);
}

/* Nothing is known of what runs before the runtime was heard: nothing is decided. */
static void
test_waits_for_the_runtime(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "");
	w.behaviour[1] = NODE_EXITS;
	node_pass(&w, 2);
	node_stop(&w);
	w.now_ns += 60 * NODE_S;
	node_start(&w);
	w.m.runtime = NULL;
	reconcile_run(&w.m, w.now_ns, node_wall(&w));
	assert_int_equal(count(&w, MSG_FIRING_PASSED), 0);
	w.m.runtime = w.runtime_r;
	node_pass(&w, 0);
	assert_int_equal(w.started, 2);
	assert_int_equal(count(&w, MSG_FIRING_PASSED), 0);
	end(&w);
}

/* ---- the clock ---- */

static void
test_clock_is_set(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_MINUTE, "");
	w.behaviour[1] = NODE_EXITS;
	node_pass(&w, 40);
	assert_int_equal(w.started, 1);
	/* Ten minutes forward: as if it had been down. */
	w.skew_ns = 600 * (int64_t)NODE_S;
	node_pass(&w, 1);
	assert_int_equal(w.started, 2);
	assert_int_equal(row(&w)->firings[0].skipped, 9);
	/* And back: none of those again, until it has caught up. */
	w.skew_ns = 0;
	node_pass(&w, 300);
	assert_int_equal(w.started, 2);
	assert_int_equal(row(&w)->state, MSG_CRON_BEHIND);
	assert_non_null(strstr(row(&w)->reason.what, "waits until the clock"));
	node_pass(&w, 360);
	assert_int_equal(w.started, 3);
	assert_int_equal(row(&w)->state, MSG_CRON_WAITING);
	/* Whoever does not want to wait says so; what is on record is not run again. */
	w.skew_ns = 240 * (int64_t)NODE_S;
	node_pass(&w, 1);
	assert_int_equal(w.started, 4);
	w.skew_ns = 0;
	node_pass(&w, 1);
	assert_false(turn_switch(&w, true));
	node_pass(&w, 180);
	assert_int_equal(w.started, 7);
	node_pass(&w, 60);
	assert_int_equal(w.started, 7);
	node_pass(&w, 60);
	assert_int_equal(w.started, 8);
	end(&w);
}

/* ---- deaths ---- */

/* The scheduler's process ends at any point, and another goes on. */
static void
test_restarts_at_any_point(void **state)
{
	(void)state;
	for (unsigned when = 0; when < 24; when++) {
		struct node_world w;

		begin(&w, EACH_2S, "on_loss: skip");
		w.behaviour[1] = NODE_EXITS;
		int64_t from = wall_s(&w);
		for (unsigned i = 0; i < when; i++) {
			w.now_ns += NODE_S / 4;
			node_turn(&w);
		}
		node_stop(&w);
		node_start(&w);
		node_pass(&w, 10);
		assert_int_equal(w.started, (wall_s(&w) - from) / 2);
		end(&w);
	}
}

static void
put_due(struct node_world *w, int64_t at_s, int64_t recorded_s)
{
	struct store_cron cron = service(w)->cron->row;
	struct store_firing firing = {
		.service = cron.service,
		.at_s = at_s,
		.state = MSG_FIRING_DUE,
		.reason = MSG_FIRING_ON_TIME,
		.recorded_wall_ns = recorded_s * (int64_t)NODE_S,
	};
	struct err err = {0};

	cron.mark_s = at_s;
	assert_int_equal(store_begin(w->m.store, &err), 0);
	assert_int_equal(store_put(w->m.store, STORE_CRON, &cron, &err), 0);
	assert_int_equal(store_put(w->m.store, STORE_FIRING, &firing, &err), 0);
	assert_int_equal(store_commit(w->m.store, &err), 0);
	node_stop(w);
}

/* It ended between the record of a time and its run. */
static void
test_ends_before_the_start(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_MINUTE, "on_loss: skip");
	put_due(&w, wall_s(&w) - 3, wall_s(&w) - 3);
	node_start(&w);
	node_pass(&w, 0);
	assert_int_equal(w.started, 1); /* it is still time */
	end(&w);
	begin(&w, EACH_MINUTE, "on_loss: skip");
	put_due(&w, wall_s(&w) - 15, wall_s(&w) - 15);
	node_start(&w);
	node_pass(&w, 0);
	assert_int_equal(w.started, 0);
	assert_int_equal(row(&w)->firings[0].state, MSG_FIRING_LOST);
	assert_non_null(strstr(row(&w)->reason.what, "ended before its run began"));
	node_pass(&w, 40);
	assert_int_equal(w.started, 1);
	end(&w);
	begin(&w, EACH_MINUTE, "on_loss: retry");
	put_due(&w, wall_s(&w) - 15, wall_s(&w) - 15);
	node_start(&w);
	node_pass(&w, 0);
	assert_int_equal(w.started, 1);
	assert_int_equal(row(&w)->firings[0].state, MSG_FIRING_STARTED);
	end(&w);
	/* Or it was disabled meanwhile. */
	begin(&w, EACH_MINUTE, "on_loss: retry");
	turn_switch(&w, false);
	put_due(&w, wall_s(&w) - 15, wall_s(&w) - 15);
	node_start(&w);
	node_pass(&w, 0);
	assert_int_equal(w.started, 0);
	assert_int_equal(row(&w)->firings[0].state, MSG_FIRING_LOST);
	end(&w);
}

static void
reboot(struct node_world *w, const char *boot)
{
	node_power_off(w, boot);
	w->now_ns += 5 * NODE_S;
	node_start(w);
	node_pass(w, 0);
}

/* The machine's end cuts off a run. */
static void
test_loss(void **state)
{
	static const char *const boots[] = {"second", "third", "fourth", "fifth", "sixth"};
	struct node_world w;

	(void)state;
	begin(&w, EACH_MINUTE, "on_loss: skip");
	node_pass(&w, 40);
	reboot(&w, "second");
	assert_int_equal(w.started, 1);
	assert_int_equal(row(&w)->firings[0].state, MSG_FIRING_LOST);
	assert_non_null(strstr(row(&w)->reason.what, "restarted while run 1"));
	node_pass(&w, 55);
	assert_int_equal(w.started, 2);
	end(&w);
	begin(&w, EACH_MINUTE, "on_loss: retry");
	node_pass(&w, 40);
	for (unsigned i = 0; i < 5; i++) {
		reboot(&w, boots[i]);
		assert_int_equal(w.started, i < CRONJOB_TRIES_MAX ? 2 + i : 1 + CRONJOB_TRIES_MAX);
		assert_int_equal(row(&w)->firings_count, 1);
		check(&w, CRONJOB_TRIES_MAX);
	}
	assert_int_equal(row(&w)->firings[0].tries, CRONJOB_TRIES_MAX);
	assert_int_equal(row(&w)->firings[0].state, MSG_FIRING_LOST);
	end(&w);
}

/* What memory has is read from the store again at any moment: nothing is forgotten or run twice. */
static void
test_read_again(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "overlap: allow");
	for (unsigned i = 1; i <= 12; i++) {
		cronjob_hear(&w.m, i % 2 ? 0 : service(&w)->row.id);
		node_pass(&w, 1);
		assert_int_equal(w.started, i / 2);
		assert_int_equal(row(&w)->firings_count, i / 2);
		check(&w, 0);
	}
	assert_int_equal(count(&w, MSG_FIRING_STARTED), 6);
	finish(&w);
	cronjob_hear(&w.m, 0);
	node_pass(&w, 0);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 6);
	end(&w);
}

static bool
conducts_nothing(void *arg, const struct deployment *d)
{
	(void)arg;
	(void)d;
	return false;
}

/* Another node conducts: it asks for the runs. What this one began it brings to its end. */
static void
test_another_conducts(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "overlap: allow");
	node_pass(&w, 2);
	assert_int_equal(w.started, 1);
	w.m.hooks.conducts = conducts_nothing;
	node_pass(&w, 6);
	assert_int_equal(w.started, 1);
	/* Who looks here sees when the other one runs it. */
	assert_true(row(&w)->next_s >= wall_s(&w) && row(&w)->next_s <= wall_s(&w) + 2);
	finish(&w);
	assert_int_equal(count(&w, MSG_FIRING_DONE), 1);
	/* The other one did nothing: one run for what went by. */
	w.m.hooks.conducts = NULL;
	node_pass(&w, 0);
	assert_int_equal(w.started, 2);
	assert_int_equal(row(&w)->firings[0].skipped, 2);
	end(&w);
}

/* What cannot be made for lack of room. */
static void
test_no_room(void **state)
{
	struct node_world w;

	(void)state;
	begin(&w, EACH_2S, "on_loss: retry");
	w.m.node_memory_bytes = 1;
	apply(&w, "version: v1\ndeployment: shop\nservices:\n  tidy:\n    rtype: cron\n"
		  "    schedule: \"" EACH_2S "\"\n    cron: {on_loss: skip}\n"
		  "    image: {name: tidy:1}\n    resources: {memory: 64Mi}\n");
	node_pass(&w, 4);
	assert_int_equal(w.started, 0);
	assert_int_equal(row(&w)->firings[0].state, MSG_FIRING_LOST);
	assert_true(row(&w)->reason.what[0]);
	w.m.node_memory_bytes = UINT64_C(8) << 30;
	node_pass(&w, 2);
	assert_int_equal(w.started, 1);
	end(&w);
}

/* Each node writes rows below ids of its own: the newest is not the one with the highest. */
static void
test_newest_of_several_nodes(void **state)
{
	static const int64_t recorded[] = {20, 40, 10, 30, 30};
	static const uint64_t order[] = {2, 0, 3, 4, 1};
	struct service s = {0};
	struct cronjob *job = cronjob_get(&s);
	struct list *it, *next;
	size_t at = 0;

	(void)state;
	assert_non_null(job);
	for (size_t i = 0; i < sizeof(recorded) / sizeof(recorded[0]); i++) {
		struct store_firing row = {.id = i, .recorded_wall_ns = recorded[i]};

		assert_non_null(cronjob_add(job, &row));
	}
	list_each (it, next, &job->firings)
		assert_int_equal(container_of(it, struct cronjob_firing, link)->row.id,
				 order[at++]);
	assert_int_equal(at, job->count);
	cronjob_free(job);
}

/* ---- memory ---- */

static void
test_no_memory(void **state)
{
	(void)state;
	/* Each of the first allocations, then some: most are the engine's. */
	for (int64_t n = 0;; n += 1 + n / 16) {
		struct node_world w;

		begin(&w, EACH_2S, "");
		w.behaviour[1] = NODE_EXITS;
		w.now_ns += 2 * NODE_S;
		w.m.now_ns = w.now_ns;
		w.m.wall_ns = node_wall(&w);
		mem_fail_after(n);
		for (int i = 0; i < 4; i++)
			(void)cronjob_look(&w.m, service(&w));
		bool failed = mem_failures() > 0;
		mem_fail_after(-1);
		node_pass(&w, 4);
		check(&w, 0);
		/* All is as if nothing had been, but for a time whose run found no memory. */
		assert_int_equal(count(&w, MSG_FIRING_DONE) + count(&w, MSG_FIRING_LOST) +
					 count(&w, MSG_FIRING_PASSED),
				 3);
		assert_true(w.started >= 2);
		node_end(&w);
		if (!failed)
			break;
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_time_once),
		cmocka_unit_test(test_over),
		cmocka_unit_test(test_new_schedule_begins_now),
		cmocka_unit_test(test_forbid),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_replaced_by_another_node),
		cmocka_unit_test(test_disabled),
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_only_crons),
		cmocka_unit_test(test_missed),
		cmocka_unit_test(test_waits_for_the_runtime),
		cmocka_unit_test(test_clock_is_set),
		cmocka_unit_test(test_restarts_at_any_point),
		cmocka_unit_test(test_ends_before_the_start),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_read_again),
		cmocka_unit_test(test_another_conducts),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_newest_of_several_nodes),
		cmocka_unit_test(test_no_memory),
	};
	struct err err = {0};

	if (dl_load_yaml(&err) < 0 || sqlite_load(&err) < 0) {
		err_print(&err, "test", stderr);
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
