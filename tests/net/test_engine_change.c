/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine while something changes: keys, addresses, time, and what it is told (engine_rig.h).
 * Needs root and /dev/net/tun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/world.h"
#include "overlay/engine/engine_inside.h"
#include "overlay/wg/device.h"
#include "tests/net/engine_rig.h"
#include "tests/support/wg_setup.h"

enum { PEERS = 10000, PEER_BYTES_MAX = 4096, REKEY_S = 124, STEP_S = 4, GIVE_UP_S = 96 };

static struct engine_rig rig;

static int
setup(void **state)
{
	const struct engine_rig_options o = {.offload = TUN_USO};

	(void)state;
	engine_rig_open(&rig, &o);
	engine_rig_reach(&rig.a, &rig.b, 4);
	engine_rig_reach(&rig.b, &rig.a, 6);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	engine_rig_close(&rig);
	return 0;
}

struct loads {
	struct engine_rig_load *there, *back;
};

static struct loads
begin_loads(void)
{
	struct loads l = {engine_rig_load(&rig.a, &rig.b), engine_rig_load(&rig.b, &rig.a)};

	engine_rig_load_more(l.there, 200);
	engine_rig_load_more(l.back, 200);
	return l;
}

static void
end_loads(const struct loads *l, bool lossless)
{
	uint64_t disorder, lost;

	engine_rig_load_more(l->there, 200);
	engine_rig_load_more(l->back, 200);
	lost = engine_rig_load_stop(l->there, &disorder);
	if (lossless) {
		assert_int_equal(lost, 0);
		assert_int_equal(disorder, 0);
	}
	lost = engine_rig_load_stop(l->back, &disorder);
	if (lossless) {
		assert_int_equal(lost, 0);
		assert_int_equal(disorder, 0);
	}
}

/* ---- keys ---- */

static void
await_handshake(struct engine_rig_end *end, const struct engine_rig_end *other, int64_t after_s)
{
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);

	while (engine_rig_peer(end, other->public_key).handshake_s <= after_s) {
		assert_true(world_mono_ns() < until);
		poll(NULL, 0, 1);
	}
}

/* In steps after each of which both are heard: else timers say that the other end is gone, and both
 * begin. */
static void
pass_under_load(const struct loads *l)
{
	for (unsigned i = 0; i < REKEY_S; i += STEP_S) {
		engine_rig_pass(&rig, STEP_S);
		engine_rig_load_more(l->there, 60);
		engine_rig_load_more(l->back, 60);
	}
}

static void
test_new_keys_under_load(void **state)
{
	struct loads l = begin_loads();

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		int64_t now_s = (world_wall_ns() + (int64_t)rig.ahead_ns) / 1000000000;

		pass_under_load(&l);
		await_handshake(&rig.a, &rig.b, now_s);
		await_handshake(&rig.b, &rig.a, now_s);
		engine_rig_load_more(l.there, 500);
		engine_rig_load_more(l.back, 500);
	}
	end_loads(&l, true);
}

/* Sessions that are too old to be used: packets wait for the next. */
static void
test_sleep(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		engine_rig_pass(&rig, 181);
		assert_true(engine_rig_echo(&rig.a, &rig.b, 4, 1000));
	}
	engine_rig_pass(&rig, 600);
	assert_true(engine_rig_echo(&rig.b, &rig.a, 4, 1000));
}

static void
change_key(struct engine_rig_end *end, const uint8_t private_key[SETUP_KEY])
{
	struct setup change = {.has_private_key = true};

	memcpy(change.private_key, private_key, SETUP_KEY);
	engine_rig_change(end, &change);
}

static bool
follow(const uint8_t now[SETUP_KEY], const uint8_t *next)
{
	struct engine_heir heir = {now, next, false};
	struct err err = {0};

	assert_int_equal(engine_follow(rig.a.engine, &heir, 1, &err), 0);
	return heir.followed;
}

static size_t
prefixes_of(struct engine_rig_end *end, const uint8_t key[SETUP_KEY])
{
	return engine_rig_peer(end, key).prefixes_count;
}

static bool
has_peer(struct engine_rig_end *end, const uint8_t key[SETUP_KEY])
{
	const uint8_t nobody[SETUP_KEY] = {0};

	return memcmp(engine_rig_peer(end, key).public_key, nobody, SETUP_KEY) != 0;
}

static void
test_follow_under_load(void **state)
{
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);
	uint8_t private_key[SETUP_KEY], next[SETUP_KEY];
	struct loads l = begin_loads();

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		engine_rig_key(private_key, next);
		assert_true(follow(rig.b.public_key, next));
		assert_false(has_peer(&rig.a, next));
		assert_int_equal(prefixes_of(&rig.a, rig.b.public_key), 2);
		change_key(&rig.b, private_key);
		while (prefixes_of(&rig.a, next) != 2) {
			assert_true(world_mono_ns() < until);
			poll(NULL, 0, 1);
		}
		assert_int_equal(prefixes_of(&rig.a, rig.b.public_key), 0);
		engine_rig_load_more(l.there, 500);
		engine_rig_load_more(l.back, 500);
		memcpy(rig.b.public_key, next, SETUP_KEY);
	}
	end_loads(&l, true);
	/* The preshared key went along. */
	struct setup_peer peer = engine_rig_peer(&rig.a, rig.b.public_key);
	assert_true(peer.has_psk);
	assert_memory_equal(peer.psk, rig.psk, SETUP_KEY);
}

static void
test_follow_and_forget(void **state)
{
	uint8_t private_key[SETUP_KEY], next[SETUP_KEY];

	(void)state;
	engine_rig_key(private_key, next);
	assert_true(follow(rig.b.public_key, next));
	assert_true(follow(rig.b.public_key, NULL));
	uint64_t before = engine_rig_count(&rig.a, ENGINE_DROP_UNKNOWN);
	change_key(&rig.b, private_key);
	engine_rig_await(&rig.a, ENGINE_DROP_UNKNOWN, before + 1);
	change_key(&rig.b, rig.b.private_key);
	engine_rig_reach(&rig.b, &rig.a, 4);
}

enum { ALL = ENGINE_SUCCESSIONS_MAX };
static uint8_t many_now[ALL + 2][SETUP_KEY], many_next[ALL + 2][SETUP_KEY];
static struct engine_heir many[ALL + 2];

/* As many peers as a cluster may have, all of which are about to change their keys. */
static void
test_follow_all(void **state)
{
	struct setup change = {0};
	struct setup_peer *p;
	struct err err = {0};

	(void)state;
	for (unsigned i = 0; i < ALL + 2; i++) {
		many_now[i][0] = 7;
		many_next[i][0] = 8;
		memcpy(many_now[i] + 1, &i, sizeof(i));
		memcpy(many_next[i] + 1, &i, sizeof(i));
		many[i] = (struct engine_heir){many_now[i], many_next[i], false};
		if (i < ALL)
			assert_int_equal(setup_add_peer(&change, many_now[i], &p), SETUP_OK);
	}
	engine_rig_change(&rig.a, &change);
	setup_fini(&change);
	assert_int_equal(engine_follow(rig.a.engine, many, ALL + 2, &err), 0);
	for (unsigned i = 0; i < ALL + 2; i++)
		assert_int_equal(many[i].followed, i < ALL); /* there is room for no more */
	assert_int_equal(device_count(rig.a.engine->device), 1 + 2 * ALL);
	/* The same again is no change; who is followed no more leaves room for others. */
	assert_int_equal(engine_follow(rig.a.engine, many, ALL, &err), 0);
	assert_int_equal(device_count(rig.a.engine->device), 1 + 2 * ALL);
	for (unsigned i = 0; i < ALL; i++)
		many[i].next = NULL;
	assert_int_equal(engine_follow(rig.a.engine, many, ALL + 2, &err), 0);
	assert_true(many[ALL].followed && many[ALL + 1].followed);
	assert_int_equal(device_count(rig.a.engine->device), 1 + ALL);
	engine_rig_reach(&rig.b, &rig.a, 4);
}

/* Their keys, all but one's: what is to be said of that is one change. */
static void
test_all_have_changed(void **state)
{
	struct setup is, want, change;
	struct setup_peer *p;
	struct err err = {0};

	(void)state;
	setup_init(&is);
	setup_init(&change);
	for (unsigned i = 0; i < ALL; i++) {
		memset(many_now[i], 0, SETUP_KEY);
		many_now[i][0] = 7;
		memcpy(many_now[i] + 1, &i, sizeof(i));
		memcpy(many_next[i], many_now[i], SETUP_KEY);
		many_next[i][0] = 8;
		assert_int_equal(setup_add_peer(&change, many_now[i], &p), SETUP_OK);
	}
	engine_rig_change(&rig.a, &change);
	setup_fini(&change);
	assert_int_equal(engine_state(rig.a.engine, &is, &err), 0);
	assert_int_equal(setup_copy(&is, &want), SETUP_OK);
	unsigned changed = 0;
	for (size_t i = 0; i < want.peers_count; i++) {
		if (want.peers[i].public_key[0] != 7 || changed == ALL - 1)
			continue;
		want.peers[i].public_key[0] = 8;
		changed++;
	}
	assert_int_equal(setup_diff(&is, &want, &change), SETUP_OK);
	assert_int_equal(change.peers_count, 2 * (ALL - 1));
	engine_rig_change(&rig.a, &change);
	setup_fini(&change);
	setup_fini(&is);
	assert_int_equal(engine_state(rig.a.engine, &is, &err), 0);
	assert_int_equal(setup_diff(&is, &want, &change), SETUP_OK);
	assert_true(setup_says_nothing(&change));
	setup_fini(&change);
	setup_fini(&is);
	setup_fini(&want);
	engine_rig_reach(&rig.b, &rig.a, 4);
}

static void
add_or_remove(const uint8_t key[SETUP_KEY], bool remove)
{
	struct setup change = {0};
	struct setup_peer *p;

	assert_int_equal(setup_add_peer(&change, key, &p), SETUP_OK);
	p->remove = remove;
	engine_rig_change(&rig.a, &change);
	setup_fini(&change);
}

/* Whom somebody was to follow is gone: nothing is left of that, however often it happens. */
static void
test_follow_who_goes(void **state)
{
	uint8_t now[SETUP_KEY] = {7}, next[SETUP_KEY] = {8};

	(void)state;
	for (unsigned i = 0; i < 2048; i++) {
		memcpy(now + 1, &i, sizeof(i));
		memcpy(next + 1, &i, sizeof(i));
		add_or_remove(now, false);
		assert_true(follow(now, next));
		assert_int_equal(device_count(rig.a.engine->device), 3);
		add_or_remove(now, true);
		assert_int_equal(device_count(rig.a.engine->device), 1);
	}
	/* One that goes and is there again at once is followed on. */
	struct setup change = {.replace_peers = true};
	struct setup_peer *p;
	assert_true(follow(rig.b.public_key, next));
	assert_int_equal(setup_add_peer(&change, rig.b.public_key, &p), SETUP_OK);
	engine_rig_change(&rig.a, &change);
	assert_int_equal(device_count(rig.a.engine->device), 2);
	setup_fini(&change);
}

/* ---- places ---- */

/* Its source address goes, and with it the way that the other end knows. */
static void
test_roaming_under_load(void **state)
{
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);
	struct loads l = begin_loads();
	struct addr there;

	(void)state;
	assert_true(addr_parse("10.8.0.3:51820", &there));
	tun_rig_enter(rig.a.ns);
	tun_rig_run("ip addr add 10.8.0.3/24 dev eth0 && ip addr del 10.8.0.1/24 dev eth0;"
		    "ip addr replace 10.8.0.3/24 dev eth0");
	tun_rig_home();
	for (;;) {
		const struct setup_peer p = engine_rig_peer(&rig.b, rig.a.public_key);

		if (addr_equal(&p.endpoint, &there))
			break;
		assert_true(world_mono_ns() < until);
		poll(NULL, 0, 1);
	}
	end_loads(&l, false);
}

static void
test_nobody_there(void **state)
{
	static const uint8_t key[SETUP_KEY] = {9};
	struct sockaddr_storage at;
	struct addr_prefix prefix;
	struct setup change = {0};
	struct setup_peer *p;
	defer_close int fd = engine_rig_socket(&rig.a, SOCK_DGRAM, 4);
	socklen_t bytes = engine_rig_inner(&rig.b, 4, 9, &at);

	(void)state;
	/* To nobody's address. */
	((struct sockaddr_in *)&at)->sin_addr.s_addr = htonl(0x0a090063);
	assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&at, bytes), 1);
	engine_rig_await(&rig.a, ENGINE_DROP_NO_PEER, 1);
	/* To a peer of which nobody knows where it is. */
	assert_int_equal(setup_add_peer(&change, key, &p), SETUP_OK);
	assert_true(addr_parse_prefix("10.9.0.99/32", &prefix));
	assert_int_equal(setup_add_prefix(&change, p, &prefix, false), SETUP_OK);
	engine_rig_change(&rig.a, &change);
	assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&at, bytes), 1);
	engine_rig_await(&rig.a, ENGINE_DROP_UNREACHABLE, 1);
	/* To one that does not answer: some wait, until it is given up. */
	change.peers[0].has_endpoint = true;
	assert_true(addr_parse("10.8.0.2:9", &change.peers[0].endpoint));
	engine_rig_change(&rig.a, &change);
	for (unsigned i = 0; i < DEVICE_STAGED_MAX + 10; i++)
		assert_int_equal(sendto(fd, "x", 1, 0, (struct sockaddr *)&at, bytes), 1);
	engine_rig_await(&rig.a, ENGINE_DROP_STAGED, 10);
	engine_rig_pass(&rig, GIVE_UP_S);
	engine_rig_pass(&rig, GIVE_UP_S);
	engine_rig_await(&rig.a, ENGINE_DROP_UNREACHABLE, DEVICE_STAGED_MAX);
	setup_fini(&change);
}

/* ---- what it is told ---- */

static void
test_changes(void **state)
{
	struct setup change = {.has_port = true, .port = 1};
	struct err err = {0};
	struct setup_peer *p;
	uint8_t key[SETUP_KEY] = {5};

	(void)state;
	assert_int_equal(engine_change(rig.a.engine, &change, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	change.port = ENGINE_RIG_PORT;
	change.has_fwmark = true;
	change.fwmark = 7;
	assert_int_equal(setup_add_peer(&change, key, &p), SETUP_OK);
	p->has_keepalive = true;
	p->keepalive_s = 25;
	engine_rig_change(&rig.a, &change);
	assert_int_equal(engine_rig_peer(&rig.a, key).keepalive_s, 25);
	/* What goes may not come, and then nothing happens. */
	change.peers[0].remove = true;
	assert_int_equal(setup_add_peer(&change, key, &p), SETUP_OK);
	assert_int_equal(engine_change(rig.a.engine, &change, &err), -1);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_true(has_peer(&rig.a, key));
	change.peers_count = 1;
	engine_rig_change(&rig.a, &change);
	assert_false(has_peer(&rig.a, key));
	/* Only those that are named stay. */
	change.peers[0].remove = false;
	change.replace_peers = true;
	engine_rig_change(&rig.a, &change);
	assert_true(has_peer(&rig.a, key));
	assert_false(has_peer(&rig.a, rig.b.public_key));
	assert_int_equal(engine_rig_peer(&rig.a, key).keepalive_s, 25);
	change.peers[0].has_keepalive = false;
	engine_rig_change(&rig.a, &change);
	assert_int_equal(engine_rig_peer(&rig.a, key).keepalive_s, 0);
	setup_fini(&change);
}

static void
make_change(struct setup *out, const struct addr_prefix *prefix)
{
	struct setup_peer *p;
	uint8_t key[SETUP_KEY] = {0};

	setup_init(out);
	out->has_private_key = true;
	out->private_key[5] = 5;
	for (uint8_t i = 1; i <= 3; i++) {
		key[0] = i;
		assert_int_equal(setup_add_peer(out, key, &p), SETUP_OK);
		p->has_psk = true;
		memset(p->psk, i, SETUP_KEY);
		assert_int_equal(setup_add_prefix(out, p, prefix, false), SETUP_OK);
	}
	assert_int_equal(setup_add_peer(out, rig.b.public_key, &p), SETUP_OK);
	p->remove = true;
}

static bool
was_done(struct engine_rig_end *end)
{
	const uint8_t third[SETUP_KEY] = {3};
	struct err err = {0};
	struct setup s;

	setup_init(&s);
	assert_int_equal(engine_state(end->engine, &s, &err), 0);
	bool done = setup_find(&s, third);
	assert_int_equal(s.peers_count, done ? 3 : 1);
	assert_int_equal(s.prefixes_count, done ? 1 : 2);
	assert_true((setup_find(&s, rig.b.public_key) == NULL) == done);
	assert_true((memcmp(s.private_key, end->private_key, SETUP_KEY) == 0) == !done);
	setup_fini(&s);
	return done;
}

/* Each allocation of a change fails in turn: it is not done then, not even half. */
static void
test_change_without_memory(void **state)
{
	struct addr_prefix prefix;
	bool done = false;

	(void)state;
	assert_true(addr_parse_prefix("10.9.0.2/32", &prefix));
	for (int64_t n = 0; !done; n++) {
		struct setup change;
		struct err err = {0};

		make_change(&change, &prefix);
		mem_fail_after(n);
		int rc = engine_change(rig.a.engine, &change, &err);
		mem_fail_after(-1);
		setup_fini(&change);
		if (rc < 0)
			assert_int_equal(err.kind, ERR_NO_MEMORY);
		done = was_done(&rig.a);
		assert_int_equal(done, rc == 0);
		assert_true(n < 1000);
	}
}

static void
add_peers(struct setup *out)
{
	uint8_t key[SETUP_KEY] = {0};
	struct addr_prefix prefix;
	struct setup_peer *p;
	char text[64];

	setup_init(out);
	for (unsigned i = 0; i < PEERS; i++) {
		key[0] = 1;
		memcpy(key + 1, &i, sizeof(i));
		assert_int_equal(setup_add_peer(out, key, &p), SETUP_OK);
		p->has_endpoint = true;
		assert_true(addr_parse("10.8.0.2:9", &p->endpoint));
		snprintf(text, sizeof(text), "10.10.%u.%u/32", i / 256, i % 256);
		assert_true(addr_parse_prefix(text, &prefix));
		assert_int_equal(setup_add_prefix(out, p, &prefix, false), SETUP_OK);
	}
}

static void
test_many_peers(void **state)
{
	struct setup change, s;
	struct err err = {0};

	(void)state;
	add_peers(&change);
	size_t before = mem_used(MEM_OVERLAY);
	engine_rig_change(&rig.a, &change);
	assert_true((mem_used(MEM_OVERLAY) - before) / PEERS <= PEER_BYTES_MAX);
	engine_rig_tcp(&rig.a, &rig.b, 4, 4 << 20);
	setup_init(&s);
	assert_int_equal(engine_state(rig.a.engine, &s, &err), 0);
	assert_int_equal(s.peers_count, PEERS + 1);
	assert_int_equal(s.prefixes_count, PEERS + 2);
	setup_fini(&s);
	for (size_t i = 0; i < PEERS; i++)
		change.peers[i].remove = true;
	engine_rig_change(&rig.a, &change);
	assert_true(engine_rig_echo(&rig.a, &rig.b, 4, 100));
	setup_fini(&change);
}

/* Who sends does not know yet that the other end has begun anew; that one speaks first, also in a
 * large cluster. */
static void
test_begins_anew(void **state)
{
	struct setup change = {0};

	(void)state;
	for (uint32_t i = 0; i < ENGINE_EAGER_MAX; i++) {
		uint8_t key[SETUP_KEY] = {1};
		struct setup_peer *p;

		memcpy(key + 1, &i, sizeof(i));
		assert_int_equal(setup_add_peer(&change, key, &p), SETUP_OK);
	}
	engine_free(rig.a.engine); /* it would begin itself, later */
	rig.a.engine = NULL;
	engine_free(rig.b.engine);
	engine_rig_start(&rig, &rig.b);
	engine_rig_change(&rig.b, &change);
	setup_fini(&change);
	struct engine_rig_tap *tap = engine_rig_tap(&rig.b);
	engine_rig_introduce(&rig, &rig.b, &rig.a, true);
	uint64_t until = world_mono_ns() + ENGINE_RIG_WAIT_S * UINT64_C(1000000000);
	while (engine_rig_heard(tap, NULL, NULL) == 0) {
		assert_true(world_mono_ns() < until);
		poll(NULL, 0, 1);
	}
	engine_rig_tap_close(tap);
}

/* Nodes are counted: that all of them change their keys at once makes the cluster no larger. */
static void
test_many_follow(void **state)
{
	struct setup change = {0};
	uint8_t key[SETUP_KEY], next[SETUP_KEY];
	struct setup_peer *p;

	(void)state;
	for (uint32_t i = 1; i < ENGINE_EAGER_MAX; i++) {
		wg_setup_key(key, i, 1);
		assert_int_equal(setup_add_peer(&change, key, &p), SETUP_OK);
	}
	engine_rig_change(&rig.a, &change);
	setup_fini(&change);
	for (uint32_t i = 1; i < ENGINE_EAGER_MAX; i++) {
		wg_setup_key(key, i, 1);
		wg_setup_key(next, i, 2);
		assert_true(follow(key, next));
	}
	assert_false(atomic_load(&rig.a.engine->lazy));
	wg_setup_key(key, 0, 1);
	assert_int_equal(setup_add_peer(&change, key, &p), SETUP_OK);
	engine_rig_change(&rig.a, &change);
	assert_true(atomic_load(&rig.a.engine->lazy));
	p->remove = true;
	engine_rig_change(&rig.a, &change);
	assert_false(atomic_load(&rig.a.engine->lazy));
	setup_fini(&change);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_new_keys_under_load),
		TEST(test_sleep),
		TEST(test_follow_under_load),
		TEST(test_follow_and_forget),
		TEST(test_follow_all),
		TEST(test_all_have_changed),
		TEST(test_follow_who_goes),
		TEST(test_roaming_under_load),
		TEST(test_nobody_there),
		TEST(test_changes),
		TEST(test_change_without_memory),
		TEST(test_many_peers),
		TEST(test_begins_anew),
		TEST(test_many_follow),
	};

	return tun_rig_start() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
