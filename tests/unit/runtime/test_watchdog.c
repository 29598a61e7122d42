/* SPDX-License-Identifier: Apache-2.0 */
/* The watchdog of a lease, with a process of the test's own for a container. */
#include "runtime/monitor/watchdog.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fd.h"
#include "base/world.h"

#define MS UINT64_C(1000000)
#define LATE (WATCHDOG_LATE_MS * MS)
#define HOUR (3600 * 1000 * MS)

enum { PATIENCE_MS = 60000 };

struct kennel {
	struct watchdog w;
	pid_t pid;
	int pidfd; /* of the container */
};

static void
let_run(struct kennel *k)
{
	struct err err = {0};

	assert_int_equal(watchdog_open(&k->w, &err), 0);
	k->pid = fork();
	if (k->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		for (;;)
			pause();
	}
	k->pidfd = fd_pidfd_open(k->pid);
	assert_true(k->pidfd >= 0);
}

static void
set_watch(struct kennel *k)
{
	struct err err = {0};
	struct watchdog_task task = {.kill_fd = -1};
	char byte = 0;
	int go[2];

	assert_int_equal(pipe(go), 0);
	task.pidfd = k->pidfd;
	task.go_fd = go[1];
	assert_int_equal(watchdog_start(&k->w, &task, &err), 0);
	close(go[1]);
	/* It is ready, and has only what it needs: this is the last end of the pipe but its own. */
	assert_int_equal(read(go[0], &byte, 1), 1);
	assert_int_equal(byte, 'g');
	close(go[0]);
	assert_true(watchdog_lives(&k->w));
}

static void
ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

static void
killed_after(struct kennel *k, uint64_t at_ns)
{
	int status;

	ended(k->pidfd);
	assert_true(world_mono_ns() >= at_ns);
	ended(k->w.pidfd);
	assert_false(watchdog_lives(&k->w));
	assert_int_equal(waitpid(k->pid, &status, 0), k->pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	close(k->pidfd);
}

/* ---- tests ---- */

static void
test_due(void **state)
{
	uint64_t wake;
	(void)state;
	assert_false(watchdog_due(0, 5000 * MS, &wake));
	assert_int_equal(wake, 0);
	assert_false(watchdog_due(5000 * MS, 4000 * MS, &wake));
	assert_int_equal(wake, 5000 * MS + LATE);
	/* The deadline itself is the monitor's. */
	assert_false(watchdog_due(5000 * MS, 5000 * MS + LATE - 1, &wake));
	assert_true(watchdog_due(5000 * MS, 5000 * MS + LATE, &wake));
	assert_int_equal(wake, 6000 * MS + LATE);
	assert_true(watchdog_due(1, 5000 * MS, &wake));
	assert_int_equal(wake, 6000 * MS);
	assert_false(watchdog_due(UINT64_MAX, 5000 * MS, &wake));
	assert_int_equal(wake, UINT64_MAX);
}

static void
test_kills(void **state)
{
	struct kennel k;
	uint64_t until = world_mono_ns() + 100 * MS;
	(void)state;
	let_run(&k);
	watchdog_tell(&k.w, until);
	set_watch(&k);
	killed_after(&k, until + LATE);
}

static void
test_is_told(void **state)
{
	struct kennel k;
	(void)state;
	/* Later ones it finds itself. The first one leaves time to tell of the second. */
	let_run(&k);
	uint64_t until = world_mono_ns() + 3000 * MS;
	watchdog_tell(&k.w, until);
	set_watch(&k);
	watchdog_tell(&k.w, until + 300 * MS);
	killed_after(&k, until + 300 * MS + LATE);
	/* The first one, and an earlier one, wake it. */
	let_run(&k);
	set_watch(&k);
	watchdog_tell(&k.w, world_mono_ns() + HOUR);
	until = world_mono_ns() + 100 * MS;
	watchdog_tell(&k.w, until);
	killed_after(&k, until + LATE);
	/* One that was taken away comes again. */
	let_run(&k);
	watchdog_tell(&k.w, world_mono_ns() + HOUR);
	set_watch(&k);
	watchdog_tell(&k.w, 0);
	watchdog_tell(&k.w, 1);
	killed_after(&k, 0);
}

/* Nothing but SIGKILL keeps it from its work. */
static void
test_signals(void **state)
{
	static const int others[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGUSR1, SIGSTOP};
	struct kennel k;
	(void)state;
	let_run(&k);
	uint64_t until = world_mono_ns() + 300 * MS;
	watchdog_tell(&k.w, until);
	set_watch(&k);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(fd_pidfd_signal(k.w.pidfd, others[i]), 0);
	killed_after(&k, until + LATE);
}

static void
test_ends_with_it(void **state)
{
	struct kennel k;
	(void)state;
	let_run(&k);
	watchdog_tell(&k.w, world_mono_ns() + HOUR);
	set_watch(&k);
	assert_int_equal(kill(k.pid, SIGKILL), 0);
	killed_after(&k, 0);
	/* Or is ended: also one that stands still. */
	let_run(&k);
	set_watch(&k);
	int pidfd = dup(k.w.pidfd);
	assert_int_equal(fd_pidfd_signal(pidfd, SIGSTOP), 0);
	watchdog_end(&k.w);
	ended(pidfd);
	close(pidfd);
	assert_false(watchdog_lives(&k.w));
	/* Another one in its place. */
	set_watch(&k);
	watchdog_tell(&k.w, 1);
	killed_after(&k, 0);
}

/* Its word on itself: a filter, and memory that stays. */
static void
test_is_confined(void **state)
{
	struct kennel k;
	char path[64], line[256];
	unsigned pid = 0, filter = 0;
	(void)state;
	let_run(&k);
	set_watch(&k);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", k.w.pidfd);
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		(void)sscanf(line, "Pid: %u", &pid);
	fclose(f);
	snprintf(path, sizeof(path), "/proc/%u/status", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "Seccomp: %u", &filter);
		if (strncmp(line, "Name:", 5) == 0)
			assert_string_equal(line, "Name:\tzlayer-watchdog\n");
		if (strncmp(line, "VmLck:", 6) == 0)
			print_message("# %s", line);
	}
	fclose(f);
	assert_int_equal(filter, 2);
	watchdog_tell(&k.w, 1);
	killed_after(&k, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_due),          cmocka_unit_test(test_kills),
		cmocka_unit_test(test_is_told),      cmocka_unit_test(test_signals),
		cmocka_unit_test(test_ends_with_it), cmocka_unit_test(test_is_confined),
	};
	/* As a monitor has it. */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
