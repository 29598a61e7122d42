/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process keeps none of node's descriptors but those it is given, so that nobody waits for a
 * listener or a lock of a node that was killed meanwhile.
 */
#include "node/errand.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/mem.h"
#include "node/program.h"
#include "node/watch.h"

enum { FIRST_FD = 3 };

struct errand {
	uv_loop_t *loop;
	errand_done done;
	void *arg;
	int fd; /* where the answer comes; -1: none is at work */
	struct watch *watch;
	char *answer;
	size_t bytes, have;
	unsigned seconds;
};

struct errand *
errand_new(uv_loop_t *loop, void *answer, size_t bytes, errand_done done, void *arg)
{
	struct errand *e = mem_zalloc(MEM_NODE, sizeof(*e));

	if (!e)
		return NULL;
	e->loop = loop;
	e->done = done;
	e->arg = arg;
	e->fd = -1;
	e->answer = answer;
	e->bytes = bytes;
	return e;
}

static void
let_go(struct errand *e)
{
	watch_free(e->watch);
	e->watch = NULL;
	fd_close(&e->fd);
}

void
errand_free(struct errand *e)
{
	if (!e)
		return;
	let_go(e);
	mem_free(e);
}

bool
errand_runs(const struct errand *e)
{
	return e->fd >= 0;
}

/* ---- the process ---- */

/* To 3, 4 ..; all others are closed. */
static int
keep(int *fds, size_t count)
{
	int above = FIRST_FD + (int)count;

	for (size_t i = 0; i < count; i++)
		if ((fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, above)) < 0)
			return -1;
	for (size_t i = 0; i < count; i++)
		if (dup3(fds[i], FIRST_FD + (int)i, O_CLOEXEC) < 0)
			return -1;
	return close_range((unsigned)above, ~0U, 0);
}

static _Noreturn void
run(struct errand *e, const struct errand_order *order, int out)
{
	int fds[ERRAND_FDS_MAX + 1];
	size_t count = order->fds_count;
	struct err err = {0};

	setsid();
	program_reset_signals();
	signal(SIGPIPE, SIG_IGN);
	alarm(order->seconds);
	memcpy(fds, order->fds, count * sizeof(fds[0]));
	fds[count] = out;
	if (keep(fds, count + 1) < 0)
		_exit(1);
	memset(e->answer, 0, e->bytes);
	if (!order->work(order->arg, e->answer))
		_exit(1);
	_exit(fd_write_all(FIRST_FD + (int)count, e->answer, e->bytes, &err) < 0);
}

static int
spawn(struct errand *e, const struct errand_order *order, int *out, struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot send out a process");
	defer_close int ours = ends[0], theirs = ends[1];
	pid_t pid = fork();
	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			run(e, order, theirs);
		_exit(pid < 0);
	}
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (pid < 0 || status != 0)
		return err_sys(err, pid < 0 ? errno : EAGAIN, "cannot send out a process");
	if (fd_nonblock(ours, true) < 0)
		return err_sys(err, errno, "cannot send out a process");
	*out = fd_take(&ours);
	return 0;
}

/* ---- the answer ---- */

/* True while there may be more at once; *ended at its end. */
static bool
read_some(struct errand *e, bool *ended)
{
	size_t left = e->bytes - e->have;
	char more;
	ssize_t n = left ? read(e->fd, e->answer + e->have, left) : read(e->fd, &more, 1);

	if (n > 0 && left)
		e->have += (size_t)n;
	*ended = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
	return n > 0 || (n < 0 && errno == EINTR);
}

static void
readable(void *arg, bool can_read, bool can_write)
{
	struct errand *e = arg;
	bool ended;

	(void)can_read;
	(void)can_write;
	while (read_some(e, &ended))
		continue;
	if (!ended)
		return;
	let_go(e);
	e->done(e->arg, e->have == e->bytes);
}

int
errand_send(struct errand *e, const struct errand_order *order, struct err *err)
{
	assert(e->fd < 0 && order->fds_count <= ERRAND_FDS_MAX);
	e->have = 0;
	e->seconds = order->seconds;
	if (spawn(e, order, &e->fd, err) < 0)
		return -1;
	e->watch = watch_new(e->loop, e->fd, readable, e);
	if (e->watch)
		return 0;
	let_go(e);
	return err_set(err, ERR_NO_MEMORY, "no memory to wait for a process");
}

bool
errand_wait(struct errand *e)
{
	struct pollfd wait = {.fd = e->fd, .events = POLLIN};
	bool ended = false;

	if (e->fd < 0)
		return false;
	while (!ended) {
		int n = poll(&wait, 1, (int)e->seconds * 1000);

		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		while (read_some(e, &ended))
			continue;
	}
	let_go(e);
	return e->have == e->bytes;
}
