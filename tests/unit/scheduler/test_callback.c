/* SPDX-License-Identifier: Apache-2.0 */
/* Being called back: the core that asks and is asked, and channels that come with a number, or for
 * a third node, over the loopback. */
#include "scheduler/cluster_callback.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/world.h"
#include "ring/station_private.h"
#include "scheduler/cluster_inside.h"
#include "scheduler/far_wire.h"
#include "tests/support/channel_node.h"
#include "tests/support/sweep.h"

#define MS UINT64_C(1000000)

/* ---- the wire ---- */

static void
test_messages_come_back(void **state)
{
	static const struct callback_message good[] = {
		{CALLBACK_ASK, UINT64_MAX},
		{CALLBACK_KEEP, 0},
		{CALLBACK_COMES, 1},
		{CALLBACK_THROUGH, UINT32_MAX},
	};
	static const struct callback_message bad[] = {
		{CALLBACK_ASK, 0},
		{CALLBACK_KEEP, 1},
		{CALLBACK_COMES, 0},
		{CALLBACK_THROUGH, 0},
		{CALLBACK_THROUGH, UINT64_C(1) << 32},
		{(enum callback_kind)5, 1},
		{(enum callback_kind)0, 1},
	};
	struct callback_message m;
	uint8_t bytes[CALLBACK_BYTES];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		callback_encode(&good[i], bytes);
		assert_true(callback_decode(bytes, sizeof(bytes), &m));
		assert_int_equal(m.kind, good[i].kind);
		assert_int_equal(m.number, good[i].number);
		for (size_t n = 0; n < sizeof(bytes); n++)
			assert_false(callback_decode(bytes, n, &m));
		for (size_t at = 0; at < 4; at++) {
			bytes[at] ^= 0x40;
			assert_false(callback_decode(bytes, sizeof(bytes), &m));
			bytes[at] ^= 0x40;
		}
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		callback_encode(&bad[i], bytes);
		assert_false(callback_decode(bytes, sizeof(bytes), &m));
	}
}

/* The first version is these bytes, and its readers took no others; of a later one is read what
 * says that it may be. */
static void
test_messages_of_versions(void **state)
{
	static const uint8_t first[CALLBACK_BYTES] = {1, CALLBACK_THROUGH, 0, 0, 7};
	const struct callback_message sent = {CALLBACK_THROUGH, 7};
	struct callback_message m;
	uint8_t bytes[CALLBACK_BYTES];

	(void)state;
	callback_encode(&sent, bytes);
	assert_memory_equal(bytes, first, sizeof(bytes));
	assert_true(callback_decode(first, sizeof(first), &m));
	bytes[0] = CALLBACK_VERSION + 1;
	assert_false(callback_decode(bytes, sizeof(bytes), &m));
	bytes[2] = CALLBACK_VERSION + 1;
	assert_false(callback_decode(bytes, sizeof(bytes), &m));
	bytes[2] = CALLBACK_VERSION;
	bytes[3] = 9;
	assert_true(callback_decode(bytes, sizeof(bytes), &m));
	assert_int_equal(m.kind, CALLBACK_THROUGH);
	assert_int_equal(m.number, 7);
	bytes[1] = 9; /* a kind that it does not know */
	assert_false(callback_decode(bytes, sizeof(bytes), &m));
	bytes[1] = CALLBACK_THROUGH;
	bytes[0] = CALLBACK_VERSION; /* which has neither */
	assert_false(callback_decode(bytes, sizeof(bytes), &m));
	bytes[0] = 0;
	assert_false(callback_decode(bytes, sizeof(bytes), &m));
}

/* ---- the core ---- */

static struct callback cb;
static struct step_actions out;

static void
give(enum step_input_kind kind, uint64_t now_ns)
{
	step_actions_clear(&out);
	callback_step(&cb, &(struct step_input){.kind = kind, .now_ns = now_ns}, &out);
}

static void
hear(uint32_t node, enum callback_kind kind, uint64_t number, uint64_t now_ns)
{
	const struct callback_message m = {kind, number};
	uint8_t bytes[CALLBACK_BYTES];

	callback_encode(&m, bytes);
	step_actions_clear(&out);
	callback_step(&cb,
		      &(struct step_input){.kind = STEP_DATAGRAM,
					   .node = node,
					   .now_ns = now_ns,
					   .data = bytes,
					   .bytes = sizeof(bytes)},
		      &out);
}

/* So many actions of that kind, each said to `node` with that number where there is one. */
static size_t
count(enum step_action_kind kind, uint32_t node, uint64_t number)
{
	struct callback_message m;
	size_t n = 0;

	for (size_t i = 0; i < out.count; i++) {
		const struct step_action *a = &out.items[i];

		if (a->kind != kind || a->node != node)
			continue;
		if (kind == STEP_SEND) {
			assert_true(callback_decode(step_data(&out, a), a->bytes, &m));
			n += m.number == number;
		} else {
			n += a->token == number;
		}
	}
	return n;
}

static uint64_t
due(void)
{
	assert_int_equal(out.items[out.count - 1].kind, STEP_SET_TIMER);
	return out.items[out.count - 1].at_ns;
}

static void
test_asked_until_it_comes(void **state)
{
	static const uint64_t waits_ms[] = {250, 500, 1000, 1000, 1000};
	uint64_t now = 1000 * MS;

	(void)state;
	memset(&cb, 0, sizeof(cb));
	assert_true(callback_ask(&cb, 7, 42));
	assert_true(cb.put);
	give(STEP_LOCAL, now);
	assert_false(cb.put);
	for (size_t i = 0; i < sizeof(waits_ms) / sizeof(waits_ms[0]); i++) {
		assert_int_equal(count(STEP_SEND, 7, 42), 1);
		assert_int_equal(due(), now + waits_ms[i] * MS);
		give(STEP_TIMER, due() - 1);
		assert_int_equal(count(STEP_SEND, 7, 42), 0);
		now = due();
		give(STEP_TIMER, now);
	}
	callback_end(&cb, 43); /* of nobody */
	assert_int_equal(cb.asks_count, 1);
	callback_end(&cb, 42);
	give(STEP_TIMER, due());
	assert_int_equal(out.count, 1);
	assert_int_equal(due(), UINT64_MAX);
	for (size_t i = 0; i < CALLBACK_ASKS_MAX; i++)
		assert_true(callback_ask(&cb, 7, i + 1));
	assert_false(callback_ask(&cb, 7, 1000));
}

/* More than a list of actions takes. */
static void
test_many_at_once(void **state)
{
	size_t asks = 0, keeps = 0;

	(void)state;
	memset(&cb, 0, sizeof(cb));
	for (uint32_t i = 0; i < CALLBACK_ASKS_MAX; i++)
		assert_true(callback_ask(&cb, 1000 + i, 1 + i));
	for (uint32_t i = 0; i < CALLBACK_KEEPS_MAX + 5; i++)
		callback_keep(&cb, i + 1);
	give(STEP_LOCAL, 1000 * MS);
	for (int turns = 0; turns < 20; turns++) {
		for (size_t i = 0; i < out.count; i++) {
			struct callback_message m;

			if (out.items[i].kind != STEP_SEND)
				continue;
			assert_true(callback_decode(step_data(&out, &out.items[i]),
						    out.items[i].bytes, &m));
			asks += m.kind == CALLBACK_ASK;
			keeps += m.kind == CALLBACK_KEEP;
		}
		if (!out.more)
			break;
		give(STEP_MORE, 1000 * MS);
	}
	assert_false(out.more);
	assert_int_equal(asks, CALLBACK_ASKS_MAX);
	assert_int_equal(keeps, CALLBACK_KEEPS_MAX);
	assert_int_equal(due(), (1000 + CALLBACK_AGAIN_MS) * MS);
}

static void
test_told_once(void **state)
{
	uint64_t now = 1000 * MS;

	(void)state;
	memset(&cb, 0, sizeof(cb));
	hear(7, CALLBACK_ASK, 42, now);
	assert_int_equal(count(STEP_TELL, 7, 42), 1);
	hear(7, CALLBACK_ASK, 42, now + MS);
	assert_int_equal(count(STEP_TELL, 7, 42), 0);
	hear(8, CALLBACK_ASK, 42, now + MS); /* another's number */
	assert_int_equal(count(STEP_TELL, 8, 42), 1);
	hear(7, CALLBACK_KEEP, 0, now);
	assert_int_equal(out.count, 1);
	callback_again(&cb, 7, 42);
	hear(7, CALLBACK_ASK, 42, now + 2 * MS);
	assert_int_equal(count(STEP_TELL, 7, 42), 1);
	/* What is only said on channels. */
	hear(7, CALLBACK_COMES, 50, now);
	hear(7, CALLBACK_THROUGH, 50, now);
	assert_int_equal(cb.malformed, 2);
	assert_int_equal(count(STEP_TELL, 7, 50), 0);
	/* One node does not take the room of all; what is old makes room. */
	for (uint64_t i = 0; i < 2 * CALLBACK_HEARD_OF_NODE_MAX; i++)
		hear(7, CALLBACK_ASK, 100 + i, now + 3 * MS);
	assert_int_equal(cb.heard_count, CALLBACK_HEARD_OF_NODE_MAX + 1);
	assert_int_equal(cb.refused, CALLBACK_HEARD_OF_NODE_MAX + 1);
	hear(9, CALLBACK_ASK, 1, now + 3 * MS);
	assert_int_equal(count(STEP_TELL, 9, 1), 1);
	hear(7, CALLBACK_ASK, 9000, now + (CALLBACK_HEARD_MS + 10) * MS);
	assert_int_equal(count(STEP_TELL, 7, 9000), 1);
	assert_int_equal(cb.heard_count, 1);
	for (uint32_t i = 0; i < CALLBACK_HEARD_MAX + 9; i++)
		hear(100 + i, CALLBACK_ASK, 1, now + (CALLBACK_HEARD_MS + 20) * MS);
	assert_int_equal(cb.heard_count, CALLBACK_HEARD_MAX);
}

/* ---- channels ---- */

enum { US = 1, NODES = 4, FLOOD = 8 << 20 };

/* What one of the others has on its side. */
struct end {
	struct channel *channel; /* NULL: it has ended */
	bool up, down, reads;
	struct buf got;
	size_t written, read;
	uint8_t head[CALLBACK_BYTES];
	bool says;
};

static struct {
	struct station st; /* its loop alone */
	struct cluster c;
	struct model m;
	uv_timer_t alarm;
	uv_poll_t listener;
	int listen_fd;
	struct addr address;
	struct channel_node nodes[NODES + 1]; /* by id */
	struct cluster_node rows[NODES + 1];
	bool late;
	struct cluster_await await;
	struct channel *come;
} s;

static struct identity_authority authority;

#define WAIT(condition)                                  \
	do {                                             \
		while (!(condition) && !s.late)          \
			uv_run(&s.st.loop, UV_RUN_ONCE); \
		assert_true(condition);                  \
	} while (0)

static void
end_up(void *arg, struct channel *c)
{
	struct end *e = arg;

	e->up = true;
	if (e->says)
		assert_true(channel_write(c, e->head, sizeof(e->head)));
}

static void
end_data(void *arg, struct channel *c, const void *data, size_t bytes)
{
	struct end *e = arg;

	(void)c;
	e->read += bytes;
	if (e->got.length < 4096)
		buf_put(&e->got, data, bytes < 4096 ? bytes : 4096);
}

static void
end_room(void *arg, struct channel *c)
{
	(void)arg, (void)c;
}

static void
end_down(void *arg, struct channel *c, const struct err *why)
{
	struct end *e = arg;

	(void)c, (void)why;
	e->down = true;
	e->channel = NULL;
}

static const struct channel_calls end_calls = {end_up, end_data, end_room, end_down};

static void
dial(struct end *e, uint32_t node, enum channel_kind kind, const struct callback_message *m)
{
	struct err err = {0};

	memset(e, 0, sizeof(*e));
	buf_init(&e->got, MEM_CLI, 1 << 20);
	e->says = m != NULL;
	if (m)
		callback_encode(m, e->head);
	assert_int_equal(channel_connect(&s.st.loop, s.nodes[node].rules, &s.address, US, kind,
					 &end_calls, e, &e->channel, &err),
			 0);
}

static void
hang_up(struct end *e)
{
	channel_abort(e->channel);
	e->channel = NULL;
	buf_fini(&e->got);
}

/* What the shell does with a channel that is up. */
static void
came_up(void *arg, struct channel *c)
{
	(void)arg;
	cluster_callback_channel(&s.c, c);
}

static void
no_data(void *arg, struct channel *c, const void *data, size_t bytes)
{
	(void)arg, (void)c, (void)data, (void)bytes;
	fail();
}

static void
arrived(uv_poll_t *poll, int status, int events)
{
	static const struct channel_calls taken = {came_up, no_data, end_room, end_down};
	static struct end nobody;
	struct err err = {0};
	struct channel *c;
	int fd = accept4(s.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)poll, (void)status, (void)events;
	if (fd >= 0)
		assert_int_equal(channel_accept(&s.st.loop, s.nodes[US].rules, fd, &taken, &nobody,
						&c, &err),
				 0);
}

static void
too_late(uv_timer_t *timer)
{
	(void)timer;
	s.late = true;
}

/* Node 1 is the cluster's; 3 and 4 only dial out. */
static int
setup(void **state)
{
	static const struct config config;

	(void)state;
	memset(&s, 0, sizeof(s));
	assert_int_equal(uv_loop_init(&s.st.loop), 0);
	map_init(&s.c.nodes, MEM_SCHEDULER);
	for (uint32_t i = 1; i <= NODES; i++) {
		channel_node_make(&s.nodes[i], i, &authority, NULL, 0);
		s.rows[i].row.node = i;
		s.rows[i].row.name[0] = (char)('a' + i);
		s.rows[i].state = GOSSIP_ALIVE;
		s.rows[i].has_facts = true;
		s.rows[i].facts.address.port = i < 3 ? 9881 : 0;
		assert_int_equal(map_put_u64(&s.c.nodes, i, &s.rows[i]), 0);
	}
	s.c.st = &s.st;
	s.c.m = &s.m;
	s.c.config = &config;
	s.c.keep.node = US;
	s.c.keep.name[0] = 'b';
	list_init(&s.c.asks);
	list_init(&s.c.serves);
	cluster_callback_init(&s.c);
	s.listen_fd = channel_node_listen(&s.st.loop, &s.listener, arrived, NULL, &s.address);
	uv_timer_init(&s.st.loop, &s.alarm);
	uv_timer_start(&s.alarm, too_late, 60000, 0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	cluster_callback_forget(&s.c, &s.await);
	cluster_callback_end(&s.c);
	channel_abort(s.come);
	assert_int_equal(s.c.callback.greetings_count, 0);
	assert_int_equal(s.c.callback.throughs_count, 0);
	assert_int_equal(s.c.callback.calls_count, 0);
	assert_int_equal(s.c.callback.core.asks_count, 0);
	uv_close((uv_handle_t *)&s.listener, NULL);
	uv_close((uv_handle_t *)&s.alarm, NULL);
	uv_run(&s.st.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s.st.loop), 0);
	close(s.listen_fd);
	for (uint32_t i = 1; i <= NODES; i++)
		channel_node_free(&s.nodes[i]);
	map_fini(&s.c.nodes);
	return 0;
}

static void
come(void *arg, struct channel *channel)
{
	(void)arg;
	assert_null(s.come);
	s.come = channel;
	channel_give(channel, &cluster_callback_deaf, NULL);
}

static uint64_t
await(uint32_t node)
{
	s.await.come = come;
	assert_true(cluster_callback_await(&s.c, &s.await, node));
	assert_true(s.await.number != 0);
	return s.await.number;
}

static void
test_the_number_that_is_waited_for(void **state)
{
	struct end e, again;

	(void)state;
	const struct callback_message m = {CALLBACK_COMES, await(3)};
	dial(&e, 3, CHANNEL_CALLBACK, &m);
	WAIT(s.come);
	assert_int_equal(channel_peer(s.come)->node, 3);
	assert_int_equal(s.await.number, 0);
	assert_int_equal(s.c.callback.core.asks_count, 0);
	/* Once. */
	dial(&again, 3, CHANNEL_CALLBACK, &m);
	WAIT(again.down);
	assert_false(e.down);
	hang_up(&e);
	hang_up(&again);
}

/* None of these is who is waited for, nor harms him. */
static void
test_who_is_not_waited_for(void **state)
{
	struct end e;

	(void)state;
	uint64_t number = await(3);
	const struct {
		uint32_t node;
		enum channel_kind kind;
		struct callback_message m;
	} wrong[] = {
		{3, CHANNEL_CALLBACK, {CALLBACK_COMES, number + 1}},
		{4, CHANNEL_CALLBACK, {CALLBACK_COMES, number}},
		{3, CHANNEL_THROUGH, {CALLBACK_COMES, number}},
		{3, CHANNEL_CALLBACK, {CALLBACK_ASK, number}},
		{3, CHANNEL_CALLBACK, {CALLBACK_THROUGH, 4}},
		{3, CHANNEL_CALLBACK, {CALLBACK_KEEP, number}}, /* no message at all */
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		dial(&e, wrong[i].node, wrong[i].kind, &wrong[i].m);
		WAIT(e.down);
		hang_up(&e);
	}
	/* Who is called back waits to be asked. */
	dial(&e, 3, CHANNEL_CALLBACK, NULL);
	WAIT(e.up);
	callback_encode(&(struct callback_message){CALLBACK_COMES, number}, e.head);
	uint8_t more[CALLBACK_BYTES + 1] = {0};
	memcpy(more, e.head, CALLBACK_BYTES);
	assert_true(channel_write(e.channel, more, sizeof(more)));
	WAIT(e.down);
	hang_up(&e);
	assert_null(s.come);
	assert_int_equal(s.await.number, number);
	/* In pieces. */
	dial(&e, 3, CHANNEL_CALLBACK, NULL);
	WAIT(e.up);
	assert_true(channel_write(e.channel, more, 5));
	WAIT(s.c.callback.greetings_count == 1);
	assert_true(channel_write(e.channel, more + 5, CALLBACK_BYTES - 5));
	WAIT(s.come);
	hang_up(&e);
}

static void
test_who_says_nothing(void **state)
{
	struct end many[CLUSTER_GREETINGS_OF_NODE_MAX + 1], other;
	size_t ended = 0;

	(void)state;
	/* A few at a time: a handshake has CHANNEL_HANDSHAKE_MS, and the machine may be slow. */
	for (size_t i = 0, begun = 0; i <= CLUSTER_GREETINGS_OF_NODE_MAX; i++) {
		while (begun <= CLUSTER_GREETINGS_OF_NODE_MAX && begun < i + 4)
			dial(&many[begun++], 3, CHANNEL_CALLBACK, NULL);
		WAIT(many[i].up || many[i].down);
	}
	WAIT(s.c.callback.greetings_count == CLUSTER_GREETINGS_OF_NODE_MAX);
	while (!ended && !s.late) {
		uv_run(&s.st.loop, UV_RUN_ONCE);
		for (size_t i = 0; i <= CLUSTER_GREETINGS_OF_NODE_MAX; i++)
			ended += many[i].down;
	}
	assert_int_equal(ended, 1);
	/* Others are not kept out. */
	dial(&other, 4, CHANNEL_CALLBACK, NULL);
	WAIT(s.c.callback.greetings_count == CLUSTER_GREETINGS_OF_NODE_MAX + 1);
	cluster_callback_part(&s.c, 4);
	WAIT(other.down);
	cluster_callback_tick(&s.c, world_mono_ns() + (CLUSTER_CALLBACK_MS + 100) * MS);
	assert_int_equal(s.c.callback.greetings_count, 0);
	for (size_t i = 0; i <= CLUSTER_GREETINGS_OF_NODE_MAX; i++) {
		WAIT(many[i].down);
		hang_up(&many[i]);
	}
	hang_up(&other);
}

/* ---- passing on ---- */

static void
begin_through(struct end *asks)
{
	const struct callback_message m = {CALLBACK_THROUGH, 4};

	dial(asks, 3, CHANNEL_THROUGH, &m);
	WAIT(asks->up);
	assert_true(channel_write(asks->channel, "question", 8));
	WAIT(s.c.callback.throughs_count == 1);
	assert_int_equal(s.c.callback.core.asks_count, 1);
	assert_int_equal(s.c.callback.core.asks[0].node, 4);
}

static void
connect_through(struct end *asks, struct end *asked)
{
	begin_through(asks);
	const struct callback_message m = {CALLBACK_COMES, s.c.callback.core.asks[0].number};
	dial(asked, 4, CHANNEL_CALLBACK, &m);
	WAIT(asked->got.length == 8);
	assert_memory_equal(asked->got.data, "question", 8);
}

static void
test_both_ways_through(void **state)
{
	struct end asks, asked;

	(void)state;
	connect_through(&asks, &asked);
	assert_true(channel_write(asked.channel, "answer", 6));
	WAIT(asks.got.length == 6);
	assert_memory_equal(asks.got.data, "answer", 6);
	/* The last words arrive, then the end. */
	assert_true(channel_write(asked.channel, "bye", 3));
	channel_close(asked.channel);
	asked.channel = NULL;
	WAIT(asks.down);
	assert_int_equal(asks.read, 9);
	assert_int_equal(s.c.callback.throughs_count, 0);
	hang_up(&asks);
	hang_up(&asked);
}

static void
test_who_asks_goes(void **state)
{
	struct end asks, asked;

	(void)state;
	connect_through(&asks, &asked);
	hang_up(&asks);
	WAIT(asked.down);
	hang_up(&asked);
	/* And before the other one has come. */
	begin_through(&asks);
	hang_up(&asks);
	/* Nothing is read of it meanwhile, so that is seen when the time is over. */
	cluster_callback_tick(&s.c, world_mono_ns() + (CLUSTER_CALLBACK_MS + 100) * MS);
	assert_int_equal(s.c.callback.throughs_count, 0);
	assert_int_equal(s.c.callback.core.asks_count, 0);
}

static void
wakes(uv_timer_t *timer)
{
	(void)timer;
}

/* Who asked does not read: little is kept here, and all of it comes in the end. */
static void
test_slow_through(void **state)
{
	static uint8_t data[64 << 10];
	struct end asks, asked;

	(void)state;
	connect_through(&asks, &asked);
	channel_pause(asks.channel, true);
	size_t before = mem_used(MEM_SCHEDULER), most = 0;
	int still = 0;
	uv_timer_t beat;

	uv_timer_init(&s.st.loop, &beat);
	uv_timer_start(&beat, wakes, 1, 1);
	while (asked.written < (size_t)FLOOD * 4 && still < 100 && !s.late) {
		if (channel_pending(asked.channel) < 1 << 20) {
			assert_true(channel_write(asked.channel, data, sizeof(data)));
			asked.written += sizeof(data);
			still = 0;
		} else {
			still++;
		}
		uv_run(&s.st.loop, UV_RUN_ONCE);
		most = mem_used(MEM_SCHEDULER) - before > most ? mem_used(MEM_SCHEDULER) - before
							       : most;
	}
	assert_int_equal(still, 100); /* nothing more goes */
	assert_true(most < 4 << 20);
	channel_pause(asks.channel, false);
	WAIT(asks.read == asked.written);
	uv_close((uv_handle_t *)&beat, NULL);
	hang_up(&asks);
	WAIT(asked.down);
	hang_up(&asked);
}

/* What cannot be passed on is answered with the reason. */
static void
test_not_through(void **state)
{
	static const struct {
		uint32_t node;
		enum gossip_state state;
		const char *why;
	} none[] = {
		{9, GOSSIP_ALIVE, "no node that has to be"}, /* there is none */
		{2, GOSSIP_ALIVE, "no node that has to be"}, /* can be connected to */
		{3, GOSSIP_ALIVE, "no node that has to be"}, /* itself */
		{4, GOSSIP_DEAD, "nobody hears"},
	};
	struct far_frame f;
	const void *rest;
	struct err err;
	struct end e;
	size_t bytes;

	(void)state;
	for (size_t i = 0; i <= sizeof(none) / sizeof(none[0]); i++) {
		bool silent = i == sizeof(none) / sizeof(none[0]); /* that one does not come */
		const struct callback_message m = {CALLBACK_THROUGH, silent ? 4 : none[i].node};

		s.rows[4].state = silent ? GOSSIP_ALIVE : none[i].state;
		dial(&e, 3, CHANNEL_THROUGH, &m);
		if (silent) {
			WAIT(s.c.callback.throughs_count == 1);
			cluster_callback_tick(&s.c,
					      world_mono_ns() + (CLUSTER_CALLBACK_MS + 100) * MS);
		}
		WAIT(e.down);
		assert_int_equal(far_wire_next(e.got.data, e.got.length, &f), 1);
		assert_int_equal(f.kind, FAR_ANSWER);
		assert_true(far_wire_get_answer(f.data, f.bytes, &err, &rest, &bytes));
		assert_non_null(strstr(err.why[0], silent ? "did not in time" : none[i].why));
		assert_int_equal(s.c.callback.throughs_count, 0);
		hang_up(&e);
	}
}

static void
test_silence_and_parting(void **state)
{
	struct end asks, asked;

	(void)state;
	connect_through(&asks, &asked);
	cluster_callback_tick(&s.c, world_mono_ns() + (CLUSTER_THROUGH_SILENT_MS - 5000) * MS);
	assert_int_equal(s.c.callback.throughs_count, 1);
	cluster_callback_tick(&s.c, world_mono_ns() + (CLUSTER_THROUGH_SILENT_MS + 100) * MS);
	WAIT(asks.down && asked.down);
	hang_up(&asks);
	hang_up(&asked);
	connect_through(&asks, &asked);
	cluster_callback_part(&s.c, 4);
	WAIT(asks.down && asked.down);
	hang_up(&asks);
	hang_up(&asked);
}

/* Memory fails once at each point of it: what cannot be had ends, and nothing is left. */
static void
test_memory_fails(void **state)
{
	bool failed = true;

	(void)state;
	for (int64_t n = 0; failed; n++) {
		struct end asks;

		dial(&asks, 3, CHANNEL_THROUGH, NULL);
		WAIT(s.c.callback.greetings_count == 1);
		callback_encode(&(struct callback_message){CALLBACK_THROUGH, 4}, asks.head);
		assert_true(channel_write(asks.channel, asks.head, sizeof(asks.head)));
		mem_fail_after(n);
		while (s.c.callback.greetings_count > 0 && !s.late)
			uv_run(&s.st.loop, UV_RUN_ONCE);
		failed = mem_failures() > 0;
		mem_fail_after(-1);
		WAIT(asks.down || s.c.callback.throughs_count == 1);
		cluster_through_end(&s.c);
		assert_int_equal(s.c.callback.core.asks_count, 0);
		WAIT(asks.down);
		hang_up(&asks);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_come_back),
		cmocka_unit_test(test_messages_of_versions),
		cmocka_unit_test(test_asked_until_it_comes),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_told_once),
		TEST(test_the_number_that_is_waited_for),
		TEST(test_who_is_not_waited_for),
		TEST(test_who_says_nothing),
		TEST(test_both_ways_through),
		TEST(test_who_asks_goes),
		TEST(test_slow_through),
		TEST(test_not_through),
		TEST(test_silence_and_parting),
		TEST(test_memory_fails),
	};
	struct err err = {0};

	signal(SIGPIPE, SIG_IGN); /* as in every process of a node */
	if (identity_authority_create(&authority, world_wall_ns() / 1000000000, &err) < 0)
		return 1;
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	identity_authority_fini(&authority);
	return rc;
}
