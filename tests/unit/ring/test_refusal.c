/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/refusal.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { CLIENTS = 3 };

static struct {
	uv_tcp_t listener;
	struct refusal refusal;
	bool poor;
	uv_tcp_t accepted;
	unsigned told, closed;
} server;

struct client {
	uv_tcp_t tcp;
	uv_connect_t request;
	char byte;
	bool ended;
};

static void
was_connected(uv_stream_t *listener, int status)
{
	assert_int_equal(status, 0);
	server.told++;
	if (server.poor) {
		refusal_take(&server.refusal, listener, was_connected);
		return;
	}
	uv_tcp_init(listener->loop, &server.accepted);
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&server.accepted), 0);
	uv_close((uv_handle_t *)&server.accepted, NULL);
}

static void
give_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
	struct client *c = handle->data;

	(void)suggested;
	*out = uv_buf_init(&c->byte, 1);
}

static void
was_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct client *c = stream->data;

	(void)buf;
	assert_true(n < 0); /* the end, or a reset */
	c->ended = true;
	server.closed++;
	uv_close((uv_handle_t *)stream, NULL);
}

static void
could_connect(uv_connect_t *request, int status)
{
	struct client *c = request->data;

	assert_int_equal(status, 0);
	assert_int_equal(uv_read_start((uv_stream_t *)&c->tcp, give_memory, was_read), 0);
}

static void
connect_to(uv_loop_t *loop, struct client *c, const struct sockaddr_in *at)
{
	*c = (struct client){0};
	uv_tcp_init(loop, &c->tcp);
	c->tcp.data = c->request.data = c;
	assert_int_equal(
		uv_tcp_connect(&c->request, &c->tcp, (const struct sockaddr *)at, could_connect),
		0);
}

/* Several that come together are all turned away, and then there is memory again. */
static void
test_turns_away(void **state)
{
	struct client clients[CLIENTS], last;
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int bytes = sizeof(at);
	uv_loop_t loop;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	uv_tcp_init(&loop, &server.listener);
	assert_int_equal(uv_tcp_bind(&server.listener, (struct sockaddr *)&at, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&server.listener, 16, was_connected), 0);
	assert_int_equal(uv_tcp_getsockname(&server.listener, (struct sockaddr *)&at, &bytes), 0);
	server.poor = true;
	for (int i = 0; i < CLIENTS; i++)
		connect_to(&loop, &clients[i], &at);
	while (server.closed < CLIENTS)
		uv_run(&loop, UV_RUN_ONCE);
	assert_true(server.told >= CLIENTS);
	server.poor = false;
	connect_to(&loop, &last, &at);
	while (!last.ended)
		uv_run(&loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&server.listener, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
