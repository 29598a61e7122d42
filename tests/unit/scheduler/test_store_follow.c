/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/store_follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "scheduler/store_role.h"
#include "tests/support/store_contract.h"
#include "tests/support/store_pipe.h"

static struct pipe_net net;
static bool contract_of_writer;

static int
setup(void **state)
{
	(void)state;
	pipe_setup(&net);
	contract_of_writer = false;
	return 0;
}

static int
setup_of_writer(void **state)
{
	setup(state);
	contract_of_writer = true;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	pipe_teardown(&net);
	return 0;
}

/* The store that a contract's test is given is freed by it. */
static struct store *
contract_open(void **state)
{
	(void)state;
	pipe_open_writer(&net);
	struct store *s = net.writer;
	if (contract_of_writer) {
		net.writer = NULL;
		return s;
	}
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	s = l->store;
	return s;
}

/* Once with the copy, once with nothing: then it is copied anew. */
static struct store *
contract_reopen(void **state, struct store *s)
{
	static unsigned times;
	struct pipe_link *l = &net.links[0];

	(void)state;
	if (contract_of_writer) {
		store_free(s);
		pipe_open_writer(&net);
		s = net.writer;
		net.writer = NULL;
		return s;
	}
	pipe_close_follower(l);
	uv_run(&net.loop, UV_RUN_NOWAIT);
	if (times++ % 2)
		pipe_unlink(&net, l->file);
	pipe_open_follower(l);
	pipe_until_writable(&net, l->store);
	return l->store;
}

static void
contract_wait(void **state, const bool *over)
{
	(void)state;
	pipe_wait(&net, over);
}

static int
teardown_of_contract(void **state)
{
	struct pipe_link *l = &net.links[0];

	if (!contract_of_writer) {
		/* The test has freed it. */
		l->store = NULL;
		l->follow = NULL;
		l->up = false;
		pipe_cut(l);
	}
	return teardown(state);
}

/* ---- following ---- */

static void
same_copies(struct store *a, struct store *b)
{
	struct store_status x, y;

	store_status(a, &x);
	store_status(b, &y);
	assert_int_equal(x.sequence, y.sequence);
	assert_int_equal(x.count, y.count);
	assert_memory_equal(x.digest, y.digest, sizeof(x.digest));
	assert_memory_equal(x.hash, y.hash, sizeof(x.hash));
}

static void
check(void **state, struct store *s)
{
	struct contract_end end = {0};

	store_check(s, contract_done, &end);
	contract_wait(state, &end.over);
	if (end.failed) {
		err_print(&end.err, "check", stderr);
		fail();
	}
}

/* What a node had before it became the writer is there for all that follow it. */
static void
test_store_of_its_own(void **state)
{
	struct store_deployment d = {.name = "shop"}, more = {.name = "more"}, back;
	struct store_replica p = {.index = 1};
	struct store *own = pipe_rows(&net, "w.db");
	struct err err = {0};

	contract_fill(state, own, &d, &p);
	contract_begin(own);
	contract_put(own, STORE_DEPLOYMENT, &more);
	assert_int_equal(store_commit(own, &err), 0);
	contract_begin(own);
	assert_int_equal(store_drop(own, STORE_DEPLOYMENT, more.id, more.version, &err), 0);
	assert_int_equal(store_commit(own, &err), 0);
	uint64_t given = more.id;
	store_free(own);
	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	same_copies(net.writer, l->store);
	assert_int_equal(l->alls, 1);
	assert_int_equal(store_get(l->store, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	assert_int_equal(contract_count(l->store, STORE_REPLICA, 0, 0), 0);
	assert_int_equal(contract_count(net.writer, STORE_REPLICA, 0, 0), 1);
	/* An id that was given once is not given again. */
	memset(&more, 0, sizeof(more));
	strcpy(more.name, "again");
	contract_begin(net.writer);
	contract_put(net.writer, STORE_DEPLOYMENT, &more);
	contract_commit(state, net.writer);
	assert_true(more.id > given);
	pipe_settle(&net);
	same_copies(net.writer, l->store);
	check(state, l->store);
	check(state, net.writer);
}

static void
test_news(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};
	struct err err = {0};

	pipe_open_writer(&net);
	struct pipe_link *a = pipe_add(&net), *b = pipe_add(&net);
	net.slice = 7;
	pipe_until_writable(&net, a->store);
	pipe_until_writable(&net, b->store);
	a->alls = b->alls = 0;
	contract_fill(state, a->store, &d, &p);
	pipe_settle(&net);
	same_copies(a->store, b->store);
	same_copies(a->store, net.writer);
	assert_int_equal(b->rows, 5);
	assert_int_equal(b->ends, 1);
	assert_int_equal(b->alls, 0);
	assert_int_equal(a->ends, 0); /* one's own changes are no news */
	contract_begin(b->store);
	assert_int_equal(store_drop(b->store, STORE_DEPLOYMENT, d.id, d.version, &err), 0);
	contract_commit(state, b->store);
	pipe_settle(&net);
	assert_int_equal(a->gone, 5);
	assert_int_equal(a->ends, 1);
	same_copies(a->store, b->store);
	/* This node's own go with what they belonged to. */
	assert_int_equal(contract_count(a->store, STORE_REPLICA, 0, 0), 0);
}

/* Both at once: one is first, the other is worked out again; the same row is a conflict. */
static void
test_two_at_once(void **state)
{
	struct store_deployment d = {.name = "shop"}, x, y = {.name = "db"};
	struct contract_end first = {0}, second = {0};
	struct store_replica p = {.index = 1};

	pipe_open_writer(&net);
	struct pipe_link *a = pipe_add(&net), *b = pipe_add(&net);
	pipe_until_writable(&net, a->store);
	pipe_until_writable(&net, b->store);
	contract_fill(state, a->store, &d, &p);
	pipe_settle(&net);
	x = d;
	x.revision = 4;
	contract_begin(a->store);
	contract_put(a->store, STORE_DEPLOYMENT, &x);
	contract_begin(b->store);
	contract_put(b->store, STORE_DEPLOYMENT, &y);
	store_submit(a->store, contract_done, &first);
	store_submit(b->store, contract_done, &second);
	contract_wait(state, &first.over);
	contract_wait(state, &second.over);
	assert_false(first.failed);
	assert_false(second.failed);
	pipe_settle(&net);
	same_copies(a->store, b->store);
	struct store_deployment one = x, two = x;
	one.revision = 5;
	two.revision = 6;
	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	contract_begin(a->store);
	contract_put(a->store, STORE_DEPLOYMENT, &one);
	contract_begin(b->store);
	contract_put(b->store, STORE_DEPLOYMENT, &two);
	store_submit(a->store, contract_done, &first);
	store_submit(b->store, contract_done, &second);
	contract_wait(state, &first.over);
	contract_wait(state, &second.over);
	assert_true(first.failed != second.failed);
	assert_int_equal((first.failed ? first : second).err.kind, ERR_CONFLICT);
	pipe_settle(&net);
	same_copies(a->store, b->store);
	same_copies(a->store, net.writer);
}

/* ---- connections ---- */

static void
test_without_writer(void **state)
{
	struct store_deployment d = {.name = "shop"}, back;
	struct store_replica p = {.index = 1};
	struct store_status status;
	struct err err = {0}, why = {0};

	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	store_status(l->store, &status);
	assert_true(status.shared);
	assert_false(status.writable);
	assert_string_equal(status.why.what,
			    "edge-1, the node that writes the store, was not reached yet");
	pipe_until_writable(&net, l->store);
	contract_fill(state, l->store, &d, &p);
	l->no_connect = true;
	pipe_cut(l);
	err_set(&why, ERR_UNREACHABLE, "connection refused");
	store_follow_down(l->follow, &why);
	store_status(l->store, &status);
	assert_false(status.writable);
	assert_int_equal(status.why.kind, ERR_UNREACHABLE);
	assert_string_equal(status.why.what,
			    "edge-1, the node that writes the store, cannot be reached");
	assert_string_equal(status.why.why[0], "connection refused");
	assert_true(text_starts(status.why.why[1], "since 2"));
	assert_true(status.why.fix[0]);
	assert_int_equal(store_begin(l->store, &err), -1);
	assert_int_equal(err.kind, ERR_UNREACHABLE);
	/* Reading goes on, also in a process that begins now; and what is this node's own. */
	pipe_close_follower(l);
	uv_run(&net.loop, UV_RUN_NOWAIT);
	pipe_open_follower(l);
	assert_int_equal(store_get(l->store, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	struct store *local = store_local(l->store);
	contract_begin(local);
	p.restarts = 7;
	contract_put(local, STORE_REPLICA, &p);
	assert_int_equal(store_commit(local, &err), 0);
	/* The log is enough when it comes back. */
	d.revision = 2;
	contract_begin(net.writer);
	contract_put(net.writer, STORE_DEPLOYMENT, &d);
	contract_commit(state, net.writer);
	l->no_connect = false;
	l->alls = l->ends = 0;
	pipe_until_writable(&net, l->store);
	assert_int_equal(l->alls, 0);
	assert_int_equal(l->ends, 1);
	same_copies(net.writer, l->store);
}

/* More than the log keeps: a snapshot, which leaves what is this node's own. */
static void
test_away_for_long(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1, .id = 2ull << 32 | 1};

	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	contract_fill(state, l->store, &d, &p);
	l->no_connect = true;
	pipe_cut(l);
	for (uint32_t i = 0; i < 300; i++) {
		d.revision = i;
		contract_begin(net.writer);
		contract_put(net.writer, STORE_DEPLOYMENT, &d);
		contract_commit(state, net.writer);
	}
	l->no_connect = false;
	l->alls = 0;
	pipe_until_writable(&net, l->store);
	assert_int_equal(l->alls, 1);
	same_copies(net.writer, l->store);
	assert_int_equal(contract_count(l->store, STORE_REPLICA, 0, 0), 1);
	contract_same_blob(l->store, STORE_PLAN, p.id, "plan", 4);
}

static void
test_silent_writer(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct contract_end end = {0};
	struct store_status status;

	net.timeout_ms = 100;
	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	contract_begin(l->store);
	contract_put(l->store, STORE_DEPLOYMENT, &d);
	l->stuck = l->no_connect = true;
	store_submit(l->store, contract_done, &end);
	contract_wait(state, &end.over);
	assert_true(end.failed);
	/* Its bytes are on the way: they may arrive. */
	assert_int_equal(end.err.kind, ERR_TIMEOUT);
	assert_true(end.err.fix[0]);
	store_status(l->store, &status);
	assert_false(status.writable);
	assert_true(text_starts(status.why.what, "edge-1, the node that writes the store, "));
	/* They do, and it comes as news. */
	l->stuck = l->no_connect = false;
	pipe_until_writable(&net, l->store);
	while (contract_count(l->store, STORE_DEPLOYMENT, 0, 0) == 0 && l->ends == 0)
		pipe_turn(&net);
	same_copies(net.writer, l->store);
}

/* ---- once ---- */

/* The answer is lost with the connection: it is found in the log, also by a writer that was started
 * anew in between. */
static void
lost_answer(void **state, bool restart, bool answer)
{
	struct store_deployment d = {.name = "shop"}, e = {.name = "db"};
	struct contract_end end = {0};

	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	contract_begin(l->store);
	contract_put(l->store, STORE_DEPLOYMENT, &d);
	l->deaf = true;
	store_submit(l->store, contract_done, &end);
	if (answer) {
		while (contract_count(net.writer, STORE_DEPLOYMENT, 0, 0) == 0)
			pipe_turn(&net);
		contract_begin(net.writer);
		contract_put(net.writer, STORE_DEPLOYMENT, &e);
		contract_commit(state, net.writer);
	}
	assert_false(end.over);
	pipe_cut(l);
	if (restart) {
		pipe_close_writer(&net);
		pipe_open_writer(&net);
	}
	assert_false(end.over);
	l->deaf = false;
	contract_wait(state, &end.over);
	assert_false(end.failed);
	pipe_settle(&net);
	same_copies(net.writer, l->store);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), answer ? 2 : 1);
}

static void
test_lost_answer(void **state)
{
	lost_answer(state, false, true);
}

static void
test_lost_question(void **state)
{
	lost_answer(state, false, false);
}

static void
test_crash_before_the_answer(void **state)
{
	lost_answer(state, true, true);
}

static void
test_crash_before_the_question(void **state)
{
	lost_answer(state, true, false);
}

/* ---- a copy that is none ---- */

static void
test_other_history(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_status status;

	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	contract_begin(l->store);
	contract_put(l->store, STORE_DEPLOYMENT, &d);
	contract_commit(state, l->store);
	pipe_close_writer(&net);
	pipe_cut(l);
	pipe_unlink(&net, "w.db");
	pipe_open_writer(&net);
	while (store_status(l->store, &status), status.why.kind != ERR_CORRUPT)
		pipe_turn(&net);
	assert_false(status.writable);
	assert_true(status.why.fix[0]);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), 1);
	/* The operator says that the other one is right. */
	l->no_connect = true;
	pipe_close_follower(l);
	struct err err = {0};
	struct store *rows = pipe_rows(&net, l->file);
	assert_int_equal(store_copy_expect(rows, &err), 0);
	store_free(rows);
	pipe_open_follower(l);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), 1);
	l->no_connect = false;
	pipe_until_writable(&net, l->store);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), 0);
	same_copies(net.writer, l->store);
}

/* ---- leases ---- */

static void
test_leases_of_two(void **state)
{
	struct contract_lease_end end;

	pipe_open_writer(&net);
	struct pipe_link *a = pipe_add(&net), *b = pipe_add(&net);
	pipe_until_writable(&net, a->store);
	pipe_until_writable(&net, b->store);
	end = contract_lease(state, a->store, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.epoch, 1);
	end = contract_lease(state, b->store, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.kind, ERR_CONFLICT);
	assert_string_equal(end.why, "edge-1");
	end = contract_lease(state, net.writer, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.kind, ERR_CONFLICT);
	/* Not theirs to keep or to drop. */
	end = contract_lease(state, b->store, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.kind, ERR_NOT_FOUND);
	end = contract_lease(state, net.writer, STORE_LEASE_DROP, "nightly", 0);
	assert_int_equal(end.kind, ERR_NONE);
	end = contract_lease(state, a->store, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.epoch, 1);
	/* A writer that begins anew knows who has it. */
	pipe_close_writer(&net);
	pipe_cut(a);
	pipe_cut(b);
	end = contract_lease(state, a->store, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.kind, ERR_UNREACHABLE);
	pipe_open_writer(&net);
	pipe_until_writable(&net, a->store);
	pipe_until_writable(&net, b->store);
	end = contract_lease(state, b->store, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.kind, ERR_CONFLICT);
	end = contract_lease(state, a->store, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.epoch, 1);
	end = contract_lease(state, a->store, STORE_LEASE_DROP, "nightly", 0);
	assert_int_equal(end.kind, ERR_NONE);
	end = contract_lease(state, net.writer, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.epoch, 2);
	end = contract_lease(state, net.writer, STORE_LEASE_DROP, "nightly", 0);
	assert_int_equal(end.kind, ERR_NONE);
	end = contract_lease(state, b->store, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.epoch, 3);
}

/* ---- which engine ---- */

static void
test_roles(void **state)
{
	struct store *rows = pipe_rows(&net, "w.db");
	enum store_role role;
	struct err err = {0};

	(void)state;
	assert_int_equal(store_role_get(rows, &role, &err), 0);
	assert_int_equal(role, STORE_ROLE_ALONE);
	for (unsigned i = STORE_ROLE_ALONE; i <= STORE_ROLE_ETCD; i++) {
		contract_begin(rows);
		assert_int_equal(store_role_put(rows, i, &err), 0);
		assert_int_equal(store_commit(rows, &err), 0);
		assert_int_equal(store_role_get(rows, &role, &err), 0);
		assert_int_equal(role, i);
	}
	contract_begin(rows);
	assert_int_equal(store_put_note(rows, "cluster.engine", "raft", &err), 0);
	assert_int_equal(store_commit(rows, &err), 0);
	assert_int_equal(store_role_get(rows, &role, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	store_free(rows);
}

int
main(void)
{
	struct err err = {0};

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CONTRACT_TESTS(setup, teardown_of_contract),
		CONTRACT_TESTS(setup_of_writer, teardown_of_contract),
		TEST(test_store_of_its_own),
		TEST(test_news),
		TEST(test_two_at_once),
		TEST(test_without_writer),
		TEST(test_away_for_long),
		TEST(test_silent_writer),
		TEST(test_lost_answer),
		TEST(test_lost_question),
		TEST(test_crash_before_the_answer),
		TEST(test_crash_before_the_question),
		TEST(test_other_history),
		TEST(test_leases_of_two),
		TEST(test_roles),
	};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP no SQLite here: %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
