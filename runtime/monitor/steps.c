/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps, one after the other. This process is the first of the container's pid namespace: what a
 * step leaves behind is killed before the next one begins, and what has no parent is reaped here.
 * The output of a step goes through a pipe to this process and on to the container's log; its last
 * line is kept, because it mostly says why. The stop signals end it, as long as it is not the
 * program that knows what to do with them.
 */
#include "runtime/monitor/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "runtime/monitor/child.h"
#include "runtime/monitor/privilege.h"
#include "runtime/monitor/reach.h"

enum { TURN_MS = 50, RETRY_MS = 1000, WAIT_MS = 250, LINE_BYTES = 200 };

struct attempt {
	const struct launch *launch;
	const struct user *user;
	const struct plan_step *step;
	int report_fd;
	int status; /* of waitpid */
	bool late;
	char line[LINE_BYTES]; /* the last whole one */
	char part[LINE_BYTES];
	size_t part_bytes;
};

static volatile sig_atomic_t stopped;

static void
on_stop(int signal)
{
	stopped = signal;
}

static void
pause_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	if (!stopped)
		nanosleep(&t, NULL);
}

/* Of a namespace of its own only: elsewhere this would hit others. */
static void
sweep(void)
{
	if (getpid() == 1)
		kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0)
		continue;
}

/* ---- in the step's own process ---- */

static void
wait_until_reached(const struct plan_step *step)
{
	char why[REACH_WHY] = "", told[REACH_WHY] = "";

	while (!reach_try(step, why)) {
		if (strcmp(why, told) != 0) {
			dprintf(STDERR_FILENO, "%s\n", why);
			text_copy(told, sizeof(told), why);
		}
		pause_ms(WAIT_MS);
	}
}

static void __attribute__((noreturn)) step_main(const struct attempt *a, int output)
{
	struct launch command = *a->launch;
	struct err err = {0};
	int status = 125;

	privilege_reset_signals();
	if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
		_exit(125);
	close(output);
	if (a->step->kind != PLAN_STEP_RUN) {
		close(a->report_fd);
		wait_until_reached(a->step);
		_exit(0);
	}
	command.argv = (struct launch_list){a->step->command.items, a->step->command.count};
	if (privilege_exec(&command, a->user, &status, &err) < 0)
		dprintf(STDERR_FILENO, "%s: %s\n", err.what, err.whys ? err.why[0] : "");
	_exit(status);
}

/* ---- in the first process ---- */

static void
end_line(struct attempt *a)
{
	if (a->part_bytes > 0)
		text_ncopy(a->line, sizeof(a->line), a->part, a->part_bytes);
	a->part_bytes = 0;
}

static void
remember(struct attempt *a, const char *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (data[i] == '\n')
			end_line(a);
		else if (a->part_bytes < sizeof(a->part) - 1)
			a->part[a->part_bytes++] = data[i] ? data[i] : ' ';
	}
}

/* False at its end. */
static bool
pass_on(struct attempt *a, int from)
{
	char data[4096];
	ssize_t n = read(from, data, sizeof(data));

	if (n <= 0)
		return n < 0 && errno == EINTR;
	remember(a, data, (size_t)n);
	for (ssize_t done = 0, k; done < n; done += k) {
		k = write(STDERR_FILENO, data + done, (size_t)(n - done));
		if (k <= 0)
			break; /* the log is gone: the step matters more */
	}
	return true;
}

static void
watch(struct attempt *a, pid_t pid, int output)
{
	uint64_t limit = world_mono_ns() + a->step->timeout_ms * UINT64_C(1000000);
	bool open = true, ended = false;

	while (!ended && !stopped) {
		struct pollfd p = {.fd = open ? output : -1, .events = POLLIN};

		if (poll(&p, 1, TURN_MS) == 1 && p.revents)
			open = pass_on(a, output);
		ended = waitpid(pid, &a->status, WNOHANG) == pid;
		if (!ended && world_mono_ns() >= limit) {
			a->late = true;
			break;
		}
	}
	if (!ended)
		kill(pid, SIGKILL);
	sweep();
	if (stopped)
		_exit(128 + stopped);
	while (open && pass_on(a, output))
		continue;
	end_line(a);
}

static bool
try_once(struct attempt *a)
{
	int p[2];

	a->late = false;
	a->status = -1;
	a->line[0] = '\0';
	if (pipe2(p, O_CLOEXEC) < 0)
		return false;
	pid_t pid = fork();
	if (pid == 0)
		step_main(a, p[1]);
	close(p[1]);
	if (pid > 0)
		watch(a, pid, p[0]);
	close(p[0]);
	return pid > 0 && !a->late && WIFEXITED(a->status) && WEXITSTATUS(a->status) == 0;
}

static int
name_failure(const struct attempt *a, struct err *err)
{
	const struct plan_step *s = a->step;
	char how[64], line[LINE_BYTES + 8] = "";

	if (a->late)
		text_format(how, sizeof(how), "it did not end within %llu s",
			    (unsigned long long)(s->timeout_ms + 999) / 1000);
	else if (WIFEXITED(a->status))
		text_format(how, sizeof(how), "it ended with status %d", WEXITSTATUS(a->status));
	else
		text_format(how, sizeof(how), "it was ended by signal %d", WTERMSIG(a->status));
	if (a->line[0])
		text_format(line, sizeof(line), ": %s", a->line);
	err_set(err, a->late ? ERR_TIMEOUT : ERR_INVALID, "init step \"%s\" failed", s->id);
	err_why(err, "%s%s%s%s", how, s->retry ? " (tried again)" : "", a->late ? "" : "", line);
	return err_fix(err, "see what it wrote with zlayer logs; init.steps says what is run");
}

static void
tell(const struct attempt *a, uint32_t done, uint32_t kind)
{
	struct child_report report = {.kind = ERR_NONE, .code = done, .exit = kind};

	/* Lost words lose no step: the end of this process tells, too. */
	if (write(a->report_fd, &report, sizeof(report)) < 0)
		return;
}

static void
take_signals(void)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2};
	struct sigaction action = {.sa_handler = on_stop};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

int
steps_run(const struct launch *launch, const struct user *user, int report_fd, struct err *err)
{
	struct attempt a = {.launch = launch, .user = user, .report_fd = report_fd};

	if (launch->steps_count == 0)
		return 0;
	take_signals();
	tell(&a, 0, CHILD_STEP);
	for (size_t i = 0; i < launch->steps_count; i++) {
		bool good = false;

		a.step = &launch->steps[i];
		for (uint32_t n = 0; n <= a.step->retry && !good; n++) {
			if (n > 0)
				pause_ms(RETRY_MS);
			good = try_once(&a);
		}
		if (!good && a.step->on_failure == PLAN_STEP_FAIL)
			return name_failure(&a, err);
		tell(&a, (uint32_t)i + 1,
		     good                                   ? CHILD_STEP
		     : a.step->on_failure == PLAN_STEP_WARN ? CHILD_STEP_WARNED
							    : CHILD_STEP_FAILED);
	}
	privilege_reset_signals();
	return 0;
}
