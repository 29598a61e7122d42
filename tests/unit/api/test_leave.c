/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The api is told to leave, and its successor takes over. That it was told is seen by an event
 * stream: it ends then, and no other step has come.
 */
#include "api/leave.h"

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
#include "tests/unit/api/rig.h"
#include "wire/ws.h"

enum { LONG_MS = 60000, SHORT_MS = 20 };

static const char keeps[] = "GET /v1/deployments HTTP/1.1\r\nhost: x\r\n\r\n";

static void
begin(uint64_t linger_ms, uint64_t drain_ms)
{
	const struct api_times times = {.linger_ms = linger_ms, .drain_ms = drain_ms};

	assert_int_equal(rig_begin(&times), 0);
	rig_wait_ready();
}

/* Of a connection that goes on. */
static void
read_until(int fd, const char *until)
{
	size_t length = 0;
	ssize_t n;

	do {
		n = recv(fd, rig_answer + length, sizeof(rig_answer) - 1 - length, 0);
		assert_true(n > 0);
		length += (size_t)n;
		rig_answer[length] = 0;
	} while (!strstr(rig_answer, until));
}

static void
ask_and_keep(int fd)
{
	rig_send(fd, keeps);
	read_until(fd, "\"shop\"");
	assert_null(strstr(rig_answer, "connection: close"));
}

/* Whoever dialed before has been accepted. */
static void
all_are_accepted(void)
{
	assert_int_equal(rig_ask("GET", "/healthz", "", NULL), 200);
}

static void
tell_to_leave(void)
{
	int events = rig_ask_begin("GET", "/v1/events/stream");

	read_until(events, "event-stream");
	rig_tell('l');
	assert_int_equal(recv(events, rig_answer, 1, MSG_PEEK), 1);
	(void)rig_ask_end(events);
	assert_non_null(strstr(rig_answer, "0\r\n\r\n"));
}

static void
wait_left(void)
{
	for (int i = 0; i < 6000 && atomic_load(&rig_control->left) == 0; i++)
		poll(NULL, 0, 10);
	assert_int_equal(atomic_load(&rig_control->left), 1);
	assert_int_equal(atomic_load(&rig_control->status), 0);
	rig_wait_ready();
}

static void
test_first_request_is_waited_for(void **state)
{
	int silent, half, idle, late;

	(void)state;
	begin(SHORT_MS, LONG_MS);
	silent = rig_dial();
	half = rig_dial();
	rig_send(half, "GET /v1/services HTTP/1.1\r\nho");
	idle = rig_dial();
	ask_and_keep(idle);
	all_are_accepted();
	tell_to_leave();
	assert_int_equal(rig_ask_end(idle), 0); /* it has had its answer */
	late = rig_ask_begin("GET", "/v1/services");
	rig_send(silent, keeps);
	assert_int_equal(rig_ask_end(silent), 200);
	assert_true(rig_has("connection: close") && rig_has("\"shop\""));
	assert_false(rig_is_answered(late));
	assert_int_equal(atomic_load(&rig_control->left), 0);
	rig_send(half, "st: x\r\n\r\n");
	assert_int_equal(rig_ask_end(half), 200);
	assert_true(rig_has("connection: close") && rig_has("\"web\""));
	assert_int_equal(rig_ask_end(late), 200); /* by the successor */
	wait_left();
	rig_end();
}

static void
test_next_request_is_answered(void **state)
{
	int idle, held, stream;

	(void)state;
	begin(LONG_MS, LONG_MS);
	idle = rig_dial();
	ask_and_keep(idle);
	stream = rig_dial();
	all_are_accepted();
	tell_to_leave();
	rig_tell('k');
	held = idle;
	rig_send(held, keeps);
	rig_send(stream, "GET /v1/images/x HTTP/1.1\r\nhost: x\r\n\r\n");
	assert_int_equal(rig_ask_end(stream), 405);
	assert_false(rig_is_answered(held));
	rig_tell('s');
	assert_int_equal(rig_ask_end(held), 200);
	assert_true(rig_has("connection: close") && rig_has("\"shop\""));
	wait_left();
	rig_end();
}

/* A stream without an end is begun and ended: its client goes on with the successor. */
static void
test_streams(void **state)
{
	int fds[2];

	(void)state;
	begin(LONG_MS, LONG_MS);
	for (size_t i = 0; i < 2; i++)
		fds[i] = rig_dial();
	all_are_accepted();
	tell_to_leave();
	rig_send(fds[0], "GET /v1/events/stream HTTP/1.1\r\nhost: x\r\n\r\n");
	assert_int_equal(rig_ask_end(fds[0]), 200);
	assert_true(rig_has("connection: close") && rig_has("0\r\n\r\n"));
	/* One that has an end comes to it. */
	rig_send(fds[1], "GET /v1/logs?target=shop/web HTTP/1.1\r\nhost: x\r\n\r\n");
	assert_int_equal(rig_ask_end(fds[1]), 200);
	assert_true(rig_has("first") && rig_has("second") && rig_has("0\r\n\r\n"));
	wait_left();
	rig_end();
}

static void
test_sessions_end(void **state)
{
	static const char upgrade[] =
		"GET /v1/replicas/77/exec?command=stay HTTP/1.1\r\nhost: x\r\n"
		"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
		"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
	uint8_t got[256];
	size_t length = 0;
	ssize_t n;
	int fd;

	(void)state;
	begin(SHORT_MS, LONG_MS);
	fd = rig_dial();
	rig_send(fd, upgrade);
	read_until(fd, "\r\n\r\n");
	assert_true(rig_has(" 101 "));
	tell_to_leave();
	memset(got, 0, sizeof(got));
	while ((n = recv(fd, got + length, sizeof(got) - 1 - length, 0)) > 0)
		length += (size_t)n;
	assert_int_equal(n, 0);
	assert_true(length > 4);
	assert_int_equal(got[0], 0x80 | WS_OP_CLOSE);
	assert_int_equal(got[2] << 8 | got[3], WS_GOING_AWAY);
	assert_non_null(strstr((char *)got + 4, "about to leave"));
	close(fd);
	wait_left();
	rig_end();
}

static void
test_nobody_waits_for_ever(void **state)
{
	int silent, asked, held, upload;

	(void)state;
	begin(SHORT_MS, 3 * SHORT_MS);
	silent = rig_dial();
	asked = rig_ask_begin("DELETE", "/v1/deployments/shop"); /* nobody answers that */
	held = rig_ask_begin("GET", "/v1/certificates");         /* there is no signer */
	upload = rig_dial();
	rig_send(upload, "POST /v1/images HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc");
	all_are_accepted();
	tell_to_leave();
	assert_int_equal(rig_ask_end(silent), 0);
	assert_int_equal(rig_ask_end(asked), 503);
	assert_true(rig_has("left before the answer was there") && rig_has("may have been done"));
	assert_false(rig_has("retry-after"));
	assert_int_equal(rig_ask_end(held), 503);
	assert_true(rig_has("about to leave") && rig_has("retry-after: 1"));
	assert_int_equal(rig_ask_end(upload), 503);
	wait_left();
	rig_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_request_is_waited_for),
		cmocka_unit_test(test_next_request_is_answered),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_sessions_end),
		cmocka_unit_test(test_nobody_waits_for_ever),
	};

	if (getuid() != 0) {
		printf("1..0 # SKIP needs root to change its user\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
