/* SPDX-License-Identifier: Apache-2.0 */
/* The whole scheduler but its process: documents in, tables out, with stand-ins for the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include "base/text.h"
#include "ring/plan.h"
#include "tests/support/node_world.h"

static const char *
document(const char *image, unsigned replicas)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "version: v1\n"
		 "deployment: shop\n"
		 "services:\n"
		 "  web:\n"
		 "    image: {name: %s}\n"
		 "    resources: {cpu: 0.5, memory: 128Mi}\n"
		 "    endpoints: [{name: http, protocol: http, port: 8080, host: shop.test,"
		 " expose: public}]\n"
		 "    health: {check: {type: http, url: /health}}\n"
		 "    scale: {mode: fixed, replicas: %u}\n"
		 "  db:\n"
		 "    image: {name: db:1}\n"
		 "    endpoints: [{name: sql, protocol: http, port: 5432}]\n"
		 "    health: {check: {type: tcp}}\n",
		 image, replicas);
	return text;
}

static uint64_t
apply(struct node_world *w, const char *text, const char *changes)
{
	struct msg_apply_answer answer;
	struct err err = {0};

	if (node_apply(w, "shop", text, &answer, &err) < 0) {
		err_print(&err, "test", stderr);
		fail();
	}
	if (changes)
		assert_string_equal(answer.changes, changes);
	return answer.operation;
}

static void
deployed(struct node_world *w, uint64_t operation, uint32_t revision)
{
	assert_int_equal(node_operation(w, operation)->state, MSG_OPERATION_DONE);
	assert_int_equal(node_deployment(w, "shop")->state, MSG_DEPLOYMENT_STABLE);
	assert_int_equal(node_deployment(w, "shop")->revision, revision);
}

static void
test_first_deploy_and_unchanged(void **state)
{
	struct msg_apply_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	uint64_t op = apply(&w, document("web:1", 2), "+ db\n+ web\n");
	node_pass(&w, 0);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_DEPLOYING);
	assert_int_equal(node_active(&w), 3);
	node_pass(&w, 15);
	deployed(&w, op, 1);
	assert_int_equal(w.started, 3);
	/* Again: unchanged, the same processes. */
	assert_int_equal(node_apply(&w, "shop", document("web:1", 2), &answer, &err), 0);
	assert_int_equal(answer.unchanged, 1);
	assert_int_equal(answer.operation, 0);
	assert_string_equal(answer.changes, "= db unchanged\n= web unchanged\n");
	node_pass(&w, 15);
	assert_int_equal(w.started, 3);
	node_end(&w);
}

static void
test_update_keeps_what_serves(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 2), NULL);
	node_pass(&w, 15);
	node_watch(&w);
	uint64_t op =
		apply(&w, document("web:2", 2), "= db unchanged\n~ web image web:1 -> web:2\n");
	node_pass(&w, 30);
	deployed(&w, op, 2);
	assert_true(w.least_active >= 3);
	assert_int_equal(node_active(&w), 3);
	assert_int_equal(w.started, 5); /* db is the same process */
	node_end(&w);
}

static void
fails(enum node_behaviour how, const char *what, const char *why)
{
	const struct msg_operation *o;
	struct node_world w;

	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	w.behaviour[2] = how;
	node_watch(&w);
	uint64_t op = apply(&w, document("web:2", 1), NULL);
	node_pass(&w, 90);
	o = node_operation(&w, op);
	assert_int_equal(o->state, MSG_OPERATION_ROLLED_BACK);
	assert_int_equal(o->reason.kind, ERR_ROLLED_BACK);
	assert_string_equal(o->reason.what, what);
	assert_string_equal(o->reason.why, why);
	assert_int_equal(w.least_active, 2);
	assert_int_equal(node_deployment(&w, "shop")->revision, 1);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_STABLE);
	assert_int_equal(map_count(&w.m.replicas), 2);
	/* And a good one goes through. */
	op = apply(&w, document("web:3", 1), NULL);
	node_pass(&w, 30);
	deployed(&w, op, 3);
	node_end(&w);
}

static void
test_faults_are_rolled_back_and_named(void **state)
{
	(void)state;
	fails(NODE_EXITS, "shop revision 2 was rolled back: web.1 on edge-1 ended",
	      "the process exited with status 1");
	fails(NODE_UNHEALTHY,
	      "shop revision 2 was rolled back: web.1 on edge-1 did not become healthy",
	      "GET /health answered 500, expected 200");
	fails(NODE_MISSING, "shop revision 2 was rolled back: web.1 on edge-1 could not be started",
	      "the image is not here");
	fails(NODE_OOM, "shop revision 2 was rolled back: web.1 on edge-1 ran out of memory",
	      "the kernel ended it at its limit of 32 MiB (peak 32 MiB)");
	fails(NODE_SLOW, "shop revision 2 was rolled back: web.1 on edge-1 did not become healthy",
	      "it was still being prepared after 60s (image, network, root file system)");
}

static void
test_first_deploy_fails(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	w.behaviour[1] = NODE_EXITS;
	uint64_t op = apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 30);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_FAILED);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_FAILED);
	assert_true(node_deployment(&w, "shop")->reason.what[0]);
	assert_int_equal(map_count(&w.m.replicas), 0);
	op = apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 30);
	deployed(&w, op, 2);
	node_end(&w);
}

/* The scheduler's process ends after every turn of a roll-out, and another goes on. */
static void
test_restarts_at_any_point(void **state)
{
	(void)state;
	for (unsigned when = 0; when < 40; when += 3) {
		struct node_world w;

		node_begin(&w);
		apply(&w, document("web:1", 2), NULL);
		node_pass(&w, 15);
		uint64_t op = apply(&w, document("web:2", 2), NULL);
		for (unsigned i = 0; i < when; i++) {
			w.now_ns += NODE_S / 2;
			node_turn(&w);
		}
		node_stop(&w);
		node_start(&w);
		node_pass(&w, 60);
		if (node_operation(&w, op))
			deployed(&w, op, 2);
		assert_int_equal(node_active(&w), 3);
		assert_int_equal(map_count(&w.m.replicas), 3);
		node_end(&w);
	}
}

static void
test_a_restart_takes_nothing_out_of_balancing(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 2), NULL);
	node_pass(&w, 15);
	unsigned started = w.started;
	node_stop(&w);
	node_start(&w);
	/* The runtime has not been heard yet, and all is published. */
	w.m.runtime = NULL;
	reconcile_run(&w.m, w.now_ns, node_wall(&w));
	assert_int_equal(node_active(&w), 3);
	w.m.runtime = w.runtime_r;
	reconcile_run(&w.m, w.now_ns, node_wall(&w));
	assert_int_equal(node_active(&w), 3);
	/* After a reboot addresses mean nothing: wait for the runtime. */
	node_stop(&w);
	w.boot = "second";
	node_start(&w);
	w.m.runtime = NULL;
	reconcile_run(&w.m, w.now_ns, node_wall(&w));
	assert_int_equal(ring_table_own_version(w.m.writer, MSG_TABLE_BACKEND), 1);
	assert_int_equal(ring_table_own_version(w.m.writer, MSG_TABLE_ROUTE), 1);
	assert_true(ring_table_own_version(w.m.writer, MSG_TABLE_CLAIM) > 1);
	w.m.runtime = w.runtime_r;
	node_pass(&w, 30);
	assert_int_equal(w.started, started);
	node_end(&w);
}

static void
test_drains_before_it_stops(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	w.in_flight = 3;
	uint64_t op = apply(&w, document("web:2", 1), NULL);
	node_pass(&w, 20);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_RUNNING);
	assert_int_equal(map_count(&w.m.replicas), 3);
	w.in_flight = 0;
	node_pass(&w, 1);
	deployed(&w, op, 2);
	/* A proxy that does not move holds it until the drain's time is over. */
	w.proxy_asleep = true;
	op = apply(&w, document("web:3", 1), NULL);
	node_pass(&w, 20);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_RUNNING);
	node_pass(&w, 30);
	deployed(&w, op, 3);
	node_end(&w);
}

static int
target(struct node_world *w, uint16_t op, const char *service, uint32_t replicas, bool force,
       struct msg_target_answer *answer, struct err *err)
{
	struct msg_target_op q = {.deployment = "shop", .replicas = replicas, .force = force};

	strcpy(q.service, service);
	return node_target(w, op, &q, answer, err);
}

static void
test_scale_stop_start_remove(void **state)
{
	struct msg_target_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	assert_int_equal(target(&w, MSG_OP_SCALE, "web", 3, false, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_DENIED);
	/* What is so already needs no permission. */
	assert_int_equal(target(&w, MSG_OP_SCALE, "web", 1, false, &answer, &err), 0);
	assert_int_equal(answer.unchanged, 1);
	assert_int_equal(target(&w, MSG_OP_SCALE, "web", 3, true, &answer, &err), 0);
	node_pass(&w, 15);
	deployed(&w, answer.operation, 1);
	assert_int_equal(node_active(&w), 4);
	assert_int_equal(target(&w, MSG_OP_SCALE, "web", 300, true, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_int_equal(target(&w, MSG_OP_SCALE, "web", 2, true, &answer, &err), 0);
	node_pass(&w, 15);
	deployed(&w, answer.operation, 1);
	assert_int_equal(node_active(&w), 3);
	assert_int_equal(target(&w, MSG_OP_STOP, "", 0, false, &answer, &err), 0);
	node_pass(&w, 2);
	assert_int_equal(node_operation(&w, answer.operation)->state, MSG_OPERATION_DONE);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_STOPPED);
	assert_int_equal(node_active(&w), 0);
	assert_int_equal(target(&w, MSG_OP_START, "", 0, false, &answer, &err), 0);
	node_pass(&w, 2);
	deployed(&w, answer.operation, 1);
	assert_int_equal(node_active(&w), 3);
	assert_int_equal(target(&w, MSG_OP_START, "", 0, false, &answer, &err), 0);
	assert_int_equal(answer.unchanged, 1);
	assert_int_equal(target(&w, MSG_OP_REMOVE, "", 0, false, &answer, &err), 0);
	node_pass(&w, 5);
	assert_int_equal(node_operation(&w, answer.operation)->state, MSG_OPERATION_DONE);
	assert_null(model_deployment(&w.m, "shop"));
	assert_int_equal(map_count(&w.m.replicas), 0);
	assert_int_equal(target(&w, MSG_OP_STOP, "", 0, false, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	node_end(&w);
}

/* More than the ring has rows for: the newest is always there for those who follow it. */
static void
test_many_operations(void **state)
{
	struct msg_target_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	for (int i = 0; i < 3 * MODEL_OPERATIONS_MAX; i++) {
		uint16_t op = i % 2 ? MSG_OP_START : MSG_OP_STOP;

		assert_int_equal(target(&w, op, "web", 0, false, &answer, &err), 0);
		node_pass(&w, 2);
		assert_non_null(node_operation(&w, answer.operation));
		assert_int_equal(node_operation(&w, answer.operation)->state, MSG_OPERATION_DONE);
		assert_true(w.m.operations_count <= MODEL_OPERATIONS_MAX);
	}
	node_end(&w);
}

/* Killed between the removal's transaction and the next one. */
static void
test_overtaken_operation_ends(void **state)
{
	struct msg_target_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	uint64_t op = apply(&w, document("web:1", 1), NULL);
	assert_int_equal(target(&w, MSG_OP_REMOVE, "", 0, false, &answer, &err), 0);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 5);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_FAILED);
	assert_int_equal(node_operation(&w, op)->reason.kind, ERR_INTERRUPTED);
	assert_int_equal(node_operation(&w, answer.operation)->state, MSG_OPERATION_DONE);
	assert_null(model_deployment(&w.m, "shop"));
	node_end(&w);
}

static void
test_only_sealed_documents(void **state)
{
	struct msg_apply q = {.name = "shop"};
	struct msg_apply_answer answer;
	struct node_world w;
	struct err err = {0};
	int ends[2];

	(void)state;
	node_begin(&w);
	/* Nobody will ever write to it. */
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	struct node_request r;
	assert_int_equal(node_change(&w, MSG_OP_APPLY, &q, sizeof(q), ends, 1, &r, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	close(ends[0]);
	close(ends[1]);
	/* On its way out: a document would go with it. */
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	model_deployment(&w.m, "shop")->gone = true;
	assert_int_equal(node_apply(&w, "shop", document("web:2", 1), &answer, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	node_end(&w);
}

static void
test_refusals(void **state)
{
	struct msg_apply q = {.name = "shop", .has_expect = 1, .expect_revision = 7};
	struct msg_apply_answer answer;
	struct node_world w;
	struct err err = {0};
	const char *text;

	(void)state;
	node_begin(&w);
	text = document("web:1", 1);
	assert_int_equal(node_document(&w, &q, text, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_int_equal(node_apply(&w, "other", text, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(node_apply(&w, "shop", "version: v2\n", &answer, &err), -1);
	assert_int_equal(node_apply(&w, "shop", document("web:1", 50), &answer, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	/* 16 times 2^60 bytes: more than a number holds, and not 0. */
	text = "version: v1\ndeployment: shop\nservices:\n  web:\n    image: {name: x}\n"
	       "    resources: {memory: 1048576Ti}\n    scale: {mode: fixed, replicas: 16}\n";
	err_clear(&err);
	assert_int_equal(node_apply(&w, "shop", text, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
	assert_int_equal(w.m.deployments_count, 0);
	/* Two deployments at the same place. */
	apply(&w, text = document("web:1", 1), NULL);
	text = "version: v1\ndeployment: rival\nservices:\n  site:\n    image: {name: x}\n"
	       "    endpoints: [{name: http, protocol: https, port: 443, target_port: 1,"
	       " host: SHOP.test, expose: public}]\n";
	assert_int_equal(node_apply(&w, "rival", text, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_non_null(strstr(err.what, "deployment shop"));
	/* A second deploy while the first is under way. */
	assert_int_equal(node_apply(&w, "shop", document("web:9", 1), &answer, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	node_end(&w);
}

static void
test_dry_run_changes_nothing(void **state)
{
	struct msg_apply q = {.name = "shop", .dry_run = 1};
	struct msg_apply_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	const char *text = document("web:2", 3);
	assert_int_equal(node_document(&w, &q, text, &answer, &err), 0);
	assert_string_equal(answer.changes, "= db unchanged\n~ web image web:1 -> web:2\n"
					    "~ web scale.replicas 1 -> 3\n");
	assert_int_equal(answer.revision, 2);
	node_pass(&w, 15);
	assert_int_equal(node_deployment(&w, "shop")->revision, 1);
	assert_int_equal(node_deployment(&w, "shop")->target_revision, 1);
	node_end(&w);
}

static void
test_answers(void **state)
{
	struct msg_document_op q = {.deployment = "shop"};
	struct msg_events_op events = {.limit = 5};
	struct node_world w;
	struct err err = {0};
	struct buf out;

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	buf_init(&out, MEM_SCHEDULER, 1 << 20);
	assert_int_equal(request_document(&w.m, &q, sizeof(q), &out, &err), 0);
	assert_non_null(strstr(buf_cstr(&out), "deployment: shop"));
	buf_reset(&out);
	assert_int_equal(request_revisions(&w.m, &q, sizeof(q), &out, &err), 0);
	assert_non_null(
		strstr(buf_cstr(&out), "\"revision\":1,\"result\":\"ok\",\"serving\":true"));
	buf_reset(&out);
	assert_int_equal(request_events(&w.m, &events, sizeof(events), &out, &err), 0);
	assert_int_equal(out.length, 5 * sizeof(struct msg_event));
	const struct msg_event *e = (const struct msg_event *)(const void *)out.data;
	for (int i = 1; i < 5; i++)
		assert_int_equal(e[i].id, e[i - 1].id + 1);
	assert_string_equal(e[4].type, "operation.done");
	struct map_iter it = {0};
	assert_true(map_next(&w.m.replicas, &it));
	struct msg_plan_op plan = {((struct replica *)it.value)->row.id};
	buf_reset(&out);
	assert_int_equal(request_plan(&w.m, &plan, sizeof(plan), &out, &err), 0);
	uint8_t sha256[32];
	plan_sha256(out.data, out.length, sha256);
	assert_memory_equal(sha256, ((struct replica *)it.value)->row.plan_sha256, 32);
	/* Bodies of another size. */
	for (size_t n = 0; n < sizeof(q); n++) {
		assert_int_equal(request_document(&w.m, &q, n, &out, &err), -1);
		assert_int_equal(err.kind, ERR_CORRUPT);
	}
	memset(q.deployment, 'x', sizeof(q.deployment));
	assert_int_equal(request_document(&w.m, &q, sizeof(q), &out, &err), -1);
	assert_int_equal(err.kind, ERR_CORRUPT);
	buf_fini(&out);
	node_end(&w);
}

static bool
take_route(void *arg, uint64_t key, const void *row)
{
	(void)key;
	*(struct msg_route *)arg = *(const struct msg_route *)row;
	return true;
}

static void
test_routes(void **state)
{
	struct msg_route route = {0};
	struct node_world w;

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 0);
	node_sync(w.seen, MSG_TABLE_ROUTE, sizeof(route));
	ring_table_each(w.seen, MSG_TABLE_ROUTE, take_route, &route);
	assert_string_equal(route.service_label, "shop/web");
	assert_string_equal(route.host, "shop.test");
	assert_string_equal(route.path, "/");
	assert_int_equal(route.flags, MSG_ROUTE_PUBLIC | MSG_ROUTE_PLAIN);
	node_end(&w);
}

static const char *
stream_document(const char *name, const char *endpoints)
{
	static char text[1024];

	snprintf(text, sizeof(text),
		 "version: v1\n"
		 "deployment: %s\n"
		 "services:\n"
		 "  db:\n"
		 "    image: {name: db:1}\n"
		 "    resources: {cpu: 0.1, memory: 16Mi}\n"
		 "    endpoints:\n%s",
		 name, endpoints);
	return text;
}

struct streams {
	struct msg_stream rows[4];
	size_t count;
};

static bool
take_stream(void *arg, uint64_t key, const void *row)
{
	struct streams *s = arg;

	s->rows[s->count] = *(const struct msg_stream *)row;
	assert_int_equal(s->rows[s->count].id, key);
	s->count++;
	return s->count < 4;
}

static bool
count_probe(void *arg, uint64_t key, const void *row)
{
	const struct msg_probe *p = row;
	unsigned *seen = arg;

	(void)key;
	seen[p->check]++;
	if (p->check == MSG_CHECK_UDP) {
		assert_int_equal(p->addr.port, 53);
		assert_string_equal(p->request, "ping");
		assert_string_equal(p->expect, "pong");
	}
	return true;
}

struct url_seen {
	const char *url;
	bool found;
};

static bool
look_at_url(void *ctx, uint64_t key, const void *row)
{
	const struct msg_service *s = row;
	struct url_seen *seen = ctx;

	(void)key;
	seen->found = seen->found || text_equal(s->url, seen->url);
	return true;
}

static bool
shows_url(struct node_world *w, const char *url)
{
	struct url_seen seen = {.url = url};

	node_sync(w->seen, MSG_TABLE_SERVICE, sizeof(struct msg_service));
	ring_table_each(w->seen, MSG_TABLE_SERVICE, look_at_url, &seen);
	return seen.found;
}

static void
test_streams(void **state)
{
	struct streams seen = {.count = 0};
	struct node_world w;
	unsigned checks[8] = {0};

	(void)state;
	node_begin(&w);
	apply(&w,
	      stream_document("shop",
			      "      - {name: sql, protocol: tcp, port: 5432, target_port: 5,"
			      " expose: public, limits: {deny: [10.0.0.0/8]}}\n"
			      "      - {name: dns, protocol: udp, port: 53}\n"),
	      NULL);
	node_pass(&w, 0);
	node_sync(w.seen, MSG_TABLE_STREAM, sizeof(struct msg_stream));
	ring_table_each(w.seen, MSG_TABLE_STREAM, take_stream, &seen);
	assert_int_equal(seen.count, 2);
	const struct msg_stream *sql = seen.rows[0].port == 5432 ? &seen.rows[0] : &seen.rows[1];
	const struct msg_stream *dns = seen.rows[0].port == 53 ? &seen.rows[0] : &seen.rows[1];
	assert_string_equal(sql->service_label, "shop/db");
	assert_string_equal(sql->endpoint, "sql");
	assert_int_equal(sql->protocol, MSG_STREAM_TCP);
	assert_int_equal(sql->flags, MSG_STREAM_PUBLIC);
	assert_int_equal(sql->endpoint_index, 0);
	assert_int_equal(sql->prefixes_deny, 1);
	assert_int_equal(dns->protocol, MSG_STREAM_UDP);
	assert_int_equal(dns->flags, 0);
	assert_int_equal(dns->endpoint_index, 1);
	assert_int_equal(dns->session_timeout_ms, 60000);
	assert_true(shows_url(&w, "tcp://edge-1:5432"));
	/* A udp port is never asked over TCP. */
	node_sync(w.seen, MSG_TABLE_PROBE, sizeof(struct msg_probe));
	ring_table_each(w.seen, MSG_TABLE_PROBE, count_probe, checks);
	assert_int_equal(checks[MSG_CHECK_TCP], 1);
	assert_int_equal(checks[MSG_CHECK_UDP], 0);
	node_end(&w);
	/* Unless it says how to ask it. */
	node_begin(&w);
	apply(&w,
	      stream_document("shop", "      - {name: dns, protocol: udp, port: 53, stream:"
				      " {health_check: {type: udp_probe, request: ping,"
				      " expect: pong}}}\n"),
	      NULL);
	node_pass(&w, 0);
	memset(checks, 0, sizeof(checks));
	node_sync(w.seen, MSG_TABLE_PROBE, sizeof(struct msg_probe));
	ring_table_each(w.seen, MSG_TABLE_PROBE, count_probe, checks);
	assert_int_equal(checks[MSG_CHECK_TCP], 0);
	assert_int_equal(checks[MSG_CHECK_UDP], 1);
	node_end(&w);
}

static void
refuses(struct node_world *w, const char *name, const char *endpoints, const char *what,
	const char *why)
{
	struct msg_apply_answer answer;
	struct err err = {0};

	assert_int_equal(node_apply(w, name, stream_document(name, endpoints), &answer, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_string_equal(err.what, what);
	assert_string_equal(err.why[0], why);
	assert_true(err.fix[0]);
}

static void
test_ports_have_a_limit(void **state)
{
	static char endpoints[MSG_ENDPOINTS_MAX * 80];
	struct msg_apply_answer answer;
	struct node_world w;

	(void)state;
	node_begin(&w);
	for (unsigned i = 0; i <= MSG_STREAM_PORTS_MAX / MSG_ENDPOINTS_MAX; i++) {
		struct err err = {0};
		char name[16], *at = endpoints;
		static char text[4096];

		for (unsigned k = 0; k < MSG_ENDPOINTS_MAX; k++)
			at += sprintf(at,
				      "      - {name: e%u, protocol: udp, port: %u,"
				      " expose: public}\n",
				      k, 1000 + i * MSG_ENDPOINTS_MAX + k);
		snprintf(name, sizeof(name), "d%u", i);
		snprintf(text, sizeof(text),
			 "version: v1\ndeployment: %s\nservices:\n  db:\n"
			 "    image: {name: db:1}\n"
			 "    resources: {cpu: 0.01, memory: 8Mi}\n    endpoints:\n%s",
			 name, endpoints);
		int rc = node_apply(&w, name, text, &answer, &err);
		assert_int_equal(rc, i < MSG_STREAM_PORTS_MAX / MSG_ENDPOINTS_MAX ? 0 : -1);
		if (rc < 0)
			assert_int_equal(err.kind, ERR_LIMIT);
	}
	node_end(&w);
}

static void
test_ports_have_one_owner(void **state)
{
	static const char port[] = "      - {name: a, protocol: tcp, port: 5432, expose: public}\n";
	const struct ring_table_layout table = {MSG_TABLE_LISTENER, 1, sizeof(struct msg_listener),
						4};
	struct msg_listener listener = {.name = "admin", .up = 1};
	struct msg_apply_answer answer;
	struct ring_writer *node;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	apply(&w, stream_document("shop", port), NULL);
	refuses(&w, "other", port, "tcp port 5432 is served by deployment shop already",
		"endpoint \"a\" of other, and endpoint \"a\" of shop/db");
	/* Not in each other's way: another protocol, or not public. */
	assert_int_equal(
		node_apply(&w, "other",
			   stream_document("other",
					   "      - {name: a, protocol: udp, port: 5432,"
					   " expose: public}\n"
					   "      - {name: b, protocol: tcp, port: 5432}\n"),
			   &answer, &err),
		0);
	assert_true(addr_parse("127.0.0.1:9100", &w.config.listen.api.addr));
	w.config.listen.api.on = true;
	refuses(&w, "third", "      - {name: a, protocol: tcp, port: 9100, expose: public}\n",
		"tcp port 9100 is the node's own",
		"endpoint \"a\" of third wants it, and the node listens there for api");
	node = node_writer(ROLE_NODE, &table, 1);
	assert_true(addr_parse("0.0.0.0:8001", &listener.addr));
	assert_int_equal(ring_table_set(node, MSG_TABLE_LISTENER, 1, &listener, NULL), RING_OK);
	w.m.supervisor = node_reader(node);
	node_sync(w.m.supervisor, MSG_TABLE_LISTENER, sizeof(listener));
	refuses(&w, "third", "      - {name: a, protocol: tcp, port: 8001, expose: public}\n",
		"tcp port 8001 is the node's own",
		"endpoint \"a\" of third wants it, and the node listens there for admin");
	ring_reader_free(w.m.supervisor);
	w.m.supervisor = NULL;
	ring_writer_free(node);
	node_end(&w);
}

static void
test_memory_runs_out(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	/* An allocation fails somewhere in a deploy: refused, or done all the same later. */
	for (int64_t n = 0; n < 4000; n += 7) {
		struct msg_apply_answer answer;
		struct err err = {0};
		const char *text = document(n % 2 ? "web:2" : "web:3", 1);

		mem_fail_after(n);
		int rc = node_apply(&w, "shop", text, &answer, &err);
		if (rc == 0)
			node_turn(&w);
		bool failed = mem_failures() > 0;
		mem_fail_after(-1);
		if (rc < 0 && !failed) {
			err_print(&err, "test", stderr);
			fail();
		}
		node_pass(&w, 40);
		assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_STABLE);
		assert_int_equal(node_active(&w), 2);
		if (rc == 0 && !failed)
			break;
	}
	node_end(&w);
}

static int
roll_back(struct node_world *w, uint32_t to, bool dry_run, struct msg_apply_answer *answer,
	  struct err *err)
{
	struct msg_rollback q = {.name = "shop", .revision = to, .dry_run = dry_run};
	struct node_request r;
	int rc = node_change(w, MSG_OP_ROLLBACK, &q, sizeof(q), NULL, 0, &r, err);

	*answer = r.r.answer.applied;
	return rc;
}

static void
test_roll_back(void **state)
{
	struct msg_apply_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 2), NULL);
	node_pass(&w, 15);
	assert_int_equal(roll_back(&w, 0, false, &answer, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	apply(&w, document("web:2", 2), NULL);
	node_pass(&w, 40);
	w.behaviour[3] = NODE_EXITS;
	apply(&w, document("web:3", 2), NULL);
	node_pass(&w, 60);
	assert_int_equal(node_deployment(&w, "shop")->revision, 2);
	/* The last good one is 1, not 3. */
	assert_int_equal(roll_back(&w, 0, true, &answer, &err), 0);
	assert_string_equal(answer.changes, "= db unchanged\n~ web image web:2 -> web:1\n");
	assert_int_equal(answer.operation, 0);
	assert_int_equal(roll_back(&w, 9, false, &answer, &err), -1);
	node_watch(&w);
	assert_int_equal(roll_back(&w, 0, false, &answer, &err), 0);
	assert_int_equal(answer.revision, 4);
	/* In the middle the scheduler dies. */
	node_pass(&w, 1);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 40);
	deployed(&w, answer.operation, 4);
	assert_true(w.least_active >= 3);
	struct revision *r = model_revision(model_deployment(&w.m, "shop"), 4);
	assert_int_equal(r->row.copy_of, 1);
	assert_string_equal(r->pins[1].image, "web:1");
	/* Once more: back to 2, not to the same as now. */
	assert_int_equal(roll_back(&w, 0, false, &answer, &err), 0);
	assert_string_equal(answer.changes, "= db unchanged\n~ web image web:1 -> web:2\n");
	node_pass(&w, 40);
	deployed(&w, answer.operation, 5);
	node_end(&w);
}

static void
test_pruning_keeps_the_last_good(void **state)
{
	struct node_world w;

	(void)state;
	node_begin(&w);
	w.config.deploy.keep_revisions = 3;
	apply(&w, document("web:1", 1), NULL);
	node_pass(&w, 15);
	apply(&w, document("web:2", 1), NULL);
	node_pass(&w, 40);
	for (uint32_t n = 3; n < 8; n++) {
		w.behaviour[n] = NODE_EXITS;
		apply(&w, document("web:3", 1), NULL);
		node_pass(&w, 40);
	}
	struct deployment *d = model_deployment(&w.m, "shop");
	assert_int_equal(d->row.revision, 2);
	assert_non_null(model_revision(d, 1));
	assert_non_null(model_revision(d, 7));
	assert_null(model_revision(d, 3));
	assert_int_equal(model_last_good(d)->row.revision, 1);
	node_end(&w);
}

static int
ask_change(struct node_world *w, uint16_t op, const char *service, struct msg_target_answer *answer,
	   struct err *err)
{
	struct msg_target_op q = {.deployment = "shop"};

	text_copy(q.service, sizeof(q.service), service);
	memset(err, 0, sizeof(*err));
	return node_target(w, op, &q, answer, err);
}

static void
test_restart(void **state)
{
	struct msg_target_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 3), NULL);
	node_pass(&w, 15);
	assert_int_equal(w.started, 4);
	node_watch(&w);
	assert_int_equal(ask_change(&w, MSG_OP_RESTART, "web", &answer, &err), 0);
	node_pass(&w, 20);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 80);
	assert_int_equal(node_operation(&w, answer.operation)->state, MSG_OPERATION_DONE);
	assert_int_equal(w.started, 7); /* db is the same process */
	assert_true(w.least_active >= 4);
	assert_int_equal(node_active(&w), 4);
	assert_int_equal(node_deployment(&w, "shop")->revision, 1);
	/* New ones that do not come up leave the old ones where they are. */
	w.behaviour[1] = NODE_EXITS;
	assert_int_equal(ask_change(&w, MSG_OP_RESTART, "web", &answer, &err), 0);
	node_pass(&w, 40);
	assert_int_equal(node_operation(&w, answer.operation)->state, MSG_OPERATION_FAILED);
	assert_string_equal(node_operation(&w, answer.operation)->reason.what,
			    "shop was not restarted: web.1 on edge-1 ended");
	assert_int_equal(node_active(&w), 4);
	node_end(&w);
}

static void
test_pause_resume_abort(void **state)
{
	struct msg_target_answer answer;
	struct node_world w;
	struct err err = {0};

	(void)state;
	node_begin(&w);
	apply(&w, document("web:1", 2), NULL);
	node_pass(&w, 15);
	assert_int_equal(ask_change(&w, MSG_OP_PAUSE, "", &answer, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	uint64_t op = apply(&w, document("web:2", 2), NULL);
	node_pass(&w, 1);
	assert_int_equal(ask_change(&w, MSG_OP_PAUSE, "", &answer, &err), 0);
	node_pass(&w, 100);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_PAUSED);
	assert_int_equal(node_deployment(&w, "shop")->revision, 1);
	node_stop(&w);
	node_start(&w);
	node_pass(&w, 5);
	assert_int_equal(node_deployment(&w, "shop")->state, MSG_DEPLOYMENT_PAUSED);
	assert_int_equal(ask_change(&w, MSG_OP_RESUME, "", &answer, &err), 0);
	assert_int_equal(answer.operation, op);
	node_pass(&w, 40);
	deployed(&w, op, 2);
	op = apply(&w, document("web:3", 2), NULL);
	node_pass(&w, 2);
	assert_int_equal(ask_change(&w, MSG_OP_ABORT, "", &answer, &err), 0);
	node_pass(&w, 30);
	assert_int_equal(node_operation(&w, op)->state, MSG_OPERATION_ROLLED_BACK);
	assert_string_equal(node_operation(&w, op)->reason.what, "shop revision 3 was aborted");
	assert_int_equal(node_deployment(&w, "shop")->revision, 2);
	assert_int_equal(node_active(&w), 3);
	node_end(&w);
}

static bool
count_pin(void *arg, uint64_t key, const void *row)
{
	unsigned *count = arg;
	const struct msg_pin *pin = row;

	assert_true(key > MSG_PIN_MORE);
	assert_true(text_starts(pin->digest, "sha256:"));
	assert_string_equal(pin->deployment, "shop");
	assert_true(pin->revision == 1 && pin->serves);
	++*count;
	return true;
}

/* What a kept revision needs is told, so that nobody removes it. */
static void
test_pins(void **state)
{
	static const char text[] =
		"version: v1\ndeployment: shop\nservices:\n"
		"  a: {image: {name: 'a@sha256:"
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'}}\n"
		"  b: {image: {name: 'b@sha256:"
		"00000000000000018899aabbccddeeff00112233445566778899aabbccddeeff'}}\n";
	struct node_world w;
	unsigned count = 0;

	(void)state;
	node_begin(&w);
	apply(&w, text, NULL);
	node_pass(&w, 1);
	node_sync(w.seen, MSG_TABLE_PIN, sizeof(struct msg_pin));
	ring_table_each(w.seen, MSG_TABLE_PIN, count_pin, &count);
	assert_int_equal(count, 2);
	node_end(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_deploy_and_unchanged),
		cmocka_unit_test(test_update_keeps_what_serves),
		cmocka_unit_test(test_faults_are_rolled_back_and_named),
		cmocka_unit_test(test_first_deploy_fails),
		cmocka_unit_test(test_restarts_at_any_point),
		cmocka_unit_test(test_a_restart_takes_nothing_out_of_balancing),
		cmocka_unit_test(test_drains_before_it_stops),
		cmocka_unit_test(test_scale_stop_start_remove),
		cmocka_unit_test(test_many_operations),
		cmocka_unit_test(test_overtaken_operation_ends),
		cmocka_unit_test(test_only_sealed_documents),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_roll_back),
		cmocka_unit_test(test_pruning_keeps_the_last_good),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_pause_resume_abort),
		cmocka_unit_test(test_pins),
		cmocka_unit_test(test_dry_run_changes_nothing),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_ports_have_one_owner),
		cmocka_unit_test(test_ports_have_a_limit),
		cmocka_unit_test(test_memory_runs_out),
	};

	if (!node_libraries())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
