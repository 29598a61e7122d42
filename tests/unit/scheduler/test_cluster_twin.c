/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node that may be twice (cluster_twin.c, cluster_twin_ask.c), with channels that the test holds
 * both ends of, and a clock that goes when it says so. This node is 1, the others 2 to 4.
 */
#include "scheduler/cluster_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "ring/metrics.h"
#include "tests/support/member_world.h"
#include "tests/support/sweep.h"

enum { WAYS_MAX = 80, ASKS_AT_ONCE = 32, BORN = 1000, SESSION = 5000 };

/* ---- time ---- */

static uint64_t later_ns;

uint64_t __real_world_mono_ns(void);
uint64_t __wrap_world_mono_ns(void);

uint64_t
__wrap_world_mono_ns(void)
{
	return __real_world_mono_ns() + later_ns;
}

static void
pass_ms(uint64_t ms)
{
	later_ns += ms * 1000000;
	cluster_twin_tick(&member.c, world_mono_ns());
}

/* ---- channels ---- */

/* One of them is behind each struct channel *. */
static struct way {
	uint32_t to; /* 0: a peer's */
	struct addr at;
	const struct channel_calls *calls;
	void *arg;
	struct identity peer;
	uint8_t said[TWIN_BYTES];
	size_t said_bytes;
	bool closed, aborted;
} ways[WAYS_MAX];
static size_t ways_count;
static bool no_way; /* channel_connect fails */
static uint64_t heard_ns;
static struct addr heard_at;

static struct way *
way_of(const struct channel *c)
{
	struct way *w = (struct way *)(uintptr_t)c;

	assert_true(w >= ways && w < ways + ways_count);
	assert_false(w->closed || w->aborted);
	return w;
}

static struct channel *
channel_of(struct way *w)
{
	return (struct channel *)w;
}

static struct way *
add_way(void)
{
	assert_true(ways_count < WAYS_MAX);
	struct way *w = &ways[ways_count++];

	memset(w, 0, sizeof(*w));
	return w;
}

int __wrap_channel_connect(uv_loop_t *loop, struct channel_rules *rules, const struct addr *to,
			   uint32_t node, enum channel_kind kind, const struct channel_calls *calls,
			   void *arg, struct channel **out, struct err *err);
void __wrap_channel_give(struct channel *c, const struct channel_calls *calls, void *arg);
bool __wrap_channel_write(struct channel *c, const void *data, size_t bytes);
void __wrap_channel_close(struct channel *c);
void __wrap_channel_abort(struct channel *c);
const struct identity *__wrap_channel_peer(const struct channel *c);
const struct addr *__wrap_channel_address(const struct channel *c);
uint64_t __wrap_shell_peer_heard_ns(const struct shell *s, uint32_t node);
bool __wrap_shell_peer_address(const struct shell *s, uint32_t node, struct addr *out);

int
__wrap_channel_connect(uv_loop_t *loop, struct channel_rules *rules, const struct addr *to,
		       uint32_t node, enum channel_kind kind, const struct channel_calls *calls,
		       void *arg, struct channel **out, struct err *err)
{
	(void)loop, (void)rules;
	assert_int_equal(kind, CHANNEL_WHO);
	if (no_way)
		return err_set(err, ERR_UNREACHABLE, "no way");
	struct way *w = add_way();
	w->to = node;
	w->at = *to;
	w->calls = calls;
	w->arg = arg;
	*out = channel_of(w);
	return 0;
}

void
__wrap_channel_give(struct channel *c, const struct channel_calls *calls, void *arg)
{
	way_of(c)->calls = calls;
	way_of(c)->arg = arg;
}

bool
__wrap_channel_write(struct channel *c, const void *data, size_t bytes)
{
	struct way *w = way_of(c);

	assert_int_equal(bytes, TWIN_BYTES);
	memcpy(w->said, data, bytes);
	w->said_bytes = bytes;
	return true;
}

void
__wrap_channel_close(struct channel *c)
{
	way_of(c)->closed = true;
}

void
__wrap_channel_abort(struct channel *c)
{
	if (c)
		way_of(c)->aborted = true;
}

const struct identity *
__wrap_channel_peer(const struct channel *c)
{
	return &way_of(c)->peer;
}

const struct addr *
__wrap_channel_address(const struct channel *c)
{
	return &way_of(c)->at;
}

uint64_t
__wrap_shell_peer_heard_ns(const struct shell *s, uint32_t node)
{
	(void)s, (void)node;
	return heard_ns;
}

bool
__wrap_shell_peer_address(const struct shell *s, uint32_t node, struct addr *out)
{
	(void)s, (void)node;
	*out = heard_at;
	return true;
}

static bool
is_open(const struct way *w)
{
	return !w->closed && !w->aborted;
}

static void
goes_up(struct way *w)
{
	w->calls->up(w->arg, channel_of(w));
}

static void
goes_down(struct way *w)
{
	struct err why = {0};

	assert_true(is_open(w));
	w->closed = true; /* the pointer is dead with that */
	w->calls->down(w->arg, channel_of(w), &why);
}

/* In pieces of that many bytes, as long as anybody listens. */
static void
says_in(struct way *w, const void *data, size_t bytes, size_t piece)
{
	const uint8_t *at = data;

	while (bytes > 0 && is_open(w)) {
		size_t part = bytes < piece ? bytes : piece;

		w->calls->data(w->arg, channel_of(w), at, part);
		at += part;
		bytes -= part;
	}
}

static void
says(struct way *w, const struct twin_message *m)
{
	uint8_t bytes[TWIN_BYTES];

	twin_encode(m, bytes);
	says_in(w, bytes, sizeof(bytes), 7);
}

static struct twin_message
said(const struct way *w)
{
	struct twin_message m;

	assert_int_equal(w->said_bytes, TWIN_BYTES);
	assert_true(twin_decode(w->said, sizeof(w->said), &m));
	return m;
}

static struct addr
address(const char *text)
{
	struct addr a;

	assert_true(addr_parse(text, &a));
	return a;
}

/* A peer's channel, from there. */
static struct way *
guest(uint32_t node, const char *from)
{
	struct way *w = add_way();

	w->peer.node = node;
	w->at = address(from);
	cluster_twin_channel(&member.c, channel_of(w));
	return w;
}

/* ---- the node ---- */

static struct ring_writer *writer;

static void
open_as(const char *boot)
{
	struct err err = {0};

	if (member.c.twin.asks.next)
		cluster_twin_ask_end(&member.c);
	memset(&member.c.twin, 0, sizeof(member.c.twin));
	list_init(&member.c.twin.guests);
	member.c.over = false;
	assert_int_equal(cluster_twin_open(&member.c, boot, &err), 0);
}

static bool
has_file(const char *name)
{
	return faccessat(member.folder, name, F_OK, 0) == 0;
}

static int64_t
metric(void)
{
	return (int64_t)metrics_get(member.model.metrics, METRICS_CLUSTER_TWINS, NULL)->values[0];
}

static int
set_up(void **state)
{
	const struct ring_layout layout = {
		.role = ROLE_SCHEDULER, .generation = 1, .metric_series = 16};
	static const uint8_t key[ENVELOPE_KEY] = {9};
	static int line;
	struct err err = {0};

	member_set_up(state);
	assert_int_equal(ring_writer_new(&layout, &writer, &err), 0);
	member.model.metrics = ring_writer_metrics(writer);
	ways_count = 0;
	no_way = false;
	heard_ns = later_ns = 0;
	member.c.folder = member.folder;
	member.c.rules = (struct channel_rules *)&line; /* handed on, never looked into */
	member.c.listen.addr = address("10.0.0.1:9881");
	assert_int_equal(envelope_self_init(&member.c.self, 1, SESSION, key, key, &err), 0);
	member.c.has_self = true;
	open_as("first");
	member.c.twin.here.born = BORN;
	return 0;
}

static int
tear_down(void **state)
{
	cluster_twin_ask_end(&member.c);
	assert_int_equal(member.c.twin.asks_count + member.c.twin.guests_count, 0);
	for (size_t i = 0; i < ways_count; i++)
		assert_false(is_open(&ways[i]) && ways[i].calls != &cluster_callback_deaf);
	envelope_self_fini(&member.c.self);
	ring_writer_free(writer);
	member_unlink("instance");
	member_unlink("twin");
	member_unlink("session");
	member.c.folder = -1;
	return member_tear_down(state);
}

/* Where nodes 2 to 4 are. */
static void
have_addresses(void)
{
	for (uint32_t id = 2; id <= 4; id++)
		snprintf(cluster_roster_find(&member.c, id)->row.address,
			 sizeof(((struct store_node *)0)->address), "10.0.0.%u:9881", id);
}

/* Another boot: the folder may have been copied. */
static void
open_elsewhere(void)
{
	open_as("second");
	assert_true(member.c.twin.held);
	member.c.twin.here.born = BORN;
	have_addresses();
	cluster_twin_begin(&member.c);
	assert_int_equal(ways_count, 3);
}

static struct way *
way_to(uint32_t node)
{
	for (size_t i = 0; i < ways_count; i++) {
		if (ways[i].to == node && is_open(&ways[i]))
			return &ways[i];
	}
	fail_msg("nobody asks node %u", node);
	return NULL;
}

/* ---- which instance it is ---- */

static void
test_instance(void **state)
{
	uint64_t born;

	(void)state;
	open_as("first");
	born = member.c.twin.here.born;
	assert_true(member.c.twin.has_run && !member.c.twin.held);
	open_as("first");
	assert_int_equal(member.c.twin.here.born, born);
	open_as("second");
	assert_true(member.c.twin.held && !member.c.twin.has_run && !member.c.twin.found);
	assert_true(member.c.twin.here.born > born);
	/* A file that says nothing is as none. */
	assert_int_equal(unlinkat(member.folder, "instance", 0), 0);
	open_as("third");
	assert_false(member.c.twin.held);
	assert_true(has_file("instance"));
}

static void
test_in_no_cluster(void **state)
{
	(void)state;
	member.c.member = false;
	open_as("second");
	assert_false(member.c.twin.held);
	member.c.member = true;
}

/* ---- looking around ---- */

static void
test_nobody_answers(void **state)
{
	struct err err = {0};

	(void)state;
	open_elsewhere();
	assert_int_equal(cluster_twin_may(&member.c, &err), -1);
	assert_non_null(strstr(err.what, "asks the others"));
	for (uint32_t id = 2; id <= 4; id++) {
		goes_up(way_to(id));
		const struct twin_message m = said(way_to(id));
		assert_int_equal(m.kind, TWIN_ASK);
		assert_int_equal(m.flags, TWIN_HOLDS);
		assert_int_equal(m.node, 1);
		assert_int_equal(m.born, BORN);
		assert_int_equal(m.address.port, 9881);
	}
	cluster_twin_turn(&member.c);
	assert_true(member.c.twin.held && !member.c.over);
	for (uint32_t id = 2; id <= 4; id++)
		goes_down(way_to(id));
	cluster_twin_turn(&member.c);
	assert_true(!member.c.twin.held && member.c.over);
	assert_int_equal(cluster_twin_may(&member.c, &err), 0);
	open_as("second");
	assert_false(member.c.twin.held);
}

static void
test_all_are_silent(void **state)
{
	(void)state;
	open_elsewhere();
	for (uint32_t id = 2; id <= 4; id++)
		goes_up(way_to(id));
	pass_ms(1900);
	assert_int_equal(member.c.twin.asks_count, 3);
	pass_ms(200);
	assert_int_equal(member.c.twin.asks_count, 0);
	for (size_t i = 0; i < 3; i++)
		assert_true(ways[i].aborted);
	cluster_twin_turn(&member.c);
	assert_false(member.c.twin.held);
}

/* One of them hears it: who is there is asked, and is another instance. */
static void
test_the_first_one_is_found(void **state)
{
	struct twin_message m = {.kind = TWIN_SAY, .node = 2, .born = 7, .session = 8};
	struct err err = {0};

	(void)state;
	open_elsewhere();
	m.address = address("10.0.9.9:9881");
	goes_up(way_to(2));
	says(way_to(2), &m);
	struct way *first = way_to(1);
	assert_true(addr_equal(&first->at, &m.address));
	goes_up(first);
	m = (struct twin_message){.kind = TWIN_SAY, .node = 1, .born = BORN + 1, .session = 8};
	says(first, &m);
	assert_true(first->aborted);
	assert_true(member.c.twin.found && member.c.twin.held);
	assert_int_equal(cluster_twin_may(&member.c, &err), -1);
	assert_non_null(strstr(err.what, "edge-1 is at 10.0.9.9:9881, too"));
	assert_non_null(strstr(err.fix, "zlayer leave --force"));
	/* For good. */
	for (uint32_t id = 3; id <= 4; id++)
		goes_down(way_to(id));
	pass_ms(4000);
	cluster_twin_turn(&member.c);
	assert_true(member.c.twin.held && !member.c.over);
	assert_int_equal(metric(), 1);
	open_as("second");
	assert_true(member.c.twin.found);
	assert_true(addr_equal(&member.c.twin.at, &first->at));
}

/* It was this node itself, in its former life: nothing comes of it. */
static void
test_it_is_itself(void **state)
{
	const struct twin_message m = {
		.kind = TWIN_SAY, .node = 1, .born = BORN, .session = SESSION + 9};

	(void)state;
	const struct addr at = address("10.0.9.9:9881");
	cluster_twin_ask(&member.c, 1, &at, TWIN_ASK, 0, NULL);
	goes_up(way_to(1));
	says(way_to(1), &m);
	assert_true(!member.c.twin.held && !member.c.over && !member.c.twin.copy_ns);
	/* With a newer session that somebody told of it goes on above that. */
	cluster_twin_ask(&member.c, 1, &at, TWIN_ASK, SESSION + 1, NULL);
	says(way_to(1), &m);
	assert_true(member.c.over);
	assert_true(has_file("session"));
}

/* ---- what is no answer ---- */

static void
test_damaged_answers(void **state)
{
	const struct addr at = address("10.0.9.9:9881");
	struct twin_message m = {.kind = TWIN_SAY, .node = 1, .born = BORN + 1, .session = 8};
	uint8_t bytes[TWIN_BYTES];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		cluster_twin_ask(&member.c, 1, &at, TWIN_ASK, 0, NULL);
		struct way *w = way_to(1);
		goes_up(w);
		m.node = i == 1 ? 2 : 1; /* another one than was asked */
		m.kind = i == 2 ? TWIN_ASK : TWIN_SAY;
		twin_encode(&m, bytes);
		if (i == 0)
			memset(bytes, 0xff, sizeof(bytes));
		if (i == 3) {
			/* Not whole; and it is asked once at a time. */
			says_in(w, bytes, sizeof(bytes) - 1, 100);
			assert_true(is_open(w));
			cluster_twin_ask(&member.c, 1, &at, TWIN_ASK, 0, NULL);
			assert_int_equal(member.c.twin.asks_count, 1);
			goes_down(w);
		} else {
			says_in(w, bytes, sizeof(bytes), 100);
			assert_true(w->aborted);
		}
		assert_int_equal(member.c.twin.asks_count, 0);
		assert_true(!member.c.twin.found && !member.c.twin.copy_ns);
	}
}

static void
test_too_many_questions(void **state)
{
	struct addr at = address("10.0.9.9:1");

	(void)state;
	for (unsigned i = 0; i < ASKS_AT_ONCE + 5; i++, at.port++)
		cluster_twin_ask(&member.c, 2, &at, TWIN_ASK, 0, NULL);
	assert_int_equal(member.c.twin.asks_count, ASKS_AT_ONCE);
	assert_int_equal(ways_count, ASKS_AT_ONCE);
	cluster_twin_ask_end(&member.c);
	no_way = true;
	cluster_twin_ask(&member.c, 2, &at, TWIN_ASK, 0, NULL);
	at.port = 0;
	no_way = false;
	cluster_twin_ask(&member.c, 2, &at, TWIN_ASK, 0, NULL);
	assert_int_equal(member.c.twin.asks_count, 0);
}

static void
test_no_memory(void **state)
{
	const struct addr at = address("10.0.9.9:9881");

	(void)state;
	sweep_each(s)
	{
		cluster_twin_ask(&member.c, 2, &at, TWIN_ASK, 0, NULL);
		assert_int_equal(member.c.twin.asks_count, !sweep_failed());
		cluster_twin_ask_end(&member.c);
		struct way *w = guest(3, "10.0.0.3:5000");
		assert_int_equal(w->aborted, sweep_failed() && !member.c.twin.guests_count);
		cluster_twin_ask_end(&member.c);
	}
}

/* ---- a copy, seen by the first one ---- */

static void
test_a_copy_comes_and_goes(void **state)
{
	const struct twin_message m = {.kind = TWIN_ASK,
				       .flags = TWIN_HOLDS,
				       .node = 1,
				       .born = BORN + 1,
				       .session = 1,
				       .address = {.port = 9881}};

	(void)state;
	for (unsigned turn = 0; turn < 2; turn++) {
		struct way *w = guest(1, "10.0.7.7:4000");
		says(w, &m);
		assert_int_equal(said(w).kind, TWIN_SAY);
		assert_int_equal(said(w).born, BORN);
		pass_ms(10000);
		/* It is told once. */
		assert_int_equal(member_events("node.twin"), 1);
		assert_int_equal(member_events("node.twin_gone"), 0);
		assert_non_null(strstr(member.c.twin.err.what, "a second edge-1 runs at 10.0.7.7"));
		assert_int_equal(metric(), 1);
	}
	assert_true(!member.c.twin.held && !member.c.over);
	pass_ms(49000);
	assert_int_equal(member_events("node.twin_gone"), 0);
	member.c.dirty = false;
	pass_ms(2000);
	assert_int_equal(member_events("node.twin_gone"), 1);
	assert_int_equal(member.c.twin.err.kind, 0);
	assert_true(member.c.dirty);
	pass_ms(1000);
	assert_int_equal(metric(), 0);
	assert_int_equal(member_events("node.twin_gone"), 1);
}

/* It does not hold itself back: the later instance is to, and the first one's session is newer. */
static void
test_two_that_began_apart(void **state)
{
	struct twin_message m = {.kind = TWIN_ASK,
				 .node = 1,
				 .born = BORN + 1,
				 .session = SESSION + 1,
				 .address = {.port = 9999}};

	(void)state;
	says(guest(1, "10.0.7.7:4000"), &m);
	assert_true(member.c.over && !member.c.twin.held);
	assert_true(member.c.twin.copy_ns != 0);
	member.c.over = false;
	m.born = BORN - 1;
	says(guest(1, "10.0.7.7:4000"), &m);
	assert_true(member.c.over && member.c.twin.found);
	assert_true(has_file("twin"));
	const struct addr there = address("10.0.7.7:9999");
	assert_true(addr_equal(&member.c.twin.at, &there));
	assert_int_equal(member_events("node.twin"), 2);
}

/* A session of years ahead is nobody's: it is not believed. */
static void
test_unlikely_session(void **state)
{
	const struct twin_message m = {
		.kind = TWIN_ASK, .node = 1, .born = BORN + 1, .session = UINT64_MAX};

	(void)state;
	says(guest(1, "10.0.7.7:4000"), &m);
	assert_true(member.c.twin.copy_ns && !member.c.over);
}

/* ---- questions of others ---- */

static void
test_who_is_asked(void **state)
{
	struct twin_message m = {.kind = TWIN_ASK, .node = 2, .born = 5, .session = 6};

	(void)state;
	heard_at = address("10.0.8.8:9881");
	heard_ns = world_mono_ns();
	struct way *w = guest(2, "10.0.0.2:4000");
	says(w, &m);
	assert_true(w->closed);
	assert_int_equal(said(w).node, 1);
	assert_int_equal(said(w).session, SESSION);
	const struct twin_message answer = said(w);
	assert_true(addr_equal(&answer.address, &heard_at));
	/* Who was silent for long is nowhere. */
	later_ns += UINT64_C(31) * 1000000000;
	w = guest(2, "10.0.0.2:4000");
	says(w, &m);
	assert_int_equal(said(w).address.port, 0);
	assert_int_equal(member.c.twin.copy_ns, 0);
	/* For another one nobody speaks, and an answer is no question. */
	w = guest(3, "10.0.0.3:4000");
	says(w, &m);
	assert_true(w->aborted);
	m.kind = TWIN_SAY;
	w = guest(2, "10.0.0.2:4000");
	says(w, &m);
	assert_true(w->aborted);
	/* Nor is silence. */
	w = guest(2, "10.0.0.2:4000");
	pass_ms(1900);
	assert_true(is_open(w));
	pass_ms(200);
	assert_true(w->aborted);
	w = guest(2, "10.0.0.2:4000");
	goes_down(w);
	assert_int_equal(member.c.twin.guests_count, 0);
	for (unsigned i = 0; i <= ASKS_AT_ONCE; i++)
		assert_int_equal(guest(2, "10.0.0.2:4000")->aborted, i == ASKS_AT_ONCE);
}

/* ---- hints ---- */

static void
test_hint_is_given(void **state)
{
	const struct addr from = address("10.0.0.3:9881"), newer = address("10.0.7.7:9881");

	(void)state;
	cluster_twin_older(&member.c, 9, &from, 77, &newer);
	assert_int_equal(ways_count, 0);
	cluster_twin_older(&member.c, 3, &from, 77, &newer);
	struct way *w = way_to(3);
	goes_up(w);
	assert_true(w->closed);
	const struct twin_message m = said(w);
	assert_int_equal(m.kind, TWIN_HINT);
	assert_int_equal(m.session, 77);
	assert_true(addr_equal(&m.address, &newer));
	assert_int_equal(member.c.twin.asks_count, 0);
}

static void
test_hint_is_taken(void **state)
{
	struct twin_message m = {.kind = TWIN_HINT, .node = 3, .session = SESSION};

	(void)state;
	m.address = address("10.0.7.7:9881");
	says(guest(3, "10.0.0.3:4000"), &m);
	assert_int_equal(member.c.twin.asks_count, 0); /* not newer */
	m.session = SESSION + 1;
	says(guest(3, "10.0.0.3:4000"), &m);
	struct way *w = way_to(1);
	assert_true(addr_equal(&w->at, &m.address));
	goes_up(w);
	assert_int_equal(said(w).kind, TWIN_ASK);
	/* Nobody is there: what others hear is left of this node's own former life. */
	goes_down(w);
	assert_true(member.c.over);
	assert_int_equal(member_events("node.twin"), 0);
}

/* Likewise, when there is only silence. */
static void
test_hint_of_silence(void **state)
{
	struct twin_message m = {.kind = TWIN_HINT, .node = 3, .session = SESSION + 1};

	(void)state;
	m.address = address("10.0.7.7:9881");
	says(guest(3, "10.0.0.3:4000"), &m);
	pass_ms(2100);
	assert_true(ways[1].to == 1 && ways[1].aborted);
	assert_true(member.c.over);
}

/* One that is held back asks the first one each ten seconds: so that one knows that it is there. */
static void
test_held_back_asks_on(void **state)
{
	const struct addr there = address("10.0.7.7:9881");

	(void)state;
	cluster_twin_step_back(&member.c, &there);
	assert_int_equal(member_events("node.twin"), 1);
	pass_ms(0);
	assert_true(addr_equal(&way_to(1)->at, &there));
	goes_down(way_to(1));
	pass_ms(9000);
	assert_int_equal(member.c.twin.asks_count, 0);
	pass_ms(1100);
	assert_int_equal(member.c.twin.asks_count, 1);
	assert_int_equal(ways_count, 2);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_instance),
		TEST(test_in_no_cluster),
		TEST(test_nobody_answers),
		TEST(test_all_are_silent),
		TEST(test_the_first_one_is_found),
		TEST(test_it_is_itself),
		TEST(test_damaged_answers),
		TEST(test_too_many_questions),
		TEST(test_no_memory),
		TEST(test_a_copy_comes_and_goes),
		TEST(test_two_that_began_apart),
		TEST(test_unlikely_session),
		TEST(test_who_is_asked),
		TEST(test_hint_is_given),
		TEST(test_hint_is_taken),
		TEST(test_hint_of_silence),
		TEST(test_held_back_asks_on),
	};
	struct err err = {0};

	if (sqlite_load(&err) < 0) {
		printf("1..0 # SKIP %s\n", err.what);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
