/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door to the kernel's WireGuard as a process: what it may do, that it passes messages and
 * answers, and when it ends. Root, in a network namespace of its own. What is said goes to the
 * family of generic netlink that every kernel has, so that there is an answer where there is no
 * WireGuard, too.
 */
#include "node/wgdoor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/text.h"
#include "overlay/wg/kernel_wire.h"

enum { UID = 791130, SEQUENCE = 7, WAIT_MS = 20000 };

static struct wgdoor_order order = {.family = GENL_ID_CTRL, .device = "sealed", .uid = UID};
static int sock = -1, alive = -1;
static char place[KERNEL_WIRE_ANSWER_MAX] __attribute__((aligned(8)));

static int
setup(void **state)
{
	struct err err = {0};

	(void)state;
	assert_int_equal(kernel_wire_open(&err), 0);
	order.fabric = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_true(order.fabric >= 0);
	assert_int_equal(wgdoor_open(&order, &sock, &alive, &err), 0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fd_close(&sock);
	fd_close(&alive);
	fd_close(&order.fabric);
	return 0;
}

static bool
is_readable(int fd, int wait_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, wait_ms) == 1;
}

static void
ask(const char *device)
{
	size_t n = kernel_wire_put_get(place, SEQUENCE, GENL_ID_CTRL, device);

	assert_int_equal(send(sock, place, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* The errno that the kernel gives. */
static int
hear(void)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)place;
	int code;

	assert_true(is_readable(sock, WAIT_MS));
	ssize_t n = recv(sock, place, sizeof(place), 0);
	assert_true(n >= (ssize_t)(NLMSG_HDRLEN + sizeof(code)));
	assert_int_equal(h->nlmsg_type, NLMSG_ERROR);
	assert_int_equal(h->nlmsg_seq, SEQUENCE);
	memcpy(&code, place + NLMSG_HDRLEN, sizeof(code));
	return -code;
}

static void
test_passes(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		ask("sealed");
		assert_int_equal(hear(), EOPNOTSUPP);
	}
	assert_false(is_readable(alive, 0));
}

static void
test_ends_with_what_it_may_not(void **state)
{
	char byte;

	(void)state;
	ask("eth0");
	assert_true(is_readable(alive, WAIT_MS));
	assert_int_equal(read(alive, &byte, 1), 0);
	assert_int_equal(recv(sock, place, sizeof(place), 0), 0);
}

static void
test_ends_with_its_socket(void **state)
{
	char byte;

	(void)state;
	fd_close(&sock);
	assert_true(is_readable(alive, WAIT_MS));
	assert_int_equal(read(alive, &byte, 1), 0);
}

/* ---- what it may do ---- */

static bool
reads(const char *pid, const char *file, char *out, size_t cap)
{
	char path[64];

	text_format(path, sizeof(path), "/proc/%s/%s", pid, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);

	fd_close(&fd);
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static bool
is_here(const char *pid)
{
	char path[64], theirs[64] = "", ours[64] = "";

	text_format(path, sizeof(path), "/proc/%s/ns/net", pid);
	return readlink(path, theirs, sizeof(theirs) - 1) > 0 &&
	       readlink("/proc/self/ns/net", ours, sizeof(ours) - 1) > 0 &&
	       strcmp(theirs, ours) == 0;
}

static bool
find_status(char *status, size_t cap, char *pid_out, size_t pid_cap)
{
	char name[32];
	DIR *proc = opendir("/proc");
	bool found = false;

	assert_non_null(proc);
	for (struct dirent *e; !found && (e = readdir(proc));) {
		if (!reads(e->d_name, "comm", name, sizeof(name)) ||
		    strcmp(name, "zlayer:wgdoor\n") != 0 || !is_here(e->d_name))
			continue;
		text_copy(pid_out, pid_cap, e->d_name);
		found = reads(e->d_name, "status", status, cap);
	}
	closedir(proc);
	return found;
}

static size_t
count_files(const char *pid)
{
	char path[64];
	size_t count = 0;

	text_format(path, sizeof(path), "/proc/%s/fd", pid);
	DIR *fds = opendir(path);
	assert_non_null(fds);
	for (struct dirent *e; (e = readdir(fds));)
		count += e->d_name[0] != '.';
	closedir(fds);
	return count;
}

static void
test_confined(void **state)
{
	static char status[8192];
	char pid[32];

	(void)state;
	assert_true(find_status(status, sizeof(status), pid, sizeof(pid)));
	assert_non_null(strstr(status, "Uid:\t791130\t791130\t791130\t791130\n"));
	assert_non_null(strstr(status, "CapEff:\t0000000000001000\n"));
	assert_non_null(strstr(status, "CapPrm:\t0000000000001000\n"));
	assert_non_null(strstr(status, "CapBnd:\t0000000000001000\n"));
	assert_non_null(strstr(status, "CapAmb:\t0000000000000000\n"));
	assert_non_null(strstr(status, "NoNewPrivs:\t1\n"));
	assert_non_null(strstr(status, "Seccomp:\t2\n"));
	/* Input, output, errors, and its own three. */
	assert_true(count_files(pid) <= 6);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_passes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_with_what_it_may_not, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends_with_its_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(test_confined, setup, teardown),
	};

	if (geteuid() != 0) {
		puts("1..0 # SKIP needs root");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
