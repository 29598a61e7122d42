/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork and exec of a role. Between the two the child joins its namespaces and its cgroup while it
 * is still root; everything else is given up by the role itself once it has opened what it needs
 * (ring/station.h). A pipe that closes at exec tells the parent how far the child came.
 *
 * A role in a user namespace waits until its parent has written the identity maps: they are what
 * makes capabilities in there good for the files of all ids and for nothing else.
 */
#include "node/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "node/program.h"

enum step {
	STEP_CGROUP = 1,
	STEP_USER_NS,
	STEP_NETWORK,
	STEP_DESCRIPTORS,
	STEP_EXEC,
	STEP_WAITS_FOR_MAPS,
};

struct report {
	int step;
	int code;
};

static const char *const step_names[] = {
	[STEP_CGROUP] = "join its cgroup",
	[STEP_USER_NS] = "make its user namespace",
	[STEP_NETWORK] = "join its network namespace",
	[STEP_DESCRIPTORS] = "arrange its descriptors",
	[STEP_EXEC] = "run the program",
};

/* ---- the child ---- */

static int
enter_user_ns(int reports, int go)
{
	struct report waits = {STEP_WAITS_FOR_MAPS, 0};
	char byte;

	if (unshare(CLONE_NEWUSER) < 0)
		return -1;
	if (write(reports, &waits, sizeof(waits)) != sizeof(waits))
		return -1;
	return read(go, &byte, 1) == 1 ? 0 : -1;
}

static int
enter_network(const struct process_spec *spec)
{
	switch (spec->role->netns) {
	case ROLES_HOST:
		return 0;
	case ROLES_FABRIC:
		return spec->fabric < 0 ? 0 : setns(spec->fabric, CLONE_NEWNET);
	case ROLES_NONE:
		return unshare(CLONE_NEWNET);
	}
	return 0;
}

static int
arrange(const struct process_spec *spec)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -1;
	/* dup2 onto itself would keep close-on-exec. */
	if (spec->leash == LEASH_FD ? fd_cloexec(LEASH_FD, false) < 0
				    : dup2(spec->leash, LEASH_FD) < 0)
		return -1;
	/* What node's own parent left open is not for the roles either. */
	return close_range(LEASH_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int
run(const struct process_spec *spec)
{
	static char program[] = "zlayer", verb[] = "role";
	char name[32], index[16], journal[128];
	char *argv[] = {program, verb, name, index, NULL};
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char locale[] = "LANG=C.UTF-8";
	char *envp[4] = {path, locale};
	const char *stream = getenv("JOURNAL_STREAM");

	text_copy(name, sizeof(name), role_name(spec->role->role));
	text_format(index, sizeof(index), "%u", spec->index);
	if (stream && text_format(journal, sizeof(journal), "JOURNAL_STREAM=%s", stream))
		envp[2] = journal;
	return execve("/proc/self/exe", argv, envp);
}

static enum step
become(const struct process_spec *spec, int reports, int go)
{
	if (spec->cgroup_procs >= 0 && write(spec->cgroup_procs, "0", 1) < 0)
		return STEP_CGROUP;
	if (spec->role->user_ns && enter_user_ns(reports, go) < 0)
		return STEP_USER_NS;
	if (enter_network(spec) < 0)
		return STEP_NETWORK;
	if (arrange(spec) < 0)
		return STEP_DESCRIPTORS;
	run(spec);
	return STEP_EXEC;
}

static _Noreturn void
child(const struct process_spec *spec, int reports, int go)
{
	setsid();
	program_reset_signals();
	/* Out of the way of descriptor 3. */
	reports = fcntl(reports, F_DUPFD_CLOEXEC, 64);
	struct report report = {.step = become(spec, reports, go)};
	report.code = errno;
	ssize_t n = write(reports, &report, sizeof(report));
	_exit(n > 0 ? 126 : 127);
}

/* ---- the parent ---- */

static int
write_map(pid_t pid, const char *file)
{
	static const char identity[] = "0 0 4294967295\n";
	char path[64];

	text_format(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	defer_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, identity, strlen(identity)) < 0)
		return -1;
	return 0;
}

static int
read_report(int fd, struct report *out)
{
	ssize_t n;

	do {
		n = read(fd, out, sizeof(*out));
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*out);
}

static int
follow(pid_t pid, int reports, int go, const struct process_spec *spec, struct err *err)
{
	struct report report;

	while (read_report(reports, &report)) {
		if (report.step != STEP_WAITS_FOR_MAPS) {
			(void)err_sys(err, report.code, "cannot start the process");
			return err_where(err, "role %s could not %s", role_name(spec->role->role),
					 step_names[report.step]);
		}
		if (write_map(pid, "uid_map") < 0 || write_map(pid, "gid_map") < 0 ||
		    write(go, "", 1) != 1)
			return err_sys(err, errno, "cannot map ids for role %s",
				       role_name(spec->role->role));
	}
	return 0;
}

void
process_end(pid_t pid, int *pidfd)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	fd_close(pidfd);
}

int
process_spawn(const struct process_spec *spec, pid_t *pid_out, int *pidfd_out, struct err *err)
{
	int reports[2], go[2];

	if (pipe2(reports, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot start a process");
	defer_close int report_read = reports[0], report_write = reports[1];
	if (pipe2(go, O_CLOEXEC) < 0)
		return err_sys(err, errno, "cannot start a process");
	defer_close int go_read = go[0], go_write = go[1];

	pid_t pid = fork();
	if (pid < 0)
		return err_sys(err, errno, "cannot start a process");
	if (pid == 0)
		child(spec, report_write, go_read);
	fd_close(&report_write);
	fd_close(&go_read);
	*pidfd_out = fd_pidfd_open(pid);
	if (*pidfd_out < 0)
		(void)err_sys(err, errno, "cannot watch a process");
	if (*pidfd_out < 0 || follow(pid, report_read, go_write, spec, err) < 0) {
		process_end(pid, pidfd_out);
		return -1;
	}
	*pid_out = pid;
	return 0;
}

bool
process_reap(int pidfd, char *text, size_t cap)
{
	siginfo_t info = {0};

	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0) {
		text_copy(text, cap, "left");
		return true;
	}
	if (info.si_pid == 0)
		return false;
	if (info.si_code == CLD_EXITED)
		text_format(text, cap, "exited with status %d", info.si_status);
	else if (info.si_status == SIGSYS)
		text_copy(text, cap, "ended by its system call filter");
	else
		text_format(text, cap, "killed by SIG%s", sigabbrev_np(info.si_status));
	return true;
}
