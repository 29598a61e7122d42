/* SPDX-License-Identifier: Apache-2.0 */
/* Adaptive services in the whole scheduler but its process: figures in, sizes and rows out. */
#include "scheduler/scaling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/text.h"
#include "ring/metrics.h"
#include "tests/support/adaptive.h"
#include "tests/support/node_world.h"
#include "tests/support/sweep.h"

/* What is asked of "web", and how much each of its containers uses. */
struct load {
	unsigned rps, packets;
	uint32_t in_flight, waiting;
	unsigned cpu_milli;
	uint64_t memory_bytes;
	bool unmeasured;
};

static struct node_world w;
static struct load load;
static uint64_t requests, packets;

static int
setup(void **state)
{
	(void)state;
	memset(&load, 0, sizeof(load));
	requests = packets = 0;
	node_begin(&w);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	node_end(&w);
	return 0;
}

static uint64_t
apply(const char *text)
{
	struct msg_apply_answer answer;
	struct err err = {0};

	if (node_apply(&w, "shop", text, &answer, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
	return answer.operation;
}

static struct service *
web(void)
{
	return model_service(model_deployment(&w.m, "shop"), "web");
}

static const struct msg_service *
row(void)
{
	return ring_table_own(w.m.writer, MSG_TABLE_SERVICE, web()->row.id);
}

static bool
use(void *arg, uint64_t key, const void *old)
{
	struct msg_container c = *(const struct msg_container *)old;

	(void)arg;
	if (c.state != MSG_CONTAINER_RUNNING || load.unmeasured)
		return true;
	if (c.measured_ns)
		c.cpu_ns += (w.now_ns - c.measured_ns) / 1000 * load.cpu_milli;
	else
		c.cpu_ns = 1;
	c.measured_ns = w.now_ns;
	c.memory_bytes = load.memory_bytes;
	ring_table_set(w.runtime, MSG_TABLE_CONTAINER, key, &c, NULL);
	return true;
}

/* So many seconds under the load. Gives how many sizes were seen, in `sizes`; a change inside the
 * cooldown ends the test. */
static size_t
live(unsigned seconds, unsigned cooldown_s, uint32_t *sizes, size_t cap)
{
	uint64_t changed_ns = 0;
	size_t count = 0;
	uint32_t before = web()->row.desired;

	while (seconds-- > 0) {
		struct msg_demand d = {.service = web()->row.id};

		requests += load.rps;
		packets += load.packets;
		d.requests = requests;
		d.packets = packets;
		d.in_flight = load.in_flight;
		d.waiting = load.waiting;
		ring_table_set(w.proxy, MSG_TABLE_DEMAND, d.service, &d, NULL);
		ring_table_each(w.runtime_r, MSG_TABLE_CONTAINER, use, NULL);
		node_pass(&w, 1);
		if (web()->row.desired == before)
			continue;
		assert_true(!changed_ns || w.now_ns - changed_ns >= cooldown_s * NODE_S);
		changed_ns = w.now_ns;
		before = web()->row.desired;
		if (count < cap)
			sizes[count] = before;
		count++;
	}
	return count;
}

static void
deploy(const char *scale, const char *more)
{
	uint64_t op = apply(adaptive_document(scale, more));

	live(1, 0, NULL, 0);
	for (int i = 0; i < 30 && node_operation(&w, op)->state == MSG_OPERATION_RUNNING; i++)
		live(1, 0, NULL, 0);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_DONE);
}

static size_t
decisions(const char *outcome)
{
	struct metric_labels labels = {0};

	metric_label(&labels, "service", "shop/web");
	metric_label(&labels, "outcome", outcome);
	return (size_t)metrics_get(w.m.metrics, METRICS_SCHEDULER_DECISIONS, &labels)->values[0];
}

static void
test_requests_up_and_down(void **state)
{
	uint32_t sizes[8];

	(void)state;
	load.rps = 25;
	load.in_flight = 1;
	deploy("min: 1, max: 4, cooldown: 30s, targets: {rps: 10}", "");
	assert_int_equal(row()->desired, 1);
	assert_int_equal(live(60, 30, sizes, 8), 1);
	assert_int_equal(sizes[0], 3); /* 3 x 10 > 25 */
	assert_int_equal(row()->state, MSG_SERVICE_READY);
	assert_int_equal(row()->scale_reason, MSG_SCALE_FITS);
	assert_int_equal(row()->scale_from, 1);
	assert_int_equal(row()->scale_to, 3);
	assert_non_null(strstr(row()->scale_why, "25.0 requests/s of 10 of each replica"));
	load.rps = 1000;
	assert_int_equal(live(120, 30, sizes, 8), 1);
	assert_int_equal(sizes[0], 4);
	assert_int_equal(row()->scale_reason, MSG_SCALE_AT_MAX);
	load.rps = load.in_flight = 0;
	assert_int_equal(live(400, 30, sizes, 8), 3);
	assert_int_equal(sizes[0], 3);
	assert_int_equal(sizes[2], 1);
	assert_int_equal(decisions("scale_up"), 2);
	assert_int_equal(decisions("scale_down"), 3);
	assert_int_equal(node_active(&w), 1);
}

static void
test_processor_and_memory(void **state)
{
	uint32_t sizes[8];

	(void)state;
	load.cpu_milli = 450; /* of 500 */
	load.memory_bytes = 13 << 20;
	deploy("min: 1, max: 4, cooldown: 30s, targets: {cpu: 50%, memory: 50%}", "");
	assert_true(scaling_measures(web()));
	assert_int_equal(live(35, 30, sizes, 8), 1);
	assert_int_equal(sizes[0], 2);
	assert_non_null(strstr(row()->scale_why, "cpu 90% of 50%"));
	/* Each of the two uses as much again. */
	live(150, 30, NULL, 0);
	assert_int_equal(row()->desired, 4);
	load.cpu_milli = 0;
	load.memory_bytes = 100 << 20; /* more than the target: it does not shrink */
	assert_int_equal(live(120, 30, sizes, 8), 0);
	load.memory_bytes = 13 << 20;
	assert_int_equal(live(300, 30, sizes, 8), 3);
}

static void
test_missing_figures_never_shrink(void **state)
{
	(void)state;
	load.cpu_milli = 450;
	deploy("min: 1, max: 3, cooldown: 10s, targets: {cpu: 50%}", "");
	live(60, 10, NULL, 0);
	assert_int_equal(row()->desired, 3);
	load.cpu_milli = 0;
	load.unmeasured = true;
	/* What was measured just before may still count once. */
	live(40, 10, NULL, 0);
	uint32_t size = row()->desired;
	assert_true(size >= 2);
	assert_int_equal(live(200, 10, NULL, 0), 0);
	load.unmeasured = false;
	live(120, 10, NULL, 0);
	assert_int_equal(row()->desired, 1);
}

static void
test_a_proxy_that_comes_and_goes(void **state)
{
	struct ring_reader *proxy = w.proxy_r;

	(void)state;
	deploy("min: 0, max: 1, cooldown: 10s", "");
	/* It is missed once; a node may have fewer from then on. */
	w.m.proxies[0] = NULL;
	for (int i = 0; i < 4; i++)
		node_pass(&w, 1);
	assert_int_equal(row()->desired, 1);
	w.m.proxies[0] = proxy;
	live(60, 10, NULL, 0);
	assert_int_equal(row()->desired, 0);
}

static void
test_without_targets_it_stays(void **state)
{
	(void)state;
	load.rps = 1000;
	load.cpu_milli = 500;
	deploy("min: 2, max: 4, cooldown: 1s", "");
	assert_int_equal(live(60, 0, NULL, 0), 0);
	assert_int_equal(row()->desired, 2);
	assert_int_equal(row()->scale_reason, MSG_SCALE_NO_TARGET);
	assert_false(scaling_measures(web()));
}

static bool
sleeps(void *arg, uint64_t key, const void *route)
{
	(void)key;
	*(uint32_t *)arg |= ((const struct msg_route *)route)->flags;
	return true;
}

static uint32_t
route_flags(void)
{
	uint32_t flags = 0;

	node_sync(w.seen, MSG_TABLE_ROUTE, sizeof(struct msg_route));
	ring_table_each(w.seen, MSG_TABLE_ROUTE, sleeps, &flags);
	return flags & (MSG_ROUTE_COUNTED | MSG_ROUTE_SLEEPS);
}

static int
target(uint16_t op, const char *service, uint32_t replicas, struct err *err)
{
	struct msg_target_op q = {.deployment = "shop", .replicas = replicas};
	struct msg_target_answer answer;

	strcpy(q.service, service);
	memset(err, 0, sizeof(*err));
	return node_target(&w, op, &q, &answer, err);
}

static void
test_sleeps_and_wakes(void **state)
{
	struct err err;

	(void)state;
	deploy("min: 0, max: 2, cooldown: 20s", "");
	assert_int_equal(route_flags(), MSG_ROUTE_COUNTED | MSG_ROUTE_SLEEPS);
	assert_int_equal(row()->desired, 1); /* a deploy proves it */
	live(40, 20, NULL, 0);
	assert_int_equal(row()->desired, 0);
	assert_int_equal(row()->state, MSG_SERVICE_IDLE);
	assert_int_equal(row()->scale_reason, MSG_SCALE_ASLEEP);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_STABLE);
	assert_int_equal(node_active(&w), 0);
	assert_int_equal(live(100, 20, NULL, 0), 0);
	/* Somebody waits: at once, and for a cooldown at least. */
	load.waiting = load.in_flight = 1;
	w.behaviour[1] = NODE_SLOW;
	live(2, 0, NULL, 0);
	assert_int_equal(row()->state, MSG_SERVICE_STARTING);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_STABLE);
	live((unsigned)(w.config.deploy.health_timeout_ms / 1000), 0, NULL, 0);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_DEGRADED);
	node_end(&w);
	setup(NULL);
	deploy("min: 0, max: 2, cooldown: 20s", "");
	live(60, 20, NULL, 0);
	load.waiting = load.in_flight = 1;
	live(1, 0, NULL, 0);
	assert_int_equal(row()->ready, 1);
	assert_string_equal(row()->scale_why, "a request waits for it");
	load.waiting = 0;
	assert_int_equal(live(100, 0, NULL, 0), 0); /* it is still open */
	load.in_flight = 0;
	load.packets = 1;
	assert_int_equal(live(100, 0, NULL, 0), 0); /* the kernel's balancer has something */
	load.packets = 0;
	assert_int_equal(live(19, 0, NULL, 0), 0);
	assert_int_equal(live(30, 0, NULL, 0), 1);
	assert_int_equal(decisions("sleep"), 2);
	assert_int_equal(decisions("wake"), 1);
	/* Nothing runs that could be stopped or started, and nothing does so already. */
	assert_int_equal(target(MSG_OP_START, "web", 0, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_int_equal(target(MSG_OP_STOP, "web", 0, &err), -1);
	/* By hand it may be larger; then it is left alone for a cooldown. */
	assert_int_equal(target(MSG_OP_SCALE, "web", 3, &err), -1);
	assert_int_equal(target(MSG_OP_SCALE, "web", 1, &err), 0);
	live(20, 0, NULL, 0);
	assert_int_equal(row()->desired, 1);
	live(40, 0, NULL, 0);
	assert_int_equal(row()->desired, 0);
	/* What is stopped is not woken, and nobody waits for it. */
	assert_int_equal(target(MSG_OP_STOP, "", 0, &err), 0);
	live(1, 0, NULL, 0);
	assert_int_equal(row()->state, MSG_SERVICE_STOPPED);
	assert_int_equal(route_flags(), MSG_ROUTE_COUNTED);
	load.waiting = load.in_flight = 1;
	assert_int_equal(live(10, 0, NULL, 0), 0);
	assert_int_equal(target(MSG_OP_START, "", 0, &err), 0);
	live(2, 0, NULL, 0);
	assert_int_equal(row()->desired, 1);
}

static void
test_woken_in_the_midst_of_a_deploy(void **state)
{
	(void)state;
	deploy("min: 0, max: 2, cooldown: 20s", "");
	live(60, 20, NULL, 0);
	assert_int_equal(row()->desired, 0);
	/* What did not change is not run for it; but it is woken. */
	w.behaviour[2] = NODE_SLOW;
	w.behaves = "db";
	uint64_t op =
		apply(adaptive_document("min: 0, max: 2, cooldown: 20s",
					"  db:\n    image: {name: db:1}\n"
					"    endpoints: [{name: sql, protocol: http, port: 5432}]\n"
					"    health: {check: {type: tcp}}\n"));
	live(5, 0, NULL, 0);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_RUNNING);
	assert_int_equal(row()->desired, 0);
	assert_int_equal(row()->scale_reason, MSG_SCALE_PAUSED);
	load.waiting = load.in_flight = 1;
	live(2, 0, NULL, 0);
	assert_int_equal(row()->ready, 1);
}

static void
test_another_revision_is_proven(void **state)
{
	(void)state;
	deploy("min: 0, max: 2, cooldown: 20s", "");
	live(60, 20, NULL, 0);
	assert_int_equal(row()->desired, 0);
	unsigned started = w.started;
	deploy("min: 0, max: 3, cooldown: 20s", ""); /* the same replicas */
	assert_int_equal(w.started, started);
	w.behaviour[3] = NODE_EXITS;
	uint64_t op =
		apply(adaptive_document("min: 0, max: 3, cooldown: 20s", "    env: {A: b}\n"));
	live(60, 0, NULL, 0);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_ROLLED_BACK);
	assert_int_equal(row()->desired, 0);
	assert_int_equal(row()->revision, 2);
}

static void
test_restart_of_the_scheduler(void **state)
{
	(void)state;
	deploy("min: 0, max: 2, cooldown: 20s", "");
	live(60, 20, NULL, 0);
	node_stop(&w);
	node_start(&w);
	live(5, 0, NULL, 0);
	assert_int_equal(row()->desired, 0);
	load.waiting = load.in_flight = 1;
	live(2, 0, NULL, 0);
	assert_int_equal(row()->ready, 1);
}

static void
test_held_by_a_full_node(void **state)
{
	(void)state;
	load.rps = 100;
	load.in_flight = 1;
	w.m.node_cpu_milli = 1250; /* a quarter is the node's: two replicas */
	deploy("min: 1, max: 4, cooldown: 10s, targets: {rps: 10}", "");
	live(60, 10, NULL, 0);
	assert_int_equal(row()->desired, 2);
	assert_int_equal(row()->scale_reason, MSG_SCALE_HELD);
	assert_int_equal(row()->reason.kind, ERR_LIMIT);
	w.m.node_cpu_milli = 4000;
	live(60, 10, NULL, 0);
	assert_int_equal(row()->desired, 4);
	assert_int_equal(row()->reason.kind, 0);
}

/* ---- what cannot be made ---- */

static void
set_variable(const char *value)
{
	struct config_value *v = &w.config.node.env_values[0];

	w.config.node.env_count = 1;
	text_copy(w.config.node.env[0].text, sizeof(w.config.node.env[0].text), "WHO");
	v->given = value != NULL;
	text_copy(v->text, sizeof(v->text), value ? value : "");
}

static void
test_a_variable_that_is_gone(void **state)
{
	struct msg_target_answer answer;
	struct msg_target_op q = {.deployment = "shop", .service = "web", .replicas = 2};
	struct err err = {0};

	(void)state;
	set_variable("me");
	deploy("min: 1, max: 3, cooldown: 10s", "    env: {WHO: $E:WHO}\n");
	set_variable(NULL);
	assert_int_equal(target(MSG_OP_SCALE, "web", 2, &err), -1);
	assert_non_null(strstr(err.what, "WHO has no value"));
	assert_int_equal(target(MSG_OP_RESTART, "", 0, &err), -1);
	assert_non_null(strstr(err.what, "WHO has no value"));
	/* It goes when the operation has begun: that ends. */
	set_variable("me");
	assert_int_equal(node_target(&w, MSG_OP_SCALE, &q, &answer, &err), 0);
	set_variable(NULL);
	live(30, 0, NULL, 0);
	assert_int_equal(node_operation(&w, answer.operation)->state, MSG_OPERATION_FAILED);
	assert_non_null(strstr(node_operation(&w, answer.operation)->reason.what, "not scaled"));
	assert_int_equal(row()->desired, 1);
	assert_int_equal(row()->ready, 1);
}

static void
test_figures_add_up(void **state)
{
	struct figures a = {.whole = true, .ready = 1, .waiting = 2, .sum = {1, 2, 3}};
	struct figures b = {.whole = false,
			    .asked = true,
			    .ready = 3,
			    .in_flight = 4,
			    .sum = {10, UINT64_MAX, 30}};

	(void)state;
	figures_add(&a, &b);
	assert_false(a.whole);
	assert_true(a.asked);
	assert_int_equal(a.ready, 4);
	assert_int_equal(a.waiting, 2);
	assert_int_equal(a.in_flight, 4);
	assert_int_equal(a.sum[0], 11);
	assert_true(a.sum[1] == UINT64_MAX);
	assert_int_equal(a.sum[2], 33);
}

/* Without memory nothing is scaled in this pass; it is in a later one. */
static void
test_allocation_failures(void **state)
{
	(void)state;
	deploy("min: 0, max: 2, cooldown: 20s", "");
	live(60, 20, NULL, 0);
	sweep_each(s)
	{
		scaling_free(web()->scaling);
		web()->scaling = NULL;
		s.used_bytes = mem_used_all();
		load.waiting = load.in_flight = 0;
		(void)scaling_step(&w.m);
		assert_int_equal(web()->scaling == NULL, sweep_failed());
		scaling_free(web()->scaling);
		web()->scaling = NULL;
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_requests_up_and_down),
		TEST(test_processor_and_memory),
		TEST(test_missing_figures_never_shrink),
		TEST(test_a_proxy_that_comes_and_goes),
		TEST(test_without_targets_it_stays),
		TEST(test_sleeps_and_wakes),
		TEST(test_woken_in_the_midst_of_a_deploy),
		TEST(test_another_revision_is_proven),
		TEST(test_restart_of_the_scheduler),
		TEST(test_held_by_a_full_node),
		TEST(test_a_variable_that_is_gone),
		cmocka_unit_test(test_figures_add_up),
		TEST(test_allocation_failures),
	};

	if (!node_libraries())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
