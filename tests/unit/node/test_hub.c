/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub with this test at the far end of every leash: who learns of whom, what is routed, what
 * is refused.
 */
#include "node/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "tests/support/sweep.h"

struct world {
	uv_loop_t loop;
	struct ring_writer *own;
	struct hub *hub;
	unsigned ready, broken, asked, stirred;
};

struct far {
	int leash;
	struct ring_writer *segment;
	struct hub_member *member;
	unsigned role;
	uint32_t generation;
};

static struct world w;

static void
on_ready(void *arg, struct hub_member *member, uint64_t abi)
{
	(void)member;
	assert_int_equal(abi, 7);
	((struct world *)arg)->ready++;
}

static void
on_broken(void *arg, struct hub_member *member, const char *why)
{
	(void)member;
	(void)why;
	((struct world *)arg)->broken++;
}

static void
on_asked(void *arg, struct hub_member *member, const struct leash_message *message, int *fds,
	 size_t count)
{
	(void)member;
	(void)fds;
	(void)count;
	assert_true(message->kind == LEASH_KEEP || message->kind == LEASH_SPOOL);
	((struct world *)arg)->asked++;
}

static void
on_stirred(void *arg, struct ring_reader *scheduler)
{
	assert_non_null(scheduler);
	((struct world *)arg)->stirred++;
}

static const struct hub_events events = {on_ready, on_broken, on_asked, on_stirred};

static struct ring_writer *
segment_new(unsigned role, uint32_t generation)
{
	struct err err = {0};
	struct ring_writer *writer;
	struct ring_layout layout = {
		.role = (uint16_t)role,
		.generation = generation,
		.metric_series = 4,
	};

	assert_int_equal(ring_writer_new(&layout, &writer, &err), 0);
	return writer;
}

static int
set_up(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	uv_loop_init(&w.loop);
	w.own = segment_new(ROLE_NODE, 1);
	w.hub = hub_new(&w.loop, w.own, 1, &events, &w);
	assert_non_null(w.hub);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	hub_free(w.hub);
	ring_writer_free(w.own);
	uv_run(&w.loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w.loop), 0);
	return 0;
}

static void
turn(void)
{
	for (int i = 0; i < 3; i++)
		uv_run(&w.loop, UV_RUN_NOWAIT);
}

static void
far_open(struct far *f, unsigned role, uint32_t generation)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f->role = role;
	f->generation = generation;
	f->leash = pair[1];
	fd_nonblock(f->leash, true);
	f->segment = segment_new(role, generation);
	f->member = hub_add(w.hub, role, 0, generation, pair[0], f);
	assert_non_null(f->member);
}

static void
far_send(struct far *f, enum leash_kind kind, unsigned to, int fd)
{
	struct leash_message m;

	leash_init(&m, kind);
	m.to_role = (uint16_t)to;
	m.from_role = ROLE_NODE; /* a lie */
	m.id = 77;
	m.a = 7;
	assert_int_equal(leash_send(f->leash, &m, &fd, fd >= 0 ? 1 : 0), 0);
	turn();
}

static void
far_announce(struct far *f)
{
	far_send(f, LEASH_SEGMENT, 0, ring_writer_fd(f->segment));
}

static void
far_close(struct far *f)
{
	if (f->member)
		hub_remove(f->member);
	turn();
	fd_close(&f->leash);
	ring_writer_free(f->segment);
}

/* The next message; 0 when there is none. Descriptors are closed. */
static enum leash_kind
far_next(struct far *f, struct leash_message *m)
{
	int fds[FD_PASS_MAX];
	size_t count = 0;

	if (leash_recv(f->leash, m, fds, FD_PASS_MAX, &count) < 0) {
		assert_true(errno == EAGAIN || errno == ECONNRESET);
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
	return (enum leash_kind)m->kind;
}

/* Counts messages of a kind about a role. */
static unsigned
far_count(struct far *f, enum leash_kind kind, unsigned about)
{
	struct leash_message m;
	enum leash_kind got;
	unsigned count = 0;

	while ((got = far_next(f, &m)))
		count += got == kind && (!about || m.peer_role == about);
	return count;
}

static void
test_segments_go_to_their_readers(void **state)
{
	struct far scheduler, proxy, probe;
	struct leash_message m;

	(void)state;
	far_open(&scheduler, ROLE_SCHEDULER, 2);
	far_open(&proxy, ROLE_PROXY, 3);
	far_open(&probe, ROLE_PROBE, 4);
	far_announce(&scheduler);
	/* node's own segment. */
	assert_int_equal(far_count(&scheduler, LEASH_PEER, ROLE_NODE), 1);
	/* The proxy has not said that it lives: it is not bothered. */
	assert_int_equal(far_next(&proxy, &m), 0);
	far_announce(&proxy);
	assert_int_equal(far_next(&proxy, &m), LEASH_KICK);
	assert_int_equal(m.peer_role, ROLE_SCHEDULER);
	assert_int_equal(far_next(&proxy, &m), LEASH_PEER);
	assert_int_equal(m.peer_role, ROLE_SCHEDULER);
	assert_int_equal(m.a, 2);
	assert_int_equal(far_next(&proxy, &m), 0);
	assert_int_equal(far_count(&scheduler, LEASH_PEER, ROLE_PROXY), 1);
	far_announce(&probe);
	/* probe and proxy do not read each other. */
	assert_int_equal(far_next(&proxy, &m), 0);
	hub_remove(scheduler.member);
	scheduler.member = NULL;
	assert_int_equal(far_next(&proxy, &m), LEASH_PEER_GONE);
	assert_int_equal(m.a, 2);
	assert_int_equal(far_next(&proxy, &m), LEASH_KICK_GONE);
	far_close(&scheduler);
	far_close(&proxy);
	far_close(&probe);
}

/* The way on which the scheduler wakes node. */
static int
far_wake(struct far *f)
{
	int found = -1, fds[FD_PASS_MAX];
	struct leash_message m;
	size_t count = 0;

	while (leash_recv(f->leash, &m, fds, FD_PASS_MAX, &count) == 0) {
		for (size_t i = 0; i < count; i++) {
			if (m.kind == LEASH_KICK && m.peer_role == ROLE_NODE)
				found = fd_take(&fds[i]);
			fd_close(&fds[i]);
		}
	}
	return found;
}

static void
test_scheduler_wakes_node_and_no_more(void **state)
{
	struct far scheduler;
	char many[4096] = {0};

	(void)state;
	far_open(&scheduler, ROLE_SCHEDULER, 2);
	far_announce(&scheduler);
	int wake = far_wake(&scheduler);
	assert_true(wake >= 0);
	unsigned before = w.stirred;
	assert_true(write(wake, many, sizeof(many)) > 0);
	turn();
	assert_int_equal(w.stirred, before + 1);
	/* An end that is closed is ready for ever: node must not be busy with it. */
	fd_close(&wake);
	turn();
	before = w.stirred;
	turn();
	turn();
	assert_int_equal(w.stirred, before);
	far_close(&scheduler);
}

static void
test_what_is_not_permitted_is_dropped(void **state)
{
	struct far scheduler, proxy, api;
	struct leash_message m;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	far_open(&scheduler, ROLE_SCHEDULER, 2);
	far_open(&proxy, ROLE_PROXY, 3);
	far_open(&api, ROLE_API, 4);
	/* A proxy may not hand anything to the scheduler, keep keys, or ask for files. */
	far_send(&proxy, LEASH_DELIVER, ROLE_SCHEDULER, fd);
	far_send(&proxy, LEASH_TICKETS, ROLE_PROXY, fd);
	far_send(&proxy, LEASH_KEEP, 0, fd);
	far_send(&proxy, LEASH_SPOOL, 0, -1);
	/* Nobody may speak as node. */
	far_send(&proxy, LEASH_STOP, ROLE_SCHEDULER, -1);
	far_send(&api, LEASH_CONFIG, ROLE_SCHEDULER, fd);
	assert_int_equal(hub_dropped(w.hub), 6);
	assert_int_equal(w.asked, 0);
	assert_int_equal(far_next(&scheduler, &m), 0);
	/* What the table permits arrives, with the true sender. */
	far_send(&api, LEASH_DELIVER, ROLE_SCHEDULER, fd);
	assert_int_equal(far_next(&scheduler, &m), LEASH_DELIVER);
	assert_int_equal(m.from_role, ROLE_API);
	assert_int_equal(m.id, 77);
	far_send(&api, LEASH_SPOOL, 0, -1);
	assert_int_equal(w.asked, 1);
	/* To somebody who is not there. */
	far_send(&api, LEASH_DELIVER, ROLE_RUNTIME, fd);
	assert_int_equal(hub_dropped(w.hub), 7);
	assert_int_equal(w.broken, 0);
	far_close(&scheduler);
	far_close(&proxy);
	far_close(&api);
	close(fd);
}

static void
test_malformed_is_dropped(void **state)
{
	struct far proxy;
	char junk[256] = {1, 2, 3};

	(void)state;
	far_open(&proxy, ROLE_PROXY, 3);
	assert_int_equal(send(proxy.leash, junk, sizeof(junk), 0), sizeof(junk));
	assert_int_equal(send(proxy.leash, junk, 10, 0), 10);
	turn();
	assert_int_equal(hub_dropped(w.hub), 2);
	assert_int_equal(w.broken, 0);
	far_close(&proxy);
}

static void
test_segment_must_be_its_own(void **state)
{
	struct far proxy, probe;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	far_open(&proxy, ROLE_PROXY, 3);
	far_open(&probe, ROLE_PROBE, 4);
	far_send(&proxy, LEASH_SEGMENT, 0, fd);
	far_send(&proxy, LEASH_SEGMENT, 0, ring_writer_fd(probe.segment));
	assert_int_equal(hub_dropped(w.hub), 2);
	assert_null(hub_reader(proxy.member));
	far_announce(&proxy);
	assert_non_null(hub_reader(proxy.member));
	/* Only once. */
	far_announce(&proxy);
	assert_int_equal(hub_dropped(w.hub), 3);
	far_close(&proxy);
	far_close(&probe);
	close(fd);
}

static void
test_tickets_reach_late_proxies(void **state)
{
	struct far signer, proxy;
	struct leash_message m;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct leash_message all;

	(void)state;
	far_open(&signer, ROLE_SIGNER, 2);
	leash_init(&all, LEASH_TICKETS);
	all.to_role = ROLE_PROXY;
	all.to_index = LEASH_ALL;
	assert_int_equal(leash_send(signer.leash, &all, &fd, 1), 0);
	turn();
	far_open(&proxy, ROLE_PROXY, 3);
	far_announce(&proxy);
	unsigned tickets = 0;
	for (enum leash_kind kind; (kind = far_next(&proxy, &m));)
		tickets += kind == LEASH_TICKETS;
	assert_int_equal(tickets, 1);
	far_close(&signer);
	far_close(&proxy);
	close(fd);
}

static void
test_end_and_ready(void **state)
{
	struct far probe;

	(void)state;
	far_open(&probe, ROLE_PROBE, 2);
	far_send(&probe, LEASH_READY, 0, -1);
	assert_int_equal(w.ready, 1);
	fd_close(&probe.leash);
	turn();
	turn();
	assert_int_equal(w.broken, 1);
	far_close(&probe);
}

static void
test_stuck_role_is_found(void **state)
{
	struct far probe;
	struct leash_message m;

	(void)state;
	far_open(&probe, ROLE_PROBE, 2);
	leash_init(&m, LEASH_STOP);
	/* Until the socket and then the queue are full. */
	for (int i = 0; i < 100 * HUB_QUEUE_MAX && !w.broken; i++)
		hub_send(probe.member, &m, NULL, 0);
	assert_int_equal(w.broken, 1);
	far_close(&probe);
}

static void
test_no_memory(void **state)
{
	(void)state;
	sweep_each(run)
	{
		int pair[2];
		struct hub *hub = hub_new(&w.loop, w.own, 1, &events, &w);

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		struct hub_member *member =
			hub ? hub_add(hub, ROLE_PROBE, 0, 2, pair[0], NULL) : NULL;
		assert_int_equal(member == NULL, sweep_failed());
		if (!hub)
			close(pair[0]);
		if (member)
			hub_remove(member);
		hub_free(hub);
		turn();
		close(pair[1]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_segments_go_to_their_readers, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_scheduler_wakes_node_and_no_more, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_not_permitted_is_dropped, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_malformed_is_dropped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_segment_must_be_its_own, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tickets_reach_late_proxies, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_and_ready, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_stuck_role_is_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
