/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's device as overlay looks after it, with a kernel that is a thread. */
#include "overlay/sealed_kernel.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"
#include "overlay/sealed_setup.h"
#include "overlay/wg/kernel_wire.h"
#include "tests/support/sweep.h"
#include "tests/support/wg_setup.h"

enum { FAMILY = 32 };

static const uint8_t alice[SETUP_KEY] = {1}, bob[SETUP_KEY] = {2}, carol[SETUP_KEY] = {3};

/* ---- what is said ---- */

static void
say_peer(struct setup *s, const uint8_t key[SETUP_KEY], const char *endpoint, uint16_t keepalive_s)
{
	struct setup_peer *p = wg_setup_peer(s, key);

	p->has_keepalive = true;
	p->keepalive_s = keepalive_s;
	p->has_endpoint = endpoint != NULL;
	if (endpoint)
		assert_true(addr_parse(endpoint, &p->endpoint));
	wg_setup_prefix(s, p, key == alice ? "10.0.1.0/24" : "10.0.2.0/24");
}

static size_t
count_of(const struct setup *c, const uint8_t key[SETUP_KEY])
{
	size_t count = 0;

	for (size_t i = 0; i < c->peers_count; i++)
		count += memcmp(c->peers[i].public_key, key, SETUP_KEY) == 0;
	return count;
}

/* The last thing that is said of its keepalive is what it is to be. */
static void
check_spoken_to(const struct setup *c, const uint8_t key[SETUP_KEY], uint16_t keepalive_s)
{
	uint16_t before = 0, now = 0;
	bool sent = false;

	for (size_t i = 0; i < c->peers_count; i++) {
		const struct setup_peer *p = &c->peers[i];

		if (memcmp(p->public_key, key, SETUP_KEY) != 0 || !p->has_keepalive)
			continue;
		before = now;
		now = p->keepalive_s;
		sent |= !before && now;
	}
	assert_true(sent);
	assert_int_equal(now, keepalive_s);
}

static void
test_speaks(void **state)
{
	struct setup is, want, change;

	(void)state;
	setup_init(&is);
	setup_init(&want);
	setup_init(&change);
	say_peer(&want, alice, "192.0.2.1:9", 0);
	say_peer(&want, bob, NULL, 25);
	assert_int_equal(sealed_kernel_change(&is, &want, &change), SETUP_OK);
	check_spoken_to(&change, alice, 0);
	assert_int_equal(count_of(&change, bob), 1); /* nobody knows where it is */
	/* What is there already is left alone. */
	wg_setup_apply(&is, &change);
	setup_fini(&change);
	assert_int_equal(sealed_kernel_change(&is, &want, &change), SETUP_OK);
	assert_true(setup_says_nothing(&change));
	/* Another key of this node: its peers hear of it, where they are. */
	want.has_private_key = true;
	want.private_key[5] = 5;
	wg_setup_prefix(&want, wg_setup_peer(&want, carol), "10.0.3.0/24");
	wg_setup_apply(&is, &want);
	is.private_key[5] = 4;
	want.peers[0].has_endpoint = false;
	assert_int_equal(sealed_kernel_change(&is, &want, &change), SETUP_OK);
	assert_true(change.has_private_key);
	check_spoken_to(&change, alice, 0);
	assert_int_equal(count_of(&change, bob), 0);
	assert_int_equal(count_of(&change, carol), 0);
	setup_fini(&is);
	setup_fini(&want);
	setup_fini(&change);
}

/* A node that begins in the largest cluster, and then changes its own key: it speaks to all. */
static void
test_speaks_to_all(void **state)
{
	enum { ALL = SEALED_SETUP_NODES_MAX };
	struct setup is, want, change;
	uint8_t key[SETUP_KEY] = {0};

	(void)state;
	setup_init(&is);
	setup_init(&want);
	setup_init(&change);
	want.has_private_key = true;
	want.private_key[5] = 5;
	for (uint32_t n = 0; n < ALL; n++) {
		struct addr_prefix at = {.bits = 120};

		memcpy(key, &n, sizeof(n));
		key[SETUP_KEY - 1] = 9;
		struct setup_peer *p = wg_setup_peer(&want, key);
		p->has_endpoint = true;
		assert_true(addr_parse("192.0.2.1:9", &p->endpoint));
		memcpy(at.base.ip + 11, &n, sizeof(n));
		at.base.ip[15] = 0;
		at.base.ip[0] = (uint8_t)n;
		assert_int_equal(setup_add_prefix(&want, p, &at, false), SETUP_OK);
	}
	assert_int_equal(sealed_kernel_change(&is, &want, &change), SETUP_OK);
	assert_int_equal(change.peers_count, ALL + 3 * ALL);
	check_spoken_to(&change, key, 0);
	setup_fini(&change);
	assert_int_equal(setup_copy(&want, &is), SETUP_OK);
	want.private_key[5] = 6;
	assert_int_equal(sealed_kernel_change(&is, &want, &change), SETUP_OK);
	assert_int_equal(change.peers_count, 3 * ALL);
	check_spoken_to(&change, key, 0);
	setup_fini(&change);
	setup_fini(&is);
	setup_fini(&want);
}

static void
test_no_memory(void **state)
{
	struct setup is, want, change;

	(void)state;
	setup_init(&is);
	setup_init(&want);
	say_peer(&want, alice, "192.0.2.1:9", 0);
	sweep_each(s)
	{
		setup_init(&change);
		enum setup_rc rc = sealed_kernel_change(&is, &want, &change);

		assert_int_equal(rc == SETUP_NO_MEMORY, sweep_failed());
		setup_fini(&change);
	}
	setup_fini(&want);
}

/* ---- a kernel ---- */

static struct {
	int sock; /* its end */
	pthread_t thread;
	struct setup device;
	atomic_uint asked, changed;
	atomic_int refuses; /* errno */
	atomic_bool silent;
} kernel;

static void
end_answer(uint32_t sequence, uint16_t type, int code)
{
	struct {
		struct nlmsghdr h;
		int code;
	} m = {{sizeof(m), type, 0, sequence, 0}, -code};

	(void)send(kernel.sock, &m, sizeof(m), MSG_NOSIGNAL);
}

static void
tell_device(uint32_t sequence)
{
	static char place[KERNEL_WIRE_MESSAGE_MAX] __attribute__((aligned(8)));
	struct kernel_wire_at at = {0};
	size_t n;

	while ((n = kernel_wire_put_set(place, sequence, FAMILY, "sealed", &kernel.device, &at)) >
	       0)
		(void)send(kernel.sock, place, n, MSG_NOSIGNAL);
	end_answer(sequence, NLMSG_DONE, 0);
}

static void
take_change(const void *message, size_t bytes, uint32_t sequence)
{
	struct setup change;
	struct kernel_wire_answer a = {.sequence = sequence, .family = FAMILY, .state = &change};

	setup_init(&change);
	if (kernel_wire_read(&a, message, bytes) == KERNEL_WIRE_MORE)
		wg_setup_apply(&kernel.device, &change);
	setup_fini(&change);
	kernel.changed++;
	end_answer(sequence, NLMSG_ERROR, kernel.refuses);
}

static void *
serve(void *arg)
{
	static char place[KERNEL_WIRE_MESSAGE_MAX] __attribute__((aligned(8)));
	ssize_t n;

	(void)arg;
	while ((n = recv(kernel.sock, place, sizeof(place), 0)) > 0) {
		const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)place;
		const struct genlmsghdr *g =
			(const struct genlmsghdr *)(const void *)(place + NLMSG_HDRLEN);

		if (kernel.silent)
			continue;
		if (g->cmd == WG_CMD_GET_DEVICE) {
			kernel.asked++;
			tell_device(h->nlmsg_seq);
		} else {
			take_change(place, (size_t)n, h->nlmsg_seq);
		}
	}
	return NULL;
}

/* ---- looking after it ---- */

static struct {
	uv_loop_t loop;
	struct sealed_kernel *k;
	struct setup want;
	bool cannot;
	unsigned looks;
	size_t peers; /* as they were at the last look */
	struct err err;
} s;

static int
want(const struct setup *is, struct setup *out, struct err *err)
{
	(void)is;
	if (s.cannot)
		return err_set(err, ERR_LIMIT, "too many");
	assert_int_equal(setup_copy(&s.want, out), SETUP_OK);
	return 0;
}

static void
looked(const struct setup *is, const struct err *err)
{
	s.looks++;
	s.peers = is->peers_count;
	err_clear(&s.err);
	if (err)
		s.err = *err;
}

static int
setup(void **state)
{
	static const struct sealed_kernel_user user = {.want = want, .looked = looked};
	struct err err = {0};
	int pair[2];

	(void)state;
	memset(&s, 0, sizeof(s));
	memset(&kernel, 0, sizeof(kernel));
	assert_int_equal(kernel_wire_open(&err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	kernel.sock = pair[1];
	assert_int_equal(pthread_create(&kernel.thread, NULL, serve, NULL), 0);
	assert_int_equal(uv_loop_init(&s.loop), 0);
	s.k = sealed_kernel_new(&s.loop, &user, pair[0], FAMILY, &err);
	assert_non_null(s.k);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	sealed_kernel_close(s.k);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s.loop), 0);
	shutdown(kernel.sock, SHUT_RDWR);
	pthread_join(kernel.thread, NULL);
	close(kernel.sock);
	setup_fini(&kernel.device);
	setup_fini(&s.want);
	return 0;
}

/* Until what is under way is done. */
static void
look(void)
{
	sealed_kernel_look(s.k);
	uv_run(&s.loop, UV_RUN_DEFAULT);
}

static void
test_looks(void **state)
{
	struct setup is;
	struct err err = {0};

	(void)state;
	say_peer(&s.want, alice, "192.0.2.1:9", 0);
	assert_false(sealed_kernel_stands(s.k));
	look();
	assert_int_equal(s.looks, 1);
	assert_int_equal(s.err.kind, 0);
	assert_int_equal(s.peers, 0);
	assert_true(sealed_kernel_stands(s.k));
	assert_int_equal(kernel.changed, 1);
	/* It is as it is to be. */
	look();
	assert_int_equal(s.looks, 2);
	assert_int_equal(s.peers, 1);
	assert_int_equal(kernel.changed, 1);
	setup_init(&is);
	assert_int_equal(sealed_kernel_state(s.k, &is, &err), 0);
	assert_int_equal(is.peers_count, 1);
	assert_int_equal(is.peers[0].prefixes_count, 1);
	setup_fini(&is);
	sweep_each(sweep)
	{
		setup_init(&is);
		int rc = sealed_kernel_state(s.k, &is, &err);

		assert_int_equal(rc == -1 && err.kind == ERR_NO_MEMORY, sweep_failed());
		err_clear(&err);
		setup_fini(&is);
	}
}

/* However often it is asked for meanwhile. */
static void
test_one_at_a_time(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		sealed_kernel_look(s.k);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	assert_int_equal(s.looks, 2);
	assert_int_equal(kernel.asked, 2);
}

static void
test_refusals(void **state)
{
	(void)state;
	say_peer(&s.want, alice, "192.0.2.1:9", 0);
	s.cannot = true;
	look();
	assert_int_equal(s.err.kind, ERR_LIMIT);
	assert_false(sealed_kernel_stands(s.k));
	s.cannot = false;
	kernel.refuses = EPERM;
	look();
	assert_int_equal(s.err.code, EPERM);
	assert_false(sealed_kernel_stands(s.k));
	/* It served once: it does so still, as far as anybody knows. */
	kernel.refuses = 0;
	look();
	assert_true(sealed_kernel_stands(s.k));
	shutdown(kernel.sock, SHUT_RDWR);
	look();
	assert_int_equal(s.looks, 4);
	assert_int_not_equal(s.err.kind, 0);
	assert_true(sealed_kernel_stands(s.k));
}

/* Nobody waits for an answer then, and nobody is called. */
static void
test_closed_meanwhile(void **state)
{
	(void)state;
	kernel.silent = true;
	sealed_kernel_look(s.k);
	sealed_kernel_close(s.k);
	s.k = NULL;
	uv_run(&s.loop, UV_RUN_DEFAULT);
	assert_int_equal(s.looks, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_speaks),
		cmocka_unit_test(test_speaks_to_all),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test_setup_teardown(test_looks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_at_a_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_meanwhile, setup, teardown),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("sealed_kernel", tests, NULL, NULL);
}
