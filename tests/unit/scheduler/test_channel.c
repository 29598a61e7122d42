/* SPDX-License-Identifier: Apache-2.0 */
/* Two ends on one loop, over the loopback. */
#include "scheduler/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/world.h"
#include "tests/support/channel_node.h"

enum { BIG = 3 << 20 };

struct end {
	struct channel *c;
	bool up, down, keep_open;
	struct err why;
	enum channel_standing standing;
	enum channel_kind kind;
	struct identity who;
	uint64_t received, hash;
	unsigned rooms;
};

struct scene {
	uv_loop_t loop;
	uv_timer_t alarm;
	uv_poll_t listener;
	int listen_fd;
	struct addr address;
	struct channel_node *server;
	struct end server_end, client_end;
	bool late;
};

static struct identity_authority authority, foreign;

static void
on_up(void *arg, struct channel *c)
{
	struct end *e = arg;

	assert_ptr_equal(e->c, c);
	assert_false(e->up);
	e->up = true;
	e->standing = channel_standing(c);
	e->kind = channel_kind(c);
	e->who = *channel_peer(c);
}

static void
on_data(void *arg, struct channel *c, const void *data, size_t bytes)
{
	struct end *e = arg;
	const uint8_t *p = data;

	(void)c;
	assert_true(e->up && !e->down);
	for (size_t i = 0; i < bytes; i++)
		e->hash = e->hash * 31 + p[i];
	e->received += bytes;
}

static void
on_room(void *arg, struct channel *c)
{
	struct end *e = arg;

	(void)c;
	e->rooms++;
}

static void
on_down(void *arg, struct channel *c, const struct err *why)
{
	struct end *e = arg;

	(void)c;
	assert_false(e->down);
	e->down = true;
	e->why = *why;
	e->c = NULL;
}

static const struct channel_calls calls = {on_up, on_data, on_room, on_down};

static void
arrived(uv_poll_t *poll, int status, int events)
{
	struct scene *s = poll->data;
	struct err err = {0};
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	assert_int_equal(channel_accept(&s->loop, s->server->rules, fd, &calls, &s->server_end,
					&s->server_end.c, &err),
			 0);
}

static void
too_late(uv_timer_t *timer)
{
	struct scene *s = timer->data;

	s->late = true;
}

static void
begin(struct scene *s, struct channel_node *server)
{
	memset(s, 0, sizeof(*s));
	s->server = server;
	assert_int_equal(uv_loop_init(&s->loop), 0);
	s->listen_fd = channel_node_listen(&s->loop, &s->listener, arrived, s, &s->address);
	uv_timer_init(&s->loop, &s->alarm);
	s->alarm.data = s;
	uv_timer_start(&s->alarm, too_late, 60000, 0);
}

static void
finish(struct scene *s)
{
	channel_abort(s->server_end.c);
	channel_abort(s->client_end.c);
	uv_close((uv_handle_t *)&s->listener, NULL);
	uv_close((uv_handle_t *)&s->alarm, NULL);
	uv_run(&s->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&s->loop), 0);
	close(s->listen_fd);
}

static void
dial(struct scene *s, struct channel_node *client, uint32_t wanted, enum channel_kind kind)
{
	struct err err = {0};

	assert_int_equal(channel_connect(&s->loop, client->rules, &s->address, wanted, kind, &calls,
					 &s->client_end, &s->client_end.c, &err),
			 0);
}

#define WAIT(s, condition)                               \
	do {                                             \
		while (!(condition) && !(s)->late)       \
			uv_run(&(s)->loop, UV_RUN_ONCE); \
		assert_true(condition);                  \
	} while (0)

static void
test_members_talk(void **state)
{
	struct scene s;
	struct channel_node a, b;
	uint8_t *big = malloc(BIG);
	uint64_t hash = 0;

	(void)state;
	channel_node_make(&a, 1, &authority, NULL, 0);
	channel_node_make(&b, 2, &authority, NULL, 0);
	begin(&s, &a);
	dial(&s, &b, 1, CHANNEL_GOSSIP);
	WAIT(&s, s.server_end.up && s.client_end.up);
	assert_int_equal(s.server_end.who.node, 2);
	assert_int_equal(s.server_end.kind, CHANNEL_GOSSIP);
	assert_int_equal(s.server_end.standing, CHANNEL_MEMBER);
	assert_int_equal(s.client_end.who.node, 1);
	for (size_t i = 0; i < BIG; i++) {
		big[i] = (uint8_t)(i * 7 + i / 251);
		hash = hash * 31 + big[i];
	}
	assert_true(channel_write(s.client_end.c, big, BIG));
	assert_true(channel_write(s.server_end.c, "back", 4));
	WAIT(&s, s.server_end.received == BIG && s.client_end.received == 4);
	assert_true(s.server_end.hash == hash);
	WAIT(&s, s.client_end.rooms > 0);
	/* A close sends what was written first. */
	assert_true(channel_write(s.client_end.c, big, BIG));
	channel_close(s.client_end.c);
	s.client_end.c = NULL;
	WAIT(&s, s.server_end.down);
	assert_true(s.server_end.received == 2 * BIG);
	assert_int_equal(s.server_end.why.kind, ERR_NONE);
	assert_false(s.client_end.down);
	finish(&s);
	channel_node_free(&a);
	channel_node_free(&b);
	free(big);
}

static void
test_another_node_answers(void **state)
{
	struct scene s;
	struct channel_node a, b;

	(void)state;
	channel_node_make(&a, 1, &authority, NULL, 0);
	channel_node_make(&b, 2, &authority, NULL, 0);
	begin(&s, &a);
	dial(&s, &b, 9, CHANNEL_GOSSIP);
	WAIT(&s, s.client_end.down);
	assert_int_equal(s.client_end.why.kind, ERR_DENIED);
	assert_false(s.client_end.up);
	finish(&s);
	channel_node_free(&a);
	channel_node_free(&b);
}

static void
refused(struct channel_node *server, struct channel_node *client, enum channel_kind kind)
{
	struct scene s;

	begin(&s, server);
	dial(&s, client, 0, kind);
	WAIT(&s, s.client_end.down);
	assert_false(s.server_end.up);
	finish(&s);
}

static void
test_other_clusters_are_refused(void **state)
{
	struct channel_node a, b;

	(void)state;
	channel_node_make(&a, 1, &authority, NULL, 0);
	channel_node_make(&b, 2, &foreign, NULL, 0);
	refused(&a, &b, CHANNEL_GOSSIP);
	refused(&a, &b, CHANNEL_ADMISSION);
	refused(&b, &a, CHANNEL_GOSSIP);
	channel_node_free(&a);
	channel_node_free(&b);
}

static void
test_strangers_may_only_ask_to_join(void **state)
{
	struct scene s;
	struct channel_node a, b, lost;

	(void)state;
	channel_node_make(&a, 1, &authority, NULL, 0);
	channel_node_make(&b, 0, NULL, authority.cluster, 0);
	channel_node_make(&lost, 0, NULL, foreign.cluster, 0);
	refused(&a, &b, CHANNEL_GOSSIP);
	refused(&a, &lost, CHANNEL_ADMISSION); /* the ticket was for another cluster */
	begin(&s, &a);
	dial(&s, &b, 0, CHANNEL_ADMISSION);
	WAIT(&s, s.server_end.up && s.client_end.up);
	assert_int_equal(s.server_end.standing, CHANNEL_STRANGER);
	assert_memory_equal(s.server_end.who.sign_public, b.keys.sign_public, IDENTITY_KEY);
	assert_int_equal(s.server_end.who.node, 0);
	assert_int_equal(s.client_end.who.node, 1);
	finish(&s);
	channel_node_free(&a);
	channel_node_free(&b);
	channel_node_free(&lost);
}

static void
test_lapsed_members_may_only_renew(void **state)
{
	struct scene s;
	struct channel_node a, b;

	(void)state;
	channel_node_make(&a, 1, &authority, NULL, 0);
	channel_node_make(&b, 2, &authority, NULL, 365 * 86400);
	refused(&a, &b, CHANNEL_GOSSIP);
	refused(&b, &a, CHANNEL_GOSSIP);
	begin(&s, &a);
	dial(&s, &b, 1, CHANNEL_ADMISSION);
	WAIT(&s, s.server_end.up && s.client_end.up);
	assert_int_equal(s.server_end.standing, CHANNEL_LAPSED);
	assert_int_equal(s.server_end.who.node, 2);
	finish(&s);
	channel_node_free(&a);
	channel_node_free(&b);
}

static void
test_nobody_there(void **state)
{
	struct scene s;
	struct channel_node a;

	(void)state;
	channel_node_make(&a, 1, &authority, NULL, 0);
	begin(&s, &a);
	uv_poll_stop(&s.listener);
	shutdown(s.listen_fd, SHUT_RDWR);
	dial(&s, &a, 0, CHANNEL_GOSSIP);
	WAIT(&s, s.client_end.down);
	assert_int_equal(s.client_end.why.kind, ERR_UNREACHABLE);
	finish(&s);
	channel_node_free(&a);
}

static void
test_rubbish(void **state)
{
	struct scene s;
	struct channel_node a;
	struct sockaddr_storage sa;

	(void)state;
	channel_node_make(&a, 1, &authority, NULL, 0);
	begin(&s, &a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = addr_to_sockaddr(&s.address, &sa);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, length), 0);
	assert_int_equal(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
	WAIT(&s, s.server_end.down);
	assert_false(s.server_end.up);
	close(fd);
	finish(&s);
	channel_node_free(&a);
}

static int
setup(void **state)
{
	struct err err = {0};
	int64_t now = world_wall_ns() / 1000000000 - 400 * INT64_C(86400);

	(void)state;
	assert_int_equal(identity_authority_create(&authority, now, &err), 0);
	assert_int_equal(identity_authority_create(&foreign, now, &err), 0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	identity_authority_fini(&authority);
	identity_authority_fini(&foreign);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_members_talk),
		cmocka_unit_test(test_another_node_answers),
		cmocka_unit_test(test_other_clusters_are_refused),
		cmocka_unit_test(test_strangers_may_only_ask_to_join),
		cmocka_unit_test(test_lapsed_members_may_only_renew),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_rubbish),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
