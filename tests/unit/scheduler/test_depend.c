/* SPDX-License-Identifier: Apache-2.0 */
/* The order of starting: at a deploy, after a reboot, at a start, and when it takes too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/text.h"
#include "scheduler/depend.h"
#include "tests/support/node_world.h"

static const char *
document(const char *condition, const char *on_timeout)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "version: v1\n"
		 "deployment: shop\n"
		 "services:\n"
		 "  db:\n"
		 "    image: {name: db:1}\n"
		 "    endpoints: [{name: sql, protocol: http, port: 5432}]\n"
		 "    health: {check: {type: tcp}}\n"
		 "  web:\n"
		 "    image: {name: web:1}\n"
		 "    endpoints: [{name: http, protocol: http, port: 8080}]\n"
		 "    health: {check: {type: tcp}}\n"
		 "    depends: [{service: db, condition: %s, timeout: 20s, on_timeout: %s}]\n",
		 condition, on_timeout);
	return text;
}

static uint64_t
apply(struct node_world *w, const char *text)
{
	struct msg_apply_answer answer;
	struct err err = {0};

	if (node_apply(w, "shop", text, &answer, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
	return answer.operation;
}

static const struct msg_service *
service(struct node_world *w, const char *name)
{
	struct service *s = model_service(model_deployment(&w->m, "shop"), name);

	return ring_table_own(w->m.writer, MSG_TABLE_SERVICE, s->row.id);
}

static struct replica *
replica(struct node_world *w, const char *name)
{
	struct service *s = model_service(model_deployment(&w->m, "shop"), name);

	return list_empty(&s->replicas) ? NULL
					: container_of(s->replicas.next, struct replica, link);
}

static void
test_a_deploy_waits(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	w.behaves = "db";
	w.behaviour[1] = NODE_UNHEALTHY;
	uint64_t op = apply(&w, document("healthy", "fail"));
	node_pass(&w, 5);
	assert_null(replica(&w, "web"));
	assert_string_equal(service(&w, "web")->reason.what, "it waits for db to be healthy");
	w.behaviour[1] = NODE_GOOD;
	node_pass(&w, 15);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_DONE);
	assert_int_equal(service(&w, "web")->reason.kind, 0);
	node_end(&w);
}

static void
test_started_is_enough(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	w.behaves = "db";
	w.behaviour[1] = NODE_UNHEALTHY;
	apply(&w, document("started", "fail"));
	node_pass(&w, 2);
	assert_non_null(replica(&w, "web"));
	node_end(&w);
}

static void
late(const char *on_timeout, enum msg_operation_state state, const char *what)
{
	struct node_world w;

	node_begin(&w);
	/* Its own time to become healthy is longer than web's patience. */
	w.config.deploy.health_timeout_ms = 30000;
	w.behaves = "db";
	w.behaviour[1] = NODE_UNHEALTHY;
	uint64_t op = apply(&w, document("healthy", on_timeout));
	node_pass(&w, 22);
	if (what) {
		node_pass(&w, 20);
		assert_int_equal(node_operation(&w, op)->state, state);
		assert_string_equal(node_operation(&w, op)->reason.what, what);
	} else {
		assert_non_null(replica(&w, "web"));
		w.behaviour[1] = NODE_GOOD;
		node_pass(&w, 20);
		assert_int_equal(node_operation(&w, op)->state, state);
	}
	node_end(&w);
}

static void
test_too_late(void **state)
{
	(void)state;
	late("fail", MSG_OPERATION_FAILED, "shop revision 1 failed: web waited for db in vain");
	late("warn", MSG_OPERATION_DONE, NULL);
	late("continue", MSG_OPERATION_DONE, NULL);
}

/* The machine was restarted: db comes first again, and web says what it waits for. */
static void
restarted(bool timeout, const char *on_timeout, bool starts)
{
	struct node_world w;

	node_begin(&w);
	apply(&w, document("healthy", on_timeout));
	node_pass(&w, 15);
	assert_int_equal(w.started, 2);
	ring_table_remove(w.runtime, MSG_TABLE_CONTAINER, replica(&w, "web")->row.id);
	ring_table_remove(w.runtime, MSG_TABLE_CONTAINER, replica(&w, "db")->row.id);
	ring_table_remove(w.probe, MSG_TABLE_RESULT, replica(&w, "db")->row.id << 8);
	ring_table_remove(w.probe, MSG_TABLE_RESULT, replica(&w, "web")->row.id << 8);
	node_sync(w.runtime_r, MSG_TABLE_CONTAINER, sizeof(struct msg_container));
	node_sync(w.probe_r, MSG_TABLE_RESULT, sizeof(struct msg_result));
	w.behaves = "db";
	w.behaviour[1] = NODE_UNHEALTHY;
	node_stop(&w);
	w.boot = "second";
	node_start(&w);
	node_pass(&w, 5);
	assert_int_equal(w.started, 3);
	assert_true(replica(&w, "web")->held);
	const struct msg_replica *row =
		ring_table_own(w.m.writer, MSG_TABLE_REPLICA, replica(&w, "web")->row.id);
	assert_int_equal(row->state, MSG_REPLICA_PENDING);
	assert_string_equal(row->reason.what, "it waits for db to be healthy");
	if (timeout) {
		node_pass(&w, 20);
		assert_int_equal(w.started, starts ? 4 : 3);
	}
	w.behaviour[1] = NODE_GOOD;
	node_pass(&w, 15);
	assert_int_equal(w.started, 4);
	assert_int_equal(node_active(&w), 2);
	node_end(&w);
}

static void
test_a_reboot_keeps_the_order(void **state)
{
	(void)state;
	restarted(false, "fail", false);
	restarted(true, "fail", false);
	restarted(true, "continue", true);
}

/* The scheduler's own death holds nothing up that runs. */
static void
test_a_restart_of_the_scheduler(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	apply(&w, document("ready", "fail"));
	node_pass(&w, 15);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 0);
	assert_false(replica(&w, "web")->held);
	assert_int_equal(node_active(&w), 2);
	assert_int_equal(w.started, 2);
	node_end(&w);
}

static const char job[] = "version: v1\n"
			  "deployment: shop\n"
			  "services:\n"
			  "  web: {rtype: job, image: {name: web:1}}\n";

static struct msg_run_answer
run(struct node_world *w)
{
	struct msg_target_op q = {.deployment = "shop", .service = "web"};
	struct msg_run_answer answer;
	uint32_t elsewhere;
	struct err err = {0};

	assert_int_equal(request_run(&w->m, &q, sizeof(q), NULL, 0, &answer, &elsewhere, &err), 0);
	return answer;
}

/* A run ends once, and is not begun again by anybody's death. */
static void
test_a_job_runs_once(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	uint64_t op = apply(&w, job);
	node_pass(&w, 5);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_DONE);
	assert_int_equal(w.started, 0);
	w.behaviour[1] = NODE_EXITS;
	assert_int_equal(run(&w).index, 1);
	node_pass(&w, 5);
	assert_int_equal(w.started, 1);
	assert_int_equal(replica(&w, "web")->life.state, MSG_REPLICA_STOPPED);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 20);
	assert_int_equal(w.started, 1);
	/* The machine goes down while one runs: nobody knows how far it came. */
	w.behaviour[1] = NODE_GOOD;
	struct msg_run_answer second = run(&w);
	assert_int_equal(second.index, 2);
	node_pass(&w, 5);
	assert_int_equal(w.started, 2);
	node_stop(&w);
	ring_table_remove(w.runtime, MSG_TABLE_CONTAINER, second.replica);
	node_sync(w.runtime_r, MSG_TABLE_CONTAINER, sizeof(struct msg_container));
	w.boot = "second";
	node_start(&w);
	node_pass(&w, 10);
	assert_int_equal(w.started, 2);
	const struct msg_replica *row =
		ring_table_own(w.m.writer, MSG_TABLE_REPLICA, second.replica);
	assert_int_equal(row->state, MSG_REPLICA_STOPPED);
	assert_string_equal(row->reason.what,
			    "the machine was restarted while run 2 was under way");
	node_end(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_deploy_waits),
		cmocka_unit_test(test_started_is_enough),
		cmocka_unit_test(test_too_late),
		cmocka_unit_test(test_a_reboot_keeps_the_order),
		cmocka_unit_test(test_a_restart_of_the_scheduler),
		cmocka_unit_test(test_a_job_runs_once),
	};

	if (!node_libraries())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
