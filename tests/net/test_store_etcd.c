/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared engine of the store against real etcd, in a network namespace of its own: the contract
 * of every engine, then what only a cluster can do to it.
 */
#include "scheduler/store_etcd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "scheduler/sqlite.h"
#include "scheduler/store_copy.h"
#include "scheduler/store_move.h"
#include "scheduler/store_sqlite.h"
#include "tests/net/etcd_rig.h"
#include "tests/support/full_disk.h"
#include "tests/support/store_contract.h"
#include "tests/support/store_pipe.h"

/* SHORT_MS is waited for where nobody answers; an attempt has a third or half of it, also on a slow
 * machine. */
enum { WAIT_MS = 60000, LONG_MS = 20000, SHORT_MS = 8000 };

static struct etcd_rig rig;
static unsigned prefixes;

/* ---- nodes ---- */

static struct store *
open_copy(const char *file)
{
	struct store_sqlite_options options = {.dirfd = rig.folder_fd, .name = file};
	struct err err = {0};
	struct store *copy;

	if (store_sqlite_open(&options, &copy, &err) < 0) {
		err_print(&err, "copy", stderr);
		fail();
	}
	return copy;
}

struct node {
	char file[32];
	char prefix[32];
	const char *endpoints[ETCD_RIG_MEMBERS_MAX];
	size_t endpoints_count;
	uint32_t timeout_ms;
	const char *authorities, *certificate, *key;
};

static void
init_node(struct node *n, const char *file)
{
	memset(n, 0, sizeof(*n));
	text_format(n->file, sizeof(n->file), "%s%u.db", file, prefixes);
	text_format(n->prefix, sizeof(n->prefix), "/zlayer/t%u/", prefixes);
	for (size_t i = 0; i < rig.members; i++)
		n->endpoints[n->endpoints_count++] = rig.urls[i];
	n->timeout_ms = LONG_MS;
}

static int
try_rows(const struct node *n, struct store *rows, struct store **out, struct err *err)
{
	struct store_etcd_options options = {
		.rpc =
			{
				.loop = &rig.loop,
				.endpoints = n->endpoints,
				.endpoints_count = n->endpoints_count,
				.authorities = n->authorities,
				.certificate = n->certificate,
				.key = n->key,
				.timeout_ms = n->timeout_ms,
			},
		.prefix = n->prefix,
	};

	return store_etcd_open(&options, rows, out, err);
}

static int
try_node(const struct node *n, struct store **out, struct err *err)
{
	return try_rows(n, open_copy(n->file), out, err);
}

static struct store *
open_node(const struct node *n)
{
	struct err err = {0};
	struct store *s;

	if (try_node(n, &s, &err) < 0) {
		err_print(&err, "node", stderr);
		fail();
	}
	return s;
}

static void
on_tick(uv_timer_t *timer)
{
	(void)timer;
}

static void
turn_until(bool (*is)(void *arg), void *arg, const char *what)
{
	uv_timer_t tick;
	uint64_t until;

	uv_update_time(&rig.loop);
	until = uv_now(&rig.loop) + WAIT_MS;
	uv_timer_init(&rig.loop, &tick);
	uv_timer_start(&tick, on_tick, 20, 20);
	while (!is(arg)) {
		uv_run(&rig.loop, UV_RUN_ONCE);
		if (uv_now(&rig.loop) > until) {
			fprintf(stderr, "no end of waiting: %s\n", what);
			abort();
		}
	}
	uv_close((uv_handle_t *)&tick, NULL);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
}

static bool
is_writable(void *arg)
{
	struct store_status status;

	store_status(arg, &status);
	return status.writable;
}

static bool
is_refused(void *arg)
{
	return !is_writable(arg);
}

static bool
is_set(void *arg)
{
	return *(bool *)arg;
}

static uint64_t
sequence(struct store *s)
{
	struct store_status status;

	store_status(s, &status);
	return status.sequence;
}

struct follow {
	struct store *s;
	uint64_t sequence;
};

static bool
has_followed(void *arg)
{
	struct follow *f = arg;

	return sequence(f->s) >= f->sequence;
}

static void
follow(struct store *s, uint64_t until)
{
	struct follow f = {s, until};

	turn_until(has_followed, &f, "following");
}

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

/* ---- the contract ---- */

static struct node contract_node;

static struct store *
contract_open(void **state)
{
	(void)state;
	prefixes++;
	init_node(&contract_node, "c");
	struct store *s = open_node(&contract_node);
	turn_until(is_writable, s, "a store that can be changed");
	return s;
}

/* Once with the copy, once with nothing: then it is copied anew. */
static struct store *
contract_reopen(void **state, struct store *s)
{
	struct store_status before, after;
	(void)state;

	store_status(s, &before);
	store_free(s);
	s = open_node(&contract_node);
	turn_until(is_writable, s, "the copy");
	store_status(s, &after);
	assert_memory_equal(before.hash, after.hash, sizeof(before.hash));
	store_free(s);
	text_format(contract_node.file, sizeof(contract_node.file), "d%u.db", ++prefixes);
	s = open_node(&contract_node);
	turn_until(is_writable, s, "a new copy");
	store_status(s, &after);
	assert_int_equal(before.sequence, after.sequence);
	assert_int_equal(before.count, after.count);
	assert_memory_equal(before.digest, after.digest, sizeof(before.digest));
	assert_memory_equal(before.hash, after.hash, sizeof(before.hash));
	return s;
}

static void
contract_wait(void **state, const bool *over)
{
	(void)state;
	turn_until(is_set, (void *)(uintptr_t)over, "the end of a transaction");
}

static int
one_member(void **state)
{
	(void)state;
	etcd_rig_open(&rig, 1, false, 0);
	return 0;
}

static int
three_members(void **state)
{
	(void)state;
	etcd_rig_open(&rig, 3, false, 0);
	return 0;
}

static int
trusted_member(void **state)
{
	(void)state;
	etcd_rig_open(&rig, 1, true, 0);
	return 0;
}

static int
small_member(void **state)
{
	(void)state;
	etcd_rig_open(&rig, 1, false, 16 << 20);
	return 0;
}

static int
close_rig(void **state)
{
	(void)state;
	etcd_rig_close(&rig);
	return 0;
}

/* ---- two nodes ---- */

struct news {
	size_t rows, gone, ends, alls, blobs;
	uint64_t last;
	bool ordered;
	struct store *s;
};

static void
on_news(void *arg, const struct store_news *news)
{
	struct news *n = arg;

	if (news->sequence < n->last)
		n->ordered = false;
	n->last = news->sequence;
	n->rows += news->what == STORE_NEWS_ROW;
	n->gone += news->what == STORE_NEWS_GONE;
	n->ends += news->what == STORE_NEWS_END;
	n->alls += news->what == STORE_NEWS_ALL;
	n->blobs += news->what == STORE_NEWS_BLOB;
	/* What is told can be read. */
	if (news->what == STORE_NEWS_ROW) {
		struct store_deployment row;
		struct err err = {0};

		if (news->kind == STORE_DEPLOYMENT) {
			assert_int_equal(store_get(n->s, news->kind, news->id, &row, &err), 0);
			assert_memory_equal(&row, news->row, sizeof(row));
		}
	}
}

static void
two_nodes(struct store **a, struct store **b)
{
	struct node node;

	prefixes++;
	init_node(&node, "a");
	*a = open_node(&node);
	turn_until(is_writable, *a, "node a");
	init_node(&node, "b");
	*b = open_node(&node);
	turn_until(is_writable, *b, "node b");
}

static void
test_news_of_the_other(void **state)
{
	struct news news = {.ordered = true};
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};
	struct store *a, *b;
	struct err err = {0};

	two_nodes(&a, &b);
	news.s = b;
	store_watch(b, on_news, &news);
	contract_fill(state, a, &d, &p);
	follow(b, 1);
	same_copies(a, b);
	assert_int_equal(news.rows, 5);
	assert_int_equal(news.blobs, 1);
	assert_int_equal(news.ends, 1);
	assert_int_equal(news.alls, 0);
	/* And back: b changes what a made. */
	d.revision = 8;
	contract_begin(b);
	contract_put(b, STORE_DEPLOYMENT, &d);
	contract_commit(state, b);
	follow(a, 2);
	same_copies(a, b);
	assert_int_equal(news.ends, 1); /* one's own changes are no news */
	contract_begin(a);
	assert_int_equal(store_drop(a, STORE_DEPLOYMENT, d.id, d.version, &err), 0);
	contract_commit(state, a);
	follow(b, 3);
	same_copies(a, b);
	assert_int_equal(news.gone, 5);
	assert_true(news.ordered);
	assert_int_equal(contract_count(b, STORE_REVISION, 0, 0), 0);
	store_free(a);
	store_free(b);
}

/* Both at once: one is first, the other is worked out again; the same row is a conflict. */
static void
test_both_at_once(void **state)
{
	struct store_deployment d = {.name = "shop"}, e, f;
	struct contract_end end[2] = {0};
	struct store *a, *b;

	two_nodes(&a, &b);
	contract_begin(a);
	contract_put(a, STORE_DEPLOYMENT, &d);
	contract_commit(state, a);
	follow(b, 1);
	for (int round = 0; round < 10; round++) {
		struct store_deployment x = {0}, y = {0};

		memset(end, 0, sizeof(end));
		snprintf(x.name, sizeof(x.name), "a-%d", round);
		snprintf(y.name, sizeof(y.name), "b-%d", round);
		contract_begin(a);
		contract_put(a, STORE_DEPLOYMENT, &x);
		store_submit(a, contract_done, &end[0]);
		contract_begin(b);
		contract_put(b, STORE_DEPLOYMENT, &y);
		store_submit(b, contract_done, &end[1]);
		contract_wait(state, &end[0].over);
		contract_wait(state, &end[1].over);
		assert_false(end[0].failed);
		assert_false(end[1].failed);
		assert_int_not_equal(x.id, y.id);
	}
	follow(a, 21);
	follow(b, 21);
	same_copies(a, b);
	/* The same row, and the same name. */
	for (int round = 0; round < 2; round++) {
		memset(end, 0, sizeof(end));
		e = f = round ? (struct store_deployment){.name = "twin"} : d;
		e.revision = 1;
		f.revision = 2;
		contract_begin(a);
		contract_put(a, STORE_DEPLOYMENT, &e);
		store_submit(a, contract_done, &end[0]);
		contract_begin(b);
		contract_put(b, STORE_DEPLOYMENT, &f);
		store_submit(b, contract_done, &end[1]);
		contract_wait(state, &end[0].over);
		contract_wait(state, &end[1].over);
		assert_true(end[0].failed != end[1].failed);
		assert_int_equal(end[0].failed ? end[0].err.kind : end[1].err.kind, ERR_CONFLICT);
	}
	follow(a, 23);
	follow(b, 23);
	same_copies(a, b);
	store_free(a);
	store_free(b);
}

/* A large one of a node whose other node is there: it takes over everything, checked. */
static void
test_large_for_the_other(void **state)
{
	struct store_deployment d = {.name = "shop"}, e = {.name = "small"};
	struct store *a, *b;

	two_nodes(&a, &b);
	contract_begin(a);
	contract_put(a, STORE_DEPLOYMENT, &d);
	for (int i = 0; i < 300; i++) {
		struct store_service v = {.deployment = d.id};

		snprintf(v.name, sizeof(v.name), "web-%d", i);
		contract_put(a, STORE_SERVICE, &v);
	}
	contract_commit(state, a);
	contract_begin(a);
	contract_put(a, STORE_DEPLOYMENT, &e);
	contract_commit(state, a);
	follow(b, 2);
	same_copies(a, b);
	assert_int_equal(contract_count(b, STORE_SERVICE, 0, 0), 300);
	store_free(a);
	store_free(b);
}

/* Its writer dies when it was committed and before it was spread: another node finishes it. */
static void
test_large_of_a_dead_writer(void **state)
{
	struct store_deployment d = {.name = "shop"}, e = {.name = "small"};
	struct contract_end end = {0};
	struct store *a, *b;

	two_nodes(&a, &b);
	contract_begin(a);
	contract_put(a, STORE_DEPLOYMENT, &d);
	for (int i = 0; i < 300; i++) {
		struct store_service v = {.deployment = d.id};

		snprintf(v.name, sizeof(v.name), "web-%d", i);
		contract_put(a, STORE_SERVICE, &v);
	}
	store_submit(a, contract_done, &end);
	while (!end.over)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_false(end.failed);
	store_free(a);
	follow(b, 1);
	assert_int_equal(contract_count(b, STORE_SERVICE, 0, 0), 300);
	turn_until(is_writable, b, "node b alone");
	contract_begin(b);
	contract_put(b, STORE_DEPLOYMENT, &e);
	contract_commit(state, b);
	store_free(b);
}

/* ---- what a cluster can do ---- */

static bool
have_copies_at(void *arg)
{
	struct store **both = arg;

	return sequence(both[0]) == sequence(both[1]) && is_writable(both[0]);
}

/* The leader is killed again and again. What was told to be kept is there, what was refused for
 * sure is not, nothing is there by halves. */
static void
test_killed_leader(void **state)
{
	enum { ROUNDS = 60 };
	struct store *both[2];
	bool kept[ROUNDS] = {0}, refused[ROUNDS] = {0};
	size_t dead = SIZE_MAX;

	two_nodes(&both[0], &both[1]);
	struct store *a = both[0];
	for (int i = 0; i < ROUNDS; i++) {
		struct store_operation x = {.id = (uint64_t)i * 2 + 1};
		struct store_operation y = {.id = (uint64_t)i * 2 + 2};
		struct contract_end end = {0};

		if (i == 10 || i == 30) {
			dead = etcd_rig_leader(&rig);
		} else if (i == 20 || i == 40) {
			etcd_rig_start(&rig, dead);
			etcd_rig_wait(&rig);
		}
		turn_until(is_writable, a, "a leader");
		contract_begin(a);
		contract_put(a, STORE_OPERATION, &x);
		contract_put(a, STORE_OPERATION, &y);
		store_submit(a, contract_done, &end);
		if (i == 10 || i == 30) {
			uv_run(&rig.loop, UV_RUN_NOWAIT);
			etcd_rig_kill(&rig, dead);
		}
		contract_wait(state, &end.over);
		kept[i] = !end.failed;
		refused[i] = end.failed && end.err.kind != ERR_TIMEOUT;
	}
	turn_until(have_copies_at, both, "two copies at one place");
	same_copies(both[0], both[1]);
	for (int i = 0; i < ROUNDS; i++) {
		struct store_operation row;
		struct err err = {0};
		bool x = !store_get(both[1], STORE_OPERATION, (uint64_t)i * 2 + 1, &row, &err);
		bool y = !store_get(both[1], STORE_OPERATION, (uint64_t)i * 2 + 2, &row, &err);

		assert_true(x == y);
		if (kept[i])
			assert_true(x);
		if (refused[i])
			assert_false(x);
	}
	store_free(both[0]);
	store_free(both[1]);
}

static void
test_no_quorum(void **state)
{
	struct store_deployment d = {.name = "shop"}, back;
	struct store_replica p = {.index = 1};
	struct contract_end end = {0};
	struct store_status status;
	struct err err = {0};
	struct node node;

	prefixes++;
	init_node(&node, "q");
	node.timeout_ms = SHORT_MS;
	struct store *s = open_node(&node);
	turn_until(is_writable, s, "a store");
	contract_fill(state, s, &d, &p);
	etcd_rig_kill(&rig, 0);
	etcd_rig_kill(&rig, 1);
	/* The first change finds out, or the look did. */
	if (store_begin(s, &err) == 0) {
		struct store_operation e = {.id = 1};

		contract_put(s, STORE_OPERATION, &e);
		store_submit(s, contract_done, &end);
		contract_wait(state, &end.over);
		assert_true(end.failed);
		assert_true(end.err.kind == ERR_TIMEOUT || end.err.kind == ERR_UNREACHABLE);
		assert_true(text_starts(end.err.what, "no quorum: "));
		assert_true(end.err.fix[0]);
	}
	turn_until(is_refused, s, "its refusal");
	store_status(s, &status);
	assert_true(text_starts(status.why.what, "no quorum: "));
	assert_int_equal(store_begin(s, &err), -1);
	assert_true(text_starts(err.what, "no quorum: "));
	/* Reading goes on, also in a process that begins now. */
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	store_free(s);
	s = open_node(&node);
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	assert_int_equal(store_begin(s, &err), -1);
	assert_int_equal(err.kind, ERR_UNREACHABLE);
	etcd_rig_start(&rig, 0);
	etcd_rig_start(&rig, 1);
	turn_until(is_writable, s, "the quorum again");
	d.revision = 3;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	store_free(s);
}

/* ---- lost answers ---- */

static struct store *
open_relayed(const char *file, uint32_t timeout_ms, struct node *node)
{
	if (!rig.relaying)
		etcd_rig_relay(&rig);
	prefixes++;
	init_node(node, file);
	node->endpoints[0] = "http://127.0.0.1:4000";
	node->endpoints_count = 1;
	node->timeout_ms = timeout_ms;
	struct store *s = open_node(node);
	turn_until(is_writable, s, "a store behind the relay");
	return s;
}

/* It was committed, the answer was lost: the second attempt finds it there, and it counts once. */
static void
test_lost_answer(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct node node;
	struct store *s = open_relayed("l", SHORT_MS, &node);
	unsigned lost = rig.lost;

	rig.mute_watch = true;
	rig.lose_puts = true;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	assert_true(rig.lost > lost);
	assert_int_equal(sequence(s), 1);
	rig.mute_watch = false;
	store_free(s);
}

/* As before, but the news come: nobody waits for the answer. */
static void
test_lost_answer_with_news(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct node node;
	struct store *s = open_relayed("n", LONG_MS, &node);

	rig.lose_puts = true;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	assert_int_equal(sequence(s), 1);
	rig.lose_puts = false;
	store_free(s);
}

static void
is_over(uv_timer_t *timer)
{
	*(bool *)timer->data = true;
}

static bool
was_over(void *arg)
{
	return *(bool *)arg;
}

/* For longer than the time of a call nobody answers; then it is found out, or made up for. */
static void
change_in_doubt(void **state, struct store *s, bool *fault)
{
	struct store_deployment d = {.name = "shop"};
	struct contract_end end = {0};
	uv_timer_t timer;
	bool over = false;

	uv_timer_init(&rig.loop, &timer);
	timer.data = &over;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	*fault = true;
	store_submit(s, contract_done, &end);
	uv_timer_start(&timer, is_over, SHORT_MS + SHORT_MS / 16, 0);
	turn_until(was_over, &over, "a call that has failed");
	assert_false(end.over);
	*fault = false;
	contract_wait(state, &end.over);
	assert_false(end.failed);
	assert_int_equal(sequence(s), 1);
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 1);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
}

/* It was committed, and no call was answered. */
static void
test_in_doubt(void **state)
{
	struct node node;
	struct store *s = open_relayed("d", SHORT_MS, &node);

	rig.mute_watch = true;
	change_in_doubt(state, s, &rig.lose_all);
	rig.mute_watch = false;
	store_free(s);
}

/* It never came to anybody. */
static void
test_in_doubt_and_lost(void **state)
{
	struct node node;
	struct store *s = open_relayed("e", SHORT_MS, &node);

	change_in_doubt(state, s, &rig.swallow);
	store_free(s);
}

/* No answer at all: the outcome is open, and comes as news later. */
static void
test_no_answer(void **state)
{
	struct store_deployment d = {.name = "shop"}, back;
	struct contract_end end = {0};
	struct news news = {.ordered = true};
	struct err err = {0};
	struct node node;
	struct store *s = open_relayed("o", SHORT_MS, &node);

	news.s = s;
	store_watch(s, on_news, &news);
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	rig.lose_all = true;
	store_submit(s, contract_done, &end);
	contract_wait(state, &end.over);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_TIMEOUT);
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 0);
	assert_int_equal(store_begin(s, &err), -1);
	rig.lose_all = false;
	follow(s, 1);
	assert_int_equal(news.rows + news.alls, 1);
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	/* And it goes on from there. */
	turn_until(is_writable, s, "answers again");
	back.revision = 4;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &back);
	contract_commit(state, s);
	store_free(s);
}

/* ---- compaction, space, trust ---- */

static void
header_field(const char *name, char *out, size_t cap)
{
	struct buf text;

	buf_init(&text, MEM_SCHEDULER, 1 << 20);
	assert_true(etcd_rig_call(&rig, 0, "/v3/kv/range", "{\"key\":\"YQ==\"}", &text));
	const char *at = strstr(buf_cstr(&text), name);
	assert_non_null(at);
	at += strlen(name);
	text_ncopy(out, cap, at, strcspn(at, "\""));
	buf_fini(&text);
}

static void
compact(void)
{
	char json[128], revision[32];

	header_field("\"revision\":\"", revision, sizeof(revision));
	snprintf(json, sizeof(json), "{\"revision\":\"%s\",\"physical\":true}", revision);
	assert_true(etcd_rig_call(&rig, 0, "/v3/kv/compaction", json, NULL));
}

/* Node b sees nothing of what is committed, and when it looks again that is compacted. */
static void
test_compaction_while_watching(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct news news = {.ordered = true};
	struct node direct, relayed;
	struct store *b = open_relayed("w", SHORT_MS, &relayed);

	init_node(&direct, "v");
	struct store *a = open_node(&direct);
	turn_until(is_writable, a, "node a");
	news.s = b;
	store_watch(b, on_news, &news);
	rig.lose_all = true;
	for (int i = 0; i < 20; i++) {
		d.revision++;
		contract_begin(a);
		contract_put(a, STORE_DEPLOYMENT, &d);
		contract_commit(state, a);
	}
	compact();
	rig.lose_all = false;
	follow(b, 20);
	same_copies(a, b);
	assert_true(news.alls >= 1);
	/* And it watches on. */
	size_t ends = news.ends;
	d.revision++;
	contract_begin(a);
	contract_put(a, STORE_DEPLOYMENT, &d);
	contract_commit(state, a);
	follow(b, 21);
	same_copies(a, b);
	assert_true(news.ends > ends);
	store_free(a);
	store_free(b);
}

/* The log is a window. */
static void
test_more_than_the_log(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct buf text;

	buf_init(&text, MEM_SCHEDULER, 1 << 20);
	struct store *s = contract_open(state);
	for (int i = 0; i < STORE_ETCD_LOG_KEPT + 20; i++) {
		d.revision++;
		contract_begin(s);
		contract_put(s, STORE_DEPLOYMENT, &d);
		contract_commit(state, s);
	}
	s = contract_reopen(state, s);
	assert_int_equal(contract_count(s, STORE_DEPLOYMENT, 0, 0), 1);
	store_free(s);
	buf_fini(&text);
}

/* Somebody changes a row by hand: it is told, the copy stays as it was, nothing is written. */
static void
test_changed_by_hand(void **state)
{
	struct store_deployment d = {.name = "shop"}, back;
	struct store_status status;
	char key[128], key64[256], json[512];
	struct err err = {0};
	struct store *s = contract_open(state);

	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	snprintf(key, sizeof(key), "%srow/deployments/%016" PRIx64, contract_node.prefix, d.id);
	text_base64(key, strlen(key), key64, sizeof(key64));
	snprintf(json, sizeof(json), "{\"key\":\"%s\",\"value\":\"AAAA\"}", key64);
	assert_true(etcd_rig_call(&rig, 0, "/v3/kv/put", json, NULL));
	turn_until(is_refused, s, "a refusal");
	store_status(s, &status);
	assert_int_equal(status.why.kind, ERR_CORRUPT);
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&d, &back, sizeof(d));
	store_free(s);
}

static void
call_ids(const char *path, const char *value)
{
	char key[128], key64[256], json[512];

	snprintf(key, sizeof(key), "%sids", contract_node.prefix);
	text_base64(key, strlen(key), key64, sizeof(key64));
	snprintf(json, sizeof(json), "{\"key\":\"%s\"%s}", key64, value);
	assert_true(etcd_rig_call(&rig, 0, path, json, NULL));
}

static void
put_deployment(void **state, struct store *s, const char *name)
{
	struct store_deployment d = {0};

	text_copy(d.name, sizeof(d.name), name);
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
}

static bool
has_no_ids(void *arg)
{
	struct store_status status;

	store_status(arg, &status);
	return status.why.kind == ERR_CORRUPT;
}

/* Somebody removes the counter of ids: who needs one says so, and goes on when it is back. */
static void
test_ids_gone(void **state)
{
	struct store_status status;
	struct store *s = contract_open(state);

	put_deployment(state, s, "shop");
	store_free(s);
	call_ids("/v3/kv/deleterange", "");
	s = open_node(&contract_node);
	turn_until(has_no_ids, s, "a refusal");
	store_status(s, &status);
	assert_false(status.writable);
	assert_string_equal(status.why.what, "etcd does not say which ids for new rows are free");
	call_ids("/v3/kv/put", ",\"value\":\"MTAwMDAwMA==\"");
	turn_until(is_writable, s, "the counter");
	put_deployment(state, s, "next");
	store_free(s);
}

static void
test_full(void **state)
{
	struct store *s = contract_open(state);
	struct store_deployment d = {.name = "shop"}, e = {.name = "other"};
	struct store_replica p = {.index = 1};
	struct contract_end end = {0};
	char member[32], json[160];
	size_t bytes = 900 << 10;
	uint8_t *big = malloc(bytes);

	assert_non_null(big);
	uint64_t revision = contract_fill(state, s, &d, &p);
	for (int i = 0; i < 60 && !end.failed; i++) {
		memset(&end, 0, sizeof(end));
		memset(big, i, bytes);
		contract_begin(s);
		contract_blob(s, STORE_DOCUMENT, revision, big, bytes);
		store_submit(s, contract_done, &end);
		contract_wait(state, &end.over);
	}
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_NO_SPACE);
	assert_true(end.err.fix[0]);
	/* Reading goes on; a small change is refused as well, by the alarm. */
	assert_int_equal(contract_count(s, STORE_REVISION, 0, 0), 1);
	memset(&end, 0, sizeof(end));
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &e);
	store_submit(s, contract_done, &end);
	contract_wait(state, &end.over);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_NO_SPACE);
	/* What the operator is told to do helps. */
	compact();
	assert_true(etcd_rig_call(&rig, 0, "/v3/maintenance/defragment", "{}", NULL));
	header_field("\"member_id\":\"", member, sizeof(member));
	snprintf(json, sizeof(json),
		 "{\"action\":\"DEACTIVATE\",\"memberID\":\"%s\",\"alarm\":\"NOSPACE\"}", member);
	assert_true(etcd_rig_call(&rig, 0, "/v3/maintenance/alarm", json, NULL));
	turn_until(is_writable, s, "space");
	e.id = e.version = 0;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &e);
	contract_commit(state, s);
	free(big);
	store_free(s);
}

static bool
is_unwritten(void *arg)
{
	struct store_status status;

	store_status(arg, &status);
	return status.unwritten && status.why.kind == ERR_NO_SPACE;
}

/* This node's disk is full: what it asked for just then is kept and told so, what comes after is
 * refused at once, and with room it follows what others did meanwhile. */
static void
test_full_copy(void **state)
{
	struct store_deployment d = {.name = "shop"}, e = {.name = "blog"}, f = {.name = "more"};
	struct contract_end end = {0};
	struct store *a, *b;
	struct err err = {0};
	struct rlimit was;

	two_nodes(&a, &b);
	contract_begin(a);
	contract_put(a, STORE_DEPLOYMENT, &d);
	disk_full(&was);
	store_submit(a, contract_done, &end);
	contract_wait(state, &end.over);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_TIMEOUT);
	assert_non_null(strstr(end.err.what, "the change is kept"));
	/* That is said of that one alone. */
	assert_int_equal(store_begin(a, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	assert_null(strstr(err.what, "is kept"));
	turn_until(is_unwritten, a, "a full disk that is said");
	turn_until(is_unwritten, b, "the other one's, too");
	for (int i = 0; i < 20; i++)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_true(is_unwritten(a));
	assert_int_equal(store_begin(a, &err), -1);
	assert_int_equal(err.kind, ERR_NO_SPACE);
	assert_true(err.fix[0]);
	assert_int_equal(contract_count(a, STORE_DEPLOYMENT, 0, 0), 0);
	disk_has_room(&was);
	turn_until(is_writable, a, "room");
	turn_until(is_writable, b, "room");
	assert_int_equal(contract_count(a, STORE_DEPLOYMENT, 0, 0), 1);
	contract_begin(b);
	contract_put(b, STORE_DEPLOYMENT, &e);
	contract_commit(state, b);
	follow(a, sequence(b));
	contract_begin(a);
	contract_put(a, STORE_DEPLOYMENT, &f);
	contract_commit(state, a);
	follow(b, sequence(a));
	same_copies(a, b);
	assert_int_equal(contract_count(b, STORE_DEPLOYMENT, 0, 0), 3);
	store_free(a);
	store_free(b);
}

static void
expect_untrusted(const struct node *node)
{
	struct store_status status;
	struct store *s = open_node(node);

	for (;;) {
		store_status(s, &status);
		assert_false(status.writable);
		if (status.why.kind == ERR_DENIED)
			break;
		uv_run(&rig.loop, UV_RUN_ONCE);
	}
	assert_true(status.why.fix[0]);
	store_free(s);
}

static void
test_certificates(void **state)
{
	char *ca = etcd_rig_file(&rig, "ca.pem"), *other = etcd_rig_file(&rig, "other.pem");
	char *certificate = etcd_rig_file(&rig, "node.pem"), *key = etcd_rig_file(&rig, "node.key");
	char *other_key = etcd_rig_file(&rig, "other.key");
	struct store_deployment d = {.name = "shop"};
	struct node node;

	prefixes++;
	init_node(&node, "t");
	node.authorities = ca;
	node.certificate = certificate;
	node.key = key;
	struct store *s = open_node(&node);
	turn_until(is_writable, s, "trust");
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	store_free(s);
	/* Another authority on their side, on ours, and no certificate. */
	node.authorities = other;
	expect_untrusted(&node);
	node.authorities = ca;
	node.certificate = other;
	node.key = other_key;
	expect_untrusted(&node);
	node.certificate = node.key = NULL;
	expect_untrusted(&node);
	mem_free(ca);
	mem_free(other);
	mem_free(certificate);
	mem_free(key);
	mem_free(other_key);
}

static void
test_bad_options(void **state)
{
	static const char *const urls[] = {"http://10.0.0.1:2379", "https://name:1", "10.0.0.1:2",
					   "https://10.0.0.1", "ftp://127.0.0.1:1"};
	struct store *s = NULL;
	struct err err = {0};
	struct node node;

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		init_node(&node, "x");
		node.endpoints[0] = urls[i];
		assert_int_equal(try_node(&node, &s, &err), -1);
		assert_int_equal(err.kind, ERR_INVALID);
		uv_run(&rig.loop, UV_RUN_NOWAIT);
	}
	init_node(&node, "x");
	strcpy(node.prefix, "zlayer");
	assert_int_equal(try_node(&node, &s, &err), -1);
	node.endpoints_count = 0;
	assert_int_equal(try_node(&node, &s, &err), -1);
}

/* A file that was a store of its own is not taken for a copy. */
static void
test_no_copy(void **state)
{
	struct store *s;
	struct store_deployment d = {.name = "shop"};
	struct err err = {0};
	struct node node;

	(void)state;
	prefixes++;
	init_node(&node, "own");
	s = open_copy(node.file);
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	assert_int_equal(store_commit(s, &err), 0);
	store_free(s);
	assert_int_equal(try_node(&node, &s, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
}

/* ---- moving ---- */

static struct store *
fill_own(void **state, const char *file, struct store_deployment *d, const uint8_t *big,
	 size_t bytes)
{
	struct store *own = open_copy(file);
	struct store_replica p = {.index = 1};

	uint64_t revision = contract_fill(state, own, d, &p);
	contract_begin(own);
	contract_blob(own, STORE_DOCUMENT, revision, big, bytes);
	contract_blob(own, STORE_PLAN, p.id, big, bytes);
	for (int i = 0; i < 300; i++) {
		struct store_operation o = {.id = (uint64_t)i + 100000, .deployment = d->id};
		struct store_event e = {.id = (uint64_t)i + 100000, .event = {.type = "x"}};

		contract_put(own, STORE_OPERATION, &o);
		contract_put(own, STORE_EVENT, &e);
	}
	d->revision = 3;
	contract_put(own, STORE_DEPLOYMENT, d);
	contract_commit(state, own);
	return own;
}

static int
move(void **state, struct store *from, struct store *to, struct err *err)
{
	struct contract_end end = {0};

	store_move(from, to, contract_done, &end);
	contract_wait(state, &end.over);
	*err = end.err;
	return end.failed ? -1 : 0;
}

static void
test_move(void **state)
{
	struct store_deployment d = {.name = "shop"}, back, more = {.name = "more"};
	struct store_digest digest;
	struct store_status status;
	struct contract_end end = {0};
	size_t bytes = 700 << 10;
	uint8_t *big = malloc(bytes);
	struct store *s, *other;
	struct err err = {0};
	uint64_t count;
	bool moved;

	assert_non_null(big);
	memset(big, 'b', bytes);
	two_nodes(&s, &other);
	struct store *own = fill_own(state, "own-move.db", &d, big, bytes);
	assert_int_equal(store_copy_sum(own, &digest, &count, &err), 0);
	/* It is closed in the middle; then begun again. */
	store_move(own, s, contract_done, &end);
	for (int i = 0; i < 3 && !end.over; i++)
		uv_run(&rig.loop, UV_RUN_ONCE);
	store_free(s);
	assert_true(end.over);
	assert_true(end.failed);
	assert_int_equal(end.err.kind, ERR_INTERRUPTED);
	assert_int_equal(store_move_is_done(own, &moved, &err), 0);
	assert_false(moved);
	s = other;
	for (int twice = 0; twice < 2; twice++) {
		turn_until(is_writable, s, "a store to move into");
		if (move(state, own, s, &err) < 0) {
			err_print(&err, "move", stderr);
			fail();
		}
		assert_int_equal(store_move_is_done(own, &moved, &err), 0);
		assert_true(moved);
	}
	store_status(s, &status);
	assert_int_equal(status.count, count);
	assert_memory_equal(status.digest, digest.word, sizeof(status.digest));
	assert_int_equal(store_get(s, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&back, &d, sizeof(d));
	/* New rows do not get ids that were moved. */
	turn_until(is_writable, s, "ids");
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &more);
	contract_commit(state, s);
	assert_true(more.id > d.id);
	/* Another node's store does not fit in any more. */
	struct store_deployment x = {.name = "x"};
	struct store *second = fill_own(state, "own-second.db", &x, big, 10);
	assert_int_equal(move(state, second, s, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	assert_int_equal(store_move_is_done(second, &moved, &err), 0);
	assert_false(moved);
	assert_int_equal(move(state, own, second, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	store_free(second);
	store_free(own);
	store_free(s);
	free(big);
}

static struct store *
open_moved(const struct node *n, struct pipe_net *net, const char *file, struct news *news)
{
	struct err err = {0};
	struct store *s;

	if (try_rows(n, pipe_rows(net, file), &s, &err) < 0) {
		err_print(&err, "moved", stderr);
		fail();
	}
	news->s = s;
	store_watch(s, on_news, news);
	turn_until(is_writable, s, "a store that was moved");
	return s;
}

/* A small cluster without etcd gets one: what its nodes have is what etcd has, with all that is
 * their own, and nothing is copied again. */
static void
test_move_of_many(void **state)
{
	struct store_deployment d = {.name = "shop"}, more = {.name = "more"}, back;
	struct store_replica p = {.index = 1, .id = 1ull << 32 | 1};
	struct news of_writer = {.ordered = true}, of_follower = {.ordered = true};
	struct pipe_net net;
	struct err err = {0};
	struct node node;

	pipe_setup(&net);
	pipe_open_writer(&net);
	struct pipe_link *l = pipe_add(&net);
	pipe_until_writable(&net, l->store);
	contract_fill(state, net.writer, &d, &p);
	p = (struct store_replica){.index = 2, .id = 2ull << 32 | 1, .service = p.service};
	pipe_settle(&net);
	contract_fill_local(l->store, &p);
	prefixes++;
	init_node(&node, "many");
	struct store *to = open_node(&node);
	turn_until(is_writable, to, "a store to move into");
	store_serve_hold(net.serve, true);
	if (move(state, net.writer, to, &err) < 0) {
		err_print(&err, "move", stderr);
		fail();
	}
	assert_int_equal(store_serve_moved(net.serve, &err), 0);
	pipe_settle(&net);
	assert_true(l->moved);
	store_free(to);
	pipe_close_follower(l);
	pipe_close_writer(&net);
	struct store *a = open_moved(&node, &net, "w.db", &of_writer);
	struct store *b = open_moved(&node, &net, l->file, &of_follower);
	same_copies(a, b);
	assert_int_equal(of_writer.alls, 0);
	assert_int_equal(of_follower.alls, 0);
	assert_int_equal(store_get(b, STORE_DEPLOYMENT, d.id, &back, &err), 0);
	assert_memory_equal(&back, &d, sizeof(d));
	assert_int_equal(contract_count(a, STORE_REPLICA, 0, 0), 1);
	contract_same_blob(b, STORE_PLAN, p.id, "plan", 4);
	contract_begin(b);
	contract_put(b, STORE_DEPLOYMENT, &more);
	contract_commit(state, b);
	assert_true(more.id > d.id);
	follow(a, sequence(b));
	same_copies(a, b);
	store_free(a);
	store_free(b);
	pipe_teardown(&net);
}

static size_t
count_stages(void)
{
	char from[64], to[64], from64[128], to64[128], json[320];
	struct buf text;
	uint64_t count = 0;

	text_format(from, sizeof(from), "/zlayer/t%u/stage/", prefixes);
	text_format(to, sizeof(to), "/zlayer/t%u/stage0", prefixes);
	text_base64(from, strlen(from), from64, sizeof(from64));
	text_base64(to, strlen(to), to64, sizeof(to64));
	text_format(json, sizeof(json), "{\"key\":\"%s\",\"range_end\":\"%s\",\"count_only\":true}",
		    from64, to64);
	buf_init(&text, MEM_SCHEDULER, 1 << 20);
	assert_true(etcd_rig_call(&rig, 0, "/v3/kv/range", json, &text));
	const char *at = strstr(buf_cstr(&text), "\"count\":\"");
	if (at)
		count = strtoull(at + strlen("\"count\":\""), NULL, 10);
	buf_fini(&text);
	return count;
}

static bool
no_stages(void *arg)
{
	(void)arg;
	return count_stages() == 0;
}

/* A writer that dies before its large transaction is committed leaves parts: a node that begins
 * after another transaction removes them. */
static void
test_parts_of_a_dead_writer(void **state)
{
	struct store_deployment d = {.name = "shop"};
	struct store_replica p = {.index = 1};
	struct contract_end end = {0};
	size_t bytes = 12 << 20;
	uint8_t *big = malloc(bytes);
	struct node node;

	assert_non_null(big);
	for (size_t i = 0; i < bytes; i++)
		big[i] = (uint8_t)(i * 2654435761u >> 11);
	prefixes++;
	init_node(&node, "p");
	struct store *s = open_node(&node);
	turn_until(is_writable, s, "a store");
	uint64_t revision = contract_fill(state, s, &d, &p);
	contract_begin(s);
	contract_blob(s, STORE_DOCUMENT, revision, big, bytes);
	store_submit(s, contract_done, &end);
	while (!end.over && count_stages() == 0)
		uv_run(&rig.loop, UV_RUN_ONCE);
	bool too_fast = end.over; /* the member, for this test */
	store_free(s);
	free(big);
	if (too_fast)
		return;
	assert_true(end.over);
	assert_int_equal(end.err.kind, ERR_INTERRUPTED);
	s = open_node(&node);
	turn_until(is_writable, s, "the store again");
	contract_same_blob(s, STORE_DOCUMENT, revision, "text", 4);
	d.revision = 9;
	contract_begin(s);
	contract_put(s, STORE_DEPLOYMENT, &d);
	contract_commit(state, s);
	store_free(s);
	assert_true(count_stages() > 0);
	s = open_node(&node);
	turn_until(no_stages, NULL, "the parts to be removed");
	store_free(s);
}

static void
test_lease_of_the_other(void **state)
{
	struct contract_lease_end end;
	struct store *a, *b;

	two_nodes(&a, &b);
	end = contract_lease(state, a, STORE_LEASE_TAKE, "one", 3600);
	assert_int_equal(end.epoch, 1);
	end = contract_lease(state, b, STORE_LEASE_TAKE, "one", 3600);
	assert_int_equal(end.kind, ERR_CONFLICT);
	assert_string_equal(end.why, "edge-1");
	end = contract_lease(state, b, STORE_LEASE_KEEP, "one", 0);
	assert_int_equal(end.kind, ERR_NOT_FOUND);
	end = contract_lease(state, a, STORE_LEASE_DROP, "one", 0);
	assert_int_equal(end.kind, ERR_NONE);
	end = contract_lease(state, b, STORE_LEASE_TAKE, "one", 3600);
	assert_int_equal(end.epoch, 2);
	/* The successor of who took it: by the epoch that it had, and by no other. */
	assert_true(store_lease_adopt(a, "one", 1));
	end = contract_lease(state, a, STORE_LEASE_KEEP, "one", 0);
	assert_int_equal(end.kind, ERR_NOT_FOUND);
	assert_true(store_lease_adopt(a, "one", 2));
	for (int i = 0; i < 2; i++) {
		end = contract_lease(state, a, STORE_LEASE_KEEP, "one", 0);
		assert_int_equal(end.kind, ERR_NONE);
		assert_int_equal(end.epoch, 2);
	}
	end = contract_lease(state, a, STORE_LEASE_DROP, "one", 0);
	assert_int_equal(end.kind, ERR_NONE);
	end = contract_lease(state, b, STORE_LEASE_TAKE, "one", 3600);
	assert_int_equal(end.epoch, 3);
	store_free(a);
	store_free(b);
}

/* The answer to a take was lost: the next attempt knows itself again. */
static void
test_lease_lost_answer(void **state)
{
	struct contract_lease_end end;
	struct node node;
	struct store *s = open_relayed("e", SHORT_MS, &node);

	rig.lose_puts = true;
	end = contract_lease(state, s, STORE_LEASE_TAKE, "one", 3600);
	assert_int_equal(end.kind, ERR_NONE);
	assert_int_equal(end.epoch, 1);
	assert_false(rig.lose_puts);
	store_free(s);
}

int
main(int argc, char **argv)
{
	struct err err = {0};
	const struct CMUnitTest one[] = {
		CONTRACT_TESTS(NULL, NULL),
		cmocka_unit_test(test_news_of_the_other),
		cmocka_unit_test(test_both_at_once),
		cmocka_unit_test(test_full_copy),
		cmocka_unit_test(test_large_for_the_other),
		cmocka_unit_test(test_large_of_a_dead_writer),
		cmocka_unit_test(test_more_than_the_log),
		cmocka_unit_test(test_changed_by_hand),
		cmocka_unit_test(test_ids_gone),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_no_copy),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_move_of_many),
		cmocka_unit_test(test_parts_of_a_dead_writer),
		cmocka_unit_test(test_lease_of_the_other),
		cmocka_unit_test(test_lease_lost_answer),
		cmocka_unit_test(test_lost_answer),
		cmocka_unit_test(test_lost_answer_with_news),
		cmocka_unit_test(test_in_doubt),
		cmocka_unit_test(test_in_doubt_and_lost),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_compaction_while_watching),
	};
	const struct CMUnitTest three[] = {
		cmocka_unit_test(contract_compare_and_swap),
		cmocka_unit_test(contract_many_rows),
		cmocka_unit_test(test_both_at_once),
		cmocka_unit_test(test_killed_leader),
		cmocka_unit_test(test_no_quorum),
	};
	const struct CMUnitTest trust[] = {cmocka_unit_test(test_certificates)};
	const struct CMUnitTest space[] = {cmocka_unit_test(test_full)};

	if (!etcd_rig_available() || store_etcd_load(&err) < 0 || sqlite_load(&err) < 0) {
		printf("1..0 # SKIP needs root, etcd, ip, openssl, libcurl and SQLite\n");
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	etcd_rig_enter();
	const char *group = argc == 2 ? argv[1] : "";
	if (text_equal(group, "one"))
		return cmocka_run_group_tests(one, one_member, close_rig);
	if (text_equal(group, "three"))
		return cmocka_run_group_tests(three, three_members, close_rig);
	if (text_equal(group, "trust"))
		return cmocka_run_group_tests(trust, trusted_member, close_rig);
	if (text_equal(group, "space"))
		return cmocka_run_group_tests(space, small_member, close_rig);
	fprintf(stderr, "usage: %s one|three|trust|space\n", argv[0]);
	return 2;
}
