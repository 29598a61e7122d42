/* SPDX-License-Identifier: Apache-2.0 */
/* The scrape server against clients that are good, wrong, or come when there is no memory. */
#include "observability/scrape.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/mem.h"

static uv_loop_t loop;
static struct sockaddr_in address = {.sin_family = AF_INET};
static char got[65536];

static bool not_ready;

static bool
ready(void *arg)
{
	(void)arg;
	return !not_ready;
}

static bool
render(void *arg, enum exposition_format format, struct buf *out)
{
	(void)arg;
	buf_puts(out, format == EXPOSITION_OPENMETRICS ? "open" : "classic");
	return true;
}

static int listener;

static void
begin_with(int fd)
{
	struct err err = {0};

	listener = fd;
	assert_int_equal(scrape_listen(&loop, fd, ready, render, NULL, &err), 0);
}

static int
start(void **state)
{
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	address.sin_port = 0;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(uv_loop_init(&loop), 0);
	begin_with(fd);
	return 0;
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void
count_handle(uv_handle_t *handle, void *arg)
{
	(void)handle;
	(*(unsigned *)arg)++;
}

static int
stop_all(void **state)
{
	(void)state;
	uv_walk(&loop, close_handle, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

/* All clients have left; the server sees that first. */
static int
stop(void **state)
{
	unsigned count = 0;

	uv_walk(&loop, count_handle, &count);
	while (count > 2) { /* the listener, and a timer of the server's */
		uv_run(&loop, UV_RUN_ONCE);
		count = 0;
		uv_walk(&loop, count_handle, &count);
	}
	return stop_all(state);
}

static int
dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* Runs the server until the client has seen the end, or all of an answer with `until` in it. */
static const char *
read_answer(int fd, const char *until)
{
	size_t length = 0;

	for (;;) {
		ssize_t n = recv(fd, got + length, sizeof(got) - 1 - length, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		length += n > 0 ? (size_t)n : 0;
		got[length] = 0;
		if (until && strstr(got, until))
			break;
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	got[length] = 0;
	return got;
}

static const char *
ask(const char *request, const char *until)
{
	int fd = dial();
	const char *answer;

	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	answer = read_answer(fd, until);
	close(fd);
	return answer;
}

static void
test_answers(void **state)
{
	static char head[SCRAPE_HEAD_BYTES + 100] = "GET /metrics HTTP/1.1\r\nhost: a\r\nx: ";

	(void)state;
	assert_non_null(
		strstr(ask("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "classic"), " 200 "));
	assert_non_null(strstr(ask("GET /metrics HTTP/1.1\r\nhost: a\r\n"
				   "accept: application/openmetrics-text\r\n\r\n",
				   "open"),
			       "openmetrics-text"));
	assert_non_null(strstr(ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", NULL),
			       " 404 "));
	assert_non_null(
		strstr(ask("POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx", NULL),
		       " 405 "));
	assert_non_null(strstr(ask("nonsense\r\n\r\n", NULL), " 400 "));
	memset(head + strlen(head), 'y', sizeof(head) - strlen(head) - 1);
	assert_non_null(strstr(ask(head, NULL), " 431 "));
}

/* A connection that found no memory ends; the next one is served. */
static void
test_no_memory_for_a_connection(void **state)
{
	int first = dial(), second = dial();

	(void)state;
	mem_fail_after(0);
	assert_string_equal(read_answer(first, NULL), "");
	assert_int_equal(mem_failures(), 1);
	mem_fail_after(-1);
	close(first);
	close(second);
	assert_non_null(
		strstr(ask("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "classic"), " 200 "));
}

/* More clients than there is room for: the rest are turned away, and places become free again. */
static void
test_too_many(void **state)
{
	int fds[SCRAPE_CONNECTIONS_MAX + 1];
	size_t count = sizeof(fds) / sizeof(fds[0]);

	(void)state;
	for (size_t i = 0; i < count; i++)
		fds[i] = dial();
	assert_string_equal(read_answer(fds[count - 1], NULL), "");
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	for (unsigned tries = 0; tries < 1000; tries++) {
		if (strstr(ask("GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n", "classic"), " 200 "))
			return;
	}
	fail();
}

static void
has_left(void *arg)
{
	(*(unsigned *)arg)++;
}

static void
run_until(const unsigned *flag)
{
	for (int i = 0; i < 2000 && *flag == 0; i++)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(*flag, 1);
}

static void
send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Whoever was accepted is answered; who dials later waits in the queue, which is another's, too. */
static void
test_leaving(void **state)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n";
	int silent, half, idle, late, queue;
	unsigned left = 0;

	(void)state;
	queue = dup(listener);
	silent = dial();
	half = dial();
	send_text(half, "GET /metrics HTTP/1.1\r\nho");
	idle = dial();
	send_text(idle, request);
	assert_null(strstr(read_answer(idle, "classic"), "connection: close"));
	scrape_stop(&loop, 600000, has_left, &left);
	late = dial();
	send_text(late, request);
	send_text(silent, request);
	assert_non_null(strstr(read_answer(silent, NULL), "connection: close"));
	assert_non_null(strstr(got, "classic"));
	assert_string_equal(read_answer(idle, NULL),
			    ""); /* it had its answer, and asked for no more */
	assert_int_equal(left, 0);
	send_text(half, "st: a\r\n\r\n");
	assert_non_null(strstr(read_answer(half, NULL), " 200 "));
	run_until(&left);
	uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(recv(late, got, sizeof(got), 0), -1);
	assert_int_equal(errno, EAGAIN);
	begin_with(queue);
	assert_non_null(strstr(read_answer(late, "classic"), " 200 "));
	/* Who says nothing is not waited for longer than that. */
	left = 0;
	scrape_stop(&loop, 1, has_left, &left);
	run_until(&left);
	assert_string_equal(read_answer(late, NULL), "");
	close(silent);
	close(half);
	close(idle);
	close(late);
}

/* What comes too early waits, also when the process is to leave meanwhile. */
static void
test_not_ready(void **state)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n";
	static const char head[] = "HEAD /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
	int first = dial(), second = dial(), gone = dial();
	unsigned left = 0;

	(void)state;
	not_ready = true;
	send_text(first, request);
	send_text(first, request); /* both are answered */
	send_text(second, head);
	send_text(gone, request);
	for (int i = 0; i < 10; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(recv(first, got, sizeof(got), 0), -1);
	close(gone);
	/* What needs no metrics is answered meanwhile. */
	assert_non_null(strstr(ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", NULL),
			       " 404 "));
	not_ready = false;
	assert_non_null(strstr(read_answer(second, NULL), " 200 "));
	assert_null(strstr(got, "classic"));
	const char *answer = strstr(read_answer(first, "classicHTTP"), "classic");
	assert_non_null(answer);
	if (!strstr(answer + 1, "classic"))
		assert_non_null(strstr(read_answer(first, "classic"), "classic"));
	not_ready = true;
	send_text(first, request);
	for (int i = 0; i < 10; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	scrape_stop(&loop, 600000, has_left, &left);
	uv_run(&loop, UV_RUN_NOWAIT);
	not_ready = false;
	assert_non_null(strstr(read_answer(first, NULL), "connection: close"));
	assert_non_null(strstr(got, "classic"));
	run_until(&left);
	close(first);
	close(second);
}

static void
test_leaving_with_no_one(void **state)
{
	unsigned left = 0;

	(void)state;
	scrape_stop(&loop, 600000, has_left, &left);
	assert_int_equal(left, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answers, start, stop),
		cmocka_unit_test_setup_teardown(test_no_memory_for_a_connection, start, stop),
		cmocka_unit_test_setup_teardown(test_too_many, start, stop),
		cmocka_unit_test_setup_teardown(test_leaving, start, stop_all),
		cmocka_unit_test_setup_teardown(test_leaving_with_no_one, start, stop_all),
		cmocka_unit_test_setup_teardown(test_not_ready, start, stop_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
