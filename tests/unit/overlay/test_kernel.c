/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conversations with the kernel, its part read from a script: what is asked, in which order, and
 * what is made of answers that a real kernel seldom gives. tests/net/test_kernel.c has a real one.
 */
#include "overlay/wg/kernel.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/support/sweep.h"
#include "tests/support/wg_setup.h"

enum { FAMILY = 32, BEFORE = 500, INTERRUPTED = NLM_F_DUMP_INTR, MARK = 77 };

static const uint8_t alice[SETUP_KEY] = {1}, bob[SETUP_KEY] = {2};

static struct kernel k;
static struct err err;
static int script; /* the kernel's end */
static uint32_t next_answer;
static char place[KERNEL_WIRE_ANSWER_MAX] __attribute__((aligned(8)));

static int
setup(void **state)
{
	const struct timeval wait = {.tv_usec = 1000};
	int pair[2], large = 1 << 20;

	(void)state;
	assert_int_equal(kernel_wire_open(&err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		setsockopt(pair[i], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	}
	k = (struct kernel){
		.route = dup(pair[0]), .generic = pair[0], .family = FAMILY, .sequence = BEFORE};
	assert_true(k.route >= 0);
	script = pair[1];
	next_answer = BEFORE + 1;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	kernel_close(&k);
	assert_int_equal(k.route, -1);
	close(script);
	return 0;
}

/* ---- the kernel's part ---- */

static void
answer(const void *bytes, size_t count)
{
	assert_int_equal(send(script, bytes, count, 0), (ssize_t)count);
}

/* The end of the next conversation. */
static void
answer_end(uint16_t type, uint16_t flags, int code)
{
	struct {
		struct nlmsghdr h;
		int code;
	} m = {{sizeof(m), type, flags, next_answer++, 0}, -code};

	answer(&m, sizeof(m));
}

static void
answer_code(int code)
{
	answer_end(NLMSG_ERROR, 0, code);
}

/* The state of a device, in the one message of a change that would make it. */
static void
answer_state(const struct setup *s, uint16_t end_flags)
{
	struct kernel_wire_at at = {0};
	size_t n = kernel_wire_put_set(place, next_answer, FAMILY, "wg0", s, &at);

	assert_int_equal(kernel_wire_put_set(place + n, 1, FAMILY, "wg0", s, &at), 0);
	answer(place, n);
	answer_end(NLMSG_DONE, end_flags, 0);
}

/* What was said to it next. */
static struct nlmsghdr
hear(struct setup *out)
{
	ssize_t n = recv(script, place, sizeof(place), 0);
	struct nlmsghdr h;

	assert_true(n >= (ssize_t)sizeof(h));
	memcpy(&h, place, sizeof(h));
	assert_int_equal(h.nlmsg_len, n);
	if (out) {
		struct kernel_wire_answer a = {
			.sequence = h.nlmsg_seq, .family = FAMILY, .state = out};

		setup_init(out);
		assert_int_equal(place[16], WG_CMD_SET_DEVICE);
		assert_int_equal(kernel_wire_read(&a, place, (size_t)n), KERNEL_WIRE_MORE);
	}
	return h;
}

static void
check_quiet(void)
{
	assert_int_equal(recv(script, place, sizeof(place), MSG_DONTWAIT), -1);
}

static void
two_peers(struct setup *s)
{
	setup_init(s);
	s->has_fwmark = true;
	s->fwmark = MARK;
	struct setup_peer *p = wg_setup_peer(s, alice);
	wg_setup_prefix(s, p, "10.0.0.0/8");
	wg_setup_prefix(s, p, "fd00::/64");
	wg_setup_prefix(s, wg_setup_peer(s, bob), "192.0.2.0/24");
}

/* ---- reading ---- */

static void
test_get(void **state)
{
	struct setup s, got;

	(void)state;
	two_peers(&s);
	setup_init(&got);
	answer_state(&s, 0);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), 0);
	assert_int_equal(got.fwmark, MARK);
	assert_int_equal(got.peers_count, 2);
	assert_int_equal(got.prefixes_count, 3);
	assert_int_equal(hear(NULL).nlmsg_flags & NLM_F_DUMP, NLM_F_DUMP);
	setup_fini(&s);
	setup_fini(&got);
}

/* What was read while it changed is forgotten, and asked for again. */
static void
test_interrupted(void **state)
{
	struct setup s, got;

	(void)state;
	two_peers(&s);
	setup_init(&got);
	answer_state(&s, INTERRUPTED);
	answer_state(&s, INTERRUPTED);
	answer_state(&s, 0);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), 0);
	assert_int_equal(got.peers_count, 2);
	assert_int_equal(got.prefixes_count, 3);
	setup_fini(&got);
	/* But not for ever. */
	for (int i = 0; i < KERNEL_ASK_MAX; i++)
		answer_state(&s, INTERRUPTED);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), -1);
	assert_int_equal(err.code, EINTR);
	assert_int_equal(got.peers_count, 0);
	setup_fini(&s);
}

static void
test_get_fails(void **state)
{
	struct setup got;

	(void)state;
	setup_init(&got);
	answer_code(ENODEV);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	answer_code(EPERM);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), -1);
	assert_int_equal(err.kind, ERR_DENIED);
	/* At the end of the state, or in the midst of it. */
	answer_end(NLMSG_DONE, 0, EMSGSIZE);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), -1);
	assert_int_equal(err.code, EMSGSIZE);
	assert_int_equal(got.peers_count, 0);
}

static void
test_silence(void **state)
{
	struct setup got;

	(void)state;
	setup_init(&got);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), -1);
	assert_int_equal(err.kind, ERR_TIMEOUT);
}

/* The answer of a question that was given up comes late: it is not this one's. */
static void
test_late_answer(void **state)
{
	struct setup s, got;

	(void)state;
	two_peers(&s);
	setup_init(&got);
	next_answer = BEFORE;
	answer_code(ENODEV);
	answer_state(&s, 0);
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), 0);
	assert_int_equal(got.peers_count, 2);
	setup_fini(&s);
	setup_fini(&got);
}

static void
test_too_long_an_answer(void **state)
{
	static char large[KERNEL_WIRE_ANSWER_MAX + 4];
	struct setup got;

	(void)state;
	setup_init(&got);
	answer(large, sizeof(large));
	assert_int_equal(kernel_get(&k, "wg0", &got, &err), -1);
	assert_int_equal(err.code, EMSGSIZE);
}

/* ---- changing ---- */

static void
test_set(void **state)
{
	struct setup s, said;

	(void)state;
	two_peers(&s);
	answer_code(0);
	assert_int_equal(kernel_set(&k, "wg0", &s, &err), 0);
	assert_int_equal(hear(&said).nlmsg_seq, BEFORE + 1);
	assert_int_equal(said.peers_count, 2);
	check_quiet();
	setup_fini(&said);
	setup_fini(&s);
}

/* The first refusal ends it. */
static void
test_set_in_parts(void **state)
{
	struct setup s;
	char text[64];

	(void)state;
	two_peers(&s);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.1/32", i / 250, i % 250);
		wg_setup_prefix(&s, &s.peers[1], text);
	}
	for (int i = 0; i < 6; i++)
		answer_code(0);
	assert_int_equal(kernel_set(&k, "wg0", &s, &err), 0);
	const uint32_t parts = k.sequence - BEFORE;
	assert_true(parts > 2 && parts < 6);
	for (uint32_t i = 0; i < parts; i++)
		assert_int_equal(hear(NULL).nlmsg_seq, BEFORE + 1 + i);
	check_quiet();
	teardown(state);
	setup(state);
	answer_code(0);
	answer_code(EINVAL);
	assert_int_equal(kernel_set(&k, "wg0", &s, &err), -1);
	assert_int_equal(err.code, EINVAL);
	hear(NULL);
	hear(NULL);
	check_quiet();
	setup_fini(&s);
}

static void
add_removal(struct setup *c, const uint8_t key[SETUP_KEY], const char *prefix)
{
	struct setup_peer *p = setup_find(c, key);

	if (!p)
		p = wg_setup_peer(c, key);
	wg_setup_prefix(c, p, prefix);
	p->prefixes[p->prefixes_count - 1].remove = true;
}

/* To a peer that nobody is, and away with that; then the rest. */
static void
test_remove_prefix(void **state)
{
	struct setup s, c, said;
	uint8_t nobody[SETUP_KEY];

	(void)state;
	two_peers(&s);
	setup_init(&c);
	add_removal(&c, alice, "10.0.0.0/8");
	add_removal(&c, alice, "192.0.2.0/24"); /* is bob's */
	add_removal(&c, alice, "10.0.0.0/9");   /* is nobody's */
	wg_setup_prefix(&c, setup_find(&c, alice), "172.16.0.0/12");
	answer_state(&s, 0);
	answer_code(0);
	answer_code(0);
	answer_code(0);
	assert_int_equal(kernel_set(&k, "wg0", &c, &err), 0);
	assert_int_equal(hear(NULL).nlmsg_flags & NLM_F_DUMP, NLM_F_DUMP);
	hear(&said);
	assert_int_equal(said.peers_count, 1);
	assert_int_equal(said.prefixes_count, 1);
	assert_true(wg_setup_same_prefix(&said.peers[0].prefixes[0], &s.peers[0].prefixes[0]));
	memcpy(nobody, said.peers[0].public_key, SETUP_KEY);
	assert_memory_not_equal(nobody, alice, SETUP_KEY);
	assert_memory_not_equal(nobody, bob, SETUP_KEY);
	setup_fini(&said);
	hear(&said);
	assert_int_equal(said.peers_count, 1);
	assert_int_equal(said.prefixes_count, 0);
	assert_memory_equal(said.peers[0].public_key, nobody, SETUP_KEY);
	setup_fini(&said);
	hear(&said);
	assert_int_equal(said.peers_count, 1);
	assert_int_equal(said.prefixes_count, 1);
	assert_memory_equal(said.peers[0].public_key, alice, SETUP_KEY);
	setup_fini(&said);
	check_quiet();
	setup_fini(&s);
	setup_fini(&c);
}

/* Nothing is given to anybody when there is nothing to take. */
static void
test_remove_nothing(void **state)
{
	struct setup s, c, said;

	(void)state;
	two_peers(&s);
	setup_init(&c);
	add_removal(&c, bob, "10.0.0.0/8");
	add_removal(&c, (const uint8_t[SETUP_KEY]){9}, "10.0.0.0/8");
	answer_state(&s, 0);
	answer_code(0);
	assert_int_equal(kernel_set(&k, "wg0", &c, &err), 0);
	hear(NULL);
	hear(&said);
	assert_int_equal(said.prefixes_count, 0);
	check_quiet();
	setup_fini(&said);
	setup_fini(&s);
	setup_fini(&c);
}

/* ---- links ---- */

static void
test_links(void **state)
{
	struct kernel_wire_link link = {.name = "wg0", .ns = -1};

	(void)state;
	answer_code(0);
	assert_int_equal(kernel_add(&k, &link, &err), 0);
	answer_code(EEXIST);
	assert_int_equal(kernel_add(&k, &link, &err), -1);
	assert_int_equal(err.kind, ERR_CONFLICT);
	answer_code(EOPNOTSUPP);
	assert_int_equal(kernel_add(&k, &link, &err), -1);
	assert_int_equal(err.code, EOPNOTSUPP);
	answer_code(0);
	assert_int_equal(kernel_remove(&k, "wg0", &err), 0);
	answer_code(ENODEV);
	assert_int_equal(kernel_remove(&k, "wg0", &err), -1);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

/* A socket of somebody else: its end is one, and what it passes on late is another's. */
static void
test_adopted(void **state)
{
	struct setup is;
	struct kernel second;

	(void)state;
	assert_int_equal(kernel_adopt(&second, dup(k.generic), FAMILY, &err), 0);
	assert_int_equal(second.route, -1);
	second.sequence = BEFORE;
	next_answer = BEFORE;
	answer_end(NLMSG_DONE, 0, EIO);
	answer_end(NLMSG_DONE, 0, 0);
	setup_init(&is);
	assert_int_equal(kernel_get(&second, "wg0", &is, &err), 0);
	shutdown(script, SHUT_RDWR);
	assert_int_equal(kernel_get(&second, "wg0", &is, &err), -1);
	assert_true(err.code == ECONNRESET || err.code == EPIPE);
	err_clear(&err);
	kernel_close(&second);
}

static void
test_no_memory(void **state)
{
	struct setup s, c;

	(void)state;
	two_peers(&s);
	setup_init(&c);
	add_removal(&c, alice, "10.0.0.0/8");
	sweep_each(each)
	{
		teardown(state);
		setup(state);
		answer_state(&s, 0);
		for (int i = 0; i < 3; i++)
			answer_code(0);
		int rc = kernel_set(&k, "wg0", &c, &err);
		assert_int_equal(rc == 0, !sweep_failed());
		if (rc < 0)
			assert_int_equal(err.kind, ERR_NO_MEMORY);
	}
	setup_fini(&s);
	setup_fini(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_get, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_get_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove_prefix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_remove_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_links, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
