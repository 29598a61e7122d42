/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/store_follow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/world.h"
#include "scheduler/store_role.h"
#include "scheduler/store_wire.h"
#include "tests/support/full_disk.h"
#include "tests/support/prop.h"
#include "tests/support/store_contract.h"
#include "tests/support/store_pipe.h"
#include "tests/support/sweep.h"

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
		folder_remove_store(&net.folder, l->file);
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

/* As when a disk does not come back, or others have the machine: no turn of the loop for so long.
 */
static void
stand_still(void)
{
	uint64_t until_ns = world_mono_ns() + 3 * (uint64_t)net.timeout_ms * 1000000;

	while (world_mono_ns() < until_ns)
		usleep(1000);
}

/* What a node did not hear because it did not listen was not silence of the writer. */
static void
test_standing_still(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct contract_end end = {0};

	(void)state;
	net.timeout_ms = 200;
	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	stand_still();
	uv_run(&net.loop, UV_RUN_NOWAIT);
	assert_true(pipe_writable(l->store));
	pipe_settle(&net);
	/* Likewise a change, that is asked for in a long turn or answered in one. */
	contract_begin(l->store);
	contract_put(l->store, STORE_DEPLOYMENT, &d);
	stand_still();
	store_submit(l->store, contract_done, &end);
	uv_run(&net.loop, UV_RUN_NOWAIT);
	assert_false(end.over);
	stand_still();
	uv_run(&net.loop, UV_RUN_NOWAIT);
	assert_false(end.over);
	contract_wait(state, &end.over);
	assert_false(end.failed);
	assert_true(pipe_writable(l->store));
	/* But silence is. */
	l->deaf = true;
	while (pipe_writable(l->store))
		pipe_turn(&net);
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
	/* They do, and it comes as news, unless the follower has given the connection up by then.
	 */
	l->stuck = l->no_connect = false;
	pipe_until_writable(&net, l->store);
	pipe_settle(&net);
	same_copies(net.writer, l->store);
	assert_int_equal(l->ends, contract_count(l->store, STORE_DEPLOYMENT, 0, 0));
}

/* A writer that says nothing for a while, and has kept what it was sent: no failure, and no doubt,
 * when it answers in time. */
static void
test_late_answer(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct contract_end end = {0};

	net.timeout_ms = 500;
	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	contract_begin(l->store);
	contract_put(l->store, STORE_DEPLOYMENT, &d);
	l->stuck = true;
	store_submit(l->store, contract_done, &end);
	while (pipe_writable(l->store))
		pipe_turn(&net);
	assert_false(end.over);
	l->stuck = false;
	contract_wait(state, &end.over);
	assert_false(end.failed);
	pipe_until_writable(&net, l->store);
	same_copies(net.writer, l->store);
}

/* ---- a disk that is full ---- */

static void
submit_one(struct store *s, const char *name, struct contract_end *end)
{
	struct store_deployment d = {0};

	memset(end, 0, sizeof(*end));
	text_copy(d.name, sizeof(d.name), name);
	/* The writer may not even begin. */
	if (store_begin(s, &end->err) < 0) {
		end->failed = end->over = true;
		return;
	}
	contract_put(s, STORE_DEPLOYMENT, &d);
	store_submit(s, contract_done, end);
}

static void
expect_no_space(struct store *s)
{
	struct store_status status;
	struct err err = {0};

	store_status(s, &status);
	assert_false(status.writable);
	assert_true(status.unwritten);
	assert_int_equal(status.why.kind, ERR_NO_SPACE);
	assert_non_null(strstr(status.why.what, "no space left on state"));
	assert_true(status.why.fix[0]);
	assert_int_equal(store_begin(s, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
}

/* The writer's: nothing is kept, whoever asks, and it is said; with room it goes on by itself. */
static void
test_full_writer(void **state)
{
	struct store_status status;
	struct contract_end end;
	struct rlimit was;

	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	uint64_t before = contract_count(net.writer, STORE_DEPLOYMENT, 0, 0);
	disk_full(&was);
	submit_one(net.writer, "a", &end);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_NO_SPACE);
	expect_no_space(net.writer);
	submit_one(l->store, "b", &end);
	contract_wait(state, &end.over);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_NO_SPACE);
	assert_int_equal(contract_count(net.writer, STORE_DEPLOYMENT, 0, 0), before);
	/* A follower says so by itself, and refuses at once. */
	while (store_status(l->store, &status), status.writable)
		pipe_turn(&net);
	expect_no_space(l->store);
	assert_true(store_follow_is_up(l->follow));
	/* That is no word about the next connection. */
	pipe_cut(l);
	store_status(l->store, &status);
	assert_int_equal(status.why.kind, ERR_UNREACHABLE);
	assert_false(status.unwritten);
	while (store_status(l->store, &status), status.why.kind != ERR_NO_SPACE)
		pipe_turn(&net);
	disk_has_room(&was);
	pipe_until_writable(&net, net.writer);
	submit_one(net.writer, "c", &end);
	assert_false(end.failed);
	pipe_until_writable(&net, l->store);
	submit_one(l->store, "d", &end);
	contract_wait(state, &end.over);
	assert_false(end.failed);
	pipe_settle(&net);
	same_copies(net.writer, l->store);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), before + 2);
}

/* One follower's: what is kept is told as kept; it takes nothing more, says why, and follows when
 * there is room. The files are one process's here, so the disk is full while that one takes over.
 */
static void
test_full_follower(void **state)
{
	struct contract_end end;
	struct store_status status;
	struct rlimit was;

	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net), *other = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	pipe_until_writable(&net, other->store);
	submit_one(l->store, "a", &end);
	/* The writer has it, and its answer is on the way. */
	l->deaf = true;
	while (contract_count(net.writer, STORE_DEPLOYMENT, 0, 0) == 0)
		pipe_turn(&net);
	pipe_settle(&net);
	l->deaf = false;
	disk_full(&was);
	contract_wait(state, &end.over);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_TIMEOUT);
	assert_non_null(strstr(end.err.what, "the change is kept"));
	assert_non_null(strstr(end.err.why[0], "no space left"));
	expect_no_space(l->store);
	assert_false(store_follow_is_up(l->follow));
	disk_has_room(&was);
	store_status(other->store, &status);
	assert_true(status.writable);
	pipe_until_writable(&net, l->store);
	pipe_settle(&net);
	same_copies(net.writer, l->store);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), 1);
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
	folder_remove_store(&net.folder, "w.db");
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
	contract_begin(rows);
	assert_int_equal(store_copy_expect(rows, &err), 0);
	assert_int_equal(store_commit(rows, &err), 0);
	store_free(rows);
	pipe_open_follower(l);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), 1);
	l->no_connect = false;
	pipe_until_writable(&net, l->store);
	assert_int_equal(contract_count(l->store, STORE_DEPLOYMENT, 0, 0), 0);
	same_copies(net.writer, l->store);
}

/* ---- the writer is lost, and a follower's copy becomes the store ---- */

/* The file of a follower that was closed. */
static void
take_over(struct pipe_link *l, uint32_t term)
{
	struct store *rows = pipe_rows(&net, l->file);
	struct err err = {0};

	contract_begin(rows);
	assert_int_equal(store_serve_take_over(rows, term, &err), 0);
	assert_int_equal(store_commit(rows, &err), 0);
	assert_int_equal(store_serve_open(rows, &net.writer, &net.serve, &err), 0);
}

static void
test_taken_over(void **state)
{
	struct store_deployment d = {.name = "shop"}, e = {.name = "blog"}, f = {.name = "more"};
	struct contract_lease_end end;

	pipe_open_writer(&net);
	struct pipe_link *a = pipe_add(&net), *b = pipe_add(&net);
	pipe_until_writable(&net, a->store);
	pipe_until_writable(&net, b->store);
	contract_begin(b->store);
	contract_put(b->store, STORE_DEPLOYMENT, &d);
	contract_commit(state, b->store);
	pipe_settle(&net);
	end = contract_lease(state, b->store, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.epoch, 1);
	uint64_t id = d.id;
	a->no_connect = true;
	pipe_close_writer(&net);
	pipe_cut(a);
	pipe_cut(b);
	pipe_close_follower(a);
	take_over(a, 1);
	pipe_until_writable(&net, b->store);
	/* Who has a block of ids of the writer before gives other ids than the new one. */
	contract_begin(b->store);
	contract_put(b->store, STORE_DEPLOYMENT, &e);
	contract_commit(state, b->store);
	contract_begin(net.writer);
	contract_put(net.writer, STORE_DEPLOYMENT, &f);
	contract_commit(state, net.writer);
	pipe_settle(&net);
	assert_true(e.id > id && e.id < f.id && f.id - id > UINT32_MAX);
	same_copies(net.writer, b->store);
	/* What the writer before may have given is not given again before its time. */
	end = contract_lease(state, net.writer, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.kind, ERR_CONFLICT);
	while (end.kind == ERR_CONFLICT) {
		usleep(10000);
		end = contract_lease(state, net.writer, STORE_LEASE_TAKE, "nightly",
				     STORE_LEASE_TTL_S_MIN);
	}
	assert_true(end.epoch > 1 << 24);
}

static void
test_fenced(void **state)
{
	struct store_status status;
	struct err why = {0}, err = {0};

	(void)state;
	pipe_open_writer(&net);
	struct pipe_link *a = pipe_add(&net);
	pipe_until_writable(&net, a->store);
	err_set(&why, ERR_UNREACHABLE, "edge-2 takes the changes now");
	store_serve_fence(net.serve, &why);
	store_serve_hold(net.serve, false);
	assert_int_equal(store_begin(net.writer, &err), -1);
	assert_string_equal(err.what, why.what);
	store_status(net.writer, &status);
	assert_false(status.writable);
	assert_string_equal(status.why.what, why.what);
	/* Nobody follows it any more, and is told why. */
	do {
		pipe_turn(&net);
		store_status(a->store, &status);
	} while (status.writable || strcmp(status.why.what, why.what) != 0);
	assert_int_equal(store_begin(a->store, &err), -1);
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
	/* The successor of who took it: by the epoch that it had. */
	assert_true(store_lease_adopt(a->store, "nightly", 2));
	end = contract_lease(state, a->store, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.kind, ERR_NOT_FOUND);
	assert_true(store_lease_adopt(a->store, "nightly", 3));
	end = contract_lease(state, a->store, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.epoch, 3);
	end = contract_lease(state, a->store, STORE_LEASE_DROP, "nightly", 0);
	assert_int_equal(end.kind, ERR_NONE);
	end = contract_lease(state, net.writer, STORE_LEASE_TAKE, "nightly", 3600);
	assert_int_equal(end.epoch, 4);
	pipe_close_writer(&net);
	pipe_cut(a);
	pipe_cut(b);
	pipe_open_writer(&net);
	end = contract_lease(state, net.writer, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.kind, ERR_NOT_FOUND);
	assert_true(store_lease_adopt(net.writer, "nightly", 4));
	end = contract_lease(state, net.writer, STORE_LEASE_KEEP, "nightly", 0);
	assert_int_equal(end.epoch, 4);
}

/* ---- a follower that means harm, or is broken ---- */

struct stranger {
	struct store_serve_peer *peer;
	struct buf heard;
	bool closed;
};

static bool
stranger_hears(void *arg, const void *data, size_t bytes)
{
	struct stranger *x = arg;

	buf_put(&x->heard, data, bytes);
	return true;
}

static void
stranger_is_closed(void *arg)
{
	struct stranger *x = arg;

	assert_false(x->closed);
	x->closed = true;
	store_serve_peer_free(x->peer);
	x->peer = NULL;
}

static const struct store_stream stranger_calls = {stranger_hears, stranger_is_closed};

static void
meet(struct stranger *x)
{
	struct err err = {0};

	*x = (struct stranger){0};
	buf_init(&x->heard, MEM_BASE, 64 << 20);
	assert_int_equal(store_serve_peer_new(net.serve, 9, &stranger_calls, x, &x->peer, &err), 0);
}

static void
part(struct stranger *x)
{
	if (x->peer)
		store_serve_peer_free(x->peer);
	x->peer = NULL;
	buf_fini(&x->heard);
}

static void
say(struct stranger *x, struct buf *b)
{
	if (x->peer && buf_ok(b))
		store_serve_peer_data(x->peer, b->data, b->length);
	buf_fini(b);
}

static void
greet(struct stranger *x)
{
	struct store_entry none = {0};
	struct buf b;

	buf_init(&b, MEM_BASE, 1 << 20);
	size_t begun = store_wire_begin(&b, STORE_WIRE_HELLO);
	buf_u8(&b, STORE_WIRE_FORMAT);
	buf_text(&b, "");
	store_wire_put_entry(&b, &none);
	store_wire_end(&b, begun);
	say(x, &b);
}

/* The last frame of this type that it was sent. */
static bool
heard(const struct stranger *x, unsigned type, struct cursor *body)
{
	bool found = false;

	for (size_t at = 0; at < x->heard.length;) {
		size_t bytes = store_wire_frame_bytes(x->heard.data + at);

		assert_true(at + bytes <= x->heard.length);
		if (x->heard.data[at + 4] == type) {
			cursor_init(body, x->heard.data + at + 5, bytes - 5);
			found = true;
		}
		at += bytes;
	}
	return found;
}

static void
test_frames_that_are_none(void **state)
{
	static const uint8_t wrong[][16] = {
		{0, 0, 0, 0},                           /* no type */
		{0xff, 0xff, 0xff, 0xff},               /* too long */
		{1, 0, 0, 0, STORE_WIRE_IDS},           /* before the greeting */
		{1, 0, 0, 0, STORE_WIRE_HELLO},         /* of nothing */
		{2, 0, 0, 0, STORE_WIRE_HELLO, 99},     /* of a later version */
		{9, 0, 0, 0, STORE_WIRE_HELLO, 1, 255}, /* cut text */
		{1, 0, 0, 0, 0x77},
	};

	(void)state;
	pipe_open_writer(&net);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct cursor body;
		struct stranger x;

		meet(&x);
		store_serve_peer_data(x.peer, wrong[i], sizeof(wrong[i]));
		assert_true(x.closed);
		assert_true(heard(&x, STORE_WIRE_REFUSED, &body));
		part(&x);
	}
	assert_int_equal(store_serve_peers(net.serve), 0);
}

/* What the stranger would have its changes be: with the right number, digest and hash. */
static enum store_wire_outcome
harm(struct stranger *x, const struct store_change *changes, size_t count, struct err *err)
{
	struct store_wire_result result;
	struct store_copy copy = {0};
	struct store_entry next = {.txid = {9}};
	struct store_status status;
	struct cursor body;
	struct buf b;

	store_status(net.writer, &status);
	copy.rows = store_local(net.writer);
	copy.head.sequence = status.sequence;
	copy.head.count = status.count;
	memcpy(copy.head.digest.word, status.digest, sizeof(status.digest));
	memcpy(copy.head.hash, status.hash, sizeof(status.hash));
	assert_int_equal(store_copy_next(&copy, changes, count, &next, err), 0);
	buf_init(&b, MEM_BASE, 4 << 20);
	store_wire_put_changes(&b, changes, count);
	size_t begun = store_wire_begin(&b, STORE_WIRE_SUBMIT);
	buf_u64(&b, 5);
	store_wire_put_entry(&b, &next);
	store_wire_end(&b, begun);
	say(x, &b);
	assert_true(heard(x, STORE_WIRE_RESULT, &body));
	assert_true(store_wire_get_result(&body, &result));
	*err = result.err;
	return result.outcome;
}

/* Changes that are right as such and would leave rows that the digest does not know of. */
static void
test_changes_that_are_not_whole(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};
	struct err err = {0};
	struct stranger x;

	pipe_open_writer(&net);
	uint64_t revision = contract_fill(state, net.writer, &d, &p);
	struct store_key document = {.blob = true, .kind = STORE_DOCUMENT, .id = revision};
	struct store_key second = {
		.blob = true, .kind = STORE_DOCUMENT, .id = revision, .chunk = 1};
	struct store_change wrong[][2] = {
		{{.key = {.kind = STORE_DEPLOYMENT, .id = d.id}, .gone = true}},
		{{.key = {.kind = STORE_REVISION, .id = revision}, .gone = true}},
		{{.key = {.kind = STORE_OPERATION, .id = 77}, .gone = true}},
		{{.key = document, .gone = true}},
		{{.key = second, .data = (const uint8_t *)"x", .bytes = 1}},
		{{.key = second, .data = (const uint8_t *)"", .bytes = 0}},
		{{.key = {.kind = STORE_DEPLOYMENT, .id = 77},
		  .data = (const uint8_t *)"",
		  .bytes = 1}},
	};
	meet(&x);
	greet(&x);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(harm(&x, wrong[i], 1, &err), STORE_WIRE_REJECTED);
		assert_int_equal(err.kind, ERR_CORRUPT);
		check(state, net.writer);
	}
	assert_false(x.closed);
	assert_int_equal(contract_count(net.writer, STORE_DEPLOYMENT, 0, 0), 1);
	part(&x);
}

/* ---- any order of things ---- */

struct choice {
	struct prop *r;
	uint64_t seen, id;
};

static void
choose_row(void *arg, const void *row)
{
	struct choice *c = arg;

	if (prop_below(c->r, ++c->seen) == 0)
		memcpy(&c->id, row, sizeof(c->id));
}

static void
change_something(struct prop *r, struct store *s, unsigned who, struct contract_end *end)
{
	struct store_deployment d = {.revision = (uint32_t)prop_below(r, 1000)};
	struct err err = {0};

	*end = (struct contract_end){.over = true};
	if (!pipe_writable(s) || store_busy(s) || store_begin(s, &err) < 0)
		return;
	snprintf(d.name, sizeof(d.name), "d%u", (unsigned)prop_below(r, 6));
	struct store_deployment there = {0};
	struct choice choice = {.r = r};
	int rc = store_each(s, STORE_DEPLOYMENT, 0, 0, choose_row, &choice, &err);
	uint64_t id = choice.id;

	/* A name that is taken, a row that somebody else changes: all of it may be a conflict. */
	if (rc == 0 && (!id || prop_below(r, 3) == 0)) {
		rc = store_put(s, STORE_DEPLOYMENT, &d, &err);
	} else if (rc == 0 && store_get(s, STORE_DEPLOYMENT, id, &there, &err) < 0) {
		rc = -1;
	} else if (prop_below(r, 3) == 0) {
		rc = store_drop(s, STORE_DEPLOYMENT, id, there.version, &err);
	} else {
		struct store_service v = {.deployment = id, .desired = who};

		snprintf(v.name, sizeof(v.name), "s%u", (unsigned)prop_below(r, 3));
		there.revision = d.revision;
		rc = store_put(s, STORE_DEPLOYMENT, &there, &err);
		if (rc == 0 && prop_below(r, 2))
			rc = store_put(s, STORE_SERVICE, &v, &err);
	}
	if (rc < 0) {
		store_abort(s);
		return;
	}
	end->over = false;
	store_submit(s, contract_done, end);
}

/* Three nodes change, connections end, bytes come in pieces, the writer is started anew: then all
 * have the same, and what was told to be kept or refused is so often in the log. */
static void
test_any_order(void **state)
{
	enum { STEPS = 1500 };
	struct contract_end ends[3] = {{.over = true}, {.over = true}, {.over = true}};
	uint64_t kept = 0, open_ends = 0;
	struct store_status status;
	struct prop r;

	(void)state;
	prop_init(&r, 0, NULL);
	pipe_open_writer(&net);
	for (int i = 0; i < 2; i++)
		pipe_add(&net);
	store_status(net.writer, &status);
	uint64_t first = status.sequence;
	for (int step = 0; step < STEPS; step++) {
		unsigned who = (unsigned)prop_below(&r, 3);

		net.slice = prop_below(&r, 3) ? 0 : 1 + prop_below(&r, 400);
		if (who < 2 && prop_below(&r, 40) == 0)
			pipe_cut(&net.links[who]);
		if (prop_below(&r, 150) == 0) {
			pipe_close_writer(&net);
			pipe_open_writer(&net);
		}
		if (ends[who].over) {
			struct store *s = who < 2 ? net.links[who].store : net.writer;

			change_something(&r, s, who, &ends[who]);
		}
		for (uint64_t turns = prop_below(&r, 8); turns > 0; turns--)
			pipe_turn(&net);
		for (unsigned i = 0; i < 3; i++) {
			if (!ends[i].over || !ends[i].err.what[0])
				continue;
			open_ends += ends[i].err.kind == ERR_TIMEOUT;
		}
		store_status(net.writer, &status);
		kept = status.sequence - first;
	}
	net.slice = 0;
	for (unsigned i = 0; i < 2; i++) {
		pipe_wait(&net, &ends[i].over);
		pipe_until_writable(&net, net.links[i].store);
	}
	pipe_settle(&net);
	same_copies(net.writer, net.links[0].store);
	same_copies(net.writer, net.links[1].store);
	/* A connection that was cut last is made again. */
	for (unsigned i = 0; i < 2; i++) {
		pipe_until_writable(&net, net.links[i].store);
		check(state, net.links[i].store);
	}
	assert_true(kept > 50);
	assert_int_equal(open_ends, 0);
}

/* ---- without memory ---- */

static void
test_out_of_memory(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};

	pipe_open_writer(&net);
	contract_fill(state, net.writer, &d, &p);
	pipe_close_writer(&net);
	sweep_each(sweep)
	{
		struct err err = {0};
		struct store *rows = pipe_rows_try(&net, "w.db", &err), *s = NULL;

		if (rows && store_serve_open(rows, &s, &net.serve, &err) == 0) {
			struct stranger x = {0};

			buf_init(&x.heard, MEM_BASE, 64 << 20);
			if (store_serve_peer_new(net.serve, 9, &stranger_calls, &x, &x.peer,
						 &err) == 0)
				greet(&x);
			part(&x);
			if (store_begin(s, &err) == 0) {
				d.revision++;
				if (store_put(s, STORE_DEPLOYMENT, &d, &err) == 0) {
					struct contract_end end = {0};

					store_submit(s, contract_done, &end);
					assert_true(end.over);
					assert_true(!end.failed || sweep_failed());
				} else {
					assert_true(sweep_failed());
					store_abort(s);
				}
				while (store_get(s, STORE_DEPLOYMENT, d.id, &d, &err) < 0)
					assert_true(sweep_failed());
			}
		} else {
			assert_true(sweep_failed());
		}
		store_free(s);
		net.serve = NULL;
	}
	pipe_open_writer(&net);
	check(state, net.writer);
}

static void
test_follower_out_of_memory(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};

	(void)state;
	pipe_open_writer(&net);
	contract_fill(state, net.writer, &d, &p);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	/* Whatever fails: it is refused, or done, and goes on by itself. */
	for (int64_t after = 0; after < 200; after++) {
		struct contract_end end = {.over = true};
		struct err err = {0};

		pipe_until_writable(&net, l->store);
		assert_int_equal(store_get(l->store, STORE_DEPLOYMENT, d.id, &d, &err), 0);
		d.revision++;
		mem_fail_after(after);
		if (store_begin(l->store, &err) == 0) {
			if (store_put(l->store, STORE_DEPLOYMENT, &d, &err) == 0) {
				end.over = false;
				store_submit(l->store, contract_done, &end);
				for (int i = 0; i < 3; i++)
					pipe_turn(&net);
			} else {
				store_abort(l->store);
			}
		}
		mem_fail_after(-1);
		pipe_wait(&net, &end.over);
	}
	pipe_until_writable(&net, l->store);
	pipe_settle(&net);
	same_copies(net.writer, l->store);
	check(state, l->store);
}

/* ---- moving away ---- */

/* What another engine does is not seen here: its notes are what followers are told. */
static void
test_moved(void **state)
{
	struct store_deployment d = {.name = "shop"}, more = {.name = "more"};
	struct store_entry entry = {.sequence = 1, .txid = {7}};
	struct store_replica p = {.index = 1};
	char id[STORE_COPY_ID_BYTES];
	struct store_status status;
	struct contract_end end = {0};
	struct err err = {0};
	enum store_role role;
	int64_t revision;

	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net), *late = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	pipe_until_writable(&net, late->store);
	late->stuck = true;
	contract_fill(state, l->store, &d, &p);
	pipe_settle(&net);
	contract_begin(l->store);
	contract_put(l->store, STORE_DEPLOYMENT, &more);
	store_serve_hold(net.serve, true);
	store_submit(l->store, contract_done, &end);
	contract_wait(state, &end.over);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_UNREACHABLE);
	assert_int_equal(store_begin(net.writer, &err), -1);
	store_status(net.writer, &status);
	assert_false(status.writable);
	memcpy(entry.digest.word, status.digest, sizeof(status.digest));
	entry.count = status.count;
	struct store *rows = store_local(net.writer);
	contract_begin(rows);
	assert_int_equal(store_copy_adopt(rows, "etcd", &entry, 99, &err), 0);
	assert_int_equal(store_commit(rows, &err), 0);
	assert_int_equal(store_serve_moved(net.serve, &err), 0);
	pipe_settle(&net);
	assert_true(l->moved);
	assert_int_equal(store_begin(l->store, &err), -1);
	assert_int_equal(store_copy_read(l->store, id, &entry, &revision, &err), 0);
	assert_string_equal(id, "etcd");
	assert_int_equal(revision, 99);
	assert_int_equal(store_role_get(store_local(l->store), &role, &err), 0);
	assert_int_equal(role, STORE_ROLE_ETCD);
	/* What came late is told too, after it has caught up. */
	assert_false(late->moved);
	late->stuck = false;
	pipe_settle(&net);
	assert_true(late->moved);
	assert_int_equal(store_copy_read(late->store, id, &entry, &revision, &err), 0);
	assert_string_equal(id, "etcd");
	pipe_close_follower(l);
	/* The other engine's copy: whole, and with what is the node's own. */
	struct store_copy copy;
	assert_int_equal(store_copy_open(&copy, pipe_rows(&net, l->file), &err), 0);
	assert_string_equal(copy.id, "etcd");
	assert_int_equal(contract_count(copy.rows, STORE_REPLICA, 0, 0), 1);
	store_copy_close(&copy);
	pipe_open_follower(l);
	l->no_connect = true;
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
	for (unsigned i = STORE_ROLE_ALONE; i <= STORE_ROLE_OUTSIDE; i++) {
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
		TEST(test_standing_still),
		TEST(test_away_for_long),
		TEST(test_silent_writer),
		TEST(test_late_answer),
		TEST(test_full_writer),
		TEST(test_full_follower),
		TEST(test_lost_answer),
		TEST(test_lost_question),
		TEST(test_crash_before_the_answer),
		TEST(test_crash_before_the_question),
		TEST(test_other_history),
		TEST(test_taken_over),
		TEST(test_fenced),
		TEST(test_leases_of_two),
		TEST(test_frames_that_are_none),
		TEST(test_changes_that_are_not_whole),
		TEST(test_any_order),
		TEST(test_out_of_memory),
		TEST(test_follower_out_of_memory),
		TEST(test_moved),
		TEST(test_roles),
	};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP no SQLite here: %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
