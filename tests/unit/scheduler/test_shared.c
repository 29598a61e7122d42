/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler on a store that is shared: who waits for what, who follows whom, who wins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/log.h"
#include "scheduler/intake.h"
#include "scheduler/news.h"
#include "scheduler/save.h"
#include "tests/support/shared_world.h"
#include "tests/support/sweep.h"

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
		 "    endpoints: [{name: http, protocol: http, port: 8080, host: shop.test,"
		 " expose: public}]\n"
		 "    health: {check: {type: http, url: /health}}\n"
		 "    scale: {mode: fixed, replicas: %u}\n",
		 image, replicas);
	return text;
}

static struct model *
model_of(struct shared_world *s, unsigned n)
{
	return &s->worlds[n].m;
}

static struct deployment *
shop(struct shared_world *s, unsigned n)
{
	return model_deployment(model_of(s, n), "shop");
}

static void
same(struct shared_world *s)
{
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		const char *differs = shared_differs(model_of(s, n));

		if (differs)
			fail_msg("node %u: %s differs from the store", n, differs);
	}
}

static void
deploy(struct shared_world *s, unsigned n, const char *image, unsigned replicas)
{
	struct shared_asked a;

	shared_apply(s, n, "shop", document(image, replicas), &a);
	shared_world_deliver(s);
	assert_true(a.over && !a.failed);
	shared_world_pass(s, 30);
	assert_int_equal(node_deployment(&s->worlds[s->conductor], "shop")->state,
			 MSG_DEPLOYMENT_STABLE);
	same(s);
}

static size_t
replicas(struct shared_world *s, unsigned n)
{
	return map_count(&model_of(s, n)->replicas);
}

/* ---- waiting ---- */

static void
test_an_answer_comes_when_it_is_kept(void **state)
{
	struct shared_world s;
	struct shared_asked a;

	(void)state;
	shared_world_begin(&s);
	shared_apply(&s, 0, "shop", document("web:1", 2), &a);
	assert_false(a.over);
	assert_null(shop(&s, 0));
	node_turn(&s.worlds[0]);
	assert_null(node_deployment(&s.worlds[0], "shop"));
	assert_int_equal(s.log.count, 0);
	assert_true(shared_step(&s.nodes[0]));
	assert_true(a.over && !a.failed);
	assert_int_equal(s.stirred[0], 1);
	assert_int_equal(shop(&s, 0)->row.target, 1);
	assert_true(a.r.answer.applied.operation == shop(&s, 0)->operation->row.id);
	/* Another node has it, with all that belongs to it, and makes nothing of it. */
	assert_null(shop(&s, 1));
	assert_true(shared_step(&s.nodes[1]));
	same(&s);
	assert_non_null(shop(&s, 1)->operation);
	shared_world_pass(&s, 30);
	same(&s);
	assert_int_equal(replicas(&s, 0), 2);
	assert_int_equal(replicas(&s, 1), 0);
	assert_null(shop(&s, 1)->operation);
	assert_int_equal(shop(&s, 1)->row.revision, 1);
	assert_int_equal(shop(&s, 1)->rollout.phase, ROLLOUT_IDLE);
	assert_int_equal(node_deployment(&s.worlds[1], "shop")->revision, 1);
	shared_world_end(&s);
}

struct answers {
	struct model *m;
	unsigned passes, good, bad;
	uint64_t last; /* request */
	struct err err;
};

static void
count_pass(void *arg)
{
	((struct answers *)arg)->passes++;
}

static void
count_answer(void *arg, const struct station_request *q, const struct err *err, const void *body,
	     size_t bytes)
{
	struct answers *a = arg;

	assert_int_equal(!err, body && bytes > 0);
	a->last = q->id;
	a->good += !err;
	a->bad += err != NULL;
	if (err)
		a->err = *err;
}

static void
ask_scale(struct intake *i, uint64_t id, uint32_t replicas)
{
	struct msg_target_op body = {
		.deployment = "shop", .service = "web", .replicas = replicas, .force = 1};
	struct station_request q = {
		.op = MSG_OP_SCALE, .id = id, .deadline_mono_ns = id * 10 * NODE_S};

	intake_take(i, &q, &body, sizeof(body), NULL, 0);
}

static void
test_requests_wait_for_their_turn(void **state)
{
	struct answers got = {0};
	struct shared_world s;
	struct intake i;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	intake_init(&i, model_of(&s, 0), &(struct intake_out){&got, count_pass, count_answer});
	assert_int_equal(intake_due_ns(&i), 0);
	ask_scale(&i, 5, 2);
	ask_scale(&i, 6, 3);
	ask_scale(&i, 7, 4);
	assert_int_equal(got.good + got.bad, 0);
	assert_true(intake_due_ns(&i) == 60 * NODE_S);
	intake_run(&i, 1 * NODE_S);
	assert_int_equal(i.count, 2);
	shared_world_deliver(&s);
	assert_int_equal(got.good, 0);
	/* The next one meets the first. */
	intake_run(&i, 1 * NODE_S);
	assert_int_equal(got.good, 1);
	assert_int_equal(got.passes, 1);
	assert_int_equal(got.bad, 0);
	intake_run(&i, 3 * NODE_S);
	assert_int_equal(got.bad, 2);
	assert_int_equal(got.err.kind, ERR_CONFLICT);
	assert_int_equal(i.count, 0);
	shared_world_pass(&s, 15);
	assert_int_equal(replicas(&s, 0), 2);
	/* Too late. */
	ask_scale(&i, 8, 1);
	ask_scale(&i, 9, 3);
	intake_run(&i, 89 * NODE_S);
	assert_int_equal(i.count, 1);
	intake_run(&i, 90 * NODE_S);
	assert_int_equal(i.count, 0);
	assert_int_equal(got.last, 9);
	assert_int_equal(got.err.kind, ERR_TIMEOUT);
	shared_world_deliver(&s);
	intake_run(&i, 89 * NODE_S);
	assert_int_equal(got.last, 8);
	shared_world_pass(&s, 15);
	assert_int_equal(replicas(&s, 0), 1);
	/* Too many. */
	for (uint64_t n = 0; n <= INTAKE_WAITING_MAX + 1; n++)
		ask_scale(&i, 100 + n, 2);
	assert_int_equal(got.err.kind, ERR_LIMIT);
	assert_int_equal(got.bad, 4);
	/* The end: who waits asks the successor, and so does who is under way. */
	intake_close(&i);
	assert_int_equal(i.count, 0);
	shared_world_end(&s);
	assert_int_equal(got.bad, 4);
}

static void
test_a_request_that_finds_no_memory(void **state)
{
	struct answers got = {0};
	struct shared_world s;
	struct intake i;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	intake_init(&i, model_of(&s, 0), &(struct intake_out){&got, count_pass, count_answer});
	ask_scale(&i, 1, 2);
	sweep_each(sweep)
	{
		struct answers before = got;

		ask_scale(&i, 100, 3);
		assert_int_equal(sweep_failed(), got.bad > before.bad);
		mem_fail_after(-1);
		intake_close(&i);
		i.closing = false;
	}
	shared_world_deliver(&s);
	intake_run(&i, 1);
	assert_int_equal(got.good, 1);
	shared_world_end(&s);
}

static void
touched(void *arg, const struct err *err)
{
	*(bool *)arg = !err;
}

/* As a conductor may write at any moment. */
static void
touch(struct shared_world *s, unsigned n, bool *done)
{
	struct store_deployment row = shop(s, n)->row;
	struct store *store = model_of(s, n)->store;
	struct err err = {0};

	*done = false;
	assert_int_equal(store_begin(store, &err), 0);
	assert_int_equal(store_put(store, STORE_DEPLOYMENT, &row, &err), 0);
	store_submit(store, touched, done);
}

static void
ask_apply(struct intake *i, uint64_t id, const char *text)
{
	struct msg_apply body = {.name = "shop"};
	struct station_request q = {
		.op = MSG_OP_APPLY, .id = id, .deadline_mono_ns = id * 10 * NODE_S};
	int fd = fd_memfd_sealed("document", text, strlen(text));

	assert_true(fd >= 0);
	intake_take(i, &q, &body, sizeof(body), &fd, 1);
	fd_close(&fd);
}

/* Another node's change is kept first, or has come and was not read yet: it is worked out again,
 * and whoever asked notices nothing. */
static void
test_who_was_overtaken_begins_again(void **state)
{
	struct answers got = {0};
	struct shared_world s;
	struct intake i;
	bool done;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	intake_init(&i, model_of(&s, 0), &(struct intake_out){&got, count_pass, count_answer});
	touch(&s, 1, &done);
	ask_scale(&i, 7, 3);
	assert_true(shared_step(&s.nodes[1]) && done);
	shared_world_deliver(&s);
	intake_run(&i, 1);
	assert_int_equal(got.good + got.bad, 0);
	shared_world_deliver(&s);
	intake_run(&i, 1);
	assert_int_equal(got.good, 1);
	shared_world_pass(&s, 30);
	assert_int_equal(replicas(&s, 0) + replicas(&s, 1), 3);
	touch(&s, 1, &done);
	shared_world_deliver(&s);
	assert_true(done);
	ask_scale(&i, 8, 2);
	shared_world_deliver(&s);
	intake_run(&i, 1);
	assert_int_equal(got.good, 2);
	assert_int_equal(got.bad, 0);
	shared_world_pass(&s, 30);
	assert_int_equal(replicas(&s, 0) + replicas(&s, 1), 2);
	/* A document comes with it, and is read again. */
	touch(&s, 1, &done);
	ask_apply(&i, 9, document("web:2", 1));
	assert_true(shared_step(&s.nodes[1]) && done);
	shared_world_deliver(&s);
	intake_run(&i, 1);
	shared_world_deliver(&s);
	intake_run(&i, 1);
	assert_int_equal(got.bad, 0);
	assert_int_equal(got.good, 3);
	shared_world_pass(&s, 30);
	assert_int_equal(shop(&s, 0)->row.revision, 2);
	same(&s);
	intake_close(&i);
	shared_world_end(&s);
}

/* The other node's change is done, and what waits for that is begun again. */
static void
come_to_an_end(struct shared_world *s, struct intake *i)
{
	const uint64_t ms = 1000000;

	shared_world_deliver(s);
	intake_run(i, 1);
	shared_world_pass(s, 30);
	for (unsigned turn = 1; turn <= 4; turn++) {
		intake_run(i, turn * INTAKE_AGAIN_MS * 2 * ms);
		shared_world_deliver(s);
	}
	intake_run(i, 9 * INTAKE_AGAIN_MS * ms);
}

/* A node that has not heard of the newest change does not say that nothing is to change. */
static void
test_unchanged_is_what_the_store_says(void **state)
{
	struct shared_asked asked, newer;
	struct answers got = {0};
	struct shared_world s;
	struct intake i;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 2);
	intake_init(&i, model_of(&s, 0), &(struct intake_out){&got, count_pass, count_answer});
	/* It is so. */
	for (unsigned n = 0; n < SHARED_WORLD_NODES; n++) {
		shared_apply(&s, n, "shop", document("web:1", 2), &asked);
		assert_false(asked.over);
		shared_world_deliver(&s);
		assert_true(asked.over && !asked.failed);
		assert_int_equal(asked.r.answer.applied.unchanged, 1);
		assert_int_equal(asked.r.answer.applied.revision, 1);
		shared_target(&s, n, MSG_OP_SCALE, "shop", "web", 2, &asked);
		shared_world_deliver(&s);
		assert_true(asked.over && !asked.failed);
		assert_int_equal(asked.r.answer.target.unchanged, 1);
		same(&s);
	}
	assert_int_equal(shop(&s, 1)->row.revision, 1);
	/* Another document is on its way: this one comes after it. */
	shared_apply(&s, 1, "shop", document("web:2", 2), &newer);
	ask_apply(&i, 7, document("web:1", 2));
	assert_true(shared_step(&s.nodes[1]) && newer.over && !newer.failed);
	shared_world_deliver(&s);
	intake_run(&i, 1);
	assert_int_equal(got.good + got.bad, 0);
	come_to_an_end(&s, &i);
	assert_int_equal(got.good, 1);
	shared_world_pass(&s, 30);
	assert_int_equal(shop(&s, 1)->row.revision, 3);
	/* So is a size. */
	shared_target(&s, 1, MSG_OP_SCALE, "shop", "web", 3, &newer);
	ask_scale(&i, 8, 2);
	assert_true(shared_step(&s.nodes[1]) && newer.over && !newer.failed);
	come_to_an_end(&s, &i);
	assert_int_equal(got.good, 2);
	shared_world_pass(&s, 30);
	assert_int_equal(replicas(&s, 0) + replicas(&s, 1), 2);
	/* Who cannot ask the store does not know. */
	s.nodes[0].cut = true;
	shared_apply(&s, 0, "shop", document("web:1", 2), &asked);
	assert_true(asked.over && asked.failed);
	assert_int_equal(asked.err.kind, ERR_UNREACHABLE);
	shared_target(&s, 0, MSG_OP_SCALE, "shop", "web", 2, &asked);
	assert_true(asked.over && asked.failed);
	s.nodes[0].cut = false;
	intake_close(&i);
	shared_world_end(&s);
}

/* Something is being done with it, as far as this node knows: that may be over, and is waited for.
 */
static void
test_what_may_be_over_is_waited_for(void **state)
{
	const uint64_t ms = 1000000, id = 1000000;
	struct answers got = {0};
	struct shared_asked b;
	struct shared_world s;
	struct intake i;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	intake_init(&i, model_of(&s, 0), &(struct intake_out){&got, count_pass, count_answer});
	shared_apply(&s, 1, "shop", document("web:2", 1), &b);
	shared_world_deliver(&s);
	assert_true(b.over && !b.failed);
	uint64_t now_ns = model_of(&s, 0)->now_ns;
	ask_scale(&i, id, 3);
	intake_run(&i, now_ns);
	assert_int_equal(got.good + got.bad, 0);
	assert_true(intake_due_ns(&i) == now_ns + INTAKE_AGAIN_MS * ms);
	shared_world_pass(&s, 30);
	assert_null(shop(&s, 0)->operation);
	intake_run(&i, now_ns + INTAKE_AGAIN_MS * ms);
	shared_world_deliver(&s);
	intake_run(&i, now_ns + INTAKE_AGAIN_MS * ms);
	assert_int_equal(got.good, 1);
	/* One that is not over. */
	shared_world_pass(&s, 30);
	shared_apply(&s, 1, "shop", document("web:3", 3), &b);
	shared_world_deliver(&s);
	assert_true(b.over && !b.failed);
	now_ns = model_of(&s, 0)->now_ns;
	ask_scale(&i, id, 2);
	for (uint64_t at = 0; at < INTAKE_BUSY_MS; at += INTAKE_AGAIN_MS) {
		intake_run(&i, now_ns + at * ms);
		assert_int_equal(got.bad, 0);
	}
	intake_run(&i, now_ns + INTAKE_BUSY_MS * ms);
	assert_int_equal(got.bad, 1);
	assert_string_equal(got.err.what, "something else is being done with shop");
	shared_world_pass(&s, 30);
	same(&s);
	intake_close(&i);
	shared_world_end(&s);
}

/* A deploy has ended while the store was away: nobody may write a half of that end. */
static void
test_what_is_not_written_yet_comes_first(void **state)
{
	const uint16_t ops[] = {MSG_OP_START, MSG_OP_STOP};
	struct shared_asked asked;
	struct shared_world s;

	(void)state;
	for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		shared_world_begin(&s);
		s.worlds[0].behaviour[1] = NODE_EXITS;
		shared_apply(&s, 0, "shop", document("web:1", 2), &asked);
		shared_world_deliver(&s);
		assert_true(asked.over && !asked.failed);
		s.nodes[0].cut = true;
		shared_world_pass(&s, 120);
		assert_null(shop(&s, 0)->operation);
		assert_non_null(shop(&s, 1)->operation);
		s.nodes[0].cut = false;
		s.nodes[0].loss = SHARED_LOST_KEPT;
		shared_target(&s, 0, ops[i], "shop", "", 0, &asked);
		shared_world_deliver(&s);
		assert_true(asked.over && asked.failed);
		shared_world_pass(&s, 30);
		for (unsigned n = 0; n < SHARED_WORLD_NODES; n++)
			assert_null(shop(&s, n)->operation);
		same(&s);
		assert_true(asked.r.busy);
		assert_int_equal(asked.err.kind, ERR_CONFLICT);
		shared_world_end(&s);
	}
}

/* Not for ever: others that always come first. */
static void
test_who_is_always_overtaken_is_told(void **state)
{
	struct answers got = {0};
	struct shared_world s;
	struct intake i;
	unsigned times = 0;
	bool done;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	intake_init(&i, model_of(&s, 0), &(struct intake_out){&got, count_pass, count_answer});
	touch(&s, 1, &done);
	ask_scale(&i, 7, 3);
	for (; got.bad == 0 && times < 20; times++) {
		assert_true(shared_step(&s.nodes[1]));
		shared_world_deliver(&s);
		assert_int_equal(got.good, 0);
		news_all(model_of(&s, 1)); /* its own is no news */
		touch(&s, 1, &done);
		intake_run(&i, 1);
	}
	assert_int_equal(times, 5);
	assert_int_equal(got.err.kind, ERR_CONFLICT);
	shared_world_deliver(&s);
	news_all(model_of(&s, 1));
	shared_world_pass(&s, 30);
	same(&s);
	intake_close(&i);
	shared_world_end(&s);
}

static void
test_nobody_waits_for_a_store_that_is_away(void **state)
{
	struct answers got = {0};
	struct shared_asked a;
	struct shared_world s;
	struct intake i;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 2);
	intake_init(&i, model_of(&s, 0), &(struct intake_out){&got, count_pass, count_answer});
	ask_scale(&i, 5, 3);
	s.nodes[0].cut = true;
	ask_scale(&i, 6, 4);
	assert_int_equal(got.bad, 1);
	assert_int_equal(got.last, 6);
	assert_string_equal(got.err.what, "no quorum: cut off");
	shared_world_deliver(&s);
	intake_run(&i, 1);
	assert_int_equal(got.bad, 2);
	assert_int_equal(got.err.kind, ERR_UNREACHABLE);
	shared_apply(&s, 0, "shop", document("web:2", 2), &a);
	assert_true(a.over && a.failed);
	assert_string_equal(a.err.what, "no quorum: cut off");
	/* Containers go on: one dies, is started again, and that is written. */
	struct map_iter it = {0};
	assert_true(map_next(&model_of(&s, 0)->replicas, &it));
	uint64_t id = ((struct replica *)it.value)->row.id;
	struct msg_container c = *(const struct msg_container *)ring_table_own(
		s.worlds[0].runtime, MSG_TABLE_CONTAINER, id);
	unsigned started = s.worlds[0].started;
	c.state = MSG_CONTAINER_EXITED;
	c.exit_status = 1;
	ring_table_set(s.worlds[0].runtime, MSG_TABLE_CONTAINER, id, &c, NULL);
	node_sync(s.worlds[0].runtime_r, MSG_TABLE_CONTAINER, sizeof(c));
	shared_world_pass(&s, 10);
	assert_int_equal(s.worlds[0].started, started + 1);
	assert_int_equal(node_active(&s.worlds[0]), 2);
	assert_false(model_of(&s, 0)->store_failing);
	assert_int_equal(model_of(&s, 0)->events_count, 0);
	shared_world_restart(&s, 0);
	s.nodes[0].cut = true;
	assert_int_equal(model_replica(model_of(&s, 0), id)->row.attempt, 2);
	shared_world_pass(&s, 5);
	assert_int_equal(node_active(&s.worlds[0]), 2);
	assert_int_equal(s.worlds[0].started, started + 1);
	s.nodes[0].cut = false;
	shared_world_pass(&s, 5);
	same(&s);
	deploy(&s, 0, "web:2", 2);
	intake_close(&i);
	shared_world_end(&s);
}

/* What is under way at the end of the process. */
static void
test_a_transaction_at_the_end(void **state)
{
	struct shared_world s;
	struct shared_asked a;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	shared_target(&s, 0, MSG_OP_SCALE, "shop", "web", 2, &a);
	shared_world_restart(&s, 0);
	assert_true(a.over && a.failed);
	assert_int_equal(a.err.kind, ERR_INTERRUPTED);
	shared_world_pass(&s, 5);
	same(&s);
	shared_target(&s, 0, MSG_OP_SCALE, "shop", "web", 2, &a);
	shared_world_pass(&s, 15);
	assert_false(a.failed);
	/* A save. */
	shop(&s, 0)->row.updated_wall_ns++;
	shop(&s, 0)->dirty = true;
	node_turn(&s.worlds[0]);
	assert_true(s.nodes[0].busy);
	shared_world_restart(&s, 0);
	shared_world_pass(&s, 5);
	same(&s);
	shared_world_end(&s);
}

/* ---- following ---- */

static void
test_every_node_can_be_asked(void **state)
{
	struct shared_world s;
	struct shared_asked a;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 1, "web:1", 1);
	shared_target(&s, 1, MSG_OP_SCALE, "shop", "web", 3, &a);
	shared_world_pass(&s, 15);
	assert_true(a.over && !a.failed);
	assert_int_equal(replicas(&s, 0), 3);
	assert_int_equal(node_operation(&s.worlds[1], a.r.answer.target.operation)->state,
			 MSG_OPERATION_DONE);
	shared_target(&s, 1, MSG_OP_STOP, "shop", "", 0, &a);
	shared_world_pass(&s, 5);
	assert_int_equal(node_active(&s.worlds[0]), 0);
	assert_int_equal(node_deployment(&s.worlds[1], "shop")->state, MSG_DEPLOYMENT_STOPPED);
	/* A deploy starts what was stopped. */
	deploy(&s, 1, "web:1", 3);
	assert_int_equal(node_active(&s.worlds[0]), 3);
	unsigned started = s.worlds[0].started;
	shared_target(&s, 1, MSG_OP_RESTART, "shop", "", 0, &a);
	shared_world_pass(&s, 30);
	assert_true(a.over && !a.failed);
	assert_int_equal(s.worlds[0].started, started + 3);
	same(&s);
	shared_target(&s, 1, MSG_OP_REMOVE, "shop", "", 0, &a);
	shared_world_pass(&s, 10);
	assert_null(shop(&s, 0));
	assert_null(shop(&s, 1));
	assert_int_equal(replicas(&s, 0), 0);
	assert_int_equal(node_operation(&s.worlds[1], a.r.answer.target.operation)->state,
			 MSG_OPERATION_DONE);
	same(&s);
	shared_world_end(&s);
}

static void
test_pause_resume_abort_from_elsewhere(void **state)
{
	struct shared_world s;
	struct shared_asked a;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 2);
	s.worlds[0].behaviour[2] = NODE_SLOW;
	shared_apply(&s, 1, "shop", document("web:2", 2), &a);
	shared_world_pass(&s, 3);
	uint64_t op = a.r.answer.applied.operation;
	shared_target(&s, 1, MSG_OP_PAUSE, "shop", "", 0, &a);
	shared_world_pass(&s, 1);
	assert_true(a.over && !a.failed);
	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(shop(&s, n)->rollout.phase, ROLLOUT_PAUSED);
		assert_int_equal(node_deployment(&s.worlds[n], "shop")->state,
				 MSG_DEPLOYMENT_PAUSED);
	}
	shared_world_pass(&s, 200);
	assert_int_equal(shop(&s, 0)->rollout.phase, ROLLOUT_PAUSED);
	shared_target(&s, 1, MSG_OP_RESUME, "shop", "", 0, &a);
	shared_world_pass(&s, 5);
	assert_int_equal(shop(&s, 0)->rollout.phase, ROLLOUT_FORWARD);
	shared_target(&s, 1, MSG_OP_ABORT, "shop", "", 0, &a);
	assert_false(a.over);
	shared_world_pass(&s, 30);
	assert_true(a.over && !a.failed);
	assert_int_equal(node_operation(&s.worlds[1], op)->state, MSG_OPERATION_ROLLED_BACK);
	assert_int_equal(shop(&s, 1)->row.revision, 1);
	assert_int_equal(model_revision(shop(&s, 1), 2)->row.result, STORE_RESULT_ROLLED_BACK);
	assert_int_equal(replicas(&s, 0), 2);
	same(&s);
	shared_world_end(&s);
}

/* The rows of a deployment are dropped while a node that was away has replicas of it. */
static void
test_what_is_lost_leaves(void **state)
{
	struct shared_world s;
	struct shared_asked a;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 2);
	/* The other one takes over, and does not see these replicas. */
	s.nodes[0].cut = true;
	s.conductor = 1;
	shared_world_pass(&s, 10);
	assert_int_equal(replicas(&s, 1), 2);
	shared_target(&s, 1, MSG_OP_REMOVE, "shop", "", 0, &a);
	shared_world_pass(&s, 10);
	assert_null(shop(&s, 1));
	assert_int_equal(node_active(&s.worlds[0]), 2);
	s.nodes[0].cut = false;
	s.worlds[0].in_flight = 1;
	shared_world_deliver(&s);
	assert_null(shop(&s, 0));
	assert_int_equal(replicas(&s, 0), 2);
	/* The name is free. */
	shared_apply(&s, 0, "shop", document("web:1", 1), &a);
	shared_world_pass(&s, 5);
	assert_true(a.over && !a.failed);
	assert_int_equal(replicas(&s, 0), 2);
	s.worlds[0].in_flight = 0;
	shared_world_pass(&s, 10);
	assert_int_equal(replicas(&s, 0), 0);
	assert_int_equal(replicas(&s, 1), 1);
	same(&s);
	shared_world_end(&s);
}

static void
test_anything_may_be_different(void **state)
{
	struct shared_world s;
	struct shared_asked a;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 2);
	unsigned started = s.worlds[0].started;
	struct map_iter it = {0};
	assert_true(map_next(&model_of(&s, 0)->replicas, &it));
	const struct replica *p = it.value;
	/* Several changes are heard of at once, as nothing but "read everything". */
	s.nodes[0].cut = true;
	s.conductor = 1;
	shared_target(&s, 1, MSG_OP_STOP, "shop", "", 0, &a);
	shared_world_pass(&s, 2);
	assert_true(a.over && !a.failed);
	s.conductor = 0;
	s.nodes[0].news_alls = 100;
	s.nodes[0].cut = false;
	shared_world_deliver(&s);
	assert_ptr_equal(model_replica(model_of(&s, 0), p->row.id), p);
	assert_int_equal(p->life.state, MSG_REPLICA_READY);
	same(&s);
	assert_int_equal(s.worlds[0].started, started);
	shared_target(&s, 1, MSG_OP_REMOVE, "shop", "", 0, &a);
	s.nodes[0].news_alls = 100;
	shared_world_pass(&s, 10);
	assert_null(shop(&s, 0));
	s.nodes[0].news_alls = 0;
	deploy(&s, 1, "web:1", 1);
	assert_true(s.cluster_rows[0] > 0);
	assert_int_equal(s.cluster_rows[1], 0);
	shared_world_end(&s);
}

static void
test_rows_of_the_cluster_are_handed_on(void **state)
{
	struct store_node node = {.node = 7, .name = "edge-7"};
	struct shared_asked a = {.r.done = shared_answered};
	struct shared_world s;
	struct err err = {0};

	(void)state;
	shared_world_begin(&s);
	struct write *w = write_begin(model_of(&s, 0), "cluster", &a.r, &err);
	assert_non_null(w);
	assert_int_equal(write_end(w, write_row(w, STORE_NODE, &node, &err)), REQUEST_UNDER_WAY);
	shared_world_deliver(&s);
	assert_true(a.over && !a.failed);
	assert_int_equal(s.cluster_rows[1], 1);
	assert_int_equal(s.cluster_rows[0], 0);
	shared_world_end(&s);
}

/* ---- who wins ---- */

static void
test_two_write_at_once(void **state)
{
	struct shared_asked a, b;
	struct shared_world s;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	/* Two that were asked for at the same time: one of them. */
	shared_target(&s, 0, MSG_OP_SCALE, "shop", "web", 2, &a);
	shared_target(&s, 1, MSG_OP_SCALE, "shop", "web", 3, &b);
	shared_world_deliver(&s);
	assert_true(a.over && b.over);
	assert_true(a.failed != b.failed);
	assert_int_equal((a.failed ? a : b).err.kind, ERR_CONFLICT);
	shared_world_pass(&s, 15);
	assert_int_equal(replicas(&s, 0), a.failed ? 3 : 2);
	same(&s);
	/* Somebody's pause comes before what the conductor has to say. */
	shared_apply(&s, 0, "shop", document("web:2", 1), &a);
	shared_world_pass(&s, 1);
	struct deployment *d = shop(&s, 0);
	assert_int_equal(d->rollout.phase, ROLLOUT_FORWARD);
	shared_target(&s, 1, MSG_OP_PAUSE, "shop", "", 0, &b);
	for (unsigned i = 0; i < 20 && d->rollout.phase == ROLLOUT_FORWARD; i++) {
		s.worlds[0].now_ns += NODE_S;
		node_turn(&s.worlds[0]);
	}
	assert_true(d->dirty || s.nodes[0].busy);
	assert_true(shared_step(&s.nodes[1]));
	assert_true(b.over);
	shared_world_deliver(&s);
	if (!b.failed)
		assert_int_equal(shop(&s, 0)->rollout.phase, ROLLOUT_PAUSED);
	shared_world_pass(&s, 10);
	same(&s);
	if (!b.failed)
		shared_target(&s, 1, MSG_OP_RESUME, "shop", "", 0, &b);
	shared_world_pass(&s, 30);
	assert_int_equal(shop(&s, 1)->row.revision, 2);
	assert_int_equal(shop(&s, 1)->rollout.phase, ROLLOUT_IDLE);
	assert_int_equal(model_of(&s, 0)->conflicts, 0);
	same(&s);
	shared_world_end(&s);
}

/* Both believe that it is theirs. */
static bool
both(void *arg, const struct deployment *d)
{
	(void)arg;
	(void)d;
	return true;
}

static void
test_two_conductors(void **state)
{
	struct shared_asked a;
	struct shared_world s;

	(void)state;
	shared_world_begin(&s);
	for (unsigned n = 0; n < 2; n++)
		model_of(&s, n)->hooks.conducts = both;
	deploy(&s, 0, "web:1", 2);
	for (unsigned i = 2; i < 6; i++) {
		char image[16];

		snprintf(image, sizeof(image), "web:%u", i);
		deploy(&s, i % 2, image, 2);
		assert_int_equal(shop(&s, 0)->row.revision, i);
		assert_int_equal(shop(&s, 1)->row.revision, i);
	}
	shared_target(&s, 0, MSG_OP_REMOVE, "shop", "", 0, &a);
	shared_world_pass(&s, 20);
	assert_null(shop(&s, 0));
	assert_null(shop(&s, 1));
	assert_int_equal(replicas(&s, 0), 0);
	assert_int_equal(replicas(&s, 1), 0);
	same(&s);
	shared_world_end(&s);
}

static void
test_the_conductor_changes(void **state)
{
	struct shared_asked a;
	struct shared_world s;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	shared_apply(&s, 0, "shop", document("web:2", 1), &a);
	shared_world_pass(&s, 1);
	/* What it would have written is forgotten. */
	s.nodes[0].cut = true;
	for (unsigned i = 0; i < 20; i++) {
		s.worlds[0].now_ns += NODE_S;
		node_turn(&s.worlds[0]);
	}
	assert_true(shop(&s, 0)->dirty);
	s.conductor = 1;
	node_turn(&s.worlds[0]);
	assert_false(shop(&s, 0)->dirty);
	shared_world_pass(&s, 30);
	assert_int_equal(shop(&s, 1)->row.revision, 2);
	assert_int_equal(shop(&s, 0)->row.revision, 0 + 1);
	s.nodes[0].cut = false;
	shared_world_pass(&s, 5);
	assert_int_equal(shop(&s, 0)->row.revision, 2);
	same(&s);
	shared_world_end(&s);
}

static void
test_lost_answers(void **state)
{
	struct shared_asked a;
	struct shared_world s;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	for (int kept = 0; kept < 2; kept++) {
		s.nodes[0].loss = kept ? SHARED_LOST_KEPT : SHARED_LOST;
		shared_target(&s, 0, MSG_OP_SCALE, "shop", "web", 3, &a);
		assert_true(shared_step(&s.nodes[0]));
		assert_true(a.over && a.failed);
		assert_int_equal(a.err.kind, ERR_TIMEOUT);
		assert_null(shop(&s, 0)->operation);
		shared_world_pass(&s, 15);
		assert_int_equal(replicas(&s, 0), kept ? 3 : 1);
		same(&s);
	}
	/* The same of what is saved. */
	for (int kept = 0; kept < 2; kept++) {
		shared_target(&s, 0, MSG_OP_SCALE, "shop", "web", kept ? 1 : 2, &a);
		shared_world_deliver(&s);
		for (unsigned i = 0; i < 30; i++) {
			s.worlds[0].now_ns += NODE_S;
			node_turn(&s.worlds[0]);
			s.nodes[0].loss = s.nodes[0].busy ? kept ? SHARED_LOST_KEPT : SHARED_LOST
							  : SHARED_ANSWERED;
			shared_world_deliver(&s);
		}
		s.nodes[0].loss = SHARED_ANSWERED;
		shared_world_pass(&s, 15);
		assert_int_equal(replicas(&s, 0), kept ? 1 : 2);
		assert_int_equal(shop(&s, 1)->rollout.phase, ROLLOUT_IDLE);
		assert_null(shop(&s, 1)->operation);
		same(&s);
	}
	shared_world_end(&s);
}

static void
test_old_revisions_go(void **state)
{
	struct shared_world s;

	(void)state;
	shared_world_begin(&s);
	for (unsigned n = 0; n < 2; n++)
		s.worlds[n].config.deploy.keep_revisions = 2;
	for (unsigned i = 1; i < 7; i++) {
		char image[16];

		snprintf(image, sizeof(image), "web:%u", i);
		deploy(&s, i % 2, image, 1);
	}
	assert_null(model_revision(shop(&s, 1), 2));
	assert_non_null(model_revision(shop(&s, 1), 5));
	same(&s);
	shared_world_end(&s);
}

/* ---- memory ---- */

static void
test_news_without_memory(void **state)
{
	struct shared_asked a;
	struct shared_world s;
	bool failed = true;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	for (int64_t n = 0; failed; n += 5) {
		store_news_fn hear = s.nodes[1].news;

		shared_apply(&s, 0, "shop", document(n & 1 ? "web:2" : "web:3", 1), &a);
		s.nodes[1].news = NULL;
		shared_world_deliver(&s);
		assert_true(a.over && !a.failed);
		s.nodes[1].news = hear;
		mem_fail_after(n);
		news_all(model_of(&s, 1));
		failed = mem_failures() > 0;
		mem_fail_after(-1);
		node_turn(&s.worlds[1]);
		shared_world_deliver(&s);
		same(&s);
		assert_int_equal(shop(&s, 1)->rollout.phase, ROLLOUT_FORWARD);
		assert_non_null(shop(&s, 1)->operation);
		shared_world_pass(&s, 30);
		same(&s);
	}
	shared_world_end(&s);
}

static void
test_an_end_without_memory(void **state)
{
	struct shared_asked a;
	struct shared_world s;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	for (int64_t n = 0; n < 40; n += 3) {
		shared_apply(&s, 0, "shop", document(n & 1 ? "web:2" : "web:3", 1), &a);
		s.nodes[0].fails = true;
		s.nodes[0].fails_after = n;
		assert_true(shared_step(&s.nodes[0]));
		assert_true(a.over && !a.failed);
		shared_world_pass(&s, 30);
		assert_int_equal(node_deployment(&s.worlds[0], "shop")->state,
				 MSG_DEPLOYMENT_STABLE);
		assert_int_equal(shop(&s, 0)->row.revision, n / 3 + 2);
		same(&s);
	}
	shared_world_end(&s);
}

static void
test_a_save_without_memory(void **state)
{
	struct shared_world s;
	bool failed = true;

	(void)state;
	shared_world_begin(&s);
	deploy(&s, 0, "web:1", 1);
	for (int64_t n = 0; failed; n++) {
		struct deployment *d = shop(&s, 0);
		struct service *v = model_service(d, "web");

		d->row.updated_wall_ns++;
		d->dirty = v->dirty = true;
		mem_fail_after(n);
		save_all(model_of(&s, 0));
		failed = mem_failures() > 0;
		mem_fail_after(-1);
		shared_world_pass(&s, 3);
		assert_false(d->dirty || v->dirty);
		same(&s);
	}
	shared_world_end(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_comes_when_it_is_kept),
		cmocka_unit_test(test_requests_wait_for_their_turn),
		cmocka_unit_test(test_a_request_that_finds_no_memory),
		cmocka_unit_test(test_who_was_overtaken_begins_again),
		cmocka_unit_test(test_who_is_always_overtaken_is_told),
		cmocka_unit_test(test_unchanged_is_what_the_store_says),
		cmocka_unit_test(test_what_may_be_over_is_waited_for),
		cmocka_unit_test(test_what_is_not_written_yet_comes_first),
		cmocka_unit_test(test_nobody_waits_for_a_store_that_is_away),
		cmocka_unit_test(test_a_transaction_at_the_end),
		cmocka_unit_test(test_every_node_can_be_asked),
		cmocka_unit_test(test_pause_resume_abort_from_elsewhere),
		cmocka_unit_test(test_what_is_lost_leaves),
		cmocka_unit_test(test_anything_may_be_different),
		cmocka_unit_test(test_rows_of_the_cluster_are_handed_on),
		cmocka_unit_test(test_two_write_at_once),
		cmocka_unit_test(test_two_conductors),
		cmocka_unit_test(test_the_conductor_changes),
		cmocka_unit_test(test_lost_answers),
		cmocka_unit_test(test_old_revisions_go),
		cmocka_unit_test(test_news_without_memory),
		cmocka_unit_test(test_an_end_without_memory),
		cmocka_unit_test(test_a_save_without_memory),
	};

	if (!node_libraries())
		return 0;
	log_change(LOG_ERROR, LOG_FORMAT_JSON);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
