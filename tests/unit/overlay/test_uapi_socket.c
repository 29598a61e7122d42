/* SPDX-License-Identifier: Apache-2.0 */
/* The socket: real clients on the test's own loop, a device that is nothing but its setup. */
#include "overlay/wg/uapi_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "tests/support/folder.h"
#include "tests/support/sweep.h"
#include "tests/support/wg_setup.h"

#define KEY_A "0101010101010101010101010101010101010101010101010101010101010101"

enum {
	TEXT_MAX = 1 << 16,
	MANY = 8000,
	LINES_OF_PEER = 8,
	TURNS_MAX = 200000,
	PATIENT_MS = 120000, /* of idleness, where that is not what is tested */
};

static struct folder folder;
static struct setup device;
static int refuse; /* errno of the next answer */
static struct err err;
static uv_loop_t loop;
static uv_timer_t beat; /* so that the loop turns while nothing happens */
static struct uapi_socket *sock;

static int
get(void *arg, struct setup *out)
{
	struct setup nothing = {0};

	assert_ptr_equal(arg, &device);
	if (refuse != 0)
		return refuse;
	if (setup_diff(&nothing, &device, out) != SETUP_OK)
		return ENOMEM;
	memcpy(out->private_key, device.private_key, SETUP_KEY);
	return 0;
}

static int
set(void *arg, const struct setup *change)
{
	assert_ptr_equal(arg, &device);
	if (refuse == 0)
		wg_setup_apply(&device, change);
	return refuse;
}

static void
turned(uv_timer_t *timer)
{
	(void)timer;
}

static void
open_socket(uint64_t idle_ms)
{
	struct uapi_socket_device d = {.get = get, .set = set, .arg = &device, .idle_ms = idle_ms};

	sock = uapi_socket_open(&loop, folder.fd, "wg0", &d, &err);
	assert_non_null(sock);
}

static int
setup(void **state)
{
	(void)state;
	folder_begin(&folder, "uapi");
	assert_int_equal(uv_loop_init(&loop), 0);
	uv_timer_init(&loop, &beat);
	uv_timer_start(&beat, turned, 1, 1);
	setup_init(&device);
	refuse = 0;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	uapi_socket_close(sock);
	sock = NULL;
	uv_close((uv_handle_t *)&beat, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	setup_fini(&device);
	folder_end(&folder);
	return 0;
}

/* ---- clients ---- */

static int
call(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	text_format(at.sun_path, sizeof(at.sun_path), "%s/wg0.sock", folder.path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void
say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What comes, while the loop turns: up to the end of an answer, or of the connection. */
static size_t
hear(int fd, char *out, size_t cap)
{
	size_t have = 0;

	for (int turns = 0; turns < TURNS_MAX; turns++) {
		ssize_t n = recv(fd, out + have, cap - 1 - have, 0);

		if (n < 0 && errno == EAGAIN) {
			uv_run(&loop, UV_RUN_ONCE);
			continue;
		}
		if (n > 0)
			have += (size_t)n;
		out[have] = '\0';
		if (n <= 0 || (have >= 2 && strcmp(out + have - 2, "\n\n") == 0))
			return have;
	}
	fail_msg("no answer");
	return 0;
}

static void
check_says(int fd, const char *want)
{
	char text[TEXT_MAX];

	hear(fd, text, sizeof(text));
	assert_string_equal(text, want);
}

static void
check_ended(int fd)
{
	char text[TEXT_MAX];

	assert_int_equal(hear(fd, text, sizeof(text)), 0);
}

/* ---- tests ---- */

static void
test_set_and_get(void **state)
{
	int fd;

	(void)state;
	open_socket(PATIENT_MS);
	fd = call();
	say(fd, "set=1\nlisten_port=7\nprivate_key=" KEY_A "\n\n");
	check_says(fd, "errno=0\n\n");
	assert_int_equal(device.port, 7);
	say(fd, "get=1\n\n");
	check_says(fd, "private_key=" KEY_A "\nlisten_port=7\nerrno=0\n\n");
	close(fd);
}

static void
test_in_pieces(void **state)
{
	const char text[] = "set=1\nlisten_port=9\n\n";
	int fd;

	(void)state;
	open_socket(PATIENT_MS);
	fd = call();
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	check_says(fd, "errno=0\n\n");
	assert_int_equal(device.port, 9);
	close(fd);
}

/* All said at once: answered one after the other, in this order. */
static void
test_many_at_once(void **state)
{
	char text[TEXT_MAX];
	size_t have = 0;
	int fd;

	(void)state;
	open_socket(PATIENT_MS);
	fd = call();
	say(fd, "set=1\nlisten_port=1\n\nset=1\nx\n\nget=1\n\n");
	shutdown(fd, SHUT_WR);
	for (size_t n; (n = hear(fd, text + have, sizeof(text) - have)) > 0;)
		have += n;
	assert_string_equal(text, "errno=0\n\nerrno=-71\n\nlisten_port=1\nerrno=0\n\n");
	close(fd);
}

static void
test_refused(void **state)
{
	int fd;

	(void)state;
	open_socket(PATIENT_MS);
	fd = call();
	refuse = EADDRINUSE;
	say(fd, "set=1\nlisten_port=7\n\n");
	check_says(fd, "errno=-98\n\n");
	say(fd, "get=1\n\n");
	check_says(fd, "errno=-98\n\n");
	refuse = 0;
	say(fd, "get=1\n\n");
	check_says(fd, "errno=0\n\n");
	close(fd);
}

static void
test_garbage(void **state)
{
	int fd;

	(void)state;
	open_socket(PATIENT_MS);
	fd = call();
	say(fd, "GET / HTTP/1.1\n\n");
	check_says(fd, "errno=-71\n\n");
	check_ended(fd);
	close(fd);
}

/* Nothing is applied of what was not said to its end. */
static void
test_gone_in_the_middle(void **state)
{
	int fd;

	(void)state;
	open_socket(PATIENT_MS);
	fd = call();
	say(fd, "set=1\nlisten_port=7\n");
	close(fd);
	fd = call();
	say(fd, "get=1\n\n");
	check_says(fd, "errno=0\n\n");
	assert_int_equal(device.port, 0);
	close(fd);
}

/* An answer that nobody fetches costs its own connection only. */
static void
test_long_answer(void **state)
{
	size_t lines = 0;
	char text[TEXT_MAX];
	int idle, fd;

	(void)state;
	for (unsigned n = 0; n < MANY; n++) {
		uint8_t key[SETUP_KEY];

		memset(key, 0x77, sizeof(key));
		memcpy(key, &n, sizeof(n));
		wg_setup_peer(&device, key);
	}
	open_socket(PATIENT_MS);
	idle = call();
	say(idle, "get=1\n\nget=1\n\n");
	fd = call();
	say(fd, "get=1\n\n");
	for (bool done = false; !done;) {
		size_t n = hear(fd, text, sizeof(text));

		assert_true(n > 0);
		for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
			lines++;
		done = n >= 9 && strcmp(text + n - 9, "errno=0\n\n") == 0;
	}
	assert_int_equal(lines, MANY * LINES_OF_PEER + 2);
	close(fd);
	close(idle);
}

static void
test_idle(void **state)
{
	int fd;

	(void)state;
	open_socket(1);
	fd = call();
	say(fd, "get=1\n");
	check_ended(fd);
	close(fd);
}

/* Who never reads is no longer waited for, either. */
static void
test_idle_reader(void **state)
{
	char text[TEXT_MAX];
	int fd, size = 4096;

	(void)state;
	for (unsigned n = 0; n < MANY; n++) {
		uint8_t key[SETUP_KEY] = {1};

		memcpy(key + 8, &n, sizeof(n));
		wg_setup_peer(&device, key);
	}
	open_socket(1);
	fd = call();
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	say(fd, "get=1\n\n");
	/* Another one is served, and closed, meanwhile: time goes on. */
	for (int i = 0; i < 20; i++) {
		int other = call();

		check_ended(other);
		close(other);
	}
	while (hear(fd, text, sizeof(text)) > 0)
		assert_null(strstr(text, "errno=0\n\n"));
	close(fd);
}

/* More than there are places for: they wait until one is free. */
static void
test_full(void **state)
{
	int fds[UAPI_SOCKET_CONNECTIONS_MAX + 3];
	const size_t count = sizeof(fds) / sizeof(fds[0]);
	char text[TEXT_MAX];

	(void)state;
	open_socket(PATIENT_MS);
	for (size_t i = 0; i < UAPI_SOCKET_CONNECTIONS_MAX; i++) {
		fds[i] = call();
		say(fds[i], "get=1\n\n");
		check_says(fds[i], "errno=0\n\n");
	}
	for (size_t i = UAPI_SOCKET_CONNECTIONS_MAX; i < count; i++) {
		fds[i] = call();
		say(fds[i], "get=1\n\n");
	}
	/* Those that are in are still answered; those that are not, are not. */
	for (size_t i = 0; i < UAPI_SOCKET_CONNECTIONS_MAX; i++) {
		say(fds[i], "get=1\n\n");
		check_says(fds[i], "errno=0\n\n");
	}
	for (size_t i = UAPI_SOCKET_CONNECTIONS_MAX; i < count; i++)
		assert_int_equal(recv(fds[i], text, sizeof(text), 0), -1);
	for (size_t i = UAPI_SOCKET_CONNECTIONS_MAX; i < count; i++) {
		close(fds[i - UAPI_SOCKET_CONNECTIONS_MAX]);
		check_says(fds[i], "errno=0\n\n");
	}
	for (size_t i = count - UAPI_SOCKET_CONNECTIONS_MAX; i < count; i++)
		close(fds[i]);
}

static void
test_mode_and_file(void **state)
{
	mode_t mask = umask(0);
	struct stat st;

	(void)state;
	open_socket(PATIENT_MS);
	umask(mask);
	assert_int_equal(fstatat(folder.fd, "wg0.sock", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	uapi_socket_close(sock);
	sock = NULL;
	assert_int_equal(fstatat(folder.fd, "wg0.sock", &st, AT_SYMLINK_NOFOLLOW), -1);
}

static void
test_names(void **state)
{
	static const char *const wrong[] = {"", ".", "..", "a/b", "sixteen_is_large"};
	struct uapi_socket_device d = {.get = get, .set = set, .arg = &device};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_null(uapi_socket_open(&loop, folder.fd, wrong[i], &d, &err));
		assert_int_equal(err.kind, ERR_INVALID);
	}
	sock = uapi_socket_open(&loop, folder.fd, "fifteen_is_fine", &d, &err);
	assert_non_null(sock);
}

/* One that was left behind is replaced; one that is answered is not. */
static void
test_left_behind(void **state)
{
	struct uapi_socket_device d = {.get = get, .set = set, .arg = &device};
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

	(void)state;
	text_format(at.sun_path, sizeof(at.sun_path), "%s/wg0.sock", folder.path);
	assert_int_equal(bind(dead, (struct sockaddr *)&at, sizeof(at)), 0);
	close(dead);
	open_socket(PATIENT_MS);
	assert_null(uapi_socket_open(&loop, folder.fd, "wg0", &d, &err));
	assert_int_equal(err.kind, ERR_CONFLICT);
	fd = call();
	say(fd, "get=1\n\n");
	check_says(fd, "errno=0\n\n");
	close(fd);
}

/* With connections in all conditions. */
static void
test_close(void **state)
{
	int fds[3];

	(void)state;
	open_socket(PATIENT_MS);
	for (int i = 0; i < 3; i++)
		fds[i] = call();
	say(fds[0], "get=1\n\n");
	check_says(fds[0], "errno=0\n\n");
	say(fds[1], "set=1\n");
	uapi_socket_close(sock);
	sock = NULL;
	for (int i = 0; i < 3; i++) {
		check_ended(fds[i]);
		close(fds[i]);
	}
}

static void
test_no_memory(void **state)
{
	struct uapi_socket_device d = {.get = get, .set = set, .arg = &device};

	(void)state;
	sweep_each(s)
	{
		struct uapi_socket *one = uapi_socket_open(&loop, folder.fd, "wg1", &d, &err);

		assert_int_equal(one == NULL, sweep_failed());
		if (!one)
			assert_int_equal(err.kind, ERR_NO_MEMORY);
		uapi_socket_close(one);
		while (uv_run(&loop, UV_RUN_NOWAIT) && mem_used(MEM_OVERLAY) > 0)
			;
	}
}

/* A request for which there is no memory ends that request or its connection, nothing else. */
static void
test_no_memory_for_a_request(void **state)
{
	int fd;

	(void)state;
	wg_setup_peer(&device, (const uint8_t[SETUP_KEY]){1});
	open_socket(PATIENT_MS);
	for (int n = 0; n < 40; n++) {
		char text[TEXT_MAX];

		fd = call();
		say(fd, n % 2 ? "get=1\n\n" : "set=1\npublic_key=" KEY_A "\n\n");
		mem_fail_after(n / 2);
		size_t have = hear(fd, text, sizeof(text));
		mem_fail_after(-1);
		if (have > 0)
			assert_true(text_ends(text, "errno=0\n\n") ||
				    text_equal(text, "errno=-12\n\n"));
		close(fd);
	}
	fd = call();
	say(fd, "get=1\n\n");
	char text[TEXT_MAX];
	hear(fd, text, sizeof(text));
	assert_true(text_ends(text, "errno=0\n\n"));
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set_and_get, setup, teardown),
		cmocka_unit_test_setup_teardown(test_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone_in_the_middle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mode_and_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_left_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory_for_a_request, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
